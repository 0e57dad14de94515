//! Finds jobs: pages of a list by filter, the longest waits, and the job that a text means.
//!
//! The cost of a page depends on its size, not on the number of jobs: it is read from a sorted index, and what no
//! index answers is searched among at most [`EXAMINED_AT_MOST`] jobs per page.

use std::cmp::Reverse;
use std::fmt;
use std::ops::Bound;

use crate::jobs::keys_sorted_by_text::Sorted;
use crate::jobs::sorted_indexes::{AgeKey, Listing, Merged, Text, age_key_of, id, name};
use crate::jobs::table::{JobTable, key_of};
use crate::jobs::{CompactSet, Job, Ledger};
use crate::model::{InstanceType, JobId, JobSeen, JobStatus, QueueName, ShareName, Timestamp};

/// Maximum jobs examined per page. A page that reaches it ends early, with the position at which to continue.
pub const EXAMINED_AT_MOST: usize = 10_000;

/// Maximum jobs with an id or name prefix that are all collected; beyond it the prefix is frequent among all jobs,
/// and a scan is cheap.
const COLLECTED_AT_MOST: usize = 2_000;

/// Filters of a job list; all given ones must match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Only this queue.
    pub queue: Option<QueueName>,
    /// Only this share; the empty name selects jobs without one.
    pub share: Option<ShareName>,
    /// Only this state.
    pub state: Option<JobStatus>,
    /// Only jobs whose id has this prefix.
    pub id: Option<String>,
    /// Only jobs whose name has this prefix.
    pub name: Option<String>,
    /// Only this owner; empty selects jobs without one.
    pub owner: Option<String>,
    /// Only jobs that request this instance type.
    pub unit: Option<InstanceType>,
    /// Only waiting jobs.
    pub waiting: bool,
}

/// A query for jobs.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Filters of the list.
    pub filter: &'a Filter,
    /// Additional condition on each job.
    pub also: &'a dyn Fn(&Job) -> bool,
    /// Only jobs after this age and id.
    pub after: Option<(Timestamp, &'a JobId)>,
    /// Newest first, rather than oldest first.
    pub newest_first: bool,
    /// Maximum number of jobs.
    pub limit: usize,
    /// Maximum jobs examined.
    pub examine: usize,
}

impl fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { filter, also: _, after, newest_first, limit, examine } = self;
        let mut shown = f.debug_struct("Wanted");
        shown.field("filter", filter).field("after", after).field("newest_first", newest_first);
        shown.field("limit", limit).field("examine", examine).finish_non_exhaustive()
    }
}

impl<'a> Wanted<'a> {
    /// The oldest jobs that match a filter, up to a limit.
    pub fn of(filter: &'a Filter, limit: usize) -> Self {
        Self { filter, also: &|_| true, after: None, newest_first: false, limit, examine: EXAMINED_AT_MOST }
    }

    fn accepts(&self, job: &Job) -> bool {
        self.filter.accepts(job) && (self.also)(job)
    }

    /// Whether a key comes after the start of the list.
    fn follows(&self, key: AgeKey) -> bool {
        let after = self.after.map(|(created_at, id)| (created_at, key_of(id)));
        after.is_none_or(|after| if self.newest_first { key < after } else { key > after })
    }
}

impl Filter {
    fn accepts(&self, job: &Job) -> bool {
        let share = job.share().map_or("", ShareName::as_str);
        let begins =
            |prefix: &Option<String>, text: &str| prefix.as_ref().is_none_or(|prefix| text.starts_with(prefix));
        self.queue.as_ref().is_none_or(|queue| job.queue() == queue)
            && self.share.as_ref().is_none_or(|wanted| wanted.as_str() == share)
            && self.state.as_ref().is_none_or(|state| job.status() == state && !job.is_missing())
            && self.owner.as_ref().is_none_or(|owner| job.owner().unwrap_or_default() == owner)
            && self.unit.as_ref().is_none_or(|unit| job.latest.demand.iter().any(|capacity| capacity.unit == *unit))
            && (!self.waiting || (job.status().is_waiting() && !job.is_missing()))
            && begins(&self.id, job.latest.id.as_str())
            && begins(&self.name, &job.latest.name)
    }
}

impl Filter {
    /// Whether a job that has ended as a list shows matches. The list has no owner.
    pub(super) fn accepts_end(&self, seen: &JobSeen) -> bool {
        let share = seen.share.as_ref().map_or("", ShareName::as_str);
        self.queue.as_ref().is_none_or(|queue| seen.queue == *queue)
            && self.share.as_ref().is_none_or(|wanted| wanted.as_str() == share)
            && self.state.as_ref().is_none_or(|state| seen.status == *state)
            && self.unit.as_ref().is_none_or(|unit| seen.demand.iter().any(|capacity| capacity.unit == *unit))
            && self.id.as_ref().is_none_or(|prefix| seen.id.as_str().starts_with(prefix))
            && self.name.as_ref().is_none_or(|prefix| seen.name.starts_with(prefix))
            && self.owner.is_none()
            && !self.waiting
    }
}

/// Some jobs, in order.
#[derive(Debug, Default)]
pub struct Found<'a> {
    /// The jobs.
    pub jobs: Vec<&'a Job>,
    /// The job after which to continue; `None` at the end.
    pub next: Option<&'a Job>,
}

impl Ledger {
    /// The jobs that match a filter and come after this age and id, oldest first. The cost depends on `limit`, not on
    /// the number of jobs.
    pub fn list(&self, filter: &Filter, after: Option<(Timestamp, &JobId)>, limit: usize) -> Found<'_> {
        self.find(Wanted { after, ..Wanted::of(filter, limit) })
    }

    /// The jobs of a query, in order. The cost depends on `limit` and `examine`, not on the number of jobs.
    pub fn find<'a>(&'a self, wanted: Wanted<'_>) -> Found<'a> {
        self.listing.page(wanted, &self.jobs)
    }

    /// The jobs that match a filter with the longest current wait, longest first: at most `limit`. What neither an
    /// index nor a short list answers is searched among the [`EXAMINED_AT_MOST`] longest-waiting jobs.
    pub fn waiting_longest(&self, filter: &Filter, limit: usize) -> Vec<&Job> {
        self.find_waiting_longest(Wanted::of(filter, limit))
    }

    /// As [`Ledger::waiting_longest`], with the other conditions of a query.
    pub fn find_waiting_longest(&self, wanted: Wanted<'_>) -> Vec<&Job> {
        let Wanted { filter, limit, .. } = wanted;
        if filter.state.as_ref().is_some_and(|state| state.is_ended() || state.is_in_flight()) {
            return Vec::new();
        }
        if let Some(few) = self.listing.few(filter, &self.jobs) {
            let passing = few.into_iter().filter(|job| wanted.accepts(job));
            let mut waiting: Vec<_> = passing.filter_map(|job| Some((job.waiting_since()?, job))).collect();
            waiting.sort_unstable_by(|(since, job), (other_since, other)| {
                (since, &job.latest.id).cmp(&(other_since, &other.latest.id))
            });
            return waiting.into_iter().take(limit).map(|(_, job)| job).collect();
        }
        let of_queue = |queue: &QueueName| filter.queue.as_ref().is_none_or(|wanted| wanted == queue);
        let of_share = |share: Option<&ShareName>| {
            filter.share.as_ref().is_none_or(|wanted| wanted.as_str() == share.map_or("", ShareName::as_str))
        };
        let shares = self.shares().filter(|(queue, share, _)| of_queue(queue) && of_share(*share));
        let longest = Merged::of(shares.flat_map(|(_, _, share_jobs)| share_jobs.waits())).take(EXAMINED_AT_MOST);
        let jobs = longest.filter_map(|(_, id)| self.job(id));
        jobs.filter(|job| wanted.accepts(job)).take(limit).collect()
    }

    /// The jobs that a user may mean by an id, by a prefix of an id or name, by a name or by an owner; up to a limit.
    pub fn meant<'a>(&'a self, words: &'a str, at_most: usize) -> Vec<&'a Job> {
        self.listing.meant(words, at_most, &self.jobs)
    }
}

impl Listing {
    /// The jobs of a query, in order.
    pub(super) fn page<'a>(&self, wanted: Wanted<'_>, jobs: &'a JobTable) -> Found<'a> {
        let filter = wanted.filter;
        let by_id = filter.id.as_deref().and_then(|prefix| self.beginning(&self.ids, prefix, id, jobs));
        let by_text = || filter.name.as_deref().and_then(|prefix| self.beginning(&self.names, prefix, name, jobs));
        if let Some(few) = by_id.or_else(by_text) {
            return among(few, wanted);
        }
        let mut sets = self.sets(filter);
        if let Some(owner) = &filter.owner {
            let of_owner: Vec<&CompactSet<AgeKey>> = self.owners.get(owner.as_str()).into_iter().collect();
            if count(&of_owner) <= count(&sets) {
                sets = of_owner;
            }
        }
        let after = wanted.after.map(|(created_at, id)| (created_at, key_of(id)));
        let limit = after.map_or(Bound::Unbounded, Bound::Excluded);
        if wanted.newest_first {
            let runs = sets.iter().map(|set| set.range((Bound::Unbounded, limit)).rev().copied().map(Reverse));
            return along(Merged::of(runs).map(|Reverse(key)| key), wanted, jobs);
        }
        let runs = sets.iter().map(|set| set.range((limit, Bound::Unbounded)).copied());
        along(Merged::of(runs), wanted, jobs)
    }

    /// All jobs with the id, name or owner of a filter, and possibly others; `None` if they are many or the filter
    /// has none of these.
    fn few<'a>(&self, filter: &Filter, jobs: &'a JobTable) -> Option<Vec<&'a Job>> {
        let by_id = filter.id.as_deref().and_then(|prefix| self.beginning(&self.ids, prefix, id, jobs));
        let by_name = || filter.name.as_deref().and_then(|prefix| self.beginning(&self.names, prefix, name, jobs));
        let by_owner = || {
            let keys = match self.owners.get(filter.owner.as_deref()?) {
                Some(keys) if keys.len() > EXAMINED_AT_MOST => return None,
                keys => keys.into_iter().flatten(),
            };
            Some(keys.filter_map(|(_, key)| jobs.by_key(*key)).collect())
        };
        by_id.or_else(by_name).or_else(by_owner)
    }

    /// All jobs whose text has this prefix, unless they are many.
    fn beginning<'a>(&self, order: &Sorted, prefix: &str, text: Text, jobs: &'a JobTable) -> Option<Vec<&'a Job>> {
        let found = self.starting_with(order, prefix, text, jobs).take(COLLECTED_AT_MOST + 1).collect::<Vec<_>>();
        (found.len() <= COLLECTED_AT_MOST).then_some(found)
    }

    fn starting_with<'a, 'b>(
        &self,
        order: &'b Sorted,
        prefix: &'b str,
        text: Text,
        jobs: &'a JobTable,
    ) -> impl Iterator<Item = &'a Job> + use<'a, 'b>
    where
        'a: 'b,
    {
        let from = order.from(prefix, move |key| jobs.by_key(key).map(text)).filter_map(|key| jobs.by_key(key));
        from.take_while(move |job| text(job).starts_with(prefix))
    }

    /// The jobs that a user may mean by a text: the job with this id, else jobs with this name, else with this prefix
    /// of an id, else with this prefix of a name, else of this owner. Up to a limit.
    pub(super) fn meant<'a>(&'a self, words: &'a str, at_most: usize, jobs: &'a JobTable) -> Vec<&'a Job> {
        if words.is_empty() {
            return Vec::new();
        }
        if let Some(job) = jobs.get(&JobId::new(words)) {
            return vec![job];
        }
        let named = self.starting_with(&self.names, words, name, jobs).take_while(|job| *job.latest.name == *words);
        let named: Vec<&Job> = named.take(at_most).collect();
        let or = |found: Vec<&'a Job>, other: &dyn Fn() -> Vec<&'a Job>| if found.is_empty() { other() } else { found };
        let found = or(named, &|| self.starting_with(&self.ids, words, id, jobs).take(at_most).collect());
        let found = or(found, &|| self.starting_with(&self.names, words, name, jobs).take(at_most).collect());
        or(found, &|| {
            let of_owner = self.owners.get(words).into_iter().flatten().rev();
            of_owner.take(at_most).filter_map(|(_, key)| jobs.by_key(*key)).collect()
        })
    }

    fn sets(&self, filter: &Filter) -> Vec<&CompactSet<AgeKey>> {
        let of_queue = |queue: &QueueName| filter.queue.as_ref().is_none_or(|wanted| wanted == queue);
        let of_share = |share: &Option<ShareName>| {
            let share = share.as_ref().map_or("", ShareName::as_str);
            filter.share.as_ref().is_none_or(|wanted| wanted.as_str() == share)
        };
        let in_state = |state: &JobStatus| {
            filter.state.as_ref().is_none_or(|wanted| wanted == state) && (!filter.waiting || state.is_waiting())
        };
        let shares = self.by_share.iter().filter(|(queue, _)| of_queue(queue)).flat_map(|(_, shares)| shares);
        let states = shares.filter(|(share, _)| of_share(share)).flat_map(|(_, states)| states);
        states.filter(|(state, _)| in_state(state)).map(|(_, jobs)| jobs).collect()
    }
}

fn count(sets: &[&CompactSet<AgeKey>]) -> usize {
    sets.iter().map(|set| set.len()).sum()
}

/// A page from a few jobs.
fn among<'a>(few: Vec<&'a Job>, wanted: Wanted<'_>) -> Found<'a> {
    let passes = |job: &&Job| wanted.accepts(job) && wanted.follows(age_key_of(job));
    let mut jobs: Vec<&Job> = few.into_iter().filter(passes).collect();
    jobs.sort_by_cached_key(|job| age_key_of(job));
    if wanted.newest_first {
        jobs.reverse();
    }
    let is_cut = jobs.len() > wanted.limit;
    jobs.truncate(wanted.limit);
    let next = jobs.last().copied().filter(|_| is_cut);
    Found { jobs, next }
}

/// A page from jobs that are examined in the order of these keys.
fn along<'a>(keys: impl Iterator<Item = AgeKey>, wanted: Wanted<'_>, jobs: &'a JobTable) -> Found<'a> {
    let mut found = Found::default();
    let mut last = None;
    for (examined, (_, key)) in keys.enumerate() {
        let Some(job) = jobs.by_key(key) else { continue };
        let passes = wanted.accepts(job);
        if passes && found.jobs.len() == wanted.limit {
            found.next = found.jobs.last().copied();
            return found;
        }
        if examined >= wanted.examine {
            found.next = last;
            return found;
        }
        last = Some(job);
        if passes {
            found.jobs.push(job);
        }
    }
    found
}

#[cfg(test)]
mod tests;
