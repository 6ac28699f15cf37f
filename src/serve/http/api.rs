//! What can be asked over HTTP; the same questions as over a line socket, and the same answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::super::places::Place;
use super::super::{Feed, Hub};
use super::json::Json;
use crate::error::Error;
use crate::journal::{Entry, Filter, Journal, Series, State as Outcome};
use crate::watch::daemon::Ask;

/// How often a listener hears that the daemon is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Checkpoints in one answer, where nothing else is asked for, and at most: each takes about 4 kB.
const LIMIT: usize = 100;
const MOST: usize = 1000;
/// Points of a series, where nothing else is asked for, and at most.
const POINTS: usize = 1000;
const MOST_POINTS: usize = 100_000;
/// Points of all runs' series together, and of each at least.
const ALL_POINTS: usize = 12_000;
const FEWEST_POINTS: usize = 16;
/// A daemon that does not answer within this is not ready.
const READY: Duration = Duration::from_secs(2);

/// A refusal as people and programs read it.
pub fn refusal(reason: &str) -> Json<Value> {
    Json(json!({"error": reason}))
}

/// An error with the status that fits it.
pub struct Refused(StatusCode, String);

impl Refused {
    pub fn not_found(reason: String) -> Self {
        Self(StatusCode::NOT_FOUND, reason)
    }

    pub fn method(reason: &str) -> Self {
        Self(StatusCode::METHOD_NOT_ALLOWED, reason.to_owned())
    }

    pub fn forbidden(reason: &str) -> Self {
        Self(StatusCode::FORBIDDEN, reason.to_owned())
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.0, refusal(&self.1)).into_response();
        if self.0 == StatusCode::SERVICE_UNAVAILABLE {
            // Who is refused for want of room does not keep the room.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::UnknownRun { .. } => StatusCode::NOT_FOUND,
            Error::Setting { .. } => StatusCode::BAD_REQUEST,
            error if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.one_line())
    }
}

macro_rules! from_rejections {
    ($($rejection:ty),*) => {
        $(impl From<$rejection> for Refused {
            fn from(rejection: $rejection) -> Self {
                Self(rejection.status(), rejection.body_text())
            }
        })*
    };
}
from_rejections!(JsonRejection, PathRejection, QueryRejection);

pub type Answer<T> = std::result::Result<T, Refused>;

/// Whether the daemon answers and can write its journal.
pub async fn ready(State(hub): State<Arc<Hub>>) -> Response {
    let status = tokio::time::timeout(READY, hub.ask(Ask::Status)).await;
    match status {
        Ok(Ok(status)) if status["journal_writable"] == true => "ready\n".into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

/// Every run that the journal knows, with how it stands where it is watched.
pub async fn runs(State(hub): State<Arc<Hub>>) -> Answer<Json<Value>> {
    let status = hub.ask(Ask::Status).await?;
    let known = hub.read(Journal::runs).await?;
    let runs = known.into_iter().map(|(id, path)| merged(&status, id, &path));
    Ok(Json(of_all(&status, &runs.collect::<Vec<_>>())))
}

/// What an answer on all runs says.
pub fn of_all(status: &Value, runs: &[Value]) -> Value {
    json!({"seq": status["seq"], "journal_writable": status["journal_writable"], "runs": runs})
}

/// A run with what the daemon's `status` says of it, where it is watched.
pub fn merged(status: &Value, id: i64, path: &str) -> Value {
    let mut run = json!({"id": id, "run": path, "watched": false});
    let mut watched = status["runs"].as_array().into_iter().flatten();
    if let Some(Value::Object(found)) = watched.find(|found| found["run"] == path) {
        run["watched"] = true.into();
        found.iter().for_each(|(key, value)| run[key] = value.clone());
    }
    run
}

/// Which part of a history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    #[serde(default)]
    offset: u32,
    #[serde(default = "usual_limit")]
    limit: usize,
    state: Option<Outcome>,
}

fn usual_limit() -> usize {
    LIMIT
}

/// A run's checkpoints in training order, as `relstab history --format json` prints them.
pub async fn measurements(
    State(hub): State<Arc<Hub>>,
    id: std::result::Result<Path<i64>, PathRejection>,
    part: std::result::Result<Query<Part>, QueryRejection>,
) -> Answer<Json<Vec<Entry>>> {
    let (Path(id), Query(part)) = (id?, part?);
    within("limit", part.limit, MOST)?;
    let filter = Filter { part: Some((part.offset, part.limit)), state: part.state, ..Filter::default() };
    let entries = of_run(&hub, id, move |journal| journal.history(id, filter));
    Ok(Json(entries.await?))
}

pub fn within(name: &'static str, number: usize, most: usize) -> crate::error::Result<()> {
    if (1..=most).contains(&number) {
        return Ok(());
    }
    Err(Error::setting(name, format!("1 to {most}"), number))
}

/// How finely a series is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolution {
    #[serde(default = "usual_points")]
    points: usize,
}

fn usual_points() -> usize {
    POINTS
}

/// A run's columns over its checkpoints.
pub async fn series(
    State(hub): State<Arc<Hub>>,
    id: std::result::Result<Path<i64>, PathRejection>,
    resolution: std::result::Result<Query<Resolution>, QueryRejection>,
) -> Answer<Json<Series>> {
    let (Path(id), Query(Resolution { points })) = (id?, resolution?);
    within("points", points, MOST_POINTS)?;
    let series = of_run(&hub, id, move |journal| journal.series(id, points));
    Ok(Json(series.await?))
}

/// The series of all runs, the coarser the more there are.
pub async fn all_series(State(hub): State<Arc<Hub>>) -> Answer<Json<Vec<Series>>> {
    let series = hub.read(|journal| {
        let runs = journal.runs()?;
        let points = (ALL_POINTS / runs.len().max(1)).clamp(FEWEST_POINTS, POINTS);
        runs.into_iter().map(|(id, _)| journal.series(id, points)).collect::<crate::error::Result<Vec<_>>>()
    });
    Ok(Json(series.await?))
}

/// A checkpoint's error, told from outside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annotation {
    #[serde(default, deserialize_with = "present")]
    path: Option<String>,
    // JSON writers that know only one kind of number send 1200.0.
    #[serde(default, deserialize_with = "present")]
    step: Option<f64>,
    val_error: f64,
}

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Whole numbers that JSON's readers agree on.
const MOST_STEPS: f64 = 9_007_199_254_740_991.0;

fn whole(step: f64) -> crate::error::Result<u64> {
    if (0.0..=MOST_STEPS).contains(&step) && step.fract() == 0.0 {
        return Ok(step as u64);
    }
    Err(Error::setting("step", format!("a whole number from 0 to {MOST_STEPS}"), step))
}

/// Keeps a checkpoint's error.
pub async fn annotate(
    State(hub): State<Arc<Hub>>,
    id: std::result::Result<Path<i64>, PathRejection>,
    annotation: std::result::Result<axum::Json<Annotation>, JsonRejection>,
) -> Answer<Json<Value>> {
    let (Path(id), axum::Json(Annotation { path, step, val_error })) = (id?, annotation?);
    let step = step.map(whole).transpose()?;
    let run = hub.read(move |journal| known(journal, id)).await?;
    Ok(Json(hub.ask(Ask::annotate(run, path, step, val_error)?).await?))
}

/// What the journal says of run number `id`, if there is one.
pub async fn of_run<T: Send + 'static>(
    hub: &Arc<Hub>,
    id: i64,
    read: impl FnOnce(&Journal) -> crate::error::Result<T> + Send + 'static,
) -> crate::error::Result<T> {
    hub.read(move |journal| known(journal, id).and_then(|_| read(journal))).await
}

pub fn known(journal: &Journal, id: i64) -> crate::error::Result<String> {
    let found = journal.runs()?.into_iter().find(|(known, _)| *known == id).map(|(_, run)| run);
    found.ok_or_else(|| Error::UnknownRun { run: format!("number {id}"), journal: journal.path().to_owned() })
}

/// Which events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    run: Option<String>,
    since: Option<i64>,
}

/// Events after `Last-Event-ID` or `since`, else from now on; of one run, if it is named.
pub async fn events(
    State(hub): State<Arc<Hub>>,
    Extension(place): Extension<Arc<Place>>,
    wanted: std::result::Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = std::result::Result<Event, Infallible>>>> {
    let Query(Wanted { run, since }) = wanted?;
    if !place.follow() {
        return Err(Refused(StatusCode::SERVICE_UNAVAILABLE, "too many clients follow events".to_owned()));
    }
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let feed = Feed::new(Arc::clone(&hub), run.into_iter().collect(), last.or(since)).await?;
    let events = stream::unfold((feed, Vec::new().into_iter()), move |(mut feed, mut lines)| {
        let ends = hub.ends.clone();
        async move {
            loop {
                if let Some(line) = lines.next() {
                    let line: crate::journal::Line = line;
                    let event = Event::default().id(line.seq.to_string()).data(&*line.text);
                    return Some((Ok(event), (feed, lines)));
                }
                let more = tokio::select! {
                    more = feed.next() => more.ok().flatten()?,
                    () = ends.cancelled() => return None,
                };
                lines = more.into_iter();
            }
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}
