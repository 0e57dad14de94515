//! Schema and migrations.

use rusqlite::Connection;
use rusqlite_migration::M;
use rusqlite_migration::Migrations;

use crate::store::StoreError;

/// SQLite application id of our files: "TSPT" in ASCII.
const APPLICATION_ID: i64 = 0x5453_5054;

/// One entry per version, in order. Never change a released entry.
const MIGRATIONS: &[M<'_>] = &[
    M::up(FIRST),
    M::up(
        // The outbox gets receivers' message ids, and rows that end without being sent.
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
    // Escalations and reminders are only sent while their alert fires.
    M::up("ALTER TABLE outbox ADD COLUMN while_firing INTEGER NOT NULL DEFAULT 0;"),
    // History. `bytes_so_far` is cumulative, so that the total size is a difference of two values.
    M::up(
        "CREATE TABLE frame (at INTEGER PRIMARY KEY, bytes_so_far INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
         CREATE TABLE event (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
         CREATE INDEX event_at ON event (at);",
    ),
    // Job data that AWS forgets.
    M::up("CREATE TABLE job (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;"),
    // When a notification was first attempted, whatever the result. Of rows sent in one message, all but the first
    // refer to the first.
    M::up(
        "ALTER TABLE outbox ADD COLUMN begun_at INTEGER;
         UPDATE outbox SET begun_at = created_at WHERE attempts > 0;
         ALTER TABLE outbox ADD COLUMN told_with TEXT;
         CREATE INDEX outbox_company ON outbox (told_with) WHERE told_with IS NOT NULL;",
    ),
    // Unreadable rows, for inspection.
    M::up(
        "CREATE TABLE set_aside (
            seq INTEGER PRIMARY KEY,
            at INTEGER NOT NULL,
            source TEXT NOT NULL,
            content TEXT NOT NULL,
            because TEXT NOT NULL
        ) STRICT;",
    ),
    // Alerts that fired, as long as links to them must work.
    M::up(
        "CREATE TABLE past_alert (
            alert TEXT NOT NULL,
            fired_at INTEGER NOT NULL,
            queue TEXT NOT NULL,
            share TEXT NOT NULL,
            ended_at INTEGER,
            body TEXT NOT NULL,
            PRIMARY KEY (alert, fired_at)
        ) STRICT;
        CREATE INDEX past_alert_fired ON past_alert (fired_at);
        CREATE INDEX past_alert_ended ON past_alert (ended_at) WHERE ended_at IS NOT NULL;",
    ),
    // Time up to which the lists of each queue are complete; with it `job` has all open jobs.
    M::up("CREATE TABLE queue (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;"),
    // The last log record applied to this file, and whether it has changes that the log lacks. Not part of the log
    // itself.
    M::up(
        "CREATE TABLE log_position (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            number INTEGER NOT NULL,
            digest BLOB NOT NULL,
            writer TEXT NOT NULL,
            is_ahead INTEGER NOT NULL
        ) STRICT;",
    ),
    // Rows to be archived, by day and tick, and the values at the beginning of the current hour. Which reports were
    // sent.
    M::up(
        "CREATE TABLE unarchived (
            source TEXT NOT NULL,
            day INTEGER NOT NULL,
            at INTEGER NOT NULL,
            rows INTEGER NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (source, day, at)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE hour_begin (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), body BLOB NOT NULL) STRICT;
        CREATE TABLE sent_report (name TEXT PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
    ),
    // Forecast state: attempts, arrivals, and estimates with their actual starts.
    M::up("CREATE TABLE forecast (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT, WITHOUT ROWID;"),
    // Contents of the latest frame besides its samples, for followers.
    M::up(
        "CREATE TABLE latest_tables (
            only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
            at INTEGER NOT NULL,
            body BLOB NOT NULL
        ) STRICT;",
    ),
];

/// The schema version of this build.
pub(super) fn version() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

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

/// Refuses files that must not be written. Writes nothing.
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
    let mut statement = connection.prepare("PRAGMA quick_check(100)")?;
    let verdicts = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    match verdicts.into_iter().find(|verdict| verdict != "ok" && !is_of_a_row(verdict)) {
        None => Ok(()),
        Some(verdict) => Err(StoreError::Corrupt(verdict)),
    }
}

/// Whether a result of SQLite's check concerns the values of one row, which are checked when they are read, and not
/// the file.
fn is_of_a_row(verdict: &str) -> bool {
    verdict.contains(" value in ")
        || verdict.starts_with("CHECK constraint failed in ")
        || verdict.starts_with("row not in PRIMARY KEY order for ")
}

/// Migrates the tables to the newest version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    Migrations::from_slice(MIGRATIONS)
        .to_latest(connection)
        .map_err(|error| StoreError::Sqlite(format!("cannot migrate the tables: {error}")))
}

#[cfg(test)]
mod tests {
    use rusqlite::types::ValueRef;

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
    fn a_populated_file_of_version_1_keeps_every_row() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(FIRST).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
            .execute_batch(
                "INSERT INTO service VALUES (1, 5, 6);
                 INSERT INTO alert VALUES ('a', '{}'), ('b', '{}');
                 INSERT INTO watermark VALUES ('counted_until', 7);
                 INSERT INTO series VALUES ('queue.wait', '{}', 0.0, '[1,2]', 3.5, 3);
                 INSERT INTO outbox VALUES
                     (3, 'n1', 'oncall', 'a', 10, 'fired', '{}', 11, 2, 12, 'down', 'pending', NULL),
                     (9, 'n2', 'oncall', 'b', 10, 'fired', '{}', 11, 1, 12, NULL, 'delivered', 13),
                     (10, 'n3', 'oncall', 'b', 10, 'resolved', '{}', 14, 0, 15, 'gave up', 'dead', 16);",
            )
            .unwrap();
        check(&connection).unwrap();
        migrate(&mut connection).unwrap();
        check(&connection).unwrap();
        let all = |sql: &str| {
            let mut statement = connection.prepare(sql).unwrap();
            let width = statement.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                let cell = |index| {
                    Ok(match row.get_ref(index)? {
                        ValueRef::Null => "-".to_owned(),
                        ValueRef::Integer(number) => number.to_string(),
                        ValueRef::Real(number) => number.to_string(),
                        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
                    })
                };
                Ok((0..width).map(cell).collect::<Result<Vec<_>, rusqlite::Error>>()?.join(" "))
            };
            statement.query_map([], row).unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        assert_eq!(all("SELECT * FROM service"), ["1 5 6"]);
        assert_eq!(all("SELECT * FROM alert"), ["a {}", "b {}"]);
        assert_eq!(all("SELECT * FROM watermark"), ["counted_until 7"]);
        assert_eq!(all("SELECT * FROM series"), ["queue.wait {} 0 [1,2] 3.5 3"]);
        let columns =
            "seq, id, receiver, alert, episode, kind, body, created_at, attempts, next_attempt_at, last_error,
                       state, settled_at, reference, while_firing";
        assert_eq!(
            all(&format!("SELECT {columns} FROM outbox ORDER BY seq")),
            [
                "3 n1 oncall a 10 fired {} 11 2 12 down pending - - 0",
                "9 n2 oncall b 10 fired {} 11 1 12 - delivered 13 - 0",
                "10 n3 oncall b 10 resolved {} 14 0 15 gave up dead 16 - 0",
            ]
        );
        assert!(all("SELECT * FROM silence").is_empty());
    }
}
