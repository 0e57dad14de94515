//! Which reports were sent, so that each is sent once over restarts and takeovers.

use rusqlite::{OptionalExtension as _, params};

use crate::notify::outbox::OutboxRow;
use crate::store::outbox;
use crate::store::{Store, StoreError};
use trainspotter_core::model::Timestamp;

impl Store {
    /// Up to when reports of a name were sent; `None` if none ever was.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn reported_until(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let found =
            self.connection.query_row("SELECT until FROM sent_report WHERE name = ?1", [name], |row| row.get(0));
        Ok(found.optional()?.map(Timestamp::from_millis))
    }

    /// Queues a report, unless that was done for its time; without a row only remembers that its time is over.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn queue_report(
        &mut self,
        name: &str,
        until: Timestamp,
        row: Option<&OutboxRow>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.transact(|transaction| {
            let sql = "SELECT 1 FROM sent_report WHERE name = ?1 AND until >= ?2";
            if transaction.prepare_cached(sql)?.exists(params![name, until.millis()])? {
                return Ok(());
            }
            transaction
                .prepare_cached(
                    "INSERT INTO sent_report (name, until) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET until = excluded.until",
                )?
                .execute(params![name, until.millis()])?;
            outbox::insert(transaction, row.map_or(&[], std::slice::from_ref), now)?;
            Ok(())
        })
    }

    /// Since when the service counts; `None` before its first commit.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn counts_since(&self) -> Result<Option<Timestamp>, StoreError> {
        let found = self.connection.query_row("SELECT since FROM service", [], |row| row.get(0));
        Ok(found.optional()?.map(Timestamp::from_millis))
    }
}
