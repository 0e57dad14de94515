//! Which firing alerts receivers have been notified of.

use std::collections::BTreeMap;

use rusqlite::params;

use crate::notify::outbox::Kind;
use crate::store::MAX_PENDING;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::outbox::report_trouble;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::AlertId;
use trainspotter_core::rules::REPORT;
use trainspotter_core::rules::Transition;

impl Store {
    /// See [`crate::notify::outbox::Outbox::notified`]. For an alert without a rule, such as that about a failing
    /// receiver, it is the alert as sent.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn notified(&self, receiver: &str) -> Result<Vec<Alert>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT body FROM outbox WHERE receiver = ?1 AND kind = 'fired' AND state = 'delivered'
             AND NOT EXISTS (
                 SELECT 1 FROM outbox AS ended WHERE ended.receiver = outbox.receiver AND ended.alert = outbox.alert
                 AND ended.episode = outbox.episode AND ended.kind = 'resolved')
             ORDER BY seq DESC LIMIT ?2",
        )?;
        let bodies = statement.query_map(params![receiver, MAX_PENDING], |row| Ok(row.get::<_, String>(0).ok()))?;
        let mut notified: BTreeMap<AlertId, Alert> = BTreeMap::new();
        for body in bodies {
            // An unreadable row is reported when it is to be sent.
            let transition = body?.and_then(|body| serde_json::from_str::<Transition>(&body).ok());
            // A report fires once and is never resolved, so it is not repeated.
            if let Some(transition) = transition.filter(|transition| transition.alert.rule != REPORT) {
                notified.entry(transition.alert.id.clone()).or_insert(transition.alert);
            }
        }
        for alert in self.firing()? {
            let same = notified.get_mut(&alert.id).filter(|other| other.state.fired_at() == alert.state.fired_at());
            if let Some(other) = same {
                *other = alert;
            }
        }
        Ok(notified.into_values().collect())
    }

    /// See [`crate::notify::outbox::Outbox::note_trouble`].
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn note_trouble(
        &mut self,
        receiver: &str,
        error: Option<&str>,
        now: Timestamp,
        others: &[String],
    ) -> Result<(), StoreError> {
        let kind = if error.is_some() { Kind::Fired } else { Kind::Resolved };
        self.transact(|transaction| report_trouble(transaction, receiver, kind, now, error.unwrap_or_default(), others))
    }
}
