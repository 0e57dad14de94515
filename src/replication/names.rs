//! What objects of a log are called. Numbers have leading zeros, so that names sort as the log goes.

/// The folder of records.
pub(super) const RECORDS: &str = "records";

/// The folder of copies of the whole state.
pub(super) const SNAPSHOTS: &str = "snapshots";

/// The name of a record.
pub(super) fn record(number: u64) -> String {
    format!("{RECORDS}/{number:020}")
}

/// The number in a record's name; `None` if it is none.
pub(super) fn record_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(RECORDS)?.strip_prefix('/')?;
    digits.parse().ok().filter(|_| digits.len() == 20)
}

/// The name of a copy of the state after a record.
pub(super) fn snapshot(number: u64, digest: &str) -> String {
    format!("{SNAPSHOTS}/{number:020}-{digest}")
}

/// The number and the digest in the name of a copy; `None` if it is none.
pub(super) fn snapshot_of(name: &str) -> Option<(u64, String)> {
    let (digits, digest) = name.strip_prefix(SNAPSHOTS)?.strip_prefix('/')?.split_once('-')?;
    let is_digest = digest.chars().all(|digit| digit.is_ascii_hexdigit());
    digits.parse().ok().filter(|_| digits.len() == 20 && is_digest).map(|number| (number, digest.to_owned()))
}
