//! A store whose writes fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use trainspotter::notify::outbox::{Due, NotificationId, Outbox, OutboxError, Verdict};
use trainspotter::store::StoreHandle;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;

/// A store that rejects writes for a while.
#[derive(Clone)]
pub(super) struct Flaky {
    pub(super) store: StoreHandle,
    pub(super) failures: Arc<AtomicU32>,
}

impl Outbox for Flaky {
    async fn due(&self, receiver: &str, now: Timestamp, limit: usize) -> Result<Due, OutboxError> {
        self.store.due(receiver, now, limit).await
    }

    async fn due_together(&self, receiver: &str, now: Timestamp) -> Result<Due, OutboxError> {
        self.store.due_together(receiver, now).await
    }

    async fn begin(
        &self,
        first: &NotificationId,
        others: &[NotificationId],
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        self.store.begin(first, others, now).await
    }

    async fn firing(&self) -> Result<Vec<Alert>, OutboxError> {
        self.store.firing().await
    }

    async fn settle(&self, id: &NotificationId, verdict: Verdict, others: &[String]) -> Result<(), OutboxError> {
        let one_less = |left: u32| left.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err(OutboxError("disk full".to_owned()));
        }
        self.store.settle(id, verdict, others).await
    }
}
