//! Rings of rows that survive a restart. Each keeps its latest rows, and overwrites the oldest one in the store. A
//! service with many targets has hundreds of thousands of rows in memory, so they are kept as values, and become text
//! only when they are stored.

use std::collections::{BTreeMap, VecDeque};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::SavedForecast;

/// Maximum rows of each ring: the latest.
pub const MAX_ROWS: u64 = 10_000;

/// A row of a ring.
pub trait Row {
    /// Name of the ring: the first part of the names of its rows.
    const RING: &'static str;

    /// The row as it is stored: a structure with fields.
    fn stored(&self) -> impl Serialize;
}

/// The latest rows of one kind, oldest first.
#[derive(Debug)]
pub struct Ring<T> {
    rows: VecDeque<T>,
    /// Rows ever added: the sequence number of the latest.
    added: u64,
    /// Number of the latest rows that are not stored yet.
    unsaved: usize,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { rows: VecDeque::new(), added: 0, unsaved: 0 }
    }
}

/// A stored row with its sequence number.
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

/// The rows of a ring in their stored form, oldest first, with the number of the latest. Unreadable ones are skipped.
pub fn read<'a, S: DeserializeOwned>(bodies: impl Iterator<Item = &'a String>) -> (Vec<S>, u64) {
    let rows = bodies.filter_map(|body| serde_json::from_str(body).ok());
    let mut rows: Vec<(u64, S)> = rows.map(|Numbered { n, row }| (n, row)).collect();
    rows.sort_by_key(|(n, _)| *n);
    // A damaged file may repeat a number.
    rows.dedup_by_key(|(n, _)| *n);
    let added = rows.last().map_or(0, |(n, _)| *n).max(rows.len() as u64);
    (rows.into_iter().map(|(_, row)| row).collect(), added)
}

impl<T: Row> Ring<T> {
    /// Restores a ring from its stored rows.
    pub fn restore<S: DeserializeOwned>(stored: &BTreeMap<String, String>, row: impl FnMut(S) -> T) -> Self {
        let (rows, added) = read(stored.values());
        let mut rows: VecDeque<T> = rows.into_iter().map(row).collect();
        rows.shrink_to_fit();
        Self { rows, added, unsaved: 0 }
    }

    /// Adds a row, and returns the one that it replaces.
    pub fn push(&mut self, row: T) -> Option<T> {
        let length = self.rows.len();
        let replaced = if length as u64 >= MAX_ROWS { self.rows.pop_front() } else { None };
        if replaced.is_none() && length == self.rows.capacity() {
            // Doubling would keep up to half of the memory unused.
            self.rows.reserve_exact((length / 4).max(16));
        }
        self.rows.push_back(row);
        self.added += 1;
        self.unsaved = (self.unsaved + 1).min(self.rows.len());
        replaced
    }

    /// All rows, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.rows.iter()
    }

    /// Names and bodies of all rows, as they are stored.
    pub fn stored(&self) -> impl Iterator<Item = (String, String)> {
        self.latest(self.rows.len())
    }

    /// Adds the rows that are not stored yet, or all if everything is to be stored.
    pub fn take_unsaved(&mut self, saved: &mut SavedForecast) {
        let unsaved = std::mem::take(&mut self.unsaved);
        let rows = self.latest(if saved.is_complete { self.rows.len() } else { unsaved });
        saved.changes.extend(rows.map(|(name, body)| (name, Some(body))));
    }

    /// The latest rows. One that cannot be serialized does not survive a restart; nothing else depends on it.
    fn latest(&self, count: usize) -> impl Iterator<Item = (String, String)> {
        let (skipped, first) = (self.rows.len() - count, self.added + 1 - count as u64);
        let numbers = (first..).zip(self.rows.iter().skip(skipped));
        numbers.filter_map(|(n, row)| Some((format!("{}/{}", T::RING, n % MAX_ROWS), numbered(n, &row.stored())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Row for u64 {
        const RING: &'static str = "number";

        fn stored(&self) -> impl Serialize {
            BTreeMap::from([("of", *self)])
        }
    }

    fn restored(rows: &BTreeMap<String, String>) -> Ring<u64> {
        Ring::restore(rows, |row: BTreeMap<String, u64>| row["of"])
    }

    fn unsaved(ring: &mut Ring<u64>, is_complete: bool) -> Vec<String> {
        let mut saved = SavedForecast { is_complete, ..SavedForecast::default() };
        ring.take_unsaved(&mut saved);
        saved.changes.into_keys().collect()
    }

    #[test]
    fn a_row_is_read_as_it_was_numbered() {
        let row = BTreeMap::from([("at", 5), ("id", 7)]);
        let body = numbered(3, &row).unwrap();
        assert_eq!(body, r#"{"n":3,"at":5,"id":7}"#);
        let (rows, added) = read::<BTreeMap<String, i32>>([body].iter());
        assert_eq!((rows, added), (vec![BTreeMap::from([("at".to_owned(), 5), ("id".to_owned(), 7)])], 3));
        assert_eq!(numbered(3, &5), None, "a row has fields");
    }

    #[test]
    fn a_ring_keeps_its_latest_rows_and_stores_each_once() {
        let mut ring = Ring::default();
        assert!((1..=MAX_ROWS).all(|number| ring.push(number).is_none()));
        assert_eq!(unsaved(&mut ring, false).len() as u64, MAX_ROWS);
        assert_eq!([ring.push(MAX_ROWS + 1), ring.push(MAX_ROWS + 2)], [Some(1), Some(2)]);
        assert_eq!(unsaved(&mut ring, false), ["number/1", "number/2"]);
        assert_eq!((unsaved(&mut ring, false).len(), unsaved(&mut ring, true).len() as u64), (0, MAX_ROWS));
        assert!(ring.rows.capacity() as u64 <= MAX_ROWS * 5 / 4);
        // More than the ring holds was added between two saves.
        (0..MAX_ROWS * 2).for_each(|number| _ = ring.push(number));
        assert_eq!(unsaved(&mut ring, false).len() as u64, MAX_ROWS);
    }

    #[test]
    fn rows_of_a_damaged_file_that_repeat_a_number_count_once() {
        let repeated = |name: u32| (format!("number/{name}"), format!(r#"{{"n":1,"of":{name}}}"#));
        let mut ring = restored(&(1..=3).map(repeated).collect());
        assert_eq!((ring.iter().count(), unsaved(&mut ring, true)), (1, vec!["number/1".to_owned()]));
        assert_eq!((ring.push(5), unsaved(&mut ring, false)), (None, vec!["number/2".to_owned()]));
    }

    #[test]
    fn a_restored_ring_goes_on_where_it_was_although_rows_are_unreadable() {
        let mut ring = Ring::default();
        (1..=MAX_ROWS + 5).for_each(|number| _ = ring.push(number));
        let mut rows: BTreeMap<String, String> = ring.stored().collect();
        let mut same = restored(&rows);
        assert!(same.iter().eq(ring.iter()) && same.added == ring.added);
        assert_eq!(unsaved(&mut same, false), Vec::<String>::new());
        rows.insert("number/7".to_owned(), "broken".to_owned());
        let mut fewer = restored(&rows);
        assert_eq!((fewer.rows.len() as u64, fewer.push(0)), (MAX_ROWS - 1, None));
        assert_eq!(unsaved(&mut fewer, false), [format!("number/{}", (MAX_ROWS + 6) % MAX_ROWS)]);
    }
}
