//! Metrics of single jobs, for rules only. There could be a series per job, so samples are made only for jobs that
//! a rule may currently concern, and are never published: they are not in the catalogue.
//!
//! An open job has all ages at every moment, 0 for the phases it is not in: a rule about one phase resolves when
//! the job moves on, and with `gone` when the job ends.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::jobs::{Job, Phase};
use crate::metrics::catalogue::{CloudWatch, Kind, Label, Metric, Range, Stability, Subject, Unit};
use crate::metrics::frame::{Sample, Value, labels};
use crate::metrics::shares_with_series::no_share;
use crate::metrics::{Inputs, gpu_waterfall, host_utilisation};
use crate::model::{JobId, ShareName, Source, Timestamp};

const LABELS: &[Label] = &["queue", "share", "owner", "name", "job"];

const fn gauge(
    name: &'static str,
    unit: Unit,
    about: Subject,
    sources: &'static [Source],
    meaning: &'static str,
) -> Metric {
    let range = match unit {
        Unit::Ratio => Range::UpToOne,
        Unit::Count | Unit::Seconds | Unit::Gpus | Unit::GpuSeconds | Unit::Instances | Unit::Bytes | Unit::Dollars => {
            Range::NonNegative
        }
    };
    Metric {
        name,
        unit,
        range,
        kind: Kind::Gauge,
        labels: LABELS,
        closed_labels: &[],
        stability: Stability::Experimental,
        about,
        sources,
        cloudwatch: CloudWatch::Never("there could be as many series as jobs"),
        meaning,
    }
}

const JOBS: &[Source] = &[Source::Jobs];

/// Seconds of the current uninterrupted wait; 0 when the job does not wait.
pub static JOB_WAITING_AGE: Metric =
    gauge("job.waiting.age", Unit::Seconds, Subject::WaitingJobs, JOBS, "How long the job has waited.");
/// Seconds in SCHEDULED; 0 in other states.
pub static JOB_SCHEDULED_AGE: Metric = gauge(
    "job.scheduled.age",
    Unit::Seconds,
    Subject::Other,
    JOBS,
    "How long SageMaker has been looking for the job's instances.",
);
/// Seconds in STARTING; 0 in other states.
pub static JOB_STARTING_AGE: Metric = gauge(
    "job.starting.age",
    Unit::Seconds,
    Subject::Other,
    JOBS,
    "How long the job has been downloading and starting its container.",
);
/// Seconds in RUNNING; 0 in other states.
pub static JOB_RUNNING_AGE: Metric =
    gauge("job.running.age", Unit::Seconds, Subject::Other, JOBS, "How long the job has run.");
/// Preemptions so far; absent until the job was described.
pub static JOB_PREEMPTED: Metric =
    gauge("job.preempted", Unit::Count, Subject::Other, JOBS, "How often the job was preempted.");
/// Mean over the GPUs of hosts with recent reports, from 0 to 1; absent until the job has run for
/// [`gpu_waterfall::GRACE`].
pub static JOB_GPU_UTILISATION: Metric = gauge(
    "job.gpu.utilisation",
    Unit::Ratio,
    Subject::Other,
    &[Source::Jobs, Source::Utilisation],
    "GPU utilisation of the running job.",
);

/// From the beginning of its wait to the midpoint of its start estimate; 0 when the job does not wait, absent
/// without an estimate.
pub static JOB_START_ESTIMATE: Metric = gauge(
    "job.start.estimate",
    Unit::Seconds,
    Subject::WaitingJobs,
    JOBS,
    "Expected total wait of the job at its start, from the median (P50) of its estimate.",
);
/// From the deadline in its tag `start-by` to the midpoint of its start estimate; 0 when it starts in time, absent
/// without tag or estimate.
pub static JOB_START_LATE: Metric = gauge(
    "job.start.late",
    Unit::Seconds,
    Subject::WaitingJobs,
    JOBS,
    "Expected delay of the job's start beyond its tag start-by, from the median (P50) of its estimate.",
);

/// All metrics of single jobs.
pub static ALL: [&Metric; 8] = [
    &JOB_WAITING_AGE,
    &JOB_SCHEDULED_AGE,
    &JOB_STARTING_AGE,
    &JOB_RUNNING_AGE,
    &JOB_PREEMPTED,
    &JOB_GPU_UTILISATION,
    &JOB_START_ESTIMATE,
    &JOB_START_LATE,
];

/// Finds a metric of single jobs by its name in rules.
pub fn find(name: &str) -> Option<&'static Metric> {
    ALL.into_iter().find(|metric| metric.name == name)
}

/// The metrics of single jobs that the rules of a tick need.
///
/// Jobs that cannot change any rule's result get no samples: the cost of a rule depends on the jobs it selects.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// Metrics of each selected job.
    pub metrics: BTreeSet<&'static str>,
    /// Metrics needed of every open job, because a rule aggregates them, compares them with the past or alerts on
    /// absence.
    pub of_every_job: BTreeSet<&'static str>,
    /// Jobs that are always selected, because they have an alert.
    pub jobs: BTreeSet<&'a str>,
    /// Jobs that match any of these are selected.
    pub selections: Vec<Selection<'a>>,
}

/// Condition under which a rule begins to hold for a job.
#[derive(Debug)]
pub struct Selection<'a> {
    /// Conditions on metrics of the job; at least one.
    pub tests: Vec<Test<'a>>,
    /// Whether all of them must hold, or any.
    pub all: bool,
}

/// A condition on one metric.
#[derive(Clone, Copy, Debug)]
pub struct Test<'a> {
    /// The metric.
    pub metric: &'static Metric,
    /// The threshold.
    pub limit: Limit,
    /// Label patterns that the job must match.
    pub filters: &'a [(Label, String)],
    /// Whether a text matches a pattern.
    pub matches: fn(&str, &str) -> bool,
}

/// A threshold and its direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Above the value.
    Above(f64),
    /// Below the value.
    Below(f64),
}

/// The samples. For a job without utilisation its age is included instead.
pub fn samples(inputs: &Inputs<'_>, wanted: &Wanted<'_>) -> Vec<Sample> {
    let mut samples = Vec::new();
    let of_every_job = made_for(&wanted.of_every_job);
    let of_selected = made_for(&wanted.metrics);
    let selected = selected(inputs, wanted);
    if !of_every_job.is_empty() {
        let is_other = |job: &&Job| !job.has_left() && !selected.contains_key(&age_of(job));
        for job in inputs.ledger.open_jobs().filter(is_other) {
            samples.extend(of_job(job, &of_every_job, inputs));
        }
    }
    for job in selected.into_values() {
        samples.extend(of_job(job, &of_selected, inputs));
    }
    samples
}

type Age<'a> = (Timestamp, &'a JobId);

fn age_of(job: &Job) -> Age<'_> {
    (job.latest.created_at, &job.latest.id)
}

/// The metrics whose samples are needed to evaluate these.
fn made_for(names: &BTreeSet<&'static str>) -> Vec<&'static Metric> {
    let utilisation = names.contains(JOB_GPU_UTILISATION.name);
    let is_made = |metric: &&'static Metric| {
        names.contains(metric.name) || (utilisation && *metric.name == *JOB_RUNNING_AGE.name)
    };
    ALL.into_iter().filter(is_made).collect()
}

fn selected<'a>(inputs: &Inputs<'a>, wanted: &Wanted<'_>) -> BTreeMap<Age<'a>, &'a Job> {
    let known = wanted.jobs.iter().filter_map(|id| inputs.ledger.job(&JobId::new(*id)));
    let mut selected: BTreeMap<Age<'a>, &'a Job> =
        known.filter(|job| job.timeline.current().is_some() && !job.has_left()).map(|job| (age_of(job), job)).collect();
    for selection in &wanted.selections {
        let passes = |job: &&Job| !job.has_left() && selection.passes(job, inputs);
        for job in candidates(selection, inputs).filter(passes) {
            selected.insert(age_of(job), job);
        }
    }
    selected
}

/// A superset of the jobs that match.
fn candidates<'a>(selection: &Selection<'_>, inputs: &Inputs<'a>) -> Box<dyn Iterator<Item = &'a Job> + 'a> {
    let groups = selection.tests.iter().map(Test::group);
    // If all conditions must hold, the smallest group is enough; if any, the largest is needed.
    let group = if selection.all { groups.min_by_key(Group::rank) } else { groups.max_by_key(Group::rank) };
    let of_any = || selection.tests.iter().map(Test::group);
    match group {
        Some(Group::Dispatched) => Box::new(inputs.ledger.dispatched()),
        Some(Group::Estimated) if selection.all => Box::new(estimated(inputs)),
        Some(Group::Estimated) => Box::new(estimated(inputs).chain(inputs.ledger.dispatched())),
        Some(Group::WaitingFor(_)) => {
            let least = of_any().filter_map(|group| match group {
                Group::WaitingFor(age) => Some(age),
                Group::Dispatched | Group::Estimated | Group::All => None,
            });
            // If any condition is enough, some may concern jobs in flight.
            let age = if selection.all { least.max() } else { least.min() }.unwrap_or_default();
            let waiting = inputs.ledger.waiting_since_before(inputs.now - age);
            if selection.all {
                Box::new(waiting)
            } else {
                Box::new(waiting.chain(estimated(inputs)).chain(inputs.ledger.dispatched()))
            }
        }
        Some(Group::All) | None => Box::new(inputs.ledger.open_jobs()),
    }
}

/// Waiting jobs with an estimate.
fn estimated<'a>(inputs: &Inputs<'a>) -> impl Iterator<Item = &'a Job> + use<'a> {
    let ledger = inputs.ledger;
    inputs.expected_starts.keys().filter_map(|id| ledger.job(id)).filter(|job| job.status().is_waiting())
}

/// The group of jobs for which a condition may hold, smallest first.
enum Group {
    Dispatched,
    Estimated,
    WaitingFor(Duration),
    All,
}

impl Group {
    fn rank(&self) -> u8 {
        match self {
            Self::Dispatched => 0,
            Self::Estimated => 1,
            Self::WaitingFor(_) => 2,
            Self::All => 3,
        }
    }
}

impl Selection<'_> {
    fn passes(&self, job: &Job, inputs: &Inputs<'_>) -> bool {
        let holds = |test: &Test<'_>| test.holds(job, inputs);
        if self.all { self.tests.iter().all(holds) } else { self.tests.iter().any(holds) }
    }
}

impl Test<'_> {
    fn group(&self) -> Group {
        match self.limit {
            _ if *self.metric.name == *JOB_GPU_UTILISATION.name => Group::Dispatched,
            // The age of a phase that a job is not in is 0.
            Limit::Above(least) if least >= 0.0 && *self.metric.name == *JOB_WAITING_AGE.name => {
                Duration::try_from_secs_f64(least).map_or(Group::All, Group::WaitingFor)
            }
            Limit::Above(least) if least >= 0.0 && self.is_of_estimate() => Group::Estimated,
            Limit::Above(least) if least >= 0.0 => Group::Dispatched,
            Limit::Above(_) | Limit::Below(_) => Group::All,
        }
    }

    fn is_of_estimate(&self) -> bool {
        [JOB_START_ESTIMATE.name, JOB_START_LATE.name].contains(&self.metric.name)
    }

    fn holds(&self, job: &Job, inputs: &Inputs<'_>) -> bool {
        let has_labels = self.filters.iter().all(|(label, pattern)| (self.matches)(pattern, label_of(job, label)));
        has_labels
            && value(self.metric, job, inputs).is_some_and(|value| match self.limit {
                Limit::Above(limit) => value > limit,
                Limit::Below(limit) => value < limit,
            })
    }
}

fn label_of<'a>(job: &'a Job, label: &str) -> &'a str {
    match label {
        "queue" => job.queue().as_str(),
        "share" => job.share().map_or("", ShareName::as_str),
        "owner" => job.owner().unwrap_or_default(),
        "name" => &job.latest.name,
        "job" => job.latest.id.as_str(),
        _ => "",
    }
}

fn of_job(job: &Job, metrics: &[&'static Metric], inputs: &Inputs<'_>) -> Vec<Sample> {
    let latest = &job.latest;
    let of_job = labels([
        ("queue", latest.queue.shared()),
        ("share", job.share().cloned().unwrap_or_else(no_share).shared()),
        ("owner", job.owner().unwrap_or_default().into()),
        ("name", (*latest.name).into()),
        ("job", latest.id.shared()),
    ]);
    let sample = |metric: &&'static Metric| {
        let value = value(metric, job, inputs).filter(|value| value.is_finite())?;
        Some(Sample { metric, labels: of_job.clone(), value: Value::Gauge(value) })
    };
    metrics.iter().filter_map(sample).collect()
}

fn value(metric: &Metric, job: &Job, inputs: &Inputs<'_>) -> Option<f64> {
    let age = |phase: Phase| {
        let current = job.timeline.current().filter(|span| span.phase == phase);
        Some(current.map_or(0.0, |span| inputs.now.seconds_since(span.from.latest)))
    };
    match metric.name {
        name if name == JOB_WAITING_AGE.name => age(Phase::Waiting),
        name if name == JOB_SCHEDULED_AGE.name => age(Phase::Scheduled),
        name if name == JOB_STARTING_AGE.name => age(Phase::Starting),
        name if name == JOB_RUNNING_AGE.name => age(Phase::Running),
        name if name == JOB_START_ESTIMATE.name => start_estimate(job, inputs),
        name if name == JOB_START_LATE.name => {
            let start_by = job.details.as_ref()?.start_by?;
            let Some(expected) = expected_start(job, inputs) else {
                return (!job.status().is_waiting()).then_some(0.0);
            };
            Some(expected.seconds_since(start_by))
        }
        name if name == JOB_PREEMPTED.name => job.details.as_ref().map(|details| f64::from(details.preemptions)),
        _ => utilisation(job, inputs),
    }
}

/// Estimated start of a waiting job: never before now.
fn expected_start(job: &Job, inputs: &Inputs<'_>) -> Option<Timestamp> {
    job.waiting_since()?;
    inputs.expected_starts.get(&job.latest.id).map(|expected| inputs.now.max(*expected))
}

fn start_estimate(job: &Job, inputs: &Inputs<'_>) -> Option<f64> {
    let Some(since) = job.waiting_since() else { return Some(0.0) };
    Some(expected_start(job, inputs)?.seconds_since(since))
}

fn utilisation(job: &Job, inputs: &Inputs<'_>) -> Option<f64> {
    let running = job.timeline.current().filter(|span| span.phase == Phase::Running)?;
    if inputs.now.since(running.from.latest) < gpu_waterfall::GRACE {
        return None;
    }
    host_utilisation::mean(host_utilisation::reporting(job, inputs)).map(|(_, busy)| busy)
}

#[cfg(test)]
mod tests;
