//! Silences: adds, ends and reads them.

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::Row;
use rusqlite::params;

use crate::notify::silence::Silence;
use crate::store::BadRow;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::unreadable_rows;
use crate::store::unreadable_rows::Judged;
use trainspotter_core::model::Matchers;
use trainspotter_core::model::Timestamp;

/// Retention of expired silences in ms: a week.
const KEEP_SILENCES: i64 = 7 * 86_400_000;

impl Store {
    /// Adds a silence. With `id` 0 it gets a new id. Returns the id.
    ///
    /// # Errors
    /// Nothing was added.
    pub fn silence(&mut self, silence: &Silence) -> Result<i64, StoreError> {
        self.change(&|transaction| {
            transaction.execute(
                "INSERT INTO silence (id, matchers, starts_at, ends_at, author, comment)
                 VALUES (nullif(?6, 0), ?1, ?2, ?3, ?4, ?5)",
                params![
                    serde_json::to_string(&silence.matchers)?,
                    silence.starts_at.millis(),
                    silence.ends_at.millis(),
                    silence.author,
                    silence.comment,
                    silence.id,
                ],
            )?;
            Ok(transaction.last_insert_rowid())
        })
    }

    /// Ends a silence now. Returns whether it was active.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn end_silence(&mut self, id: i64, now: Timestamp) -> Result<bool, StoreError> {
        self.change(&|transaction| {
            let changed = transaction
                .execute("UPDATE silence SET ends_at = ?2 WHERE id = ?1 AND ends_at > ?2", params![id, now.millis()])?;
            transaction.execute("DELETE FROM silence WHERE ends_at < ?1", [now.millis() - KEEP_SILENCES])?;
            Ok(changed > 0)
        })
    }

    /// All stored silences, including expired ones, by id.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn silences(&self) -> Result<Vec<Silence>, StoreError> {
        self.read_silences("SELECT id, matchers, starts_at, ends_at, author, comment FROM silence ORDER BY id", &[])
    }

    /// The active silences, by id.
    pub(super) fn silences_at(&self, now: Timestamp) -> Result<Vec<Silence>, StoreError> {
        self.read_silences(
            "SELECT id, matchers, starts_at, ends_at, author, comment FROM silence
             WHERE starts_at <= ?1 AND ends_at > ?1 ORDER BY id",
            &[now.millis()],
        )
    }

    fn read_silences(&self, sql: &str, parameters: &[i64]) -> Result<Vec<Silence>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut found = statement.query(rusqlite::params_from_iter(parameters))?;
        let mut silences = Vec::new();
        while let Some(row) = found.next()? {
            match read(row) {
                Err(error @ StoreError::Value(_)) => {
                    let id = unreadable_rows::shown(row.get_ref(0)?);
                    tracing::error!(
                        id,
                        %error,
                        "cannot read a silence, so it is not in effect; a restart moves it to the table `set_aside`"
                    );
                }
                silence => silences.push(silence?),
            }
        }
        Ok(silences)
    }

    /// Unreadable silences.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bad_silences(&self) -> Result<Vec<BadRow>, StoreError> {
        Ok(judged(&self.connection)?.bad)
    }
}

/// All silences, each checked separately.
pub(super) fn judged(connection: &Connection) -> Result<Judged<Silence>, StoreError> {
    let sql = "SELECT id, matchers, starts_at, ends_at, author, comment FROM silence ORDER BY id";
    unreadable_rows::judge(connection, "silence", sql, read)
}

fn read(row: &Row<'_>) -> Result<Silence, StoreError> {
    let text: String = row.get(1)?;
    // Earlier versions stored a map of globs.
    let globs = serde_json::from_str::<BTreeMap<String, String>>(&text).map(Matchers::of_stored_globs);
    let matchers = globs.or_else(|_| serde_json::from_str(&text))?;
    Ok(Silence {
        id: row.get(0)?,
        matchers,
        starts_at: Timestamp::from_millis(row.get(2)?),
        ends_at: Timestamp::from_millis(row.get(3)?),
        author: row.get(4)?,
        comment: row.get(5)?,
    })
}
