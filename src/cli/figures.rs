//! Figures of the API as people read them. What is not known is `-`.

use serde_json::Value;

use crate::cli::table::NOTHING;
use trainspotter_core::model::units;
use trainspotter_core::rules::{Unit, in_words};

/// A text.
pub(super) fn text(row: &Value, key: &str) -> String {
    row[key].as_str().filter(|text| !text.is_empty()).unwrap_or(NOTHING).to_owned()
}

/// A label of an alert; an empty share reads as words.
pub(super) fn label(name: &str, value: &Value) -> String {
    match (name, value.as_str().unwrap_or_default()) {
        ("share", "") => "no share".to_owned(),
        (name, value) => format!("{name}={value}"),
    }
}

/// A duration in seconds.
pub(super) fn seconds(value: &Value) -> String {
    value.as_f64().map_or_else(|| NOTHING.to_owned(), units::duration)
}

/// An amount.
pub(super) fn amount(value: &Value) -> String {
    value.as_f64().map_or_else(|| NOTHING.to_owned(), units::trimmed)
}

/// A value in a unit of the API.
pub(super) fn measure(value: &Value, unit: &Value) -> String {
    let unit = serde_json::from_value::<Unit>(unit.clone()).unwrap_or(Unit::Count);
    value.as_f64().map_or_else(|| NOTHING.to_owned(), |value| in_words(value, unit))
}

/// The sum of some counts of an object.
pub(super) fn sum(counts: &Value, keys: &[&str]) -> Option<u64> {
    counts.as_object().filter(|counts| !counts.is_empty())?;
    Some(keys.iter().filter_map(|key| counts[*key].as_u64()).sum())
}

/// A count, if it is known.
pub(super) fn count(count: Option<u64>) -> String {
    count.map_or_else(|| NOTHING.to_owned(), |count| count.to_string())
}

/// States in which a job waits.
pub(super) const WAITING: [&str; 3] = ["submitted", "pending", "runnable"];

/// States in which a job has not ended.
pub(super) const LIVE: [&str; 6] = ["submitted", "pending", "runnable", "scheduled", "starting", "running"];

/// Whether rows are of more than one account and region.
pub(super) fn are_of_several(rows: &[Value]) -> bool {
    rows.first().is_some_and(|first| rows.iter().any(|row| whereabouts(row) != whereabouts(first)))
}

/// The queue of a row, with its account and region where there are several.
pub(super) fn queue_of(row: &Value, several: bool) -> String {
    let queue = text(row, "queue");
    let (account, region) = whereabouts(row);
    if several { format!("{queue} {} {region}", if account.is_empty() { "?" } else { account }) } else { queue }
}

/// The account and region of a row; empty where they are not known.
pub(super) fn whereabouts(row: &Value) -> (&str, &str) {
    (row["account"].as_str().unwrap_or_default(), row["region"].as_str().unwrap_or_default())
}
