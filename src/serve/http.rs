//! HTTP beside the sockets: runs and measurements as JSON, events as they happen, metrics for Prometheus (docs/http.md).

mod api;
mod description;
mod guard;
mod metrics;
mod overview;
mod page;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use tracing::{debug, error};

use super::{Hub, listen};
use crate::error::{Error, Result};
use crate::path;
use guard::Guard;
use overview::Place;

/// A request's body may be this long, bytes.
const MAX_BODY: usize = 64 << 10;
/// A client that has not sent its headers by then is cut off.
const HEADERS: Duration = Duration::from_secs(10);
/// A request that has not been read and answered by then is given up; a stream of events has begun by then.
const ANSWER: Duration = Duration::from_secs(10);
/// A client that takes nothing of its answer for this long is cut off.
const TAKING: Duration = Duration::from_secs(10);
/// Clients at once; more wait to be accepted.
const MAX_CLIENTS: usize = 1024;
/// Those of them that may follow events: the other places are for those who ask and leave, as health checks do.
const MAX_FOLLOWERS: usize = 960;

/// An address at which HTTP is served.
#[derive(Debug)]
pub struct Http {
    listener: TcpListener,
    guard: Arc<Guard>,
}

impl Http {
    /// Listens at `address`: on loopback, or anywhere if clients must show the token in the file `token`.
    ///
    /// # Errors
    /// `Setting` for an address that is not loopback without a token, or a token too short; `Io` if listening or reading fails.
    pub async fn bind(address: SocketAddr, token: Option<&Path>) -> Result<Self> {
        let guard = Guard::new(token)?;
        if !address.ip().is_loopback() && !guard.has_token() {
            let expected = "an address on loopback, such as 127.0.0.1:7878, or --http-token FILE";
            return Err(Error::setting("--http", expected, address));
        }
        let listener = listen(address, "--http").await?;
        Ok(Self { listener, guard: Arc::new(guard) })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves clients of the daemon that watches `folders` until it ends.
    pub async fn serve(self, hub: Arc<Hub>, folders: &[PathBuf]) {
        let folders = folders.iter().map(|folder| path::text(folder)).collect();
        let place = Place { folders, has_token: self.guard.has_token() };
        let router = router(Arc::clone(&hub), self.guard, place);
        let places = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = hub.ends.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let (router, hub) = (router.clone(), Arc::clone(&hub));
                    tokio::spawn(async move {
                        if let Err(error) = serve_one(stream, router, hub).await {
                            debug!("{address}: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    error!("cannot accept a client: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve_one(stream: TcpStream, router: Router, hub: Arc<Hub>) -> hyper::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(TAKING));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        () = hub.ends.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::time::timeout(Duration::from_secs(1), connection).await.unwrap_or(Ok(()))
}

fn router(hub: Arc<Hub>, guard: Arc<Guard>, place: Place) -> Router {
    let guarded = Router::new()
        .route("/events", get(api::events).layer(Extension(Arc::new(Semaphore::new(MAX_FOLLOWERS)))))
        .route("/api/runs", get(api::runs))
        .route("/api/overview", get(overview::overview))
        .route("/api/series", get(api::all_series))
        .route("/api/runs/{id}/checkpoints/{checkpoint}", get(overview::checkpoint))
        .route("/api/runs/{id}/checkpoints/{checkpoint}/strip", get(overview::strip))
        .route("/api/runs/{id}/checkpoints/{checkpoint}/strip/picture", get(overview::strip_picture))
        .route("/api/runs/{id}/events", get(overview::latest_events))
        .route("/api/runs/{id}/past", get(overview::past))
        .route("/api/runs/{id}/retry", post(overview::retry))
        .route("/api/runs/{id}/series", get(api::series))
        .route("/api/runs/{id}/measurements", get(api::measurements))
        .route("/api/runs/{id}/annotations", post(api::annotate))
        .route("/metrics", get(metrics::scrape).layer(Extension(metrics::Durations::following(&hub))))
        .merge(page::router())
        .layer(Extension(place))
        .layer(from_fn_with_state(guard, guard::check));
    // Probes of an orchestrator carry no token and learn nothing.
    let open = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(api::ready))
        .route("/openapi.json", get(description::description));
    guarded
        .merge(open)
        // What is sent changes with each checkpoint.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(from_fn(page::protect))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, ANSWER))
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .with_state(hub)
}
