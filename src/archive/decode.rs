//! Decodes the bytes of a Parquet file to rows.

use std::collections::BTreeMap;

use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;

use crate::archive::column::{Cell, Column};
use crate::archive::encode::SCHEMA_KEY;
use crate::archive::{ArchiveError, Row, SCHEMA_VERSION};
use trainspotter_core::model::Timestamp;

/// Passes each row of a file to `take`, in file order. Unknown columns are ignored. `name` is the file name for
/// errors.
///
/// # Errors
/// The file is broken, foreign or of a newer version. Rows before the broken part have been passed on.
pub fn decode<R: Row>(name: &str, bytes: Vec<u8>, mut take: impl FnMut(R)) -> Result<(), ArchiveError> {
    let broken = |problem: String| ArchiveError::Unreadable { name: name.to_owned(), problem };
    let reader = SerializedFileReader::new(Bytes::from(bytes)).map_err(|error| broken(error.to_string()))?;
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let schema = metadata.into_iter().flatten().find(|pair| pair.key == SCHEMA_KEY).and_then(|pair| pair.value.clone());
    let known = format!("{}/{SCHEMA_VERSION}", R::TABLE.as_str());
    match schema {
        Some(schema) if schema == known => {}
        Some(found) if version(&found) > Some(SCHEMA_VERSION) => {
            return Err(ArchiveError::Newer { name: name.to_owned(), found, known });
        }
        Some(found) => return Err(broken(format!("it has schema {found}; this build needs {known}"))),
        None => return Err(broken("it was not written by Trainspotter".to_owned())),
    }
    let columns: BTreeMap<&str, &Column<R>> =
        R::columns().iter().map(|column| (column.name.as_str(), column)).collect();
    for row in reader.get_row_iter(None).map_err(|error| broken(error.to_string()))? {
        let row = row.map_err(|error| broken(error.to_string()))?;
        let mut read = R::default();
        for (name, field) in row.into_columns() {
            if let Some(column) = columns.get(name.as_str()) {
                (column.set)(&mut read, cell(field));
            }
        }
        take(read);
    }
    Ok(())
}

fn version(schema: &str) -> Option<u32> {
    schema.rsplit('/').next()?.parse().ok()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "Parquet has many kinds of values, and columns a few")]
fn cell(field: Field) -> Cell {
    match field {
        Field::Str(text) => Cell::Text(text),
        Field::Int(number) => Cell::Whole(number),
        Field::Double(number) => Cell::Number(number),
        Field::TimestampMillis(at) => Cell::Time(Timestamp::from_millis(at)),
        Field::MapInternal(map) => {
            let (mut texts, mut numbers) = (BTreeMap::new(), BTreeMap::new());
            for (key, value) in map.entries() {
                let Field::Str(key) = key else { continue };
                match value {
                    Field::Str(text) => _ = texts.insert(key.clone(), text.clone()),
                    Field::Double(number) => _ = numbers.insert(key.clone(), *number),
                    _ => {}
                }
            }
            if numbers.is_empty() { Cell::Texts(texts) } else { Cell::Numbers(numbers) }
        }
        _ => Cell::None,
    }
}
