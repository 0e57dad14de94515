//! Rows that survive a restart: attempts, arrivals and resolved estimates in rings that overwrite their oldest row,
//! and pending estimates.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::SavedForecast;

/// Maximum rows of each ring: the latest.
pub const MAX_ROWS: u64 = 10_000;

/// Rows by name.
#[derive(Debug, Default)]
pub struct Rows {
    all: BTreeMap<String, String>,
    unsaved: BTreeSet<String>,
    /// Rows ever added to each ring.
    counts: BTreeMap<&'static str, u64>,
    is_all_unsaved: bool,
}

/// A row of a ring with its sequence number.
#[derive(Deserialize)]
struct Numbered<T> {
    n: u64,
    #[serde(flatten)]
    row: T,
}

/// A row, which has fields, with its sequence number before them: as [`Numbered`] would be serialized, at half the cost.
fn numbered(n: u64, row: &impl Serialize) -> Option<String> {
    let body = serde_json::to_string(row).ok()?;
    Some(format!("{{\"n\":{n},{}", body.strip_prefix('{')?))
}

impl Rows {
    /// Adds a row to a ring.
    pub fn push(&mut self, ring: &'static str, row: impl Serialize) {
        let n = *self.counts.entry(ring).and_modify(|count| *count += 1).or_insert(1);
        if let Some(body) = numbered(n, &row) {
            self.keep(format!("{ring}/{}", n % MAX_ROWS), body);
        }
    }

    /// Writes a row.
    pub fn put(&mut self, name: String, row: &impl Serialize) {
        // A row that cannot be serialized does not survive a restart; nothing else depends on it.
        if let Ok(body) = serde_json::to_string(row) {
            self.keep(name, body);
        }
    }

    fn keep(&mut self, name: String, body: String) {
        self.all.insert(name.clone(), body);
        self.unsaved.insert(name);
    }

    /// Removes a row.
    pub fn remove(&mut self, name: &str) {
        if self.all.remove(name).is_some() {
            self.unsaved.insert(name.to_owned());
        }
    }

    /// Restores the rows of an earlier run.
    pub fn restore(&mut self, rows: BTreeMap<String, String>) {
        self.all = rows;
    }

    /// The rows of a ring, oldest first. Unreadable ones are skipped.
    pub fn of_ring<T: DeserializeOwned>(&mut self, ring: &'static str) -> Vec<T> {
        let mut rows: Vec<(u64, T)> = self
            .named(ring)
            .filter_map(|(_, body)| serde_json::from_str(body).ok())
            .map(|Numbered { n, row }| (n, row))
            .collect();
        rows.sort_by_key(|(n, _)| *n);
        if let Some((last, _)) = rows.last() {
            self.counts.insert(ring, *last);
        }
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Names, after the kind, and bodies of the rows of a kind.
    pub fn named<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a String)> {
        let of_kind = self.all.range(format!("{kind}/")..);
        of_kind.map_while(move |(name, body)| Some((name.strip_prefix(kind)?.strip_prefix('/')?, body)))
    }

    /// All rows, by name.
    pub fn all(&self) -> &BTreeMap<String, String> {
        &self.all
    }

    /// Marks everything as unsaved.
    pub fn save_all(&mut self) {
        self.is_all_unsaved = true;
    }

    /// Changes since the last call.
    pub fn take_unsaved(&mut self) -> SavedForecast {
        let unsaved = std::mem::take(&mut self.unsaved);
        if std::mem::take(&mut self.is_all_unsaved) {
            let changes = self.all.iter().map(|(name, body)| (name.clone(), Some(body.clone()))).collect();
            return SavedForecast { changes, is_complete: true };
        }
        let changes = unsaved.into_iter().map(|name| {
            let body = self.all.get(&name).cloned();
            (name, body)
        });
        SavedForecast { changes: changes.collect(), is_complete: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_numbered() {
        let row = BTreeMap::from([("at", 5), ("id", 7)]);
        let body = numbered(3, &row).unwrap();
        assert_eq!(body, r#"{"n":3,"at":5,"id":7}"#);
        let read: Numbered<BTreeMap<String, i32>> = serde_json::from_str(&body).unwrap();
        assert_eq!((read.n, read.row.get("id")), (3, Some(&7)));
        assert_eq!(numbered(3, &5), None, "a row has fields");
    }
}
