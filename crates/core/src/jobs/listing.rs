//! Jobs in the orders in which people look for them: by age within a share and a state, by owner, by name and by id.
//!
//! A page of jobs costs what it shows, however many jobs there are: it is read off an order that is kept, and what no order answers is
//! looked for among at most [`EXAMINED_AT_MOST`] jobs a page. Memory is what a million jobs need most, so an order holds keys of eight
//! bytes, by which the table finds a job.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::iter::Peekable;
use std::ops::Bound;

use crate::jobs::sorted::Sorted;
use crate::jobs::table::{JobTable, key_of};
use crate::jobs::{Job, Ledger};
use crate::model::{InstanceType, JobId, JobStatus, QueueName, ShareName, Timestamp};

/// Jobs that one page looks at, at most. A page that has looked at so many ends early and says where to go on.
pub const EXAMINED_AT_MOST: usize = 10_000;

/// Jobs with an id or a name that begins so: up to here all are looked at, and beyond it they are frequent among all jobs.
const COLLECTED_AT_MOST: usize = 2_000;

/// What a list of jobs is narrowed by; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Only of this queue.
    pub queue: Option<QueueName>,
    /// Only of this share; the empty name means jobs without one.
    pub share: Option<ShareName>,
    /// Only in this state.
    pub state: Option<JobStatus>,
    /// Only jobs whose id begins so.
    pub id: Option<String>,
    /// Only jobs whose name begins so.
    pub name: Option<String>,
    /// Only of this owner; empty for jobs without one.
    pub owner: Option<String>,
    /// Only jobs that ask for this instance type.
    pub unit: Option<InstanceType>,
    /// Only jobs that wait.
    pub waiting: bool,
}

/// Which jobs are listed, and how.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// What narrows the list.
    pub filter: &'a Filter,
    /// What else must hold of each job.
    pub also: &'a dyn Fn(&Job) -> bool,
    /// Only jobs that come after one of this age and id.
    pub after: Option<(Timestamp, &'a JobId)>,
    /// The youngest first, instead of the oldest.
    pub newest_first: bool,
    /// At most so many.
    pub limit: usize,
    /// Jobs that are looked at, at most.
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
    /// The oldest jobs that pass a filter, at most so many.
    pub fn of(filter: &'a Filter, limit: usize) -> Self {
        Self { filter, also: &|_| true, after: None, newest_first: false, limit, examine: EXAMINED_AT_MOST }
    }

    fn accepts(&self, job: &Job) -> bool {
        self.filter.accepts(job) && (self.also)(job)
    }

    /// Whether a place comes after the one where the list begins.
    fn follows(&self, place: Place) -> bool {
        let after = self.after.map(|(created_at, id)| (created_at, key_of(id)));
        after.is_none_or(|after| if self.newest_first { place < after } else { place > after })
    }
}

impl Filter {
    fn accepts(&self, job: &Job) -> bool {
        let share = job.share().map_or("", ShareName::as_str);
        let begins =
            |prefix: &Option<String>, text: &str| prefix.as_ref().is_none_or(|prefix| text.starts_with(prefix));
        self.queue.as_ref().is_none_or(|queue| job.queue() == queue)
            && self.share.as_ref().is_none_or(|wanted| wanted.as_str() == share)
            && self.state.as_ref().is_none_or(|state| job.status() == state)
            && self.owner.as_ref().is_none_or(|owner| job.owner().unwrap_or_default() == owner)
            && self.unit.as_ref().is_none_or(|unit| job.latest.demand.iter().any(|capacity| capacity.unit == *unit))
            && (!self.waiting || job.status().is_waiting())
            && begins(&self.id, job.latest.id.as_str())
            && begins(&self.name, &job.latest.name)
    }
}

/// Some jobs, oldest first.
#[derive(Debug, Default)]
pub struct Found<'a> {
    /// The jobs.
    pub jobs: Vec<&'a Job>,
    /// After which job to go on; `None` where nothing follows.
    pub next: Option<&'a Job>,
}

/// When a job was created, and its key: a place in the order of all jobs.
pub(super) type Place = (Timestamp, u64);

/// Of what a job's places depend and what may change.
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

impl Ledger {
    /// The jobs that pass a filter and come after one of this age and id, oldest first: what this costs follows `limit`, and not how
    /// many jobs there are.
    pub fn list(&self, filter: &Filter, after: Option<(Timestamp, &JobId)>, limit: usize) -> Found<'_> {
        self.find(Wanted { after, ..Wanted::of(filter, limit) })
    }

    /// The jobs that are wanted, in their order: what this costs follows `limit` and `examine`, and not how many jobs there are.
    pub fn find<'a>(&'a self, wanted: Wanted<'_>) -> Found<'a> {
        self.listing.page(wanted, &self.jobs)
    }

    /// The jobs that pass a filter and have waited longest without a break until now, longest first: at most `limit`. What neither an order
    /// nor a short list answers is looked for among the [`EXAMINED_AT_MOST`] jobs that have waited longest.
    pub fn waiting_longest(&self, filter: &Filter, limit: usize) -> Vec<&Job> {
        self.find_waiting_longest(Wanted::of(filter, limit))
    }

    /// As [`Ledger::waiting_longest`]; what else is wanted must hold, too.
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
        let lanes = self.lanes().filter(|(queue, share, _)| of_queue(queue) && of_share(*share));
        let longest = Merged::of(lanes.flat_map(|(_, _, lane)| lane.waits())).take(EXAMINED_AT_MOST);
        let jobs = longest.filter_map(|(_, id)| self.job(id));
        jobs.filter(|job| wanted.accepts(job)).take(limit).collect()
    }

    /// The jobs that people may mean by an id, by how an id or a name begins, by a name or by an owner; at most so many.
    pub fn meant<'a>(&'a self, words: &'a str, at_most: usize) -> Vec<&'a Job> {
        self.listing.meant(words, at_most, &self.jobs)
    }
}

type ByState = BTreeMap<JobStatus, BTreeSet<Place>>;

/// Invariant: a job kept in full is in each order in one place.
#[derive(Debug, Default)]
pub(super) struct Listing {
    places: BTreeMap<QueueName, BTreeMap<Option<ShareName>, ByState>>,
    /// By owner; empty for jobs without one, or that were not described.
    owners: BTreeMap<Box<str>, BTreeSet<Place>>,
    ids: Sorted,
    names: Sorted,
}

pub(super) fn place_of(job: &Job) -> Place {
    (job.latest.created_at, key_of(&job.latest.id))
}

impl Listing {
    /// A job that is about to be kept in full.
    pub(super) fn add(&mut self, job: &Job, jobs: &JobTable) {
        let (_, key) = place_of(job);
        self.ids.insert(id(job), key, |other| jobs.by_key(other).map(id));
        self.names.insert(name(job), key, |other| jobs.by_key(other).map(name));
        self.put(job);
    }

    /// A job that is no longer kept in full.
    pub(super) fn remove(&mut self, job: &Job, jobs: &JobTable) {
        let (_, key) = place_of(job);
        self.ids.remove(id(job), key, |other| jobs.by_key(other).map(id));
        self.names.remove(name(job), key, |other| jobs.by_key(other).map(name));
        self.take(&Listed::of(job), job);
    }

    /// A job has changed, and was `before`.
    pub(super) fn moved(&mut self, before: &Listed, job: &Job) {
        if *before != Listed::of(job) {
            self.take(before, job);
            self.put(job);
        }
    }

    fn put(&mut self, job: &Job) {
        let place = place_of(job);
        let shares = match self.places.get_mut(job.queue()) {
            Some(shares) => shares,
            None => self.places.entry(job.queue().clone()).or_default(),
        };
        let states = match shares.get_mut(&job.latest.share) {
            Some(states) => states,
            None => shares.entry(job.latest.share.clone()).or_default(),
        };
        states.entry(job.status().clone()).or_default().insert(place);
        let owner = job.owner().unwrap_or_default();
        match self.owners.get_mut(owner) {
            Some(jobs) => jobs.insert(place),
            None => self.owners.entry(owner.into()).or_default().insert(place),
        };
    }

    fn take(&mut self, before: &Listed, job: &Job) {
        let place = place_of(job);
        if let Some(shares) = self.places.get_mut(job.queue())
            && let Some(states) = shares.get_mut(&before.share)
            && let Some(jobs) = states.get_mut(&before.status)
        {
            jobs.remove(&place);
            if jobs.is_empty() {
                states.remove(&before.status);
            }
            if states.is_empty() {
                shares.remove(&before.share);
            }
            if shares.is_empty() {
                self.places.remove(job.queue());
            }
        }
        let owner = before.owner.as_deref().unwrap_or_default();
        if let Some(jobs) = self.owners.get_mut(owner) {
            jobs.remove(&place);
            if jobs.is_empty() {
                self.owners.remove(owner);
            }
        }
    }

    /// Where the jobs are that have not ended, by age.
    pub(super) fn open(&self) -> impl Iterator<Item = Place> {
        let states = self.places.values().flat_map(BTreeMap::values).flatten();
        Merged::of(states.filter(|(state, _)| !state.is_ended()).map(|(_, places)| places.iter().copied()))
    }

    /// The jobs that are wanted, in their order.
    pub(super) fn page<'a>(&self, wanted: Wanted<'_>, jobs: &'a JobTable) -> Found<'a> {
        let filter = wanted.filter;
        let by_id = filter.id.as_deref().and_then(|prefix| self.beginning(&self.ids, prefix, id, jobs));
        let by_text = || filter.name.as_deref().and_then(|prefix| self.beginning(&self.names, prefix, name, jobs));
        if let Some(few) = by_id.or_else(by_text) {
            return among(few, wanted);
        }
        let mut sets = self.sets(filter);
        if let Some(owner) = &filter.owner {
            let of_owner: Vec<&BTreeSet<Place>> = self.owners.get(owner.as_str()).into_iter().collect();
            if count(&of_owner) <= count(&sets) {
                sets = of_owner;
            }
        }
        let after = wanted.after.map(|(created_at, id)| (created_at, key_of(id)));
        let limit = after.map_or(Bound::Unbounded, Bound::Excluded);
        if wanted.newest_first {
            let runs = sets.iter().map(|set| set.range((Bound::Unbounded, limit)).rev().copied().map(Reverse));
            return along(Merged::of(runs).map(|Reverse(place)| place), wanted, jobs);
        }
        let runs = sets.iter().map(|set| set.range((limit, Bound::Unbounded)).copied());
        along(Merged::of(runs), wanted, jobs)
    }

    /// All jobs with the id, name or owner that a filter asks for, and maybe more; `None` if they are many or it asks for none of these.
    fn few<'a>(&self, filter: &Filter, jobs: &'a JobTable) -> Option<Vec<&'a Job>> {
        let by_id = filter.id.as_deref().and_then(|prefix| self.beginning(&self.ids, prefix, id, jobs));
        let by_name = || filter.name.as_deref().and_then(|prefix| self.beginning(&self.names, prefix, name, jobs));
        let by_owner = || {
            let places = match self.owners.get(filter.owner.as_deref()?) {
                Some(places) if places.len() > EXAMINED_AT_MOST => return None,
                places => places.into_iter().flatten(),
            };
            Some(places.filter_map(|(_, key)| jobs.by_key(*key)).collect())
        };
        by_id.or_else(by_name).or_else(by_owner)
    }

    /// All jobs of which a text begins so, unless they are many.
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

    /// The jobs that people may mean by a text: the job with this id, or else those with this name, those with an id that begins so,
    /// with a name that begins so, or of this owner. At most so many.
    pub(super) fn meant<'a>(&'a self, words: &'a str, at_most: usize, jobs: &'a JobTable) -> Vec<&'a Job> {
        if words.is_empty() {
            return Vec::new();
        }
        if let Some(job) = jobs.get(&JobId::new(words)) {
            return vec![job];
        }
        let named = self.starting_with(&self.names, words, name, jobs).take_while(|job| job.latest.name == words);
        let named: Vec<&Job> = named.take(at_most).collect();
        let or = |found: Vec<&'a Job>, other: &dyn Fn() -> Vec<&'a Job>| if found.is_empty() { other() } else { found };
        let found = or(named, &|| self.starting_with(&self.ids, words, id, jobs).take(at_most).collect());
        let found = or(found, &|| self.starting_with(&self.names, words, name, jobs).take(at_most).collect());
        or(found, &|| {
            let of_owner = self.owners.get(words).into_iter().flatten().rev();
            of_owner.take(at_most).filter_map(|(_, key)| jobs.by_key(*key)).collect()
        })
    }

    fn sets(&self, filter: &Filter) -> Vec<&BTreeSet<Place>> {
        let of_queue = |queue: &QueueName| filter.queue.as_ref().is_none_or(|wanted| wanted == queue);
        let of_share = |share: &Option<ShareName>| {
            let share = share.as_ref().map_or("", ShareName::as_str);
            filter.share.as_ref().is_none_or(|wanted| wanted.as_str() == share)
        };
        let in_state = |state: &JobStatus| {
            filter.state.as_ref().is_none_or(|wanted| wanted == state) && (!filter.waiting || state.is_waiting())
        };
        let shares = self.places.iter().filter(|(queue, _)| of_queue(queue)).flat_map(|(_, shares)| shares);
        let states = shares.filter(|(share, _)| of_share(share)).flat_map(|(_, states)| states);
        states.filter(|(state, _)| in_state(state)).map(|(_, jobs)| jobs).collect()
    }
}

fn count(sets: &[&BTreeSet<Place>]) -> usize {
    sets.iter().map(|set| set.len()).sum()
}

/// What an order is by.
type Text = fn(&Job) -> &str;

fn id(job: &Job) -> &str {
    job.latest.id.as_str()
}

fn name(job: &Job) -> &str {
    &job.latest.name
}

/// A page of a few jobs.
fn among<'a>(few: Vec<&'a Job>, wanted: Wanted<'_>) -> Found<'a> {
    let passes = |job: &&Job| wanted.accepts(job) && wanted.follows(place_of(job));
    let mut jobs: Vec<&Job> = few.into_iter().filter(passes).collect();
    jobs.sort_by_cached_key(|job| place_of(job));
    if wanted.newest_first {
        jobs.reverse();
    }
    let is_cut = jobs.len() > wanted.limit;
    jobs.truncate(wanted.limit);
    let next = jobs.last().copied().filter(|_| is_cut);
    Found { jobs, next }
}

/// A page of jobs that are looked at in the order of these places.
fn along<'a>(places: impl Iterator<Item = Place>, wanted: Wanted<'_>, jobs: &'a JobTable) -> Found<'a> {
    let mut found = Found::default();
    let mut last = None;
    for (examined, (_, key)) in places.enumerate() {
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

/// Several ordered runs as one: an item costs as much as the runs' number has digits, and what is not asked for costs nothing.
struct Merged<I: Iterator<Item: Ord + Copy>> {
    runs: Vec<Peekable<I>>,
    heads: BinaryHeap<Reverse<(I::Item, usize)>>,
}

impl<I: Iterator<Item: Ord + Copy>> Merged<I> {
    fn of(runs: impl Iterator<Item = I>) -> Self {
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
