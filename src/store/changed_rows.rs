//! The changes of a transaction by row: the current rows, and the keys of deleted ones.
//!
//! Triggers on every table record the key of each touched row, so that no change is missed. Changes describe the
//! resulting state and not the operations: applying them twice has no effect, and later ones replace earlier ones.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ciborium::Value;
use rusqlite::Connection;
use rusqlite::OptionalExtension as _;
use rusqlite::types::ToSqlOutput;
use rusqlite::types::ValueRef;
use serde::Deserialize;
use serde::Serialize;

use crate::store::StoreError;

/// Tables that are not part of the replicated state.
const LOCAL: [&str; 1] = ["log_position"];

/// Triggers per table: insert, update and delete.
const TRIGGERS: usize = 3;

/// Changed rows, by table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes(BTreeMap<String, TableChanges>);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct TableChanges {
    /// Columns, with those of the key first.
    columns: Vec<String>,
    /// Number of key columns.
    key: usize,
    /// By key, as JSON. `None` for a deleted row.
    rows: BTreeMap<String, Option<Vec<Value>>>,
}

/// A table with its columns, key first.
struct Table {
    name: String,
    columns: Vec<String>,
    key: usize,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Merges later changes.
    pub fn extend(&mut self, later: Self) {
        for (name, changes) in later.0 {
            match self.0.get_mut(&name) {
                Some(before) if before.columns == changes.columns => before.rows.extend(changes.rows),
                Some(_) | None => _ = self.0.insert(name, changes),
            }
        }
    }

    /// Serializes the changes.
    ///
    /// # Errors
    /// Out of memory.
    pub fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).map_err(|error| StoreError::Value(error.to_string()))?;
        Ok(bytes)
    }

    /// Deserializes changes.
    ///
    /// # Errors
    /// The bytes are not those of [`Changes::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        ciborium::from_reader(bytes).map_err(|error| StoreError::Value(error.to_string()))
    }

    /// Applies the changes to a database.
    pub(super) fn apply(&self, connection: &Connection) -> Result<(), StoreError> {
        for (name, changes) in &self.0 {
            let table = tables(connection)?.iter().find(|table| table.name == *name);
            let known = table.is_some_and(|table| changes.columns.iter().all(|column| table.columns.contains(column)));
            if !known || changes.key > changes.columns.len() {
                return Err(StoreError::Value(format!("this version has no table {name} with these columns")));
            }
            changes.apply(name, connection)?;
        }
        Ok(())
    }
}

impl TableChanges {
    /// Deletes first: a row may have taken over a unique value of a deleted one.
    fn apply(&self, name: &str, connection: &Connection) -> Result<(), StoreError> {
        let of_key = self.columns.iter().take(self.key).enumerate();
        let of_key: Vec<String> =
            of_key.map(|(index, column)| format!("{column} = json_extract(?1, '$[{index}]')")).collect();
        let mut delete = connection.prepare_cached(&format!("DELETE FROM {name} WHERE {}", of_key.join(" AND ")))?;
        for (key, _) in self.rows.iter().filter(|(_, row)| row.is_none()) {
            delete.execute([key])?;
        }
        let places = vec!["?"; self.columns.len()].join(", ");
        let mut insert = connection.prepare_cached(&format!(
            "INSERT OR REPLACE INTO {name} ({}) VALUES ({places})",
            self.columns.join(", ")
        ))?;
        for row in self.rows.values().flatten() {
            let values: Vec<ToSqlOutput<'_>> = row.iter().map(to_sql).collect::<Result<_, _>>()?;
            insert.execute(rusqlite::params_from_iter(values))?;
        }
        Ok(())
    }
}

/// Starts to record changes on a connection.
pub(super) fn watch(connection: &Connection) -> Result<(), StoreError> {
    // A connection keeps its triggers when the contents of tables are replaced, and parsing them again is slow.
    let triggers: usize = connection
        .prepare_cached("SELECT count(*) FROM temp.sqlite_schema WHERE type = 'trigger'")?
        .query_row([], |row| row.get::<_, u32>(0))?
        .try_into()
        .unwrap_or(0);
    if triggers == tables(connection)?.len() * TRIGGERS {
        return Ok(());
    }
    connection.pragma_update(None, "recursive_triggers", true)?;
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS touched (source TEXT, key TEXT, PRIMARY KEY (source, key)) WITHOUT ROWID;",
    )?;
    for Table { name, columns, key } in tables(connection)? {
        let key = |row: &str| {
            let columns: Vec<String> = columns.iter().take(*key).map(|column| format!("{row}.{column}")).collect();
            // The conflict clause of the outer statement would override that of a trigger.
            format!(
                "INSERT INTO touched SELECT '{name}', json_array({0})
                 WHERE NOT EXISTS (SELECT 1 FROM touched WHERE source = '{name}' AND key = json_array({0}));",
                columns.join(", ")
            )
        };
        let (old, new) = (key("OLD"), key("NEW"));
        connection.execute_batch(&format!(
            "CREATE TEMP TRIGGER IF NOT EXISTS {name}_added AFTER INSERT ON main.{name} BEGIN {new} END;
             CREATE TEMP TRIGGER IF NOT EXISTS {name}_changed AFTER UPDATE ON main.{name} BEGIN {old} {new} END;
             CREATE TEMP TRIGGER IF NOT EXISTS {name}_removed AFTER DELETE ON main.{name} BEGIN {old} END;"
        ))?;
    }
    Ok(())
}

/// Names of all tables, including local ones.
pub(super) fn names(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let tables = tables(connection)?.iter().map(|table| table.name.clone());
    Ok(tables.chain(LOCAL.map(str::to_owned)).collect())
}

/// Takes the changes since the last call.
pub(super) fn take(connection: &Connection) -> Result<Changes, StoreError> {
    let mut changes = Changes::default();
    for table in tables(connection)? {
        let touched: bool = connection
            .prepare_cached("SELECT 1 FROM temp.touched WHERE touched.source = ?1 LIMIT 1")?
            .query_row([&table.name], |_| Ok(true))
            .optional()?
            .unwrap_or(false);
        if touched {
            changes.0.insert(table.name.clone(), read(connection, table)?);
        }
    }
    forget(connection)?;
    Ok(changes)
}

/// Discards the recorded changes.
pub(super) fn forget(connection: &Connection) -> Result<(), StoreError> {
    connection.prepare_cached("DELETE FROM temp.touched")?.execute([])?;
    Ok(())
}

fn read(connection: &Connection, table: &Table) -> Result<TableChanges, StoreError> {
    let Table { name, columns, key } = table;
    let all: Vec<String> = columns.iter().map(|column| format!("of.{column}")).collect();
    let of_key = columns.iter().take(*key).enumerate();
    let of_key: Vec<String> =
        of_key.map(|(index, column)| format!("of.{column} = json_extract(touched.key, '$[{index}]')")).collect();
    let (all, of_key) = (all.join(", "), of_key.join(" AND "));
    let first = columns.first().map(String::as_str).unwrap_or_default();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT touched.key, of.{first} IS NOT NULL, {all} FROM temp.touched LEFT JOIN main.{name} AS of ON {of_key} WHERE touched.source = ?1"
    ))?;
    let mut found = statement.query([name])?;
    let mut rows = BTreeMap::new();
    while let Some(row) = found.next()? {
        let is_there: bool = row.get(1)?;
        let value = |index| Ok(of_sql(row.get_ref(index)?));
        let values = (2..columns.len() + 2).map(value).collect::<Result<Vec<Value>, StoreError>>()?;
        rows.insert(row.get(0)?, is_there.then_some(values));
    }
    Ok(TableChanges { columns: columns.clone(), key: *key, rows })
}

/// The replicated tables, the same in every database.
fn tables(connection: &Connection) -> Result<&'static [Table], StoreError> {
    static TABLES: OnceLock<Vec<Table>> = OnceLock::new();
    if let Some(tables) = TABLES.get() {
        return Ok(tables);
    }
    let tables = read_tables(connection)?;
    Ok(TABLES.get_or_init(|| tables))
}

fn read_tables(connection: &Connection) -> Result<Vec<Table>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT tables.name, columns.name, columns.pk FROM main.sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
         WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'
         ORDER BY tables.name, columns.pk = 0, columns.pk, columns.cid",
    )?;
    let mut found = statement.query([])?;
    let mut tables: Vec<Table> = Vec::new();
    while let Some(row) = found.next()? {
        let (name, column, key): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if LOCAL.contains(&name.as_str()) {
            continue;
        }
        if tables.last().is_none_or(|table| table.name != name) {
            tables.push(Table { name, columns: Vec::new(), key: 0 });
        }
        if let Some(table) = tables.last_mut() {
            table.columns.push(column);
            table.key += usize::from(key > 0);
        }
    }
    Ok(tables)
}

fn of_sql(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number.into()),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

fn to_sql(value: &Value) -> Result<ToSqlOutput<'_>, StoreError> {
    let other = || StoreError::Value("a value has a type that no column has".to_owned());
    Ok(match value {
        Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
        Value::Integer(number) => ToSqlOutput::Owned(i64::try_from(*number).map_err(|_| other())?.into()),
        Value::Float(number) => ToSqlOutput::Borrowed(ValueRef::Real(*number)),
        Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        Value::Bool(_) | Value::Tag(..) | Value::Array(_) | Value::Map(_) | _ => return Err(other()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema;

    #[test]
    fn changes_of_every_table_can_be_read_whatever_its_columns_are_called() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        watch(&connection).unwrap();
        let tables = read_tables(&connection).unwrap();
        assert!(tables.iter().any(|table| table.name == "unarchived"));
        for table in tables {
            let changes = read(&connection, &table).unwrap_or_else(|error| panic!("{}: {error}", table.name));
            assert!(changes.rows.is_empty());
        }
        let row = "INSERT INTO unarchived (source, day, at, rows, body) VALUES ('jobs', 1, 2, 3, x'00')";
        connection.execute(row, []).unwrap();
        assert_eq!(take(&connection).unwrap().0["unarchived"].rows.len(), 1);
    }
}
