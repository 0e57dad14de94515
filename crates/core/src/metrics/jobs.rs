//! Figures of single jobs, for rules only. There are as many series as jobs, so they are made when a rule asks for them and never
//! published: they are not in the catalogue.
//!
//! An open job has every age at every moment, 0 in the phases that it is not in: a rule about one phase ends when the job goes on
//! to the next, and is `gone` when the job ended.

use std::collections::BTreeSet;

use crate::jobs::{Job, Phase};
use crate::metrics::catalogue::{Kind, Label, Metric, Stability, Unit};
use crate::metrics::frame::{Sample, Value, labels};
use crate::metrics::gauges::no_share;
use crate::metrics::{Inputs, hosts, waterfall};

const LABELS: &[Label] = &["queue", "share", "owner", "name", "job"];

const fn gauge(name: &'static str, unit: Unit, meaning: &'static str) -> Metric {
    Metric { name, unit, kind: Kind::Gauge, labels: LABELS, stability: Stability::Experimental, meaning }
}

/// Seconds in the queue without a break; 0 when the job does not wait.
pub static JOB_WAITING_AGE: Metric = gauge("job.waiting.age", Unit::Seconds, "How long the job has waited.");
/// Seconds in SCHEDULED; 0 in other states.
pub static JOB_SCHEDULED_AGE: Metric =
    gauge("job.scheduled.age", Unit::Seconds, "How long SageMaker has looked for the job's instances.");
/// Seconds in STARTING; 0 in other states.
pub static JOB_STARTING_AGE: Metric =
    gauge("job.starting.age", Unit::Seconds, "How long the job has downloaded and started its container.");
/// Seconds in RUNNING; 0 in other states.
pub static JOB_RUNNING_AGE: Metric = gauge("job.running.age", Unit::Seconds, "How long the job has run.");
/// Preemptions so far; absent until the job was described.
pub static JOB_PREEMPTED: Metric = gauge("job.preempted", Unit::Count, "How often the job was preempted.");
/// Mean over the GPUs of the hosts that reported lately, from 0 to 1; absent until the job has run for [`waterfall::GRACE`].
pub static JOB_GPU_UTILISATION: Metric =
    gauge("job.gpu.utilisation", Unit::Ratio, "How busy the running job's GPUs are.");

/// All of them.
pub static ALL: [&Metric; 6] =
    [&JOB_WAITING_AGE, &JOB_SCHEDULED_AGE, &JOB_STARTING_AGE, &JOB_RUNNING_AGE, &JOB_PREEMPTED, &JOB_GPU_UTILISATION];

/// Finds a figure of single jobs by the name that rules use.
pub fn find(name: &str) -> Option<&'static Metric> {
    ALL.into_iter().find(|metric| metric.name == name)
}

/// The wanted figures of every open job. A job without utilisation is still there: then its age says so.
pub fn samples(inputs: &Inputs<'_>, wanted: &BTreeSet<&'static str>) -> Vec<Sample> {
    let utilisation = wanted.contains(JOB_GPU_UTILISATION.name);
    let wanted =
        |metric: &Metric| wanted.contains(metric.name) || (utilisation && *metric.name == *JOB_RUNNING_AGE.name);
    let wanted: Vec<&'static Metric> = ALL.into_iter().filter(|metric| wanted(metric)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut samples = Vec::new();
    for job in inputs.ledger.open_jobs() {
        let latest = &job.latest;
        let share = job.share().cloned().unwrap_or_else(no_share).shared();
        let of_job = labels([
            ("queue", latest.queue.shared()),
            ("share", share),
            ("owner", job.owner().unwrap_or_default().into()),
            ("name", latest.name.as_str().into()),
            ("job", latest.id.shared()),
        ]);
        for metric in &wanted {
            if let Some(value) = value(metric, job, inputs).filter(|value| value.is_finite()) {
                samples.push(Sample { metric, labels: of_job.clone(), value: Value::Gauge(value) });
            }
        }
    }
    samples
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
        name if name == JOB_PREEMPTED.name => job.details.as_ref().map(|details| f64::from(details.preemptions)),
        _ => utilisation(job, inputs),
    }
}

fn utilisation(job: &Job, inputs: &Inputs<'_>) -> Option<f64> {
    let running = job.timeline.current().filter(|span| span.phase == Phase::Running)?;
    if inputs.now.since(running.from.latest) < waterfall::GRACE {
        return None;
    }
    hosts::mean(hosts::reporting(job, inputs)).map(|(_, busy)| busy)
}
