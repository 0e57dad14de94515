//! Annotations about the jobs behind an alert: why a job waits, and which jobs of a queue matter. Computed on
//! demand.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::jobs::{Class, Job, Phase};
use crate::metrics::gpu_waterfall::IDLE_BELOW;
use crate::metrics::reasons::{self, Diagnosis, Reason, Why};
use crate::metrics::{Inputs, host_utilisation};
use crate::model::format::{amount, duration};
use crate::model::{JobId, JobStatus, QueueName, ShareName, Timestamp};

/// Maximum jobs named in an alert about a queue.
pub const JOBS_NAMED: usize = 3;

/// Jobs examined per class of waiting jobs with a relevant reason: those that go next.
const JOBS_EXAMINED: usize = 20;

/// Maximum age of a failure for the job to be named.
const FAILED_WITHIN: Duration = Duration::from_secs(3_600);

/// Looks up jobs for alerts, at one moment.
#[derive(Debug)]
pub struct Notes<'a> {
    inputs: Inputs<'a>,
    diagnosis: OnceCell<Vec<Diagnosis<'a>>>,
    by_kind: OnceCell<BTreeMap<Kind<'a>, KindDiagnoses>>,
}

/// Queue, share and class of waiting jobs.
type Kind<'a> = (&'a QueueName, Option<&'a ShareName>, &'a Class);

/// Indexes of the diagnoses of a class: that of the job that goes next in its share, and that of the others.
#[derive(Debug, Default)]
struct KindDiagnoses {
    next: Option<usize>,
    others: Option<usize>,
}

/// Why one job waits.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitNote {
    /// The reason.
    pub reason: Reason,
    /// The reason with its numbers, in a sentence.
    pub explanation: String,
}

impl<'a> Notes<'a> {
    /// Creates the lookup for the moment of `inputs`.
    pub fn new(inputs: Inputs<'a>) -> Self {
        Self { inputs, diagnosis: OnceCell::new(), by_kind: OnceCell::new() }
    }

    /// Why a job waits; `None` if it does not.
    pub fn wait(&self, id: &JobId) -> Option<WaitNote> {
        let one = self.diagnosis_of(self.inputs.ledger.job(id)?)?;
        Some(WaitNote { reason: one.reason, explanation: one.reason.explain(&one.evidence) })
    }

    /// The reason for which a job waits; `None` if it does not.
    pub fn reason(&self, job: &Job) -> Option<Reason> {
        Some(self.diagnosis_of(job)?.reason)
    }

    /// Why a job waits, given its wait so far by reason; without its queue position.
    pub(super) fn why(&self, job: &Job, waited: BTreeMap<Reason, f64>) -> Option<Why> {
        let queue = self.inputs.queues.iter().find(|queue| queue.name == *job.queue())?;
        Some(self.diagnosis_of(job)?.why(queue, None, waited))
    }

    /// The longest-waiting jobs of a queue or share, each with its reason; only those with a reason in `wanted`, if
    /// given.
    pub fn waiting(
        &self,
        queue: &str,
        share: Option<&str>,
        wanted: Option<&dyn Fn(Reason) -> bool>,
    ) -> Vec<(Reason, String)> {
        let mut waiting = match wanted {
            None => self.longest(queue, share),
            Some(wanted) => self.longest_for(queue, share, wanted),
        };
        waiting.sort_by(|a, b| (a.0, &a.1.latest.id).cmp(&(b.0, &b.1.latest.id)));
        let reported = |(since, job, reason): (Timestamp, &Job, Reason)| {
            (reason, format!("{} has waited {} {}", named(job), self.age(since), reason.words()))
        };
        waiting.into_iter().take(JOBS_NAMED).map(reported).collect()
    }

    fn longest(&self, queue: &str, share: Option<&str>) -> Vec<(Timestamp, &Job, Reason)> {
        let ledger = self.inputs.ledger;
        let shares = ledger.shares().filter(|(name, of, _)| is_of(queue, share, name.as_str(), *of));
        let longest = shares.flat_map(|(_, _, share_jobs)| share_jobs.longest_waiting(JOBS_NAMED));
        let with_reason = |(since, id): &(Timestamp, JobId)| {
            let job = ledger.job(id)?;
            Some((*since, job, self.diagnosis_of(job)?.reason))
        };
        longest.filter_map(with_reason).collect()
    }

    fn longest_for(
        &self,
        queue: &str,
        share: Option<&str>,
        wanted: &dyn Fn(Reason) -> bool,
    ) -> Vec<(Timestamp, &Job, Reason)> {
        let ledger = self.inputs.ledger;
        let diagnosis = self.diagnosis().iter();
        let diagnosis = diagnosis.filter(|one| is_of(queue, share, one.job.queue().as_str(), one.job.share()));
        let first = |one: &Diagnosis<'a>| -> Vec<&'a Job> {
            let share_jobs = ledger.share_jobs(one.job.queue(), one.job.share());
            let keys = share_jobs.and_then(|share_jobs| share_jobs.keys_of(one.class)).into_iter().flatten();
            let jobs = keys.filter_map(|key| ledger.job(&key.id));
            let from = jobs.skip_while(|job| job.latest.id != one.job.latest.id);
            from.take(one.jobs.min(JOBS_EXAMINED)).collect()
        };
        let waiting = diagnosis.filter(|one| wanted(one.reason)).flat_map(|one| {
            first(one).into_iter().filter_map(|job| Some((job.waiting_since()?, job, one.reason))).collect::<Vec<_>>()
        });
        waiting.collect()
    }

    /// The latest failed jobs of a queue or share, each with who can fix the failure.
    pub fn failed(&self, queue: &str, share: Option<&str>) -> Vec<String> {
        let now = self.inputs.now;
        let failed =
            self.inputs.ledger.ended_since(now - FAILED_WITHIN).filter(|job| {
                is_of(queue, share, job.queue().as_str(), job.share()) && *job.status() == JobStatus::Failed
            });
        let ended = |job: &'a Job| {
            let ended_at = job.timeline.spans().last().and_then(|span| span.to).map_or(job.seen_at, |to| to.latest);
            (ended_at >= now - FAILED_WITHIN).then_some((ended_at, job))
        };
        // The ledger orders them by when their end was observed.
        let mut failed: Vec<(Timestamp, &Job)> = failed.filter_map(ended).collect();
        failed.sort_by(|a, b| (b.0, &a.1.latest.id).cmp(&(a.0, &b.1.latest.id)));
        let reported = |(ended_at, job): (Timestamp, &Job)| {
            format!("{} failed {} ago: {}", named(job), self.age(ended_at), job.failure().words())
        };
        failed.into_iter().take(JOBS_NAMED).map(reported).collect()
    }

    /// The running jobs of a queue or share with the most idle GPUs.
    pub fn idle(&self, queue: &str, share: Option<&str>) -> Vec<String> {
        let idle = |job: &'a Job| {
            let running = job.timeline.current().filter(|span| span.phase == Phase::Running)?;
            let hosts = host_utilisation::reporting(job, &self.inputs).into_iter();
            let gpus: f64 = hosts.filter(|host| host.utilisation < IDLE_BELOW).map(|host| host.gpus).sum();
            (gpus > 0.0).then_some((gpus, job, running.from.latest))
        };
        let in_flight = self.inputs.ledger.in_flight();
        let of_queue = in_flight.filter(|job| is_of(queue, share, job.queue().as_str(), job.share()));
        let mut jobs: Vec<(f64, &Job, Timestamp)> = of_queue.filter_map(idle).collect();
        jobs.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.latest.id.cmp(&b.1.latest.id)));
        let reported = |(gpus, job, since): (f64, &Job, Timestamp)| {
            format!("{} leaves {} idle and has run {}", named(job), amount(gpus, "GPU"), self.age(since))
        };
        jobs.into_iter().take(JOBS_NAMED).map(reported).collect()
    }

    fn diagnosis(&self) -> &[Diagnosis<'a>] {
        self.diagnosis.get_or_init(|| reasons::of_all(&self.inputs))
    }

    /// The diagnosis of a job. Computed for all classes in one pass, and reused for all jobs.
    fn diagnosis_of(&self, job: &Job) -> Option<&Diagnosis<'a>> {
        let by_kind: &BTreeMap<Kind<'_>, KindDiagnoses> = self.by_kind.get_or_init(|| {
            let mut by_kind = BTreeMap::<Kind<'a>, KindDiagnoses>::new();
            for (index, one) in self.diagnosis().iter().enumerate() {
                let of_kind = by_kind.entry((one.job.queue(), one.job.share(), one.class)).or_default();
                let first = if one.goes_next { &mut of_kind.next } else { &mut of_kind.others };
                first.get_or_insert(index);
            }
            by_kind
        });
        let class = Class::of(job);
        let of_kind = by_kind.get(&(job.queue(), job.share(), &class))?;
        let at = |index: Option<usize>| self.diagnosis().get(index?);
        // The job that goes next has its own diagnosis.
        let next = at(of_kind.next).filter(|one| one.job.latest.id == job.latest.id);
        next.or_else(|| at(of_kind.others).filter(|_| job.status().is_waiting()))
    }

    fn age(&self, since: Timestamp) -> String {
        duration(self.inputs.now.seconds_since(since))
    }
}

fn is_of(queue: &str, share: Option<&str>, of_queue: &str, of_share: Option<&ShareName>) -> bool {
    of_queue == queue && share.is_none_or(|share| of_share.map_or("", ShareName::as_str) == share)
}

/// Formats a job's name, id and owner.
fn named(job: &Job) -> String {
    let owner = job.owner().map(|owner| format!(" of {owner}")).unwrap_or_default();
    format!("{} ({}){owner}", job.latest.name, job.latest.id)
}
