//! Rows in the state file: compressed, by day and tick.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::archive::{Row, day_of};
use crate::store::{StoreError, UnarchivedRows};
use trainspotter_core::model::Timestamp;

/// Maximum decompressed size; larger rows count as broken.
const MAX_BYTES: u64 = 1 << 30;

/// Packs the rows of a tick, by day.
///
/// # Errors
/// A row cannot be serialized.
pub fn unarchived_of<R: Row>(rows: &[R], at: Timestamp) -> Result<Vec<UnarchivedRows>, StoreError> {
    let mut days: BTreeMap<Timestamp, Vec<&R>> = BTreeMap::new();
    for row in rows {
        days.entry(day_of(row.at())).or_default().push(row);
    }
    let packed = |(day, mut rows): (Timestamp, Vec<&R>)| {
        rows.sort_by_cached_key(|row| (row.at(), row.key()));
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&serde_json::to_vec(&rows)?).map_err(unreadable)?;
        let body = encoder.finish().map_err(unreadable)?;
        Ok(UnarchivedRows { table: R::TABLE, day, at, rows: rows.len() as u64, body })
    };
    days.into_iter().map(packed).collect()
}

/// Unpacks the rows.
///
/// # Errors
/// They are broken.
pub fn unpack<R: Row>(body: &[u8]) -> Result<Vec<R>, StoreError> {
    let mut text = Vec::new();
    DeflateDecoder::new(body).take(MAX_BYTES).read_to_end(&mut text).map_err(unreadable)?;
    Ok(serde_json::from_slice(&text)?)
}

fn unreadable(error: std::io::Error) -> StoreError {
    StoreError::Value(error.to_string())
}
