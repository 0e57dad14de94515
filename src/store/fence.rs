//! Whether notifications may be sent: only by the replica that leads, while nobody else can.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

/// Shared by whoever knows how long this replica leads, and whoever sends.
#[derive(Clone, Debug)]
pub struct Fence {
    began: Instant,
    /// Until when sending may begin, in milliseconds from the beginning; 0 for not at all.
    until: Arc<AtomicU64>,
}

impl Fence {
    /// One that is closed. Moments are counted from `began`.
    pub fn closed(began: Instant) -> Self {
        Self { began, until: Arc::default() }
    }

    /// Lets an attempt begin until then; `None` closes it.
    pub fn open_until(&self, until: Option<Duration>) {
        let millis = until.map_or(0, |until| u64::try_from(until.as_millis()).unwrap_or(u64::MAX));
        self.until.store(millis, Ordering::SeqCst);
    }

    /// Whether an attempt may begin now.
    pub fn is_open(&self) -> bool {
        #[cfg(test)]
        if crate::replication::sends_without_a_lease() {
            return self.until.load(Ordering::SeqCst) > 0;
        }
        self.began.elapsed() < Duration::from_millis(self.until.load(Ordering::SeqCst))
    }
}
