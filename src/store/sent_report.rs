//! Which reports were sent, so that each is sent once, also across restarts and takeovers.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::notify::outbox::OutboxRow;
use crate::store::outbox;
use crate::store::{Store, StoreError};
use trainspotter_core::model::Timestamp;

/// A report that was not sent for this long is no longer configured: the longest period of a report is a month.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(400 * 86_400);

/// Removes settled reports when the next one of the same name is queued, since reports are never resolved.
fn forget_old(transaction: &Connection, row: Option<&OutboxRow>, now: Timestamp) -> Result<(), StoreError> {
    transaction
        .prepare_cached("DELETE FROM sent_report WHERE until < ?1")?
        .execute([(now - FORGOTTEN_AFTER).millis()])?;
    if let Some(row) = row {
        let settled_before = (now - outbox::KEEP_SETTLED).millis();
        transaction
            .prepare_cached(
                "DELETE FROM outbox WHERE receiver = ?1 AND alert = ?2 AND state <> 'pending' AND settled_at < ?3",
            )?
            .execute(params![row.receiver, row.alert().as_str(), settled_before])?;
    }
    Ok(())
}

impl Store {
    /// Time up to which reports of a name were sent, if any was.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn reported_until(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let found =
            self.connection.query_row("SELECT until FROM sent_report WHERE name = ?1", [name], |row| row.get(0));
        Ok(found.optional()?.map(Timestamp::from_millis))
    }

    /// Queues a report, unless it was queued for its period before; without a row only records the period as done.
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
            forget_old(transaction, row, now)
        })
    }

    /// Start of counting; `None` before the first commit.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn counts_since(&self) -> Result<Option<Timestamp>, StoreError> {
        let found = self.connection.query_row("SELECT since FROM service", [], |row| row.get(0));
        Ok(found.optional()?.map(Timestamp::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::{Digest, notification};

    #[test]
    fn what_was_sent_long_ago_goes_and_what_waits_stays() {
        const DAY: Duration = Duration::from_secs(86_400);
        let mut store = Store::in_memory().unwrap();
        let mut now = Timestamp::from_millis(1_700_000_000_000);
        let rows = |store: &Store| -> (i64, i64) {
            let count = |table: &str| {
                store.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
            };
            (count("outbox"), count("sent_report"))
        };
        store.queue_report("monthly to gone", now, None, now).unwrap();
        let mut first = None;
        for day in 0..450 {
            now = now + DAY;
            let digest =
                Digest { name: "daily".to_owned(), from: now - DAY, summary: "s".to_owned(), text: "t".to_owned() };
            let row = notification(&digest, "team", now);
            store.queue_report("daily to team", now, Some(&row), now).unwrap();
            store.queue_report("daily to team", now, Some(&row), now).unwrap();
            if day == 0 {
                first = Some(row.id.clone());
            } else {
                store
                    .connection
                    .execute(
                        "UPDATE outbox SET state = 'delivered', settled_at = ?1 WHERE id = ?2",
                        params![now.millis(), row.id.as_str()],
                    )
                    .unwrap();
            }
        }
        let kept = i64::try_from(outbox::KEEP_SETTLED.as_secs() / DAY.as_secs()).unwrap();
        let (outbox, reports) = rows(&store);
        assert!((kept..=kept + 2).contains(&outbox), "{outbox} rows, {kept} days");
        assert_eq!(reports, 1, "one that is not sent any more is forgotten");
        let waits =
            store.connection.prepare("SELECT 1 FROM outbox WHERE id = ?1").unwrap().exists([first.unwrap().as_str()]);
        assert!(waits.unwrap(), "nothing that waits is dropped");
    }
}
