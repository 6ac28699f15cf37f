//! Tables from anywhere: CSV with a header, or a JSON array of objects.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::small_file::json_fault;

/// A row, named after its file and number, or what is wrong with it.
pub type Named<T> = (String, std::result::Result<T, String>);

/// The rows of the table at `path`.
///
/// # Errors
/// `Io` if it cannot be read.
pub fn rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<Named<T>>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let rows = if text.trim_start().starts_with(['[', '{']) { json_rows(&text) } else { csv_rows(&text) };
    Ok(rows.into_iter().map(|(name, row)| (format!("{}: {name}", path.display()), row)).collect())
}

fn csv_rows<T: DeserializeOwned>(text: &str) -> Vec<Named<T>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let row =
        |(index, row): (usize, csv::Result<T>)| (format!("row {}", index + 1), row.map_err(|error| error.to_string()));
    reader.deserialize().enumerate().map(row).collect()
}

fn json_rows<T: DeserializeOwned>(text: &str) -> Vec<Named<T>> {
    match serde_json::from_str::<Vec<serde_json::Value>>(text) {
        Err(error) => vec![("JSON".to_owned(), Err(json_fault(text, &error)))],
        Ok(rows) => {
            let row = |(index, row)| {
                (format!("row {}", index + 1), serde_json::from_value(row).map_err(|error| error.to_string()))
            };
            rows.into_iter().enumerate().map(row).collect()
        }
    }
}
