//! What forecasts have learnt, row by row.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::store::StoreError;

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
