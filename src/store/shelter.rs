//! Where state goes while the file cannot be written: memory, and back. See docs/adr/0004-shelter.md.

use rusqlite::Connection;
use rusqlite::Transaction;
use rusqlite::TransactionBehavior;
use rusqlite::types::Value;

use crate::store::Commit;
use crate::store::Committed;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::keep;
use crate::store::schema;

/// What the service needs to go on. History stays behind: it would not fit, and nothing is decided by it.
const TAKEN_ALONG: [&str; 6] = ["service", "alert", "watermark", "series", "outbox", "silence"];

/// A file that cannot be written.
#[derive(Debug)]
pub(super) struct Failing {
    file: Connection,
    pub(super) why: String,
}

#[cfg(test)]
impl Failing {
    pub(super) fn file(&self) -> &Connection {
        &self.file
    }
}

impl Store {
    /// Writes what the service itself has to say: to the file or, if that fails, to a copy of it in memory.
    pub(super) fn transact<T>(
        &mut self,
        change: impl Fn(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match run(&mut self.connection, &change) {
            Err(error) if error.is_of_the_file() && self.failing.is_none() => {
                tracing::error!(%error, "the state file cannot be written; state is kept in memory until it can");
                let memory = copy_of(&self.connection)?;
                let file = std::mem::replace(&mut self.connection, memory);
                self.failing = Some(Failing { file, why: error.to_string() });
                run(&mut self.connection, &change)
            }
            done => done,
        }
    }

    /// Tries to write to a file that could not be written: the notifications that were kept in memory, and a commit, in one
    /// transaction. Returns what the commit says; `None` if the file still fails, or never did.
    pub(super) fn return_to_file(&mut self, commit: &Commit) -> Option<Committed> {
        let failing = self.failing.as_mut()?;
        let memory = &self.connection;
        // Everything but the outbox is complete in each commit, and silences are written by people to the file itself.
        let kept = run(&mut failing.file, &|transaction| {
            copy(memory, transaction, "outbox", &["seq"])?;
            keep(transaction, commit)
        });
        match kept {
            Ok(committed) => {
                tracing::info!("the state file can be written again");
                self.connection = self.failing.take()?.file;
                Some(committed)
            }
            Err(error) => {
                failing.why = error.to_string();
                None
            }
        }
    }
}

fn run<T>(
    connection: &mut Connection,
    change: &impl Fn(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// What can be read of a file, in memory. What cannot be read is left out: a service that knows less still tells of alerts.
fn copy_of(file: &Connection) -> Result<Connection, StoreError> {
    let mut memory = Connection::open_in_memory()?;
    schema::migrate(&mut memory)?;
    let transaction = memory.transaction()?;
    for table in TAKEN_ALONG {
        if let Err(error) = copy(file, &transaction, table, &[]) {
            tracing::error!(%error, table, "the state file cannot be read either; this is missing until it can be");
        }
    }
    transaction.commit()?;
    Ok(memory)
}

/// Copies a table in its order, in place of rows that are the same. Columns left out are filled in anew.
fn copy(from: &Connection, to: &Transaction<'_>, table: &str, without: &[&str]) -> Result<(), StoreError> {
    let mut statement = from.prepare(&format!("SELECT * FROM {table} ORDER BY 1"))?;
    let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let kept: Vec<usize> = (0..names.len()).filter(|index| !without.contains(&names[*index].as_str())).collect();
    let columns: Vec<&str> = kept.iter().map(|index| names[*index].as_str()).collect();
    let places = vec!["?"; kept.len()].join(", ");
    let mut insert =
        to.prepare(&format!("INSERT OR REPLACE INTO {table} ({}) VALUES ({places})", columns.join(", ")))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values: Vec<Value> = kept.iter().map(|index| row.get(*index)).collect::<Result<_, _>>()?;
        insert.execute(rusqlite::params_from_iter(values))?;
    }
    Ok(())
}
