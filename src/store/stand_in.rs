//! What keeps the state while its file cannot be written: a database in memory, so that alerts go on being evaluated and told.
//!
//! The file's content is copied into memory when a tick cannot be kept, and back as soon as a later tick finds that the file takes
//! it. What happened meanwhile is lost if the process ends before: then the next one goes on from the file, and may tell again,
//! under the same ids, what was told already. A file that turns out to be broken is not written to again: the next start sets it
//! aside.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use crate::model::Timestamp;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::schema;

/// How long to wait between attempts to go back to the file.
const RETURN_EVERY: Duration = Duration::from_secs(60);

/// Pages that are copied in one step: all of them, so that a copy is whole or does not happen.
const WHOLE: i32 = -1;

/// The state is kept in memory.
#[derive(Debug)]
pub(super) struct StandIn {
    /// The connection to the file.
    file: Connection,
    /// What is wrong with the file.
    because: StoreError,
    tried_at: Timestamp,
}

impl Store {
    /// Why the state is kept in memory only; `None` if all is well.
    pub fn trouble(&self) -> Option<&StoreError> {
        self.stand_in.as_ref().map(|stand_in| &stand_in.because)
    }

    /// Goes on in memory, with all that the file holds, as far as it can be read.
    pub(super) fn leave_file(&mut self, because: StoreError, now: Timestamp) -> Result<(), StoreError> {
        let mut memory = Connection::open_in_memory()?;
        if copy(&self.connection, &mut memory).is_err() {
            memory = Connection::open_in_memory()?;
            schema::migrate(&mut memory)?;
        }
        let file = std::mem::replace(&mut self.connection, memory);
        self.series.clear();
        self.stand_in = Some(StandIn { file, because, tried_at: now });
        Ok(())
    }

    /// Goes back to the file, if it takes what is in memory.
    pub(super) fn return_to_file(&mut self, now: Timestamp) {
        let Some(stand_in) = self.stand_in.as_mut() else { return };
        let broken = matches!(stand_in.because, StoreError::Corrupt(_));
        if broken || now.since(stand_in.tried_at) < RETURN_EVERY {
            return;
        }
        stand_in.tried_at = now;
        match copy(&self.connection, &mut stand_in.file) {
            Ok(()) => {
                if let Some(StandIn { file, .. }) = self.stand_in.take() {
                    self.connection = file;
                }
            }
            Err(error) => stand_in.because = error,
        }
    }
}

fn copy(from: &Connection, to: &mut Connection) -> Result<(), StoreError> {
    let backup = Backup::new(from, to)?;
    backup.step(WHOLE)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::evaluate::TransitionKind;
    use crate::notify::sample;
    use crate::store::Commit;

    fn minute(minutes: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + minutes * 60_000)
    }

    /// A tick with a notification.
    fn tick(at: Timestamp) -> Commit {
        let mut row = sample::test("oncall", at);
        row.transition.at = at;
        row.transition.kind = TransitionKind::Fired;
        row.transition.alert.id = crate::evaluate::AlertId::of("full", &[("at".to_owned(), at.to_string())].into());
        row.id = crate::notify::outbox::NotificationId::of(&row.transition, "oncall");
        Commit { at, outbox: vec![row], ..Commit::default() }
    }

    fn told(store: &Store) -> usize {
        store.outbox().unwrap().len()
    }

    fn open(path: &Path) -> Store {
        Store::open(path, minute(0)).unwrap().0
    }

    #[test]
    fn a_full_disk_keeps_ticks_in_memory_until_it_has_room_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut store = open(&path);
        store.commit(&tick(minute(0))).unwrap();
        let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        store.connection.pragma_update(None, "max_page_count", pages).unwrap();
        let large = Commit {
            watermarks: (0..20_000).map(|n| (format!("watermark {n}"), minute(1))).collect(),
            ..tick(minute(1))
        };
        store.commit(&large).unwrap();
        assert!(store.trouble().is_some_and(|trouble| trouble.to_string().contains("full")), "{:?}", store.trouble());
        assert_eq!(told(&store), 2, "what the file had and what it did not take");
        assert_eq!(told(&open(&path)), 1, "the file is as it was");

        store.commit(&tick(minute(2))).unwrap();
        assert!(store.trouble().is_some(), "still full");
        let room = |store: &Store| {
            let stand_in = store.stand_in.as_ref().unwrap();
            stand_in.file.pragma_update(None, "max_page_count", 1_000_000).unwrap();
        };
        room(&store);
        store.commit(&tick(minute(3))).unwrap();
        assert_eq!(store.trouble(), None);
        assert_eq!((told(&store), told(&open(&path))), (4, 4));
        drop(store);
        assert_eq!(told(&open(&path)), 4);
    }

    #[test]
    fn a_file_that_breaks_while_the_service_runs_is_left_for_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut store = open(&path);
        store.commit(&tick(minute(0))).unwrap();
        store.leave_file(StoreError::Corrupt("a page is malformed".to_owned()), minute(1)).unwrap();
        store.commit(&tick(minute(60))).unwrap();
        assert!(store.trouble().is_some());
        assert_eq!((told(&store), told(&open(&path))), (2, 1));
    }
}
