//! What Prometheus scrapes: each run's latest checkpoint, its queue and its outcomes, made from the journal when asked, and what
//! measurements took since the daemon began.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use serde_json::Value;

use super::api::Refused;
use crate::event::Severity;
use crate::journal::{Figures, State as Outcome};
use crate::serve::{Feed, Hub};
use crate::watch::daemon::Ask;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRun {
    run: String,
}

/// Which directory a run's label means.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    run: String,
    path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WithState {
    run: String,
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WithSeverity {
    run: String,
    severity: String,
}

type Values<L> = Family<L, Gauge<f64, AtomicU64>>;

/// Name, meaning, value.
type Metric = (&'static str, &'static str, fn(&Figures) -> Option<f64>);

/// What is told of the latest measured checkpoint.
const LATEST: [Metric; 9] = [
    ("rf", "R_f, relative stability of the latest checkpoint", |latest| latest.r_f),
    ("df", "D_f, relative change under deformation of the latest checkpoint", |latest| latest.d_f),
    ("gf", "G_f, relative change under noise of the latest checkpoint", |latest| latest.g_f),
    ("invariance", "Effective invariance under deformation of the latest checkpoint", |latest| latest.invariance),
    ("predicted_error", "Predicted test error of the latest checkpoint, a fraction", |latest| latest.predicted_error),
    ("val_error", "Known error of the latest checkpoint, a fraction", |latest| latest.val_error),
    ("probe_error", "Error of the latest checkpoint on the probe images, a fraction", |latest| latest.probe_error),
    ("step", "Optimiser steps of the latest checkpoint", |latest| latest.step),
    ("measurement_seconds", "Time that the latest measurement took", |latest| latest.seconds),
];

/// A run of which nothing was heard for so long, and that is not measured now, is told of no more.
const KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);
/// How long a journal that could not be read is left alone.
const RETRY: Duration = Duration::from_secs(5);

/// What measurements took, seconds.
#[derive(Clone)]
pub struct Durations(Histogram);

impl Durations {
    /// Of the measurements from now on, 0.1 s to half an hour.
    pub fn following(hub: &Arc<Hub>) -> Self {
        let durations = Self(Histogram::new(exponential_buckets(0.1, 2.0, 15)));
        let (own, hub) = (durations.clone(), Arc::clone(hub));
        tokio::spawn(async move {
            let ends = hub.ends.clone();
            tokio::select! {
                () = own.follow(hub) => {}
                () = ends.cancelled() => {}
            }
        });
        durations
    }

    async fn follow(self, hub: Arc<Hub>) {
        let Ok(mut feed) = Feed::new(hub, Vec::new(), None).await else { return };
        loop {
            let lines = match feed.next().await {
                Ok(Some(lines)) => lines,
                Ok(None) => return,
                // The journal, which cannot be read now.
                Err(_) => {
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            for line in lines {
                let Ok(event) = serde_json::from_str::<Value>(&line.text) else { continue };
                if let Some(seconds) = event["measurement"]["timing"]["total_s"].as_f64() {
                    self.0.observe(seconds);
                }
            }
        }
    }
}

/// A run's label: the last name in its path, which people know it by, and its number, which tells it from others of that name.
fn label(run: &str, id: i64) -> String {
    format!("{}-{id}", run.rsplit('/').next().unwrap_or_default())
}

/// All of it, in Prometheus's text format.
pub async fn scrape(
    State(hub): State<Arc<Hub>>,
    Extension(durations): Extension<Durations>,
) -> Result<Response, Refused> {
    let status = hub.ask(Ask::Status).await?;
    let runs = hub.read(|journal| {
        let since = (jiff::Timestamp::now() - KEPT).to_string();
        let runs = journal.runs_since(&since)?.into_iter();
        runs.map(|(id, run)| Ok((label(&run, id), journal.figures(id)?, journal.counts(id)?, run)))
            .collect::<crate::error::Result<Vec<_>>>()
    });
    let runs = runs.await?;
    let mut registry = Registry::with_prefix("relstab");
    for (name, help, value) in LATEST {
        let values = Values::default();
        for (run, figures, ..) in &runs {
            if let Some(value) = value(figures) {
                values.get_or_create(&OfRun { run: run.clone() }).set(value);
            }
        }
        registry.register(name, help, values);
    }
    let (checkpoints, lag, findings) = (Values::default(), Values::default(), Values::default());
    let places = Family::<Place, Gauge<f64, AtomicU64>>::default();
    for (run, figures, counts, path) in &runs {
        places.get_or_create(&Place { run: run.clone(), path: path.clone() }).set(1.0);
        for state in [Outcome::Pending, Outcome::Measured, Outcome::Skipped, Outcome::Failed] {
            let labels = WithState { run: run.clone(), state: state.to_string() };
            checkpoints.get_or_create(&labels).set(counts.get(&state).copied().unwrap_or(0) as f64);
        }
        for (severity, count) in [Severity::Note, Severity::Doubt, Severity::Wrong].into_iter().zip(figures.findings) {
            let labels = WithSeverity { run: run.clone(), severity: severity.to_string() };
            findings.get_or_create(&labels).set(count as f64);
        }
        lag.get_or_create(&OfRun { run: run.clone() }).set(figures.lag_seconds);
    }
    registry.register("run_info", "The directory of each run", places);
    registry.register("checkpoints", "Checkpoints by what became of them; pending ones are the queue", checkpoints);
    registry.register("findings", "What is noted, doubtful or wrong about the latest checkpoint", findings);
    registry.register("lag_seconds", "Since the oldest checkpoint that waits was written", lag);
    registry.register(
        "measurement_duration_seconds",
        "Time that measurements took since the daemon began",
        durations.0,
    );
    let plain = |value: f64| {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        gauge
    };
    let uptime = status["uptime_s"].as_f64().unwrap_or(0.0);
    registry.register_with_unit("uptime", "Since the daemon began", Unit::Seconds, plain(uptime));
    let writable = f64::from(u8::from(status["journal_writable"] == true));
    registry.register("journal_writable", "1 while the journal can be written", plain(writable));
    let mut text = String::new();
    Ok(match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
}
