//! Figures of single jobs, for rules only. There could be as many series as jobs, so they are made of the jobs that a rule may be about
//! now and never published: they are not in the catalogue.
//!
//! An open job has every age at every moment, 0 in the phases that it is not in: a rule about one phase ends when the job goes on
//! to the next, and is `gone` when the job ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::jobs::{Job, Phase};
use crate::metrics::catalogue::{CloudWatch, Kind, Label, Metric, Range, Stability, Subject, Unit};
use crate::metrics::frame::{Sample, Value, labels};
use crate::metrics::subjects::no_share;
use crate::metrics::{Inputs, hosts, waterfall};
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

/// Seconds in the queue without a break; 0 when the job does not wait.
pub static JOB_WAITING_AGE: Metric =
    gauge("job.waiting.age", Unit::Seconds, Subject::WaitingJobs, JOBS, "How long the job has waited.");
/// Seconds in SCHEDULED; 0 in other states.
pub static JOB_SCHEDULED_AGE: Metric = gauge(
    "job.scheduled.age",
    Unit::Seconds,
    Subject::Other,
    JOBS,
    "How long SageMaker has looked for the job's instances.",
);
/// Seconds in STARTING; 0 in other states.
pub static JOB_STARTING_AGE: Metric = gauge(
    "job.starting.age",
    Unit::Seconds,
    Subject::Other,
    JOBS,
    "How long the job has downloaded and started its container.",
);
/// Seconds in RUNNING; 0 in other states.
pub static JOB_RUNNING_AGE: Metric =
    gauge("job.running.age", Unit::Seconds, Subject::Other, JOBS, "How long the job has run.");
/// Preemptions so far; absent until the job was described.
pub static JOB_PREEMPTED: Metric =
    gauge("job.preempted", Unit::Count, Subject::Other, JOBS, "How often the job was preempted.");
/// Mean over the GPUs of the hosts that reported lately, from 0 to 1; absent until the job has run for [`waterfall::GRACE`].
pub static JOB_GPU_UTILISATION: Metric = gauge(
    "job.gpu.utilisation",
    Unit::Ratio,
    Subject::Other,
    &[Source::Jobs, Source::Utilisation],
    "How busy the running job's GPUs are.",
);

/// From the beginning of its wait to the middle of its start estimate; 0 when the job does not wait, absent without an estimate.
pub static JOB_START_ESTIMATE: Metric = gauge(
    "job.start.estimate",
    Unit::Seconds,
    Subject::WaitingJobs,
    JOBS,
    "How long the job will have waited when it starts, by the middle (P50) of its estimate.",
);
/// From what its tag `start-by` says to the middle of its start estimate; 0 when it starts in time, absent without the tag or an
/// estimate.
pub static JOB_START_LATE: Metric = gauge(
    "job.start.late",
    Unit::Seconds,
    Subject::WaitingJobs,
    JOBS,
    "How much later than its tag start-by says the job will start, by the middle (P50) of its estimate.",
);

/// All of them.
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

/// Finds a figure of single jobs by the name that rules use.
pub fn find(name: &str) -> Option<&'static Metric> {
    ALL.into_iter().find(|metric| metric.name == name)
}

/// What the rules of one tick want to know of single jobs.
///
/// A job of which no rule can say anything new has no figures: what a rule costs follows the jobs that it selects.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// The figures of each job that is selected.
    pub metrics: BTreeSet<&'static str>,
    /// Figures that are wanted of every open job, because a rule folds them, compares them with the past or alerts without data.
    pub of_every_job: BTreeSet<&'static str>,
    /// Jobs that are selected whatever their figures say: they have an alert.
    pub jobs: BTreeSet<&'a str>,
    /// Jobs that pass one of these are selected.
    pub selections: Vec<Selection<'a>>,
}

/// When a rule begins to hold for a job.
#[derive(Debug)]
pub struct Selection<'a> {
    /// Conditions over figures of the job; at least one.
    pub tests: Vec<Test<'a>>,
    /// Whether all of them must hold, or one.
    pub all: bool,
}

/// A condition over one figure.
#[derive(Clone, Copy, Debug)]
pub struct Test<'a> {
    /// The figure.
    pub metric: &'static Metric,
    /// What it is compared with.
    pub limit: Limit,
    /// Labels that the job must have, as patterns.
    pub filters: &'a [(Label, String)],
    /// Whether a text matches a pattern.
    pub matches: fn(&str, &str) -> bool,
}

/// On which side of a value a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Beyond it.
    Above(f64),
    /// Short of it.
    Below(f64),
}

/// The wanted figures. A job without utilisation is still there: then its age says so.
pub fn samples(inputs: &Inputs<'_>, wanted: &Wanted<'_>) -> Vec<Sample> {
    let mut samples = Vec::new();
    let of_every_job = made_for(&wanted.of_every_job);
    let of_selected = made_for(&wanted.metrics);
    let selected = selected(inputs, wanted);
    if !of_every_job.is_empty() {
        for job in inputs.ledger.open_jobs().filter(|job| !selected.contains_key(&age_of(job))) {
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

/// The metrics of which samples are made for these to be evaluated.
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
        known.filter(|job| job.timeline.current().is_some()).map(|job| (age_of(job), job)).collect();
    for selection in &wanted.selections {
        for job in candidates(selection, inputs).filter(|job| selection.passes(job, inputs)) {
            selected.insert(age_of(job), job);
        }
    }
    selected
}

/// Jobs among which are all those that pass.
fn candidates<'a>(selection: &Selection<'_>, inputs: &Inputs<'a>) -> Box<dyn Iterator<Item = &'a Job> + 'a> {
    let groups = selection.tests.iter().map(Test::group);
    // Where all must hold, those of the smallest group are enough; where one is enough, those of the largest are not too many.
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
            // Where one is enough, some may be about jobs in flight.
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

/// Waiting jobs of which there is an estimate.
fn estimated<'a>(inputs: &Inputs<'a>) -> impl Iterator<Item = &'a Job> + use<'a> {
    let ledger = inputs.ledger;
    inputs.expected_starts.keys().filter_map(|id| ledger.job(id)).filter(|job| job.status().is_waiting())
}

/// Where the jobs are for which a condition may hold, smallest first.
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
            // What a job is not doing it has done for no time at all.
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
        ("name", latest.name.as_str().into()),
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

/// When a waiting job is expected to start: not before now, whatever was expected.
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
    if inputs.now.since(running.from.latest) < waterfall::GRACE {
        return None;
    }
    hosts::mean(hosts::reporting(job, inputs)).map(|(_, busy)| busy)
}
