//! HTTP beside the sockets: runs and measurements as JSON, events as they happen, metrics for Prometheus (docs/http.md).

mod api;
mod description;
mod guard;
mod json;
mod metrics;
mod overview;
mod page;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use tracing::debug;

use super::hub::accept;
use super::places::{self, Door, Places};
use super::{Hub, listen};
use crate::error::{Error, Result};
use crate::path;
use api::Refused;
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
/// How long an answer may take once the daemon ends.
const GOODBYE: Duration = Duration::from_secs(1);

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
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves clients of the daemon that watches `folders` until it ends.
    pub async fn serve(self, hub: Arc<Hub>, folders: &[PathBuf], places: &Arc<Places>) {
        let folders = folders.iter().map(|folder| path::text(folder)).collect();
        let place = Place { folders, has_token: self.guard.has_token() };
        let router = router(Arc::clone(&hub), self.guard, place);
        let serve = |(stream, address), place| {
            let (router, hub) = (router.clone(), Arc::clone(&hub));
            async move {
                if let Err(error) = serve_one(stream, router, &hub, place).await {
                    debug!("{address}: {error}");
                }
            }
        };
        places.serve(&hub.ends, Door::Http, || accept(&self.listener), serve).await;
    }
}

async fn serve_one(stream: TcpStream, router: Router, hub: &Hub, place: Arc<places::Place>) -> hyper::Result<()> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(TAKING));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&place));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        () = hub.ends.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::time::timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
}

fn router(hub: Arc<Hub>, guard: Arc<Guard>, place: Place) -> Router {
    let guarded = Router::new()
        .route("/events", get(api::events))
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
        .fallback(async || Refused::not_found("no such path: /openapi.json lists those there are".to_owned()))
        .method_not_allowed_fallback(async || {
            Refused::method("this path takes another method: /openapi.json says which")
        })
        // What is sent changes with each checkpoint.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(from_fn(page::protect))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, ANSWER))
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .with_state(hub)
}
