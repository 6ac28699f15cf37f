//! What the page asks for beyond what programs ask: runs in one line each, one checkpoint with its images, a run's latest events.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Answer, Refused, known, merged, of_all, of_run, within};
use super::json::Json;
use crate::event::Shown;
use crate::journal::{Entry, Filter, Journal, Past};
use crate::serve::Hub;
use crate::watch::daemon::Ask;

/// Events in one answer, where nothing else is asked for, and at most.
const EVENTS: usize = 50;
const MOST_EVENTS: usize = 1000;
/// Laws in one answer.
const LAWS: usize = 100;

/// What of the daemon the journal does not know.
#[derive(Debug, Clone)]
pub struct Place {
    /// The watched directories.
    pub folders: Arc<[String]>,
    /// Whether clients have shown a token: only then may they see images, and have checkpoints measured again.
    pub has_token: bool,
}

impl Place {
    /// Refuses clients that have shown no token.
    fn needs_token(&self, otherwise: &str) -> Answer<()> {
        if self.has_token { Ok(()) } else { Err(Refused::forbidden(otherwise)) }
    }
}

/// Why images are refused.
const IMAGES_NEED_TOKEN: &str = "images are shown only by a daemon that was started with --http-token";

/// Every run with what a line of the page shows.
pub async fn overview(State(hub): State<Arc<Hub>>, Extension(place): Extension<Place>) -> Answer<Json<Value>> {
    let status = hub.ask(Ask::Status).await?;
    let runs = hub.read(|journal| {
        let runs = journal.runs()?.into_iter();
        runs.map(|(id, run)| Ok((id, run, journal.glance(id)?))).collect::<crate::error::Result<Vec<_>>>()
    });
    let runs = runs.await?.into_iter().map(|(id, path, glance)| {
        let mut run = merged(&status, id, &path);
        if let Ok(Value::Object(glance)) = serde_json::to_value(glance) {
            glance.into_iter().for_each(|(key, value)| run[key] = value);
        }
        run
    });
    let mut told = of_all(&status, &runs.collect::<Vec<_>>());
    told["folders"] = json!(*place.folders);
    told["may_retry"] = place.has_token.into();
    Ok(Json(told))
}

/// One checkpoint, as `relstab history --format json` prints it.
pub async fn checkpoint(
    State(hub): State<Arc<Hub>>,
    ids: std::result::Result<Path<(i64, i64)>, PathRejection>,
) -> Answer<Json<Entry>> {
    let Path((id, checkpoint)) = ids?;
    let found =
        of_run(&hub, id, move |journal| journal.history(id, Filter { id: Some(checkpoint), ..Filter::default() }));
    let unknown = || Refused::not_found(format!("run {id} has no checkpoint {checkpoint}"));
    found.await?.pop().map(Json).ok_or_else(unknown)
}

/// What the strip of a checkpoint shows, for who has shown the token; null where none is kept.
pub async fn strip(
    State(hub): State<Arc<Hub>>,
    Extension(place): Extension<Place>,
    ids: std::result::Result<Path<(i64, i64)>, PathRejection>,
) -> Answer<Json<Option<Shown>>> {
    let Path((id, checkpoint)) = ids?;
    place.needs_token(IMAGES_NEED_TOKEN)?;
    let shown = of_run(&hub, id, move |journal| journal.strip(id, checkpoint));
    Ok(Json(shown.await?))
}

/// The picture of that strip, as it came from the worker.
pub async fn strip_picture(
    State(hub): State<Arc<Hub>>,
    Extension(place): Extension<Place>,
    ids: std::result::Result<Path<(i64, i64)>, PathRejection>,
) -> Answer<([(HeaderName, &'static str); 2], Vec<u8>)> {
    let Path((id, checkpoint)) = ids?;
    place.needs_token(IMAGES_NEED_TOKEN)?;
    let found = of_run(&hub, id, move |journal| journal.strip_picture(id, checkpoint));
    let none = || Refused::not_found(format!("run {id} keeps no images of checkpoint {checkpoint}"));
    let (format, bytes) = found.await?.ok_or_else(none)?;
    // Images of users stay out of shared caches.
    Ok(([(header::CONTENT_TYPE, format.media_type()), (header::CACHE_CONTROL, "private, no-cache")], bytes))
}

/// How many events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latest {
    #[serde(default = "usual_events")]
    limit: usize,
}

fn usual_events() -> usize {
    EVENTS
}

/// A run's latest events, newest first, without their records.
pub async fn latest_events(
    State(hub): State<Arc<Hub>>,
    id: std::result::Result<Path<i64>, PathRejection>,
    latest: std::result::Result<Query<Latest>, QueryRejection>,
) -> Answer<Json<Vec<Value>>> {
    let (Path(id), Query(Latest { limit })) = (id?, latest?);
    within("limit", limit, MOST_EVENTS)?;
    let events = of_run(&hub, id, move |journal| journal.latest_events(id, limit));
    Ok(Json(events.await?))
}

/// What a run went through: attempts, alerts that were raised, laws that predicted its errors.
pub async fn past(
    State(hub): State<Arc<Hub>>,
    id: std::result::Result<Path<i64>, PathRejection>,
) -> Answer<Json<Past>> {
    let Path(id) = id?;
    let past = of_run(&hub, id, move |journal| journal.past(id, LAWS));
    Ok(Json(past.await?))
}

/// Has a run's failed checkpoints measured again, for who has shown the token.
pub async fn retry(
    State(hub): State<Arc<Hub>>,
    Extension(place): Extension<Place>,
    id: std::result::Result<Path<i64>, PathRejection>,
) -> Answer<Json<Value>> {
    let Path(id) = id?;
    place.needs_token("start the daemon with --http-token, or use relstab retry")?;
    let run = hub.read(move |journal: &Journal| known(journal, id)).await?;
    Ok(Json(hub.ask(Ask::Retry(run)).await?))
}
