//! Parquet tables as Hugging Face writes them: a struct of an image's file and path, and a label.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::Length as _;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::SchemaDescriptor;

use super::pages::Pages;
use crate::error::{Error, Result};
use crate::panics::caught;
use crate::probe::contents::{Catalogue, Encoded};
use crate::probe::raw::whole;

const IMAGES: [&str; 4] = ["image.bytes", "img.bytes", "image", "img"];
const LABELS: [&str; 6] = ["label", "labels", "fine_label", "cls", "target", "targets"];

struct Table {
    path: PathBuf,
    pages: Arc<Pages>,
    metadata: ParquetMetaData,
    /// Number of the column of images.
    images: usize,
    /// The first row of each row group, and the number of rows behind them.
    starts: Vec<usize>,
}

/// The label of each row, or why they are not taken.
type Labels = std::result::Result<Vec<i64>, String>;

struct Tables {
    tables: Vec<Table>,
    /// The first row of each table.
    starts: Vec<usize>,
}

/// Reads the tables' footers and their labels.
pub fn open(paths: &[PathBuf]) -> Result<Catalogue> {
    let mut tables = Vec::new();
    let (mut starts, mut count) = (Vec::new(), 0);
    let mut labels: Option<Vec<i64>> = Some(Vec::new());
    let mut notes = Vec::new();
    for path in paths {
        let (table, of_table) = Table::open(path)?;
        starts.push(count);
        count += table.starts.last().copied().unwrap_or(0);
        labels = match (labels, of_table) {
            (Some(mut known), Some(Ok(more))) => {
                known.extend(more);
                Some(known)
            }
            (Some(_), Some(Err(reason))) => {
                notes.push(format!("no labels: {reason}"));
                None
            }
            _ => None,
        };
        tables.push(table);
    }
    if count == 0 {
        return Err(Error::probe(&paths[0], "at least one row", "none"));
    }
    // Hugging Face writes -1 where the label is kept secret.
    let labels = labels.and_then(|labels: Vec<i64>| {
        let known = labels.iter().map(|label| u32::try_from(*label).ok()).collect::<Option<Vec<_>>>();
        if known.is_none() {
            notes.push("some labels are below 0: none is used".to_owned());
        }
        known
    });
    Ok(Catalogue { images: Box::new(Tables { tables, starts }), count, labels, notes })
}

impl Table {
    fn open(path: &Path) -> Result<(Self, Option<Labels>)> {
        let damaged =
            |error: ParquetError| Error::probe(path, "a whole Parquet table", format!("a damaged one ({error})"));
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        let pages = Arc::new(Pages::new(file).map_err(Error::io(path, "read"))?);
        let metadata = tried(|| pages.metadata()).map_err(damaged)?;
        let schema = metadata.file_metadata().schema_descr_ptr();
        let Some(images) = IMAGES.iter().find_map(|name| column(&schema, name)) else {
            let names: Vec<_> = schema.columns().iter().map(|column| column.path().string()).collect();
            let expected = "a column image or img with the bytes of a file";
            return Err(Error::probe(path, expected, format!("columns {}", names.join(", "))));
        };
        let mut starts = vec![0_usize];
        for group in metadata.row_groups() {
            let rows = usize::try_from(group.num_rows()).ok();
            let next = rows.and_then(|rows| starts.last().copied().unwrap_or(0).checked_add(rows));
            // An image takes a byte at least: more rows are a lie, and each would take memory.
            let next = next.filter(|next| *next as u64 <= pages.len());
            starts.push(next.ok_or_else(|| Error::probe(path, "a number of rows", group.num_rows().to_string()))?);
        }
        let table = Self { path: path.to_owned(), pages, metadata, images, starts };
        let labels = LABELS.iter().find_map(|name| Some((*name, column(&schema, name)?)));
        let labels = labels.map(|(name, column)| tried(|| table.labels(name, column))).transpose().map_err(damaged)?;
        let labels = labels.or_else(|| {
            let name = LABELS
                .iter()
                .find(|name| schema.root_schema().get_fields().iter().any(|field| field.name() == **name))?;
            Some(Err(format!("column {name} does not hold one number a row")))
        });
        Ok((table, labels))
    }

    fn labels(&self, name: &str, column: usize) -> std::result::Result<Labels, ParquetError> {
        let mut labels: Vec<i64> = Vec::new();
        for (group, bounds) in self.starts.windows(2).enumerate() {
            let rows = bounds[1] - bounds[0];
            let more = match self.column(group, column)? {
                ColumnReader::Int64ColumnReader(reader) => Some(values(reader, rows)?),
                ColumnReader::Int32ColumnReader(reader) => {
                    Some(values(reader, rows)?.into_iter().map(i64::from).collect())
                }
                ColumnReader::BoolColumnReader(reader) => {
                    Some(values(reader, rows)?.into_iter().map(i64::from).collect())
                }
                ColumnReader::DoubleColumnReader(reader) => values(reader, rows)?.into_iter().map(whole).collect(),
                ColumnReader::FloatColumnReader(reader) => {
                    values(reader, rows)?.into_iter().map(|value| whole(value.into())).collect()
                }
                _ => return Ok(Err(format!("column {name} holds no numbers of classes"))),
            };
            let Some(more) = more else { return Ok(Err(format!("column {name} holds numbers that are not whole"))) };
            labels.extend(more);
        }
        let rows = self.starts.last().copied().unwrap_or_default();
        Ok(if labels.len() == rows {
            Ok(labels)
        } else {
            Err(format!("{} of {rows} rows have none in column {name}", rows - labels.len()))
        })
    }

    fn column(&self, group: usize, column: usize) -> std::result::Result<ColumnReader, ParquetError> {
        let chunk = self.metadata.row_group(group).column(column);
        let rows = self.starts[group + 1] - self.starts[group];
        let pages = SerializedPageReader::new(Arc::clone(&self.pages), chunk, rows, None)?;
        Ok(get_column_reader(chunk.column_descr_ptr(), Box::new(pages)))
    }

    /// The files in these rows, which ascend.
    fn rows(&self, rows: &[usize]) -> std::result::Result<Vec<Option<Vec<u8>>>, ParquetError> {
        let mut found = Vec::new();
        for (group, bounds) in self.starts.windows(2).enumerate() {
            let wanted: Vec<_> = rows.iter().filter(|row| (bounds[0]..bounds[1]).contains(row)).collect();
            if wanted.is_empty() {
                continue;
            }
            let ColumnReader::ByteArrayColumnReader(mut reader) = self.column(group, self.images)? else {
                return Err(ParquetError::General("a column of images that is not of bytes".to_owned()));
            };
            let mut at = bounds[0];
            for row in wanted {
                reader.skip_records(row - at)?;
                found.push(one(&mut reader)?);
                at = row + 1;
            }
        }
        Ok(found)
    }
}

fn column(schema: &SchemaDescriptor, name: &str) -> Option<usize> {
    // Repeated values would not be one a row.
    schema.columns().iter().position(|column| column.path().string() == name && column.max_rep_level() == 0)
}

/// Every value of a column of so many rows; those that are null are left out.
fn values<T: DataType>(mut reader: ColumnReaderImpl<T>, rows: usize) -> std::result::Result<Vec<T::T>, ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    reader.read_records(rows, Some(&mut levels), None, &mut values)?;
    Ok(values)
}

/// The library panics at some damaged files.
fn tried<T>(work: impl FnOnce() -> std::result::Result<T, ParquetError>) -> std::result::Result<T, ParquetError> {
    caught(work).unwrap_or_else(|_| Err(ParquetError::General("its library gave up".to_owned())))
}

/// The next value; `None` if it is null.
fn one(reader: &mut ColumnReaderImpl<ByteArrayType>) -> std::result::Result<Option<Vec<u8>>, ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    reader.read_records(1, Some(&mut levels), None, &mut values)?;
    Ok(values.pop().map(|value| value.data().to_vec()))
}

impl Tables {
    fn locate(&self, index: usize) -> (usize, usize) {
        let table = self.starts.partition_point(|start| *start <= index) - 1;
        (table, index - self.starts[table])
    }
}

impl Encoded for Tables {
    fn name(&self, index: usize) -> String {
        let (table, row) = self.locate(index);
        let file = self.tables[table].path.file_name().unwrap_or_default();
        format!("row {row} of {}", crate::path::text(file.as_ref()))
    }

    fn read(&self, indices: &[usize]) -> Vec<std::result::Result<Vec<u8>, String>> {
        // Pages are read once, from front to back; the files then go back into the order asked for.
        let mut by_table = BTreeMap::<usize, Vec<(usize, usize)>>::new();
        for (place, index) in indices.iter().enumerate() {
            let (table, row) = self.locate(*index);
            by_table.entry(table).or_default().push((row, place));
        }
        let mut files = vec![Err(String::new()); indices.len()];
        for (table, mut places) in by_table {
            places.sort_unstable();
            let rows: Vec<_> = places.iter().map(|(row, _)| *row).collect();
            match tried(|| self.tables[table].rows(&rows)) {
                Ok(found) => {
                    for ((_, place), file) in places.into_iter().zip(found) {
                        files[place] = file.ok_or_else(|| "no bytes in this row".to_owned());
                    }
                }
                Err(error) => places.iter().for_each(|(_, place)| files[*place] = Err(error.to_string())),
            }
        }
        files
    }
}
