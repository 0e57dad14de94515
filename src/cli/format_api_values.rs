//! Formats values of the API. Unknown values are shown as `-`.

use serde_json::Value;

use crate::cli::table::NOTHING;
use trainspotter_core::model::format;
use trainspotter_core::rules::{Unit, in_words};

/// Formats a text.
pub(super) fn text(row: &Value, key: &str) -> String {
    row[key].as_str().filter(|text| !text.is_empty()).unwrap_or(NOTHING).to_owned()
}

/// Formats a label of an alert; an empty share is spelled out.
pub(super) fn label(name: &str, value: &Value) -> String {
    match (name, value.as_str().unwrap_or_default()) {
        ("share", "") => "no share".to_owned(),
        (name, value) => format!("{name}={value}"),
    }
}

/// Formats a duration in seconds.
pub(super) fn seconds(value: &Value) -> String {
    value.as_f64().map_or_else(|| NOTHING.to_owned(), format::duration)
}

/// Formats an amount.
pub(super) fn amount(value: &Value) -> String {
    value.as_f64().map_or_else(|| NOTHING.to_owned(), format::trimmed)
}

/// Formats a value in a unit of the API.
pub(super) fn measure(value: &Value, unit: &Value) -> String {
    let unit = serde_json::from_value::<Unit>(unit.clone()).unwrap_or(Unit::Count);
    value.as_f64().map_or_else(|| NOTHING.to_owned(), |value| in_words(value, unit))
}

/// Sum of some counts in an object.
pub(super) fn sum(counts: &Value, keys: &[&str]) -> Option<u64> {
    counts.as_object().filter(|counts| !counts.is_empty())?;
    Some(keys.iter().filter_map(|key| counts[*key].as_u64()).sum())
}

/// Formats a count.
pub(super) fn count(count: Option<u64>) -> String {
    count.map_or_else(|| NOTHING.to_owned(), |count| count.to_string())
}

/// States of waiting jobs.
pub(super) const WAITING: [&str; 3] = ["submitted", "pending", "runnable"];

/// States of open jobs.
pub(super) const LIVE: [&str; 6] = ["submitted", "pending", "runnable", "scheduled", "starting", "running"];

/// Whether rows belong to more than one account and region.
pub(super) fn span_several_targets(rows: &[Value]) -> bool {
    rows.first().is_some_and(|first| rows.iter().any(|row| account_and_region(row) != account_and_region(first)))
}

/// The queue of a row, with account and region if there are several.
pub(super) fn queue_of(row: &Value, several: bool) -> String {
    let queue = text(row, "queue");
    let (account, region) = account_and_region(row);
    if several { format!("{queue} {} {region}", if account.is_empty() { "?" } else { account }) } else { queue }
}

/// Account and region of a row; empty if unknown.
pub(super) fn account_and_region(row: &Value) -> (&str, &str) {
    (row["account"].as_str().unwrap_or_default(), row["region"].as_str().unwrap_or_default())
}
