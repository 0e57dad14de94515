//! Jobs by id, made for pages: each of a hundred jobs is somewhere else in a hundred megabytes of memory.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::hint::black_box;

use hashbrown::HashTable;

use crate::jobs::Job;
use crate::model::JobId;

/// Every job kept in full. A job is looked for by its own id: a map would keep that a second time, and count who shares it.
#[derive(Debug, Default)]
pub(super) struct JobTable {
    jobs: HashTable<Entry>,
}

/// A job with its key: whether it is the one that is looked for is seen without going to where it is.
type Entry = (u64, Box<Job>);

/// What a job is found by where its id would take too much memory: a hash of 64 bits, the same in every run. Among a million jobs two
/// have the same once in 10^7.
pub fn key_of(id: &JobId) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(id)
}

impl JobTable {
    pub(super) fn get(&self, id: &JobId) -> Option<&Job> {
        self.find(key_of(id), id)
    }

    pub(super) fn by_key(&self, key: u64) -> Option<&Job> {
        self.jobs.find(key, |(other, _)| *other == key).map(|(_, job)| &**job)
    }

    pub(super) fn get_mut(&mut self, id: &JobId) -> Option<&mut Job> {
        let hash = key_of(id);
        self.jobs.find_mut(hash, |entry| is_of(entry, hash, id)).map(|(_, job)| &mut **job)
    }

    /// Takes in a job that is not there.
    pub(super) fn insert(&mut self, job: Job) {
        let key = key_of(&job.latest.id);
        self.jobs.insert_unique(key, (key, Box::new(job)), |(key, _)| *key);
    }

    pub(super) fn remove(&mut self, id: &JobId) -> Option<Job> {
        let hash = key_of(id);
        let found = self.jobs.find_entry(hash, |entry| is_of(entry, hash, id)).ok()?;
        let ((_, job), _) = found.remove();
        Some(*job)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().map(|(_, job)| &**job)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.jobs.iter_mut().map(|(_, job)| &mut **job)
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Looks at jobs that will be asked for one by one. With all hashes known beforehand the processor has several of them fetched at
    /// the same time, where it would wait for each.
    pub(super) fn fetch<'a>(&self, ids: impl Iterator<Item = &'a JobId>) {
        let hashed: Vec<(u64, &JobId)> = ids.map(|id| (key_of(id), id)).collect();
        let found = hashed.iter().filter_map(|(hash, id)| self.find(*hash, id));
        black_box(found.filter(|job| job.wants_description_since.is_some()).count());
    }

    fn find(&self, hash: u64, id: &JobId) -> Option<&Job> {
        self.jobs.find(hash, |entry| is_of(entry, hash, id)).map(|(_, job)| &**job)
    }
}

fn is_of((key, job): &Entry, hash: u64, id: &JobId) -> bool {
    *key == hash && job.latest.id == *id
}
