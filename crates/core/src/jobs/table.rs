//! Jobs by id, optimised for pages: each of a hundred jobs is elsewhere in a hundred megabytes of memory.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::hint::black_box;

use hashbrown::HashTable;

use crate::jobs::Job;
use crate::model::JobId;

/// All jobs kept in full. Looked up by the id inside the job: a map would store a second, reference-counted copy.
/// Keys are not stored: the table compares seven bits of them by itself, so that a lookup rarely meets another job.
#[derive(Debug, Default)]
pub(super) struct JobTable {
    jobs: HashTable<Box<Job>>,
}

/// A compact key of a job: a 64-bit hash of its id, the same in every run. Among a million jobs, two have the same
/// with a probability of 10^-7.
pub fn key_of(id: &JobId) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(id)
}

impl JobTable {
    pub(super) fn get(&self, id: &JobId) -> Option<&Job> {
        self.find(key_of(id), id)
    }

    pub(super) fn by_key(&self, key: u64) -> Option<&Job> {
        self.jobs.find(key, |job| key_of(&job.latest.id) == key).map(|job| &**job)
    }

    pub(super) fn get_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        self.jobs.find_mut(key_of(id), |job| job.latest.id == *id).map(|job| &mut **job)
    }

    /// Inserts a new job.
    pub(super) fn insert(&mut self, job: Job) {
        self.jobs.insert_unique(key_of(&job.latest.id), Box::new(job), |job| key_of(&job.latest.id));
    }

    pub(super) fn remove(&mut self, id: &JobId) -> Option<Job> {
        let found = self.jobs.find_entry(key_of(id), |job| job.latest.id == *id).ok()?;
        let (job, _) = found.remove();
        Some(*job)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().map(|job| &**job)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.jobs.iter_mut().map(|job| &mut **job)
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Prefetches jobs that will be looked up one by one. With all hashes known in advance the processor loads
    /// several of them concurrently, rather than waiting for each.
    pub(super) fn fetch<'a>(&self, ids: impl Iterator<Item = &'a JobId>) {
        let hashed: Vec<(u64, &JobId)> = ids.map(|id| (key_of(id), id)).collect();
        let found = hashed.iter().filter_map(|(hash, id)| self.find(*hash, id));
        black_box(found.filter(|job| job.wants_description_since.is_some()).count());
    }

    fn find(&self, hash: u64, id: &JobId) -> Option<&Job> {
        self.jobs.find(hash, |job| job.latest.id == *id).map(|job| &**job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million jobs may wait: a few bytes more are another size class of the allocator for all of them.
    #[test]
    fn a_job_takes_no_more_than_256_bytes() {
        assert!(size_of::<Job>() <= 256, "{}", size_of::<Job>());
    }
}
