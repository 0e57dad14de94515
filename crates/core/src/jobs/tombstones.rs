//! Tombstones: ids of ended jobs, so that a list that contains one again adds nothing.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use crate::jobs::ENDED_KEPT_FOR;
use crate::model::{JobId, Timestamp};

/// Maximum number of tombstones.
pub const PAST_KEPT: usize = 1_000_000;

/// Name of the limit above in `limit.hits`.
pub(super) const LIMIT: &str = "ended_job_ids";

/// Ids as 64-bit hashes: among a million of them, a new job matches one with a probability of 10^-13.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    ids: HashSet<u64>,
    /// Oldest first.
    order: VecDeque<(Timestamp, u64)>,
    /// Dropped early, for lack of room.
    pub(super) beyond_limit: u64,
}

impl Tombstones {
    pub(super) fn contains(&self, id: &JobId) -> bool {
        self.ids.contains(&hash(id))
    }

    pub(super) fn add(&mut self, id: &JobId, ended_at: Timestamp) {
        if self.ids.insert(hash(id)) {
            self.order.push_back((ended_at, hash(id)));
        }
        if self.order.len() > PAST_KEPT {
            self.beyond_limit += 1;
            self.drop_oldest();
        }
    }

    pub(super) fn forget(&mut self, now: Timestamp) {
        while self.order.front().is_some_and(|(ended_at, _)| now.since(*ended_at) > ENDED_KEPT_FOR) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, hash)) = self.order.pop_front() {
            self.ids.remove(&hash);
        }
    }
}

fn hash(id: &JobId) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(id)
}
