//! Reads forecast state from a state file that a service may be using.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::store::{BUSY_TIMEOUT, StoreError, forecast, schema};

/// All rows, by name.
///
/// # Errors
/// The file cannot be read, belongs to another program, has another version, or has no such rows.
pub fn kept_past(path: &Path) -> Result<BTreeMap<String, String>, StoreError> {
    let read = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        schema::check(&connection)?;
        let has_table: bool =
            connection.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'forecast')", [], |row| {
                row.get(0)
            })?;
        if has_table { forecast::load(&connection) } else { Ok(BTreeMap::new()) }
    };
    read().map_err(|error: StoreError| error.at(path))
}
