//! Reuses in-memory stores: a simulation opens thousands of them, and a new connection creates all tables and
//! triggers and parses all statements again, which takes longer than everything else it does.

use std::cell::RefCell;

use rusqlite::Connection;

use crate::store::Store;
use crate::store::StoreError;
use crate::store::changed_rows;
use crate::store::memory_fallback;

thread_local! {
    static CONNECTIONS: RefCell<Vec<Connection>> = const { RefCell::new(Vec::new()) };
}

impl Store {
    /// An empty in-memory store, on a connection that this thread has used before, if any.
    pub(crate) fn reused() -> Result<Self, StoreError> {
        let before = CONNECTIONS.with_borrow_mut(Vec::pop);
        let connection = match before {
            Some(connection) => emptied(connection)?,
            None => memory_fallback::empty()?,
        };
        let mut store = Self::new(connection, None, None);
        store.is_reused = true;
        Ok(store)
    }
}

fn emptied(connection: Connection) -> Result<Connection, StoreError> {
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    connection.execute_batch("BEGIN")?;
    for table in changed_rows::names(&connection)? {
        connection.prepare_cached(&format!("DELETE FROM main.{table}"))?.execute([])?;
    }
    changed_rows::watch(&connection)?;
    changed_rows::forget(&connection)?;
    connection.execute_batch("COMMIT")?;
    Ok(connection)
}

/// Returns the connection of a store from [`Store::reused`].
pub(super) fn give_back(store: &mut Store) {
    if let (true, Ok(nothing)) = (store.is_reused, Connection::open_in_memory()) {
        let connection = std::mem::replace(&mut store.connection, nothing);
        // At the end of a thread nobody will use it.
        let _ = CONNECTIONS.try_with(|connections| connections.borrow_mut().push(connection));
    }
}

#[test]
fn a_store_that_was_used_before_is_as_empty_as_a_new_one() {
    let mut store = Store::reused().unwrap();
    store.follow_log().unwrap();
    let position = super::Position { number: 7, digest: vec![1], writer: "a".to_owned(), is_ahead: false };
    store.write_position(&position).unwrap();
    store.lead(true);
    let commit =
        super::Commit { watermarks: [("a".to_owned(), super::Timestamp::from_millis(1))].into(), ..Default::default() };
    store.commit(&commit).unwrap();
    drop(store);
    let mut store = Store::reused().unwrap();
    assert_eq!(store.position().unwrap(), None);
    assert!(store.is_empty().unwrap() && store.load().unwrap().watermarks.is_empty());
    store.follow_log().unwrap();
    store.lead(true);
    assert_eq!(store.batch_changes().unwrap(), None);
    store.commit(&commit).unwrap();
    assert!(store.batch_changes().unwrap().is_some_and(|changes| !changes.is_empty()), "what changes is still noted");
}
