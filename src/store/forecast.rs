//! What forecasts have learnt, row by row.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use crate::store::StoreError;
use trainspotter_core::model::SavedForecast;

/// Writes what changed. What is as it was is not written.
pub(super) fn save(transaction: &Connection, forecast: &SavedForecast) -> Result<(), StoreError> {
    if forecast.is_complete {
        transaction.execute("DELETE FROM forecast", [])?;
    }
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO forecast (name, body) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET body = excluded.body WHERE body <> excluded.body",
    )?;
    let mut delete = transaction.prepare_cached("DELETE FROM forecast WHERE name = ?1")?;
    for (name, body) in &forecast.changes {
        match body {
            Some(body) => upsert.execute(params![name, body])?,
            None => delete.execute([name])?,
        };
    }
    Ok(())
}

/// All rows, by name. Those that are no text are left out: forecasts learn anew what they said.
pub(super) fn load(connection: &Connection) -> Result<BTreeMap<String, String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT name, body FROM forecast")?;
    let mut found = statement.query([])?;
    let mut rows = BTreeMap::new();
    while let Some(row) = found.next()? {
        if let (Ok(name), Ok(body)) = (row.get(0), row.get(1)) {
            rows.insert(name, body);
        }
    }
    Ok(rows)
}
