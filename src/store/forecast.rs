//! Loads the forecast state, by row. `keyed_rows.rs` saves it.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::store::StoreError;

/// All rows, by name. Rows that are not text are skipped: forecasts learn their contents again.
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
