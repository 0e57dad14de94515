//! Rows that survive a restart and are kept as text: what there is only one of, or few. Pending estimates write their own;
//! rows of which there are very many are in [rings](crate::forecast::stored_ring).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::model::SavedForecast;

/// Rows by name.
#[derive(Debug, Default)]
pub struct Rows {
    all: BTreeMap<String, String>,
    unsaved: BTreeSet<String>,
    is_all_unsaved: bool,
}

impl Rows {
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

    /// Takes the rows of a kind, so that their text is no longer kept here.
    pub fn take(&mut self, kind: &str) -> BTreeMap<String, String> {
        let mut own = self.all.split_off(&format!("{kind}/"));
        // The next character after the slash.
        self.all.append(&mut own.split_off(&format!("{kind}0")));
        own
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
