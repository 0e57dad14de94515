//! Key-value tables of which only changes are written.

use std::borrow::Borrow;

use rusqlite::{Connection, ToSql, params};

use crate::store::StoreError;
use trainspotter_core::model::SavedRows;

/// A table with a key and one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyedRows {
    table: &'static str,
    key: &'static str,
    value: &'static str,
}

pub(super) const ALERTS: KeyedRows = KeyedRows { table: "alert", key: "id", value: "body" };
pub(super) const FORECAST: KeyedRows = KeyedRows { table: "forecast", key: "name", value: "body" };
pub(super) const JOBS: KeyedRows = KeyedRows { table: "job", key: "id", value: "body" };
pub(super) const QUEUES: KeyedRows = KeyedRows { table: "queue", key: "name", value: "body" };
pub(super) const WATERMARKS: KeyedRows = KeyedRows { table: "watermark", key: "name", value: "at" };

impl KeyedRows {
    /// Writes the changed rows.
    pub(super) fn save<K: Borrow<str>>(self, transaction: &Connection, rows: &SavedRows<K>) -> Result<(), StoreError> {
        let Self { table, key, .. } = self;
        if rows.is_complete {
            transaction.execute(&format!("DELETE FROM {table}"), [])?;
        }
        let mut upsert = transaction.prepare_cached(&self.upsert())?;
        let mut delete = transaction.prepare_cached(&format!("DELETE FROM {table} WHERE {key} = ?1"))?;
        for (key, body) in &rows.changes {
            match body {
                Some(body) => upsert.execute(params![key.borrow(), body])?,
                None => delete.execute([key.borrow()])?,
            };
        }
        Ok(())
    }

    /// Replaces all rows: others are deleted. For a key without a value the stored row stays.
    pub(super) fn replace<V: ToSql>(
        self,
        transaction: &Connection,
        rows: &[(&str, Option<V>)],
    ) -> Result<(), StoreError> {
        let Self { table, key, .. } = self;
        let keys: Vec<&str> = rows.iter().map(|(key, _)| *key).collect();
        transaction
            .prepare_cached(&format!("DELETE FROM {table} WHERE {key} NOT IN (SELECT value FROM json_each(?1))"))?
            .execute([serde_json::to_string(&keys)?])?;
        let mut upsert = transaction.prepare_cached(&self.upsert())?;
        for (key, value) in rows {
            if let Some(value) = value {
                upsert.execute(params![key, value])?;
            }
        }
        Ok(())
    }

    fn upsert(self) -> String {
        let Self { table, key, value } = self;
        format!(
            "INSERT INTO {table} ({key}, {value}) VALUES (?1, ?2)
             ON CONFLICT ({key}) DO UPDATE SET {value} = excluded.{value} WHERE {value} <> excluded.{value}"
        )
    }
}
