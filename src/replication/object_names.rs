//! Names of the log's objects. Numbers have leading zeros, so that names sort in log order.

/// Folder of records.
pub(super) const RECORDS: &str = "records";

/// Folder of snapshots.
pub(super) const SNAPSHOTS: &str = "snapshots";

/// Name of a record.
pub(super) fn record(number: u64) -> String {
    format!("{RECORDS}/{number:020}")
}

/// Number in a record's name, if it is one.
pub(super) fn record_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(RECORDS)?.strip_prefix('/')?;
    digits.parse().ok().filter(|_| digits.len() == 20)
}

/// Name of the snapshot after a record.
pub(super) fn snapshot(number: u64, digest: &str) -> String {
    format!("{SNAPSHOTS}/{number:020}-{digest}")
}

/// Number and digest in a snapshot's name, if it is one.
pub(super) fn snapshot_of(name: &str) -> Option<(u64, String)> {
    let (digits, digest) = name.strip_prefix(SNAPSHOTS)?.strip_prefix('/')?.split_once('-')?;
    let is_digest = digest.chars().all(|digit| digit.is_ascii_hexdigit());
    digits.parse().ok().filter(|_| digits.len() == 20 && is_digest).map(|number| (number, digest.to_owned()))
}
