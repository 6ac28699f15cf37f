//! Answers in JSON, in which nothing moves a terminal that shows them.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::text::visible_json;

pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let told = serde_json::to_string(&self.0);
        told.map_or_else(
            |error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
            |text| ([(header::CONTENT_TYPE, "application/json")], visible_json(&text).into_owned()).into_response(),
        )
    }
}
