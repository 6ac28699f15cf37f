//! What the API is, as `OpenAPI`: its addresses by hand, what they tell by its types, and once what all of them may answer.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::IntoResponse;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::event::Shown;
use crate::journal::{Entry, Past, Series};

/// How an address may refuse that is not open to everybody.
const REFUSED: [&str; 4] = ["400", "401", "403", "503"];

static DESCRIPTION: LazyLock<String> = LazyLock::new(|| {
    let mut api: Value = serde_json::from_str(include_str!("openapi.json")).unwrap_or_default();
    for (path, methods) in api["paths"].as_object_mut().into_iter().flatten() {
        for (_, operation) in methods.as_object_mut().into_iter().flatten() {
            complete(path, operation);
        }
    }
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut types = settings.with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator();
    types.subschema_for::<Entry>();
    types.subschema_for::<Past>();
    types.subschema_for::<Series>();
    types.subschema_for::<Shown>();
    if let Some(schemas) = api["components"]["schemas"].as_object_mut() {
        schemas.extend(types.take_definitions(true));
    }
    api.to_string()
});

/// Adds what follows from the address: its numbers, and answers that any of its kind may give.
fn complete(path: &str, operation: &mut Value) {
    let reference = |kind: &str, name: &str| json!({"$ref": format!("#/components/{kind}/{name}")});
    let is_open = operation.get("security").is_some();
    let refused = REFUSED.into_iter().filter(|_| !is_open).chain(path.contains("{id}").then_some("404"));
    for status in refused {
        operation["responses"][status] = reference("responses", "Refused");
    }
    operation["responses"]["408"] = reference("responses", "Late");
    let numbers = ["id", "checkpoint"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let others = operation["parameters"].as_array().cloned().unwrap_or_default();
    operation["parameters"] = numbers.map(|name| reference("parameters", name)).chain(others).collect();
}

/// The description of all this.
pub async fn description() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION.as_str())
}
