//! The tables and their versions.

use rusqlite::Connection;
use rusqlite_migration::M;
use rusqlite_migration::Migrations;

use crate::store::StoreError;

/// Marks a SQLite file as ours: "TSPT" in ASCII.
const APPLICATION_ID: i64 = 0x5453_5054;

/// One entry per version, in order. An entry is never changed once released.
const MIGRATIONS: &[M<'_>] = &[
    M::up(FIRST),
    M::up(
        // The outbox learns what receivers call their messages, and that a row may end without being sent.
        "CREATE TABLE silence (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            matchers TEXT NOT NULL,
            starts_at INTEGER NOT NULL,
            ends_at INTEGER NOT NULL,
            author TEXT NOT NULL,
            comment TEXT NOT NULL
        ) STRICT;
        ALTER TABLE outbox RENAME TO outbox_before;
        CREATE TABLE outbox (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            receiver TEXT NOT NULL,
            alert TEXT NOT NULL,
            episode INTEGER NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('fired', 'resolved')),
            body TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            next_attempt_at INTEGER NOT NULL,
            last_error TEXT,
            reference TEXT,
            state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead', 'muted')),
            settled_at INTEGER,
            CHECK ((state = 'pending') = (settled_at IS NULL))
        ) STRICT;
        INSERT INTO outbox (seq, id, receiver, alert, episode, kind, body, created_at, attempts, next_attempt_at,
                            last_error, state, settled_at)
            SELECT seq, id, receiver, alert, episode, kind, body, created_at, attempts, next_attempt_at, last_error,
                   state, settled_at FROM outbox_before;
        DROP TABLE outbox_before;
        CREATE INDEX outbox_due ON outbox (receiver, next_attempt_at, seq) WHERE state = 'pending';
        CREATE INDEX outbox_order ON outbox (receiver, alert, seq) WHERE state = 'pending';
        CREATE INDEX outbox_episode ON outbox (receiver, alert, episode);
        CREATE INDEX outbox_settled ON outbox (settled_at) WHERE kind = 'resolved' AND settled_at IS NOT NULL;",
    ),
    // Escalations and reminders are only told while their alert fires.
    M::up("ALTER TABLE outbox ADD COLUMN while_firing INTEGER NOT NULL DEFAULT 0;"),
];

/// Version 1.
const FIRST: &str = "PRAGMA application_id = 1414746196;
    CREATE TABLE service (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        since INTEGER NOT NULL,
        committed_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE alert (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE watermark (name TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE series (
        metric TEXT NOT NULL,
        labels TEXT NOT NULL,
        value REAL NOT NULL,
        buckets TEXT NOT NULL,
        sum REAL NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (metric, labels)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        receiver TEXT NOT NULL,
        alert TEXT NOT NULL,
        episode INTEGER NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('fired', 'resolved')),
        body TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_at INTEGER NOT NULL,
        last_error TEXT,
        state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
        settled_at INTEGER,
        CHECK ((state = 'pending') = (settled_at IS NULL))
    ) STRICT;
    CREATE INDEX outbox_due ON outbox (receiver, next_attempt_at, seq) WHERE state = 'pending';
    CREATE INDEX outbox_order ON outbox (receiver, alert, seq) WHERE state = 'pending';
    CREATE INDEX outbox_episode ON outbox (receiver, alert, episode);
    CREATE INDEX outbox_settled ON outbox (settled_at) WHERE kind = 'resolved' AND settled_at IS NOT NULL;";

/// Refuses files that must not be written to. Writes nothing.
pub(super) fn check(connection: &Connection) -> Result<(), StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, found) = (pragma("application_id")?, pragma("user_version")?);
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION_ID && (application != 0 || found != 0 || tables != 0) {
        return Err(StoreError::NotOurs);
    }
    if found > known {
        return Err(StoreError::FromTheFuture { found, known });
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Corrupt(verdict)) }
}

/// Brings the tables to the newest version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    Migrations::from_slice(MIGRATIONS)
        .to_latest(connection)
        .map_err(|error| StoreError::Sqlite(format!("the tables cannot be brought up to date: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_valid_and_mark_the_file_as_ours() {
        let mut connection = Connection::open_in_memory().unwrap();
        check(&connection).unwrap();
        migrate(&mut connection).unwrap();
        let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).unwrap();
        assert_eq!(application, APPLICATION_ID);
        check(&connection).unwrap();
        migrate(&mut connection).unwrap();
    }

    #[test]
    fn a_file_of_the_first_version_keeps_its_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        Migrations::from_slice(&MIGRATIONS[..1]).to_latest(&mut connection).unwrap();
        let rows = "INSERT INTO service VALUES (1, 1000, 2000);
            INSERT INTO alert VALUES ('a', '{}');
            INSERT INTO watermark VALUES ('counted_until', 1500);
            INSERT INTO series VALUES ('queue.wait', '{}', 0, '[1]', 2, 3);
            INSERT INTO outbox VALUES (1, 'n', 'oncall', 'a', 1000, 'fired', '{}', 1000, 2, 3000, 'refused', 'pending', NULL);";
        connection.execute_batch(rows).unwrap();
        migrate(&mut connection).unwrap();
        check(&connection).unwrap();
        for (table, count) in [("service", 1), ("alert", 1), ("watermark", 1), ("series", 1), ("outbox", 1)] {
            let found: i64 =
                connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
            assert_eq!(found, count, "{table}");
        }
        let row = connection.query_row("SELECT attempts, last_error, while_firing FROM outbox", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        });
        assert_eq!(row.unwrap(), (2, "refused".to_owned(), 0));
    }
}
