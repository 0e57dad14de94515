//! While the file cannot be written, memory stands in for it: alerts must still leave, that one above all. See
//! docs/adr/0004-stand-in.md.

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

/// A file that is not written for now.
#[derive(Debug)]
pub(super) struct StandIn {
    /// The connection to the file.
    pub(super) file: Connection,
    /// What is wrong with the file.
    because: StoreError,
}

impl Store {
    /// Why the state is kept in memory only; `None` if all is well.
    pub fn trouble(&self) -> Option<&StoreError> {
        self.stand_in.as_ref().map(|stand_in| &stand_in.because)
    }

    /// Writes what the service itself has to say: to the file or, if that fails, to memory, where it goes on with all that the
    /// file holds, as far as it can be read.
    pub(super) fn transact<T>(
        &mut self,
        change: impl Fn(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match run(&mut self.connection, &change) {
            Err(because) if because.is_of_the_file() && self.stand_in.is_none() => {
                let memory = copy_of(&self.connection)?;
                let file = std::mem::replace(&mut self.connection, memory);
                self.stand_in = Some(StandIn { file, because });
                run(&mut self.connection, &change)
            }
            done => done,
        }
    }

    /// Tries to go back to the file: with the notifications that are in memory, and a commit, in one transaction. Returns what the
    /// commit says; `None` if the file does not take it, or was never left.
    pub(super) fn return_to_file(&mut self, commit: &Commit) -> Option<Committed> {
        let stand_in = self.stand_in.as_mut()?;
        if matches!(stand_in.because, StoreError::Corrupt(_)) {
            return None;
        }
        let memory = &self.connection;
        // All else is complete in each commit, and silences are written by people to the file itself.
        let kept = run(&mut stand_in.file, &|transaction| {
            copy(memory, transaction, "outbox", &["seq"])?;
            copy(memory, transaction, "event", &["seq"])?;
            keep(transaction, commit, &[])
        });
        match kept {
            Ok(committed) => {
                self.connection = self.stand_in.take()?.file;
                Some(committed)
            }
            Err(error) => {
                stand_in.because = error;
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
