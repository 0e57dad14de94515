//! Plans the next requests: few where nothing changed, reliable where an alert may depend on them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::jobs::coverage::{Coverage, minute};
use crate::jobs::{Job, Ledger, Phase, ShareJobs};
use crate::model::{
    Accelerators, Capacity, JobId, JobStatus, Questions, QueueName, Timestamp, TrainingJobName, accelerators_of,
};

/// Arrivals are listed again from this long before the newest known job: lists may lag differently.
const OVERLAP: Duration = Duration::from_secs(60);

/// Maximum backlog that is listed in full in each poll: ten pages.
const SMALL_BACKLOG: usize = 1_000;

/// Jobs per page of a list.
const JOBS_PER_PAGE: usize = 100;

/// Fewer missing jobs than this are described one by one.
const WORTH_RELISTING: usize = 20;

/// Maximum descriptions per poll.
pub(crate) const JOBS_PER_POLL: usize = 500;

/// Maximum training jobs described per poll.
const TRAINING_JOBS_PER_POLL: usize = 20;

/// Maximum hosts per job whose utilisation is queried.
const MAX_HOSTS_PER_JOB: u32 = 10_000;

/// Maximum hosts returned for utilisation queries; the caller rotates through them.
const MAX_HOSTS: usize = 100_000;

/// Jobs at the front of a queue, as AWS reports it, that are described repeatedly.
const FRONT_OF_QUEUE: usize = 20;

/// Jobs at the front of each share that are described repeatedly.
const FRONT_OF_SHARE: usize = 3;

/// Maximum jobs per poll that are described again because of the description's age alone.
const REFRESHED_PER_POLL: usize = 40;

/// Intervals of verification.
#[derive(Clone, Copy, Debug)]
pub struct Cadence {
    /// Interval of full listings of waiting jobs, for large backlogs.
    pub reconcile_every: Duration,
    /// Interval of descriptions of each share's longest-waiting job, and of the jobs that go next.
    pub verify_every: Duration,
}

impl Ledger {
    /// The requests of the poll that starts at `now`, for the watched queues.
    pub fn questions<'a>(
        &self,
        queues: impl Iterator<Item = &'a QueueName>,
        cadence: Cadence,
        now: Timestamp,
    ) -> Questions {
        let mut questions = Questions::default();
        for queue in queues {
            let none = Coverage::default();
            let coverage = self.queues.get(queue).unwrap_or(&none);
            if let Some(known) = coverage.arrivals_from() {
                questions.created_after.insert(queue.clone(), known - OVERLAP);
            }
            match coverage.waiting_since {
                Some(_) if coverage.waiting_then <= SMALL_BACKLOG => drop(questions.waiting.insert(queue.clone())),
                Some(last) if now.since(last) < cadence.reconcile_every => {}
                Some(_) => drop(questions.reconcile.insert(queue.clone())),
                // Anything missed before a restart may be among them, and must be described before counting.
                None => drop(questions.waiting.insert(queue.clone())),
            }
        }
        let mut wanted = self.jobs_to_describe(cadence, now);
        self.relist_instead(&mut wanted, &mut questions.created_after, cadence, now);
        let wanted = wanted.into_iter().map(|job| &job.latest.id).filter(|id| !self.undescribed_ends.contains(id));
        // A job that ended is requested once more, even if it was refused before: its attempts may be known now.
        let is_due = |id: &&JobId| self.undescribed_ends.end_of(id).is_some() || !self.refused.is_paused(id, now);
        let undescribed_ends = self.undescribed_ends.ids().filter(is_due);
        let undescribed_ends = undescribed_ends.take(JOBS_PER_POLL / 2);
        questions.jobs = undescribed_ends.chain(wanted).take(JOBS_PER_POLL).cloned().collect();
        questions.training_jobs = self.training_jobs_to_describe(now);
        questions.refused = self.paused_sources(now);
        (questions.hosts, questions.hosts_left_out) = self.hosts_to_measure();
        questions
    }

    /// Jobs by urgency: missing in their lists, back in the queue, longest-waiting of their share, then merely
    /// unknown.
    fn jobs_to_describe(&self, cadence: Cadence, now: Timestamp) -> Vec<&Job> {
        let mut left: Vec<&Job> =
            self.queues.values().flat_map(|coverage| &coverage.left).filter_map(|id| self.job(id)).collect();
        let is_due = |job: &&Job| !self.refused.is_paused(&job.latest.id, now);
        left.retain(is_due);
        left.sort_by_key(|job| job.seen_at);
        let unverified = self.unverified_jobs(cadence, now);
        let of = |urgency: Urgency| self.index.wanted(urgency).filter_map(|(_, key)| self.jobs.by_key(*key));
        let rest = of(Urgency::Requeued)
            .chain(unverified)
            .chain(of(Urgency::UnknownInFlight))
            .chain(of(Urgency::UnknownWaiting));
        let mut reported: BTreeSet<&JobId> = left.iter().map(|job| &job.latest.id).collect();
        // Missing jobs may be found by a list instead, which leaves room for as many others.
        let rest: Vec<&Job> =
            rest.filter(is_due).filter(|job| reported.insert(&job.latest.id)).take(JOBS_PER_POLL).collect();
        left.extend(rest);
        left
    }

    /// The longest-waiting job of each share, and jobs in a status unknown to this build, which no list shows, if
    /// they were not seen for long.
    fn unverified_jobs(&self, cadence: Cadence, now: Timestamp) -> Vec<&Job> {
        let ids = self.shares().flat_map(|(_, _, share_jobs)| {
            share_jobs.oldest().map(|(_, id)| id).into_iter().chain(share_jobs.unknown())
        });
        let long_ago = |job: &&Job| now.since(job.seen_at) >= cadence.verify_every;
        let mut jobs: Vec<&Job> = ids.filter_map(|id| self.job(id)).filter(long_ago).collect();
        jobs.sort_by_key(|job| job.seen_at);
        jobs
    }

    /// A description is one call per job, a page of arrivals one call per hundred. If many recently created jobs are
    /// missing in their lists, list arrivals from further back instead of describing those jobs.
    fn relist_instead(
        &self,
        wanted: &mut Vec<&Job>,
        created_after: &mut BTreeMap<QueueName, Timestamp>,
        cadence: Cadence,
        now: Timestamp,
    ) {
        for (queue, after) in created_after {
            let Some(coverage) = self.queues.get(queue) else { continue };
            // Jobs that a list should have shown long ago are described after all.
            let is_left =
                |job: &Job| coverage.left.contains(&job.latest.id) && now.since(job.seen_at) < cadence.reconcile_every;
            let mut left: Vec<Timestamp> =
                wanted.iter().filter(|job| is_left(job)).map(|job| job.latest.created_at).collect();
            if left.len() < WORTH_RELISTING {
                continue;
            }
            left.sort_unstable_by(|a, b| b.cmp(a));
            let calls = |(described, back_to): &(usize, Timestamp)| {
                let listed: usize = coverage.created.range(minute(*back_to)..).map(|(_, jobs)| jobs).sum();
                listed.div_ceil(JOBS_PER_PAGE) + described
            };
            let rest_after = (0..left.len()).rev();
            let is_counted =
                |(_, back_to): &(usize, Timestamp)| coverage.counted_from.is_none_or(|from| *back_to >= from);
            let cheapest = rest_after.zip(left.iter().copied()).filter(is_counted).min_by_key(calls);
            if let Some(choice @ (_, back_to)) = cheapest
                && calls(&choice) < left.len()
            {
                // It is undocumented whether the filter includes its own time.
                *after = (*after).min(back_to - Duration::from_millis(1));
                wanted.retain(|job| !(is_left(job) && job.latest.created_at >= back_to));
            }
        }
    }

    /// Described jobs whose description may be outdated: `UpdateServiceJob` changes priorities, and owners come from
    /// tags. Near the front of queues (`fronts`, as AWS reports them) and shares they are refreshed soon; jobs in
    /// flight as often as full listings. The oldest descriptions come first.
    pub fn jobs_to_refresh<'a>(
        &'a self,
        fronts: impl Iterator<Item = impl Iterator<Item = JobId>>,
        cadence: Cadence,
        now: Timestamp,
    ) -> Vec<&'a JobId> {
        let known = |id: JobId| self.job(&id);
        let next_of_queues = fronts.flat_map(|front| front.take(FRONT_OF_QUEUE).filter_map(known).collect::<Vec<_>>());
        let next_of_share = |share_jobs: &'a ShareJobs| {
            let mut keys: Vec<_> =
                share_jobs.classes().flat_map(|(_, keys)| keys.iter().take(FRONT_OF_SHARE)).collect();
            keys.sort_unstable();
            keys.into_iter().take(FRONT_OF_SHARE).filter_map(|key| self.job(&key.id))
        };
        let next = next_of_queues.chain(self.shares().flat_map(|(_, _, share_jobs)| next_of_share(share_jobs)));
        let before = |job: &&Job, every: Duration| {
            job.timeline.current().is_some()
                && job.described_at.is_some_and(|at| now.since(at) >= every)
                && !self.refused.is_paused(&job.latest.id, now)
        };
        let next = next.filter(|job| before(job, cadence.verify_every));
        let in_flight = self.in_flight().filter(|job| before(job, cadence.reconcile_every));
        let by_age = |jobs: &mut dyn Iterator<Item = &'a Job>| {
            let mut jobs: Vec<&Job> = jobs.collect();
            jobs.sort_by_key(|job| (job.described_at, &job.latest.id));
            jobs.dedup_by_key(|job| &job.latest.id);
            jobs
        };
        let mut all = by_age(&mut { next });
        all.append(&mut by_age(&mut { in_flight }));
        all.into_iter().map(|job| &job.latest.id).take(REFRESHED_PER_POLL).collect()
    }

    fn training_jobs_to_describe(&self, now: Timestamp) -> Vec<(JobId, TrainingJobName)> {
        self.in_flight()
            .filter(|job| *job.status() == JobStatus::Running && !job.training_job_known)
            .filter_map(|job| Some((job.latest.id.clone(), job.latest.training_job.clone()?)))
            .filter(|(_, name)| !self.refused.is_training_job_paused(name, now))
            .take(TRAINING_JOBS_PER_POLL)
            .collect()
    }

    /// Hosts of running GPU jobs: `<training job>/algo-<n>`, n from 1; and how many there are beyond the maximum.
    fn hosts_to_measure(&self) -> (Vec<(JobId, String)>, u64) {
        let running = self.in_flight().filter(|job| {
            job.timeline.current().is_some_and(|span| span.phase == Phase::Running)
                && job
                    .latest
                    .demand
                    .iter()
                    .any(|capacity| matches!(accelerators_of(&capacity.unit), Some(Accelerators::Gpus(_)) | None))
        });
        let (mut hosts, mut left_out) = (Vec::new(), 0);
        for (job, name) in running.filter_map(|job| Some((job, job.latest.training_job.as_ref()?))) {
            let count = host_count(job);
            let room = u32::try_from(MAX_HOSTS - hosts.len()).unwrap_or(u32::MAX).min(MAX_HOSTS_PER_JOB);
            left_out += u64::from(count.saturating_sub(room));
            hosts.extend((1..=count.min(room)).map(|host| (job.latest.id.clone(), format!("{name}/algo-{host}"))));
        }
        (hosts, left_out)
    }
}

/// Why a job should be described because of its own state, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    Requeued,
    UnknownInFlight,
    UnknownWaiting,
}

impl Urgency {
    pub(super) fn of(job: &Job) -> Option<Self> {
        if job.wants_description_since.is_some() {
            Some(Self::Requeued)
        } else if job.details.is_some() {
            None
        } else if job.status().is_in_flight() {
            Some(Self::UnknownInFlight)
        } else {
            Some(Self::UnknownWaiting)
        }
    }
}

fn host_count(job: &Job) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "instance counts are small and whole")]
    let of = |capacity: &Capacity| capacity.quantity.max(0.0) as u32;
    job.latest.demand.iter().map(of).fold(0_u32, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobSeen;

    #[test]
    fn hosts_beyond_the_maximum_are_counted() {
        let running = |number: i64, instances: f64| {
            let mut job =
                JobSeen::new(format!("job-{number:02}"), "prod", JobStatus::Running, Timestamp::from_millis(0));
            job.training_job = Some(format!("t-{number}").as_str().into());
            job.demand = vec![Capacity { unit: "ml.p5.48xlarge".into(), quantity: instances }].into();
            job
        };
        let of = |jobs: Vec<JobSeen>| {
            let mut ledger = Ledger::default();
            jobs.into_iter().for_each(|job| drop(ledger.observe(job, Timestamp::from_millis(60_000))));
            let (hosts, left_out) = ledger.hosts_to_measure();
            (hosts.len(), left_out)
        };
        assert_eq!(of(vec![running(0, 3.0), running(1, 2.0)]), (5, 0));
        assert_eq!(of(vec![running(0, 10_007.0), running(1, 2.0)]), (10_002, 7));
        assert_eq!(of((0..12).map(|number| running(number, 9_000.0)).collect()), (100_000, 8_000));
    }
}
