//! Reads who owns a state file, while a service may be running on it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::store::{Store, StoreError};

/// How long to wait for a writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum alerts examined.
const MAX_LOOKED_AT: u32 = 1_000;

/// Prefix of the watermark that names the AWS account of a state; its id follows.
const ACCOUNT: &str = "account ";

/// Name of the watermark that names the AWS account of a state.
pub fn account_mark(account: &str) -> String {
    format!("{ACCOUNT}{account}")
}

/// The account in the name of a watermark, if it names one.
pub fn marked_account(name: &str) -> Option<&str> {
    name.strip_prefix(ACCOUNT)
}

impl Store {
    /// The AWS account of the state; `None` while unknown.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn account(&self) -> Result<Option<String>, StoreError> {
        let sql = "SELECT name FROM watermark WHERE substr(name, 1, length(?1)) = ?1 ORDER BY at DESC LIMIT 1";
        let name =
            self.connection.prepare_cached(sql)?.query_row([ACCOUNT], |row| row.get::<_, String>(0)).optional()?;
        Ok(name.as_deref().and_then(marked_account).map(str::to_owned))
    }
}

/// Name of the most recently written watermark with a prefix; `None` if there is none, or if the file cannot be
/// read.
pub fn latest_mark(file: &Path, prefix: &str) -> Option<String> {
    let connection = open(file)?;
    let sql = "SELECT name FROM watermark WHERE substr(name, 1, length(?1)) = ?1 ORDER BY at DESC LIMIT 1";
    connection.query_row(sql, [prefix], |row| row.get(0)).ok()
}

/// Regions of the queues in a file's alerts, most frequent first; empty if it cannot be read.
pub fn regions_in(file: &Path) -> Vec<String> {
    let read = || {
        let connection = open(file)?;
        let sql = "SELECT body FROM alert UNION ALL SELECT body FROM past_alert LIMIT ?1";
        let mut bodies = connection.prepare(sql).ok()?;
        let rows = bodies.query_map([MAX_LOOKED_AT], |row| row.get::<_, String>(0)).ok()?;
        let region = |body: String| body.split("\"arn:aws").nth(1)?.split(':').nth(2).map(str::to_owned);
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        rows.filter_map(Result::ok).filter_map(region).for_each(|region| *counts.entry(region).or_default() += 1);
        let mut regions: Vec<(String, usize)> = counts.into_iter().collect();
        regions.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Some(regions.into_iter().map(|(region, _)| region).collect())
    };
    read().unwrap_or_default()
}

fn open(file: &Path) -> Option<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).ok()?;
    // A service may be writing to it.
    connection.busy_timeout(BUSY_TIMEOUT).ok()?;
    Some(connection)
}
