//! The dashboard: one page that asks this server alone.

use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::report::script::PLOTLY;
use crate::serve::Hub;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page's files; all but the charting library are small and always those of this program's version.
const FILES: [(&str, &str, &str); 5] = [
    ("/", HTML, include_str!("../page/index.html")),
    ("/style.css", CSS, include_str!("../../report/page/style.css")),
    ("/dashboard.css", CSS, include_str!("../page/dashboard.css")),
    ("/charts.js", SCRIPT, include_str!("../../report/page/charts.js")),
    ("/dashboard.js", SCRIPT, include_str!("../page/dashboard.js")),
];

/// Megabytes that are compressed once.
static COMPRESSED_PLOTLY: LazyLock<Bytes> = LazyLock::new(|| {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder.write_all(PLOTLY.as_bytes()).and_then(|()| encoder.finish());
    compressed.unwrap_or_default().into()
});

/// What a browser may do with what it gets from here: run our own scripts and styles, ask us, and nothing else. Plotly writes
/// its styles into the page.
const PROTECTION: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub fn router() -> Router<Arc<Hub>> {
    let router = Router::new().route("/plotly.js", get(plotly));
    FILES.into_iter().fold(router, |router, (path, kind, text)| {
        router
            .route(path, get(async move || ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)))
    })
}

async fn plotly(headers: HeaderMap) -> Response {
    let head =
        [(header::CONTENT_TYPE, SCRIPT), (header::CACHE_CONTROL, "max-age=86400"), (header::VARY, "accept-encoding")];
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accepted.contains("gzip") {
        return (head, PLOTLY.as_str()).into_response();
    }
    let compressed = tokio::task::spawn_blocking(|| COMPRESSED_PLOTLY.clone()).await.unwrap_or_default();
    (head, [(header::CONTENT_ENCODING, "gzip")], compressed).into_response()
}

pub async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in PROTECTION {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
