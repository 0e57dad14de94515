//! Encodes rows to the bytes of a Parquet file. Deterministic: the same rows in the same order yield the same
//! bytes.

use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use crate::archive::column::{Cell, Column, Kind};
use crate::archive::{ArchiveError, Row, SCHEMA_VERSION};

/// Rows per row group, the maximum in memory at once.
pub const ROWS_OF_A_GROUP: usize = 50_000;

/// Metadata key of the schema name.
pub(super) const SCHEMA_KEY: &str = "trainspotter.schema";

/// A file being encoded.
pub struct Encoder<R: Row> {
    writer: SerializedFileWriter<Vec<u8>>,
    rows: Vec<R>,
}

impl<R: Row> std::fmt::Debug for Encoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl<R: Row> Encoder<R> {
    /// Starts a file.
    ///
    /// # Errors
    /// The schema is invalid, which a test rules out.
    pub fn new() -> Result<Self, ArchiveError> {
        let columns: Vec<String> = R::columns().iter().map(|column| column.kind.in_parquet(&column.name)).collect();
        let schema = format!("message {} {{ {} }}", R::TABLE.as_str(), columns.join(" "));
        let schema = Arc::new(parse_message_type(&schema)?);
        let version = KeyValue::new(SCHEMA_KEY.to_owned(), format!("{}/{SCHEMA_VERSION}", R::TABLE.as_str()));
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // Independent of the version, so that files are reproducible.
            .set_created_by("trainspotter".to_owned())
            .set_max_row_group_row_count(Some(ROWS_OF_A_GROUP))
            .set_key_value_metadata(Some(vec![version]));
        // These are unique per job, so a dictionary would be useless.
        for unique in ["id", "submitted_at", "ended_at"] {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(unique), false);
        }
        let writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build()))?;
        Ok(Self { writer, rows: Vec::new() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Encoding failed.
    pub fn push(&mut self, row: R) -> Result<(), ArchiveError> {
        self.rows.push(row);
        if self.rows.len() >= ROWS_OF_A_GROUP { self.flush() } else { Ok(()) }
    }

    /// Finishes the file and returns its bytes.
    ///
    /// # Errors
    /// Encoding failed.
    pub fn finish(mut self) -> Result<Vec<u8>, ArchiveError> {
        self.flush()?;
        Ok(self.writer.into_inner()?)
    }

    fn flush(&mut self) -> Result<(), ArchiveError> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for column in R::columns() {
            let cells = || rows.iter().map(|row| (column.get)(row));
            let mut write = |write: &dyn Fn(&mut ColumnWriter<'_>) -> Result<usize, ArchiveError>| {
                let mut of_column = group.next_column()?.ok_or_else(|| missing(column))?;
                write(of_column.untyped())?;
                of_column.close()?;
                Ok::<(), ArchiveError>(())
            };
            match column.kind {
                Kind::Texts | Kind::Numbers => {
                    let entries = Entries::of(cells());
                    write(&|writer| entries.write_keys(writer))?;
                    write(&|writer| entries.write_values(writer))?;
                }
                Kind::Text | Kind::Whole | Kind::Number | Kind::Time => write(&|writer| write_cells(writer, cells()))?,
            }
        }
        group.close()?;
        Ok(())
    }
}

fn missing<R>(column: &Column<R>) -> ArchiveError {
    ArchiveError::Encoding(format!("the schema lacks {}", column.name))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "Parquet has many kinds of values, and columns a few")]
fn write_cells(writer: &mut ColumnWriter<'_>, cells: impl Iterator<Item = Cell>) -> Result<usize, ArchiveError> {
    let cells: Vec<Cell> = cells.collect();
    let levels: Vec<i16> = cells.iter().map(|cell| i16::from(*cell != Cell::None)).collect();
    let levels = Some(levels.as_slice());
    let other = || Err(ArchiveError::Encoding("a cell is of another kind than its column".to_owned()));
    let written = match writer {
        ColumnWriter::ByteArrayColumnWriter(typed) => {
            let texts = cells
                .iter()
                .filter_map(|cell| if let Cell::Text(text) = cell { Some(text.as_str().into()) } else { None });
            typed.write_batch(&texts.collect::<Vec<ByteArray>>(), levels, None)?
        }
        ColumnWriter::Int32ColumnWriter(typed) => {
            let numbers =
                cells.iter().filter_map(|cell| if let Cell::Whole(number) = cell { Some(*number) } else { None });
            typed.write_batch(&numbers.collect::<Vec<i32>>(), levels, None)?
        }
        ColumnWriter::DoubleColumnWriter(typed) => {
            let numbers =
                cells.iter().filter_map(|cell| if let Cell::Number(number) = cell { Some(*number) } else { None });
            typed.write_batch(&numbers.collect::<Vec<f64>>(), levels, None)?
        }
        ColumnWriter::Int64ColumnWriter(typed) => {
            let times =
                cells.iter().filter_map(|cell| if let Cell::Time(at) = cell { Some(at.millis()) } else { None });
            typed.write_batch(&times.collect::<Vec<i64>>(), levels, None)?
        }
        _ => return other(),
    };
    Ok(written)
}

/// The entries of a map column, with the levels that mark the beginning of a map and empty maps.
struct Entries {
    keys: Vec<ByteArray>,
    texts: Vec<ByteArray>,
    numbers: Vec<f64>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl Entries {
    #[expect(clippy::wildcard_enum_match_arm, reason = "Parquet has many kinds of values, and columns a few")]
    fn of(cells: impl Iterator<Item = Cell>) -> Self {
        let mut entries = Self {
            keys: Vec::new(),
            texts: Vec::new(),
            numbers: Vec::new(),
            definition: Vec::new(),
            repetition: Vec::new(),
        };
        for cell in cells {
            match cell {
                Cell::Texts(map) if !map.is_empty() => {
                    for (index, (key, value)) in map.iter().enumerate() {
                        entries.add(key, index);
                        entries.texts.push(value.as_str().into());
                    }
                }
                Cell::Numbers(map) if !map.is_empty() => {
                    for (index, (key, value)) in map.iter().enumerate() {
                        entries.add(key, index);
                        entries.numbers.push(*value);
                    }
                }
                _ => {
                    entries.definition.push(0);
                    entries.repetition.push(0);
                }
            }
        }
        entries
    }

    fn add(&mut self, key: &str, index: usize) {
        self.keys.push(key.into());
        self.definition.push(1);
        self.repetition.push(i16::from(index > 0));
    }

    fn write_keys(&self, writer: &mut ColumnWriter<'_>) -> Result<usize, ArchiveError> {
        let ColumnWriter::ByteArrayColumnWriter(typed) = writer else {
            return Err(ArchiveError::Encoding("keys are text".to_owned()));
        };
        Ok(typed.write_batch(&self.keys, Some(&self.definition), Some(&self.repetition))?)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "Parquet has many kinds of values, and columns a few")]
    fn write_values(&self, writer: &mut ColumnWriter<'_>) -> Result<usize, ArchiveError> {
        let (definition, repetition) = (Some(self.definition.as_slice()), Some(self.repetition.as_slice()));
        Ok(match writer {
            ColumnWriter::ByteArrayColumnWriter(typed) => typed.write_batch(&self.texts, definition, repetition)?,
            ColumnWriter::DoubleColumnWriter(typed) => typed.write_batch(&self.numbers, definition, repetition)?,
            _ => return Err(ArchiveError::Encoding("values are text or numbers".to_owned())),
        })
    }
}
