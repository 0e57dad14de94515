//! What files of the archive are called, and which day a moment is in.

use crate::archive::SCHEMA_VERSION;
use crate::config::Target;
use crate::store::ArchiveTable;
use trainspotter_core::model::Timestamp;

/// A day in milliseconds.
const DAY: i64 = 86_400_000;

/// The first moment of the day of a moment, in UTC.
pub fn day_of(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis().div_euclid(DAY) * DAY)
}

/// A day as `2026-11-27`.
pub fn day_text(day: Timestamp) -> String {
    day.to_string().chars().take(10).collect()
}

/// The folder of a table.
pub(super) fn root(table: ArchiveTable) -> String {
    format!("{}/v{SCHEMA_VERSION}", table.as_str())
}

/// The name of a table's file of a day.
pub(super) fn file(table: ArchiveTable, day: Timestamp, source: &str) -> String {
    format!("{}/day={}/{source}.parquet", root(table), day_text(day))
}

/// The day in the name of a file or folder; `None` if there is none.
pub(super) fn day_in(name: &str) -> Option<Timestamp> {
    let day = name.split('/').find_map(|part| part.strip_prefix("day="))?;
    format!("{day}T00:00:00Z").parse::<jiff::Timestamp>().ok().map(|at| Timestamp::from_millis(at.as_millisecond()))
}

/// What files of a target are called: by its name, so that they are the same for every replica, and no other target's.
pub fn source_of(target: &Target) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    target.name.chars().map(|c| if is_plain(c) { c } else { '+' }).collect()
}
