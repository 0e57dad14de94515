//! The outbox of a replica as its notifiers see it: the store's own, unless it is to be wrong.

use super::mutant;
use crate::notify::outbox::{Due, NotificationId, Outbox, OutboxError, Verdict};
use crate::store::StoreHandle;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;

/// A store's outbox.
#[derive(Clone, Debug)]
pub(super) struct SimulatedOutbox(pub(super) StoreHandle);

impl Outbox for SimulatedOutbox {
    fn may_send(&self) -> bool {
        mutant::sends_without_a_lease() || self.0.may_send()
    }

    async fn due(&self, receiver: &str, now: Timestamp, limit: usize) -> Result<Due, OutboxError> {
        self.0.due(receiver, now, limit).await
    }

    async fn due_together(&self, receiver: &str, now: Timestamp) -> Result<Due, OutboxError> {
        self.0.due_together(receiver, now).await
    }

    async fn begin(
        &self,
        first: &NotificationId,
        others: &[NotificationId],
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        self.0.begin(first, others, now).await?;
        if mutant::settles_before_it_sends() {
            self.0.settle(first, Verdict::Delivered { at: now, reference: None }, &[]).await?;
        }
        Ok(())
    }

    async fn firing(&self) -> Result<Vec<Alert>, OutboxError> {
        self.0.firing().await
    }

    async fn notified(&self, receiver: &str) -> Result<Vec<Alert>, OutboxError> {
        self.0.notified(receiver).await
    }

    async fn note_trouble(
        &self,
        receiver: &str,
        error: Option<&str>,
        now: Timestamp,
        others: &[String],
    ) -> Result<(), OutboxError> {
        self.0.note_trouble(receiver, error, now, others).await
    }

    async fn settle(&self, id: &NotificationId, verdict: Verdict, others: &[String]) -> Result<(), OutboxError> {
        self.0.settle(id, verdict, others).await
    }
}
