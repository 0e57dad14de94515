//! Sorted indexes of jobs: by age within a share and a state, by owner, by name and by id.
//!
//! A million jobs are limited by memory, so an index holds keys of eight bytes, by which the table finds a job.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::iter::Peekable;

use crate::jobs::keys_sorted_by_text::Sorted;
use crate::jobs::table::{JobTable, key_of};
use crate::jobs::{CompactSet, Job};
use crate::model::{JobStatus, QueueName, ShareName, Timestamp};

/// Creation time and key of a job: its position in the order of all jobs.
pub(super) type AgeKey = (Timestamp, u64);

/// The changeable fields that determine where a job is in the orders.
#[derive(Debug, PartialEq)]
pub(super) struct Listed {
    share: Option<ShareName>,
    status: JobStatus,
    owner: Option<Box<str>>,
}

impl Listed {
    pub(super) fn of(job: &Job) -> Self {
        Self { share: job.share().cloned(), status: job.status().clone(), owner: job.owner().map(Into::into) }
    }
}

type ByState = BTreeMap<JobStatus, CompactSet<AgeKey>>;

/// Invariant: a job kept in full is in each index exactly once.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) by_share: BTreeMap<QueueName, BTreeMap<Option<ShareName>, ByState>>,
    /// By owner; empty for jobs without one, or not described yet.
    pub(super) owners: BTreeMap<Box<str>, CompactSet<AgeKey>>,
    pub(super) ids: Sorted,
    pub(super) names: Sorted,
}

pub(super) fn age_key_of(job: &Job) -> AgeKey {
    (job.latest.created_at, key_of(&job.latest.id))
}

impl Listing {
    /// Adds a job that is about to be kept in full.
    pub(super) fn add(&mut self, job: &Job, jobs: &JobTable) {
        let (_, key) = age_key_of(job);
        self.ids.insert(id(job), key, |other| jobs.by_key(other).map(id));
        self.names.insert(name(job), key, |other| jobs.by_key(other).map(name));
        self.put(job);
    }

    /// Removes a job that is no longer kept in full.
    pub(super) fn remove(&mut self, job: &Job, jobs: &JobTable) {
        let (_, key) = age_key_of(job);
        self.ids.remove(id(job), key, |other| jobs.by_key(other).map(id));
        self.names.remove(name(job), key, |other| jobs.by_key(other).map(name));
        self.take(&Listed::of(job), job);
    }

    /// Moves a changed job in the orders; where it was is given by `before`.
    pub(super) fn moved(&mut self, before: &Listed, job: &Job) {
        if *before != Listed::of(job) {
            self.take(before, job);
            self.put(job);
        }
    }

    fn put(&mut self, job: &Job) {
        let key = age_key_of(job);
        let shares = match self.by_share.get_mut(job.queue()) {
            Some(shares) => shares,
            None => self.by_share.entry(job.queue().clone()).or_default(),
        };
        let states = match shares.get_mut(&job.latest.share) {
            Some(states) => states,
            None => shares.entry(job.latest.share.clone()).or_default(),
        };
        states.entry(job.status().clone()).or_default().insert(key);
        let owner = job.owner().unwrap_or_default();
        match self.owners.get_mut(owner) {
            Some(jobs) => jobs.insert(key),
            None => self.owners.entry(owner.into()).or_default().insert(key),
        };
    }

    fn take(&mut self, before: &Listed, job: &Job) {
        let key = age_key_of(job);
        if let Some(shares) = self.by_share.get_mut(job.queue())
            && let Some(states) = shares.get_mut(&before.share)
            && let Some(jobs) = states.get_mut(&before.status)
        {
            jobs.remove(&key);
            if jobs.is_empty() {
                states.remove(&before.status);
            }
            if states.is_empty() {
                shares.remove(&before.share);
            }
            if shares.is_empty() {
                self.by_share.remove(job.queue());
            }
        }
        let owner = before.owner.as_deref().unwrap_or_default();
        if let Some(jobs) = self.owners.get_mut(owner) {
            jobs.remove(&key);
            if jobs.is_empty() {
                self.owners.remove(owner);
            }
        }
    }

    /// Keys of the open jobs, by age.
    pub(super) fn open(&self) -> impl Iterator<Item = AgeKey> {
        let states = self.by_share.values().flat_map(BTreeMap::values).flatten();
        Merged::of(states.filter(|(state, _)| !state.is_ended()).map(|(_, keys)| keys.iter().copied()))
    }
}

/// The text that an index is sorted by.
pub(super) type Text = fn(&Job) -> &str;

pub(super) fn id(job: &Job) -> &str {
    job.latest.id.as_str()
}

pub(super) fn name(job: &Job) -> &str {
    &job.latest.name
}

/// Merges sorted iterators lazily: an item costs the logarithm of their number.
pub(super) struct Merged<I: Iterator<Item: Ord + Copy>> {
    runs: Vec<Peekable<I>>,
    heads: BinaryHeap<Reverse<(I::Item, usize)>>,
}

impl<I: Iterator<Item: Ord + Copy>> Merged<I> {
    pub(super) fn of(runs: impl Iterator<Item = I>) -> Self {
        let mut runs: Vec<_> = runs.map(Iterator::peekable).collect();
        let head = |(index, run): (usize, &mut Peekable<I>)| Some(Reverse((*run.peek()?, index)));
        let heads = runs.iter_mut().enumerate().filter_map(head).collect();
        Self { runs, heads }
    }
}

impl<I: Iterator<Item: Ord + Copy>> Iterator for Merged<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let Reverse((item, index)) = self.heads.pop()?;
        let run = self.runs.get_mut(index)?;
        run.next();
        self.heads.extend(run.peek().map(|next| Reverse((*next, index))));
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::Merged;

    #[test]
    fn runs_are_merged_in_order_and_no_further_than_asked() {
        let looked_at = std::cell::Cell::new(0);
        let endless = |from: u64| (from..).step_by(3).inspect(|_| looked_at.set(looked_at.get() + 1));
        let merged: Vec<u64> = Merged::of([2, 0, 1].into_iter().map(endless)).take(1_000).collect();
        assert_eq!(merged, (0..1_000).collect::<Vec<_>>());
        assert_eq!(looked_at.get(), 1_003);
    }
}
