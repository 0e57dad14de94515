//! Jobs and training jobs whose descriptions are refused, or unreadable, while the source describes others: they are
//! asked for again less and less often, so that they neither take the place of others nor let the source appear to
//! fail for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::jobs::tombstones::LIMIT as PAST_LIMIT;
use crate::jobs::{Changes, Job, Ledger};
use crate::model::format::{counted, duration};
use crate::model::{JobId, JobSeen, MANY_REFUSED, Questions, Source, Timestamp, TrainingJobName, Undescribed};

/// Time until a refused description is requested again. Doubles with each refusal, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// As above, while the failures may be the source's own: it may recover at any time.
const LONGEST_UNCLEAR_PAUSE: Duration = Duration::from_secs(300);

/// Failures in a row after which an item counts as refused if each of them may have been the source's own.
const FAILURES_BEFORE_REFUSED: u32 = 3;

/// Waiting jobs that are searched for one that was described before, in all and by class.
const SEARCHED: usize = 5_000;

/// See [`SEARCHED`].
const SEARCHED_PER_CLASS: usize = 500;

/// Maximum items with a pause. Further ones are requested in every poll.
const MAX_REFUSED: usize = 10_000;

/// Name of the limit above in `limit.hits`.
const LIMIT: &str = "refused_descriptions";

/// A job that no list shows and that is not described for so long is gone: nothing else will ever tell.
const GONE_AFTER: Duration = Duration::from_secs(86_400);

/// Maximum ids named in a note.
const MAX_NAMED: usize = 3;

/// Items whose last description was refused.
#[derive(Debug, Default)]
pub(super) struct Refused {
    items: BTreeMap<Undescribed, Refusal>,
    beyond_limit: u64,
}

#[derive(Debug)]
struct Refusal {
    /// Of the first in a row.
    since: Timestamp,
    times: u32,
    /// Whether it is the item's own fault rather than the source's.
    is_own: bool,
    at: Timestamp,
    error: String,
}

impl Refusal {
    fn counts(&self) -> bool {
        self.is_own || self.times >= FAILURES_BEFORE_REFUSED
    }

    fn pause(&self) -> Duration {
        // Beyond six doublings the longest pause applies anyway.
        let doublings = self.times.saturating_sub(1).min(6);
        let longest = if self.is_own { LONGEST_PAUSE } else { LONGEST_UNCLEAR_PAUSE };
        (FIRST_PAUSE * 2_u32.pow(doublings)).min(longest)
    }

    /// Whether it is not to be requested yet. A refusal of the future is from before the clock was set back.
    fn is_paused(&self, now: Timestamp) -> bool {
        self.counts() && self.at <= now && now.since(self.at) < self.pause()
    }
}

impl Refused {
    /// The description of an item was refused at `at`. `is_own` tells whether that is certainly the item's fault; otherwise it
    /// counts once it has happened several times in a row.
    pub(super) fn add(&mut self, item: Undescribed, at: Timestamp, is_own: bool, error: String) {
        if self.items.len() >= MAX_REFUSED && !self.items.contains_key(&item) {
            self.beyond_limit += 1;
            return;
        }
        let refusal =
            self.items.entry(item).or_insert(Refusal { since: at, times: 0, is_own, at, error: String::new() });
        refusal.times = refusal.times.saturating_add(1);
        refusal.is_own |= is_own;
        (refusal.at, refusal.error) = (at, error);
    }

    /// A job was listed or described; only a description is news here.
    pub(super) fn seen(&mut self, seen: &JobSeen) {
        if seen.details.is_some() {
            self.described(&seen.id);
        }
    }

    /// A job was described, or is known to be gone.
    pub(super) fn described(&mut self, id: &JobId) {
        if !self.items.is_empty() {
            self.items.remove(&Undescribed::Job(id.clone()));
        }
    }

    pub(super) fn training_job_described(&mut self, name: &TrainingJobName) {
        if !self.items.is_empty() {
            self.items.remove(&Undescribed::TrainingJob(name.clone()));
        }
    }

    /// Whether a job is not to be described yet.
    pub(super) fn is_paused(&self, id: &JobId, now: Timestamp) -> bool {
        !self.items.is_empty()
            && self.items.get(&Undescribed::Job(id.clone())).is_some_and(|refusal| refusal.is_paused(now))
    }

    /// Whether a training job is not to be described yet.
    pub(super) fn is_training_job_paused(&self, name: &TrainingJobName, now: Timestamp) -> bool {
        !self.items.is_empty()
            && self.items.get(&Undescribed::TrainingJob(name.clone())).is_some_and(|refusal| refusal.is_paused(now))
    }

    /// Whether no description of a job can be expected.
    pub(super) fn is_refused(&self, id: &JobId) -> bool {
        !self.items.is_empty() && self.items.get(&Undescribed::Job(id.clone())).is_some_and(Refusal::counts)
    }

    /// Whether no description of a training job can be expected.
    fn is_training_job_refused(&self, name: &TrainingJobName) -> bool {
        !self.items.is_empty() && self.items.get(&Undescribed::TrainingJob(name.clone())).is_some_and(Refusal::counts)
    }

    /// Which jobs, or training jobs, are refused, in words: the longest refused first; `None` without any.
    fn in_words(&self, of_jobs: bool, now: Timestamp) -> Option<String> {
        let is_one = |item: &Undescribed| matches!(item, Undescribed::Job(_)) == of_jobs;
        let mut refused: Vec<_> =
            self.items.iter().filter(|(item, refusal)| is_one(item) && refusal.counts()).collect();
        refused.sort_by_key(|(_, refusal)| refusal.since);
        let (_, first) = refused.first()?;
        let (what, lacks) = if of_jobs {
            ("job", "its owner, priority and attempts are unknown or old")
        } else {
            ("training job", "its starts are known from polls only")
        };
        let named: Vec<&str> = refused.iter().take(MAX_NAMED).map(|(item, _)| item.as_str()).collect();
        let more = refused.len().saturating_sub(MAX_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Some(format!(
            "AWS does not describe {} ({}{more}; {lacks}), for {}: {}. Requested again at the latest after {}",
            counted(refused.len() as u64, what),
            named.join(", "),
            duration(now.seconds_since(first.since)),
            first.error,
            duration(LONGEST_PAUSE.as_secs_f64()),
        ))
    }
}

impl Ledger {
    /// The description of an item was refused at `at`. `is_own` tells whether that is certainly the item's fault, and not
    /// the source's; otherwise it counts once it has happened several times in a row. An end that waits for this
    /// description is then applied as listed.
    pub fn observe_undescribed(&mut self, item: Undescribed, at: Timestamp, is_own: bool, error: String) -> Changes {
        let job = if let Undescribed::Job(id) = &item { Some(id.clone()) } else { None };
        self.refused.add(item, at, is_own, error);
        let refused = job.filter(|id| self.refused.is_refused(id) && self.undescribed_ends.end_of(id).is_some());
        if let Some((at, seen)) = refused.and_then(|id| self.undescribed_ends.take(&id)) {
            self.apply(seen, at);
        }
        self.changes()
    }

    /// If many jobs or training jobs are to be described, or the source failed in the last poll, and none of them was
    /// described before, adds one that was: whether AWS describes it tells a source that refuses everything from items
    /// that are refused.
    pub fn add_controls(&self, questions: &mut Questions, has_failed: impl Fn(Source) -> bool) {
        let need_one = |count: usize, source| count >= MANY_REFUSED || (count > 0 && has_failed(source));
        let was_described = |job: &&Job| job.details.is_some() && !self.refused.is_refused(&job.latest.id);
        let is_control = |id: &JobId| self.job(id).is_some_and(|job| was_described(&job));
        if need_one(questions.jobs.len(), Source::Descriptions) && !questions.jobs.iter().any(is_control) {
            let classes = self.shares().flat_map(|(_, _, share_jobs)| share_jobs.classes());
            let waiting = classes.flat_map(|(_, keys)| keys.iter().take(SEARCHED_PER_CLASS)).take(SEARCHED);
            let waiting = waiting.filter_map(|key| self.job(&key.id));
            let control = self.in_flight().chain(waiting).find(was_described);
            questions.jobs.splice(0..0, control.map(|job| job.latest.id.clone()));
        }
        if need_one(questions.training_jobs.len(), Source::TrainingJobs) {
            let known = self.in_flight().filter(|job| job.training_job_known);
            let mut known = known.filter_map(|job| Some((job.latest.id.clone(), job.latest.training_job.clone()?)));
            let control = known.find(|(_, name)| !self.refused.is_training_job_refused(name));
            questions.training_jobs.splice(0..0, control);
        }
    }

    /// See [`Questions::refused`].
    pub(super) fn paused_sources(&self, now: Timestamp) -> BTreeSet<Source> {
        let paused = self.refused.items.iter().filter(|(_, refusal)| refusal.is_paused(now));
        paused.map(|(item, _)| item.source()).collect()
    }

    /// Which jobs are refused, and which training jobs, in words; `None` without any.
    pub fn refused_in_words(&self, now: Timestamp) -> [Option<String>; 2] {
        [true, false].map(|of_jobs| self.refused.in_words(of_jobs, now))
    }

    /// Whether a training job is not to be described yet.
    pub fn is_training_job_paused(&self, name: &TrainingJobName, now: Timestamp) -> bool {
        self.refused.is_training_job_paused(name, now)
    }

    /// Takes how often limits of the ledger were reached since the last call, by name.
    pub fn take_limit_hits(&mut self) -> [(&'static str, u64); 2] {
        let (refused, ids) = (&mut self.refused.beyond_limit, &mut self.tombstones.beyond_limit);
        [(LIMIT, std::mem::take(refused)), (PAST_LIMIT, std::mem::take(ids))]
    }

    /// Drops refusals of what is not asked for any more. Jobs that no list shows either are gone after a while.
    pub(super) fn forget_refused(&mut self, now: Timestamp) {
        if self.refused.items.is_empty() {
            return;
        }
        let missing = self.queues.values().flat_map(|coverage| &coverage.missing);
        let is_gone =
            |(id, since): &(&JobId, &Timestamp)| now.since(**since) > GONE_AFTER && self.refused.is_refused(id);
        let gone: Vec<JobId> = missing.filter(is_gone).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.apply_gone(id, now.into()));
        let (jobs, ends) = (&self.jobs, &self.undescribed_ends);
        let is_open = |id: &JobId| jobs.get(id).is_some_and(|job| !job.is_over) || ends.contains(id);
        // Training jobs are known by their names only; the jobs that have them may have ended since.
        self.refused.items.retain(|item, refusal| match item {
            Undescribed::Job(id) => is_open(id),
            Undescribed::TrainingJob(_) => now.since(refusal.at) <= LONGEST_PAUSE * 2,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000) + Duration::from_secs(second)
    }

    fn job(name: &str) -> Undescribed {
        Undescribed::Job(name.into())
    }

    #[test]
    fn a_refused_item_is_asked_for_ever_less_often_and_at_once_after_an_answer() {
        let mut refused = Refused::default();
        let (mut asked, mut at) = (Vec::new(), 0);
        while at < 4 * 3_600 {
            if !refused.is_paused(&"a".into(), second(at)) {
                asked.push(at);
                refused.add(job("a"), second(at), true, "no".to_owned());
            }
            at += 30;
        }
        assert_eq!(asked, [0, 60, 180, 420, 900, 1_860, 3_780, 7_380, 10_980]);
        assert!(!refused.is_paused(&"b".into(), second(at)));
        assert!(!refused.is_paused(&"a".into(), second(0)), "a clock that was set back pauses nothing");
        refused.described(&"a".into());
        assert!(!refused.is_paused(&"a".into(), second(10_990)) && !refused.is_refused(&"a".into()));
    }

    #[test]
    fn what_may_be_the_sources_fault_is_asked_for_every_five_minutes_at_least() {
        let mut refused = Refused::default();
        let (mut asked, mut at) = (Vec::new(), 0);
        while at < 1_800 {
            if !refused.is_paused(&"a".into(), second(at)) {
                asked.push(at);
                refused.add(job("a"), second(at), false, "busy".to_owned());
            }
            at += 30;
        }
        assert_eq!(asked, [0, 30, 60, 300, 600, 900, 1_200, 1_500]);
    }

    #[test]
    fn what_may_be_the_sources_fault_counts_after_some_times_in_a_row() {
        let mut refused = Refused::default();
        for (at, counts) in [(0, false), (30, false), (60, true)] {
            refused.add(job("a"), second(at), false, "busy".to_owned());
            assert_eq!(refused.is_refused(&"a".into()), counts, "{at}");
        }
        assert!(refused.in_words(true, second(60)).is_some_and(|words| words.contains("1 job (a;")));
    }

    #[test]
    fn some_are_named_and_beyond_a_limit_each_is_asked_for() {
        let mut refused = Refused::default();
        assert_eq!(refused.in_words(true, second(0)), None);
        for n in 0..MAX_REFUSED as u64 + 7 {
            refused.add(job(&format!("{n:05}")), second(n), true, "no".to_owned());
        }
        let words = refused.in_words(true, second(20_000)).unwrap();
        assert!(words.starts_with("AWS does not describe 10000 jobs (00000, 00001, 00002 and 9997 more; "), "{words}");
        assert_eq!(refused.in_words(false, second(0)), None, "no training job");
        assert_eq!(refused.beyond_limit, 7);
        assert!(!refused.is_paused(&"10001".into(), second(10_001)));
    }
}
