//! The dashboard: one page that asks this server alone.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::get;

use crate::report::script;
use crate::serve::Hub;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page's files, always those of this program's version.
const FILES: [(&str, &str, &str); 17] = [
    ("/", HTML, include_str!("../page/index.html")),
    ("/uplot.css", CSS, script::UPLOT_STYLE),
    ("/style.css", CSS, script::STYLE),
    ("/chart.css", CSS, script::CHART_STYLE),
    ("/drawer.css", CSS, include_str!("../page/drawer.css")),
    ("/dashboard.css", CSS, include_str!("../page/dashboard.css")),
    ("/uplot.js", SCRIPT, script::UPLOT),
    ("/words.js", SCRIPT, script::WORDS),
    ("/kinds.js", SCRIPT, script::KINDS),
    ("/chart.js", SCRIPT, script::CHART),
    ("/charts.js", SCRIPT, script::CHARTS),
    ("/runs.js", SCRIPT, include_str!("../page/runs.js")),
    ("/table.js", SCRIPT, include_str!("../page/table.js")),
    ("/strip.js", SCRIPT, include_str!("../page/strip.js")),
    ("/drawer.js", SCRIPT, include_str!("../page/drawer.js")),
    ("/run.js", SCRIPT, include_str!("../page/run.js")),
    ("/dashboard.js", SCRIPT, include_str!("../page/dashboard.js")),
];

/// What a browser may do with what it gets from here: run our own scripts and styles, ask us, and nothing else.
const PROTECTION: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub fn router() -> Router<Arc<Hub>> {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router
            .route(path, get(async move || ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)))
    })
}

pub async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in PROTECTION {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
