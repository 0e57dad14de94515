//! Jobs by id, made for pages: each of a hundred jobs is somewhere else in a hundred megabytes of memory.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::hint::black_box;

use crate::ledger::Job;
use crate::model::JobId;

/// Every job kept in full.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: HashMap<Key, Box<Job>, BuildHasherDefault<Hashed>>,
    hasher: RandomState,
}

impl Jobs {
    pub(super) fn get(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(&self.key(id)).map(|job| &**job)
    }

    pub(super) fn get_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        let key = self.key(id);
        self.jobs.get_mut(&key).map(|job| &mut **job)
    }

    pub(super) fn insert(&mut self, id: &JobId, job: Job) {
        let key = self.key(id);
        self.jobs.insert(key, Box::new(job));
    }

    pub(super) fn remove(&mut self, id: &JobId) -> Option<Job> {
        let key = self.key(id);
        self.jobs.remove(&key).map(|job| *job)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().map(|job| &**job)
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Looks at jobs that will be asked for one by one. With all hashes known beforehand the processor has several of them fetched at
    /// the same time, where it would wait for each.
    pub(super) fn fetch<'a>(&self, ids: impl Iterator<Item = &'a JobId>) {
        let keys: Vec<Key> = ids.map(|id| self.key(id)).collect();
        let found = keys.iter().filter_map(|key| self.jobs.get(key));
        black_box(found.filter(|job| job.wants_description_since.is_some()).count());
    }

    fn key(&self, id: &JobId) -> Key {
        Key { hash: self.hasher.hash_one(id), id: id.clone() }
    }
}

/// An id that is hashed once.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    hash: u64,
    id: JobId,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

/// Takes a [`Key`]'s hash for its own.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    /// Never called: a key has a number only.
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
