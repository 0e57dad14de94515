//! File names of the archive, and the day of a time.

use crate::archive::SCHEMA_VERSION;
use crate::config::Target;
use crate::store::ArchiveTable;
use trainspotter_core::model::Timestamp;

/// A day in milliseconds.
const DAY: i64 = 86_400_000;

/// Beginning of the day of a time, in UTC.
pub fn day_of(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis().div_euclid(DAY) * DAY)
}

/// Formats a day, as in `2026-11-27`.
pub fn day_text(day: Timestamp) -> String {
    day.to_string().chars().take(10).collect()
}

/// The folder of a table.
pub(super) fn root(table: ArchiveTable) -> String {
    format!("{}/v{SCHEMA_VERSION}", table.as_str())
}

/// Name of a table's file for a day.
pub(super) fn file(table: ArchiveTable, day: Timestamp, source: &str) -> String {
    format!("{}/day={}/{source}.parquet", root(table), day_text(day))
}

/// The day in the name of a file or folder, if any.
pub(super) fn day_in(name: &str) -> Option<Timestamp> {
    let day = name.split('/').find_map(|part| part.strip_prefix("day="))?;
    format!("{day}T00:00:00Z").parse::<jiff::Timestamp>().ok().map(|at| Timestamp::from_millis(at.as_millisecond()))
}

/// File name for a target: derived from the target's name, so it is the same on every replica and unique among
/// targets.
pub fn source_of(target: &Target) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    target.name.chars().map(|c| if is_plain(c) { c } else { '+' }).collect()
}
