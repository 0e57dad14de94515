//! Controls whether notifications may be sent: only by the leader, while no other replica can lead.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

/// Shared between the lease and the senders.
#[derive(Clone, Debug)]
pub struct Fence {
    began: Instant,
    /// End of the period in which an attempt may begin, in milliseconds since `began`; 0 for closed.
    until: Arc<AtomicU64>,
}

impl Fence {
    /// A closed fence. Times are counted from `began`.
    pub fn closed(began: Instant) -> Self {
        Self { began, until: Arc::default() }
    }

    /// Allows attempts to begin until a time; `None` closes it.
    pub fn open_until(&self, until: Option<Duration>) {
        let millis = until.map_or(0, |until| u64::try_from(until.as_millis()).unwrap_or(u64::MAX));
        self.until.store(millis, Ordering::SeqCst);
    }

    /// Whether an attempt may begin now.
    pub fn is_open(&self) -> bool {
        self.began.elapsed() < Duration::from_millis(self.until.load(Ordering::SeqCst))
    }
}
