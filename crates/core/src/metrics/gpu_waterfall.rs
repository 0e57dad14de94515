//! Waterfall of a queue's GPUs: parts that sum to the capacity of its service environment.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::jobs::{Job, Phase, gpus_of};
use crate::metrics::Inputs;
use crate::metrics::frame::Waterfall;
use crate::metrics::gpu_part_names::Part;
use crate::metrics::host_utilisation::{self, Host};
use crate::metrics::reasons::Diagnosis;
use crate::metrics::unallocated_gpus;
use crate::model::{Accelerators, Capacity, InstanceType, Queue, accelerators_of};

/// A host is idle below this mean GPU utilisation.
pub const IDLE_BELOW: f64 = 0.10;

/// Grace period after the start of a job, in which data is loaded and models are compiled.
pub const GRACE: Duration = Duration::from_secs(600);

/// The waterfall of a queue; `diagnosis` has the waiting jobs of its environment. The capacity is `None` if its
/// GPUs are unknown.
pub(super) fn of_queue(queue: &Queue, inputs: &Inputs<'_>, diagnosis: &[Diagnosis<'_>]) -> Waterfall {
    let mut parts: BTreeMap<Part, f64> = Part::ALL.into_iter().map(|part| (part, 0.0)).collect();
    let mut dollars = parts.clone();
    let mut all_priced = true;
    let mut add = |part: Part, gpus: f64, per_gpu: Option<f64>| {
        *parts.entry(part).or_default() += gpus;
        *dollars.entry(part).or_default() += gpus * per_gpu.unwrap_or(0.0);
        all_priced &= per_gpu.is_some() || gpus == 0.0;
    };
    let beside = |other: &&Queue| other.name != queue.name && environment_of(other) == environment_of(queue);
    let others = inputs.queues.iter().filter(|_| queue.environment.is_some()).filter(beside);
    let per_gpu =
        |job: &Job, gpus: f64| price(&job.latest.demand, inputs).filter(|_| gpus > 0.0).map(|dollars| dollars / gpus);
    for (job, gpus) in holders(queue, inputs) {
        for (part, of_part) in of_job(job, gpus, inputs) {
            add(part, of_part, per_gpu(job, gpus));
        }
    }
    for (job, gpus) in others.flat_map(|other| holders(other, inputs)) {
        add(Part::OtherQueues, gpus, per_gpu(job, gpus));
    }
    let held: f64 = parts.values().sum();
    let spent: f64 = dollars.values().sum();
    // After a limit was lowered, jobs may hold more than it: then that is the capacity.
    let capacity_gpus = capacity(queue, inputs).map(|capacity| capacity.max(held));
    let unallocated = capacity_gpus.map(|capacity| (capacity - held).max(0.0));
    parts.extend(unallocated.map(|gpus| (Part::Unallocated, gpus)));
    match price_of_capacity(queue, inputs).filter(|_| all_priced) {
        Some(whole) => drop(dollars.insert(Part::Unallocated, (whole - spent).max(0.0))),
        None => dollars.clear(),
    }
    Waterfall {
        queue: queue.name.clone(),
        capacity_gpus,
        parts,
        dollars_per_hour: dollars,
        unallocated: unallocated
            .map(|gpus| unallocated_gpus::by_cause(gpus, queue, inputs.queues, diagnosis))
            .unwrap_or_default(),
    }
}

/// Dollars per hour of some instances; `None` if a price is missing.
fn price(instances: &[Capacity], inputs: &Inputs<'_>) -> Option<f64> {
    instances.iter().map(|some| Some(some.quantity * inputs.prices.get(&some.unit)?)).sum()
}

/// Dollars per hour of the whole environment; `None` if a price is missing, or if it counts instances of any type.
fn price_of_capacity(queue: &Queue, inputs: &Inputs<'_>) -> Option<f64> {
    price(&queue.environment.as_ref()?.limits, inputs)
}

fn of_job(job: &Job, gpus: f64, inputs: &Inputs<'_>) -> Vec<(Part, f64)> {
    match job.timeline.current().map(|span| (span.phase, span.from.latest)) {
        Some((Phase::Scheduled, _)) => vec![(Part::Scheduled, gpus)],
        Some((Phase::Starting, _)) => vec![(Part::Starting, gpus)],
        Some((Phase::Running, since)) if inputs.now.since(since) >= GRACE => running(job, gpus, inputs),
        Some((Phase::Running, _)) => vec![(Part::Unknown, gpus)],
        Some((Phase::Waiting, _)) | None => Vec::new(),
    }
}

/// Splits a running job's GPUs by the reports of its hosts.
fn running(job: &Job, gpus: f64, inputs: &Inputs<'_>) -> Vec<(Part, f64)> {
    let mut known = 0.0;
    let part = |host: Host| {
        // More hosts may report than the job has.
        let of_host = host.gpus.min(gpus - known).max(0.0);
        known += of_host;
        (if host.utilisation < IDLE_BELOW { Part::Idle } else { Part::Busy }, of_host)
    };
    let mut split: Vec<(Part, f64)> = host_utilisation::reporting(job, inputs).into_iter().map(part).collect();
    split.push((Part::Unknown, (gpus - known).max(0.0)));
    split
}

/// Idle hosts of a running job while at least half of its other hosts with data are busy: one hanging host blocks
/// all others, and the mean over 16 hosts does not show it. None within [`GRACE`]. Hosts without GPUs do not count.
pub(super) fn dead_hosts(job: &Job, inputs: &Inputs<'_>) -> usize {
    let running = job.timeline.current().filter(|span| span.phase == Phase::Running);
    if running.is_none_or(|span| inputs.now.since(span.from.latest) < GRACE) {
        return 0;
    }
    let hosts = host_utilisation::reporting(job, inputs);
    let idle = hosts.iter().filter(|host| host.utilisation < IDLE_BELOW).count();
    let busy = hosts.len() - idle;
    // For an idle host, the others are the remaining idle ones and the busy ones.
    if idle > 0 && busy > 0 && 2 * busy + 1 >= idle + busy { idle } else { 0 }
}

/// A queue's jobs in flight, with the GPUs they hold.
fn holders<'a>(queue: &Queue, inputs: &Inputs<'a>) -> Vec<(&'a Job, f64)> {
    inputs.ledger.in_flight_of(&queue.name).filter_map(|job| Some((job, job.gpus()?))).collect()
}

fn environment_of(queue: &Queue) -> Option<&str> {
    queue.environment.as_ref().map(|environment| environment.name.as_str())
}

fn capacity(queue: &Queue, inputs: &Inputs<'_>) -> Option<f64> {
    let environment = queue.environment.as_ref()?;
    let limits = environment.limits.iter();
    limits
        .map(|limit| {
            if limit.unit.is_any() {
                Some(limit.quantity * f64::from(typical_gpus(queue, inputs)?))
            } else {
                gpus_of(std::slice::from_ref(limit))
            }
        })
        .sum()
}

/// GPUs per instance if the environment counts instances of any type: those of the type requested most by the
/// queue's jobs, including ended ones. `None` without jobs.
fn typical_gpus(queue: &Queue, inputs: &Inputs<'_>) -> Option<u32> {
    let mut asked: BTreeMap<&InstanceType, f64> = BTreeMap::new();
    let recent = inputs.ledger.ended_jobs().rev().take(1_000).filter(|job| *job.queue() == queue.name);
    let single = inputs.ledger.in_flight_of(&queue.name).chain(recent).map(|job| (&job.latest.demand, 1));
    let classes = inputs.ledger.shares_of(&queue.name).flat_map(|(_, share_jobs)| share_jobs.classes());
    for (demand, jobs) in single.chain(classes.map(|(class, jobs)| (&class.demand, jobs.len()))) {
        for capacity in demand {
            *asked.entry(&capacity.unit).or_default() += capacity.quantity * jobs as f64;
        }
    }
    let (most, _) = asked.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    accelerators_of(most).map(Accelerators::gpus)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::jobs::Ledger;
    use crate::model::{Capacity, HostUtilisation, JobId, JobSeen, JobStatus, Timestamp};

    /// The running parts, in GPUs, and the number of dead hosts, for a job of 16 hosts that has run for half an
    /// hour.
    fn diagnosis(instance_type: &str, hosts: &[(&str, f64)]) -> (f64, f64, f64, usize) {
        judged_of(&[(instance_type, 16.0)], hosts)
    }

    fn judged_of(demand: &[(&str, f64)], hosts: &[(&str, f64)]) -> (f64, f64, f64, usize) {
        let (id, now) = (JobId::from("job"), Timestamp::from_millis(1_800_000));
        let mut ledger = Ledger::default();
        let began = Timestamp::default();
        let seen = JobSeen {
            name: "train".into(),
            scheduled_at: Some(began),
            started_at: Some(began),
            demand: demand.iter().map(|(unit, count)| Capacity::new(*unit, *count)).collect::<Vec<_>>().into(),
            training_job: Some("second".into()),
            ..JobSeen::new(id.clone(), "research", JobStatus::Running, began)
        };
        ledger.observe(seen, now);
        for (host, gpu_percent) in hosts {
            let host = (*host).to_owned();
            ledger.observe_host(HostUtilisation { job: id.clone(), host, at: now, gpu_percent: *gpu_percent });
        }
        let fronts = BTreeMap::new();
        let inputs = Inputs {
            now,
            queues: &[],
            ledger: &ledger,
            fronts: &fronts,
            prices: &BTreeMap::new(),
            reserved: &[],
            sources: &[],
            expected_starts: &BTreeMap::new(),
            forecasts: &[],
        };
        let job = ledger.job(&id).unwrap();
        let parts = of_job(job, job.gpus().unwrap(), &inputs);
        let sum = |part| parts.iter().filter(|(other, _)| *other == part).map(|(_, gpus)| gpus).sum();
        (sum(Part::Busy), sum(Part::Idle), sum(Part::Unknown), dead_hosts(job, &inputs))
    }

    #[test]
    fn one_dead_host_of_sixteen_is_found() {
        let names: Vec<String> = (1..=16).map(|host| format!("second/algo-{host}")).collect();
        let percent = |host: usize| if host == 7 { 3.0 } else { 720.0 };
        let hosts: Vec<_> = names.iter().enumerate().map(|(host, name)| (name.as_str(), percent(host))).collect();
        assert_eq!(diagnosis("ml.p5.48xlarge", &hosts), (120.0, 8.0, 0.0, 1));
    }

    #[test]
    fn a_host_without_data_is_unknown_and_one_of_a_stopped_attempt_is_ignored() {
        let hosts = [("second/algo-1", 720.0), ("first/algo-1", 720.0), ("second-b/algo-1", 0.0)];
        assert_eq!(diagnosis("ml.p5.48xlarge", &hosts), (8.0, 0.0, 120.0, 0));
    }

    #[test]
    fn hosts_of_several_types_are_each_divided_by_their_own_gpus() {
        let (p5, g5, cpu) = (("ml.p5.48xlarge", 1.0), ("ml.g5.xlarge", 1.0), ("ml.m5.large", 2.0));
        let (first, second, third) = ("second/algo-1", "second/algo-2", "second/algo-3");
        // 700 of 800 percent, and 40 of 100.
        assert_eq!(judged_of(&[p5, g5], &[(first, 700.0), (second, 40.0)]), (9.0, 0.0, 0.0, 0));
        assert_eq!(judged_of(&[p5, g5], &[(first, 40.0), (second, 90.0)]), (1.0, 8.0, 0.0, 1));
        assert_eq!(judged_of(&[p5, g5], &[(second, 90.0)]), (1.0, 0.0, 8.0, 0), "the other is unknown");
        // 60 of 800 percent is idle, regardless of hosts without GPUs beside it.
        assert_eq!(judged_of(&[cpu, p5], &[(third, 60.0)]), (0.0, 8.0, 0.0, 0));
        assert_eq!(judged_of(&[cpu, p5], &[(first, 0.0), (second, 0.0), (third, 700.0)]), (8.0, 0.0, 0.0, 0));
        assert_eq!(judged_of(&[p5, g5], &[(first, f64::NAN), (second, f64::INFINITY)]), (0.0, 0.0, 9.0, 0));
    }

    #[test]
    fn neuron_devices_and_processors_are_never_idle_gpus() {
        for instance_type in ["ml.trn2.48xlarge", "ml.m5.large"] {
            assert_eq!(diagnosis(instance_type, &[("second/algo-1", 0.0)]), (0.0, 0.0, 0.0, 0), "{instance_type}");
        }
    }
}
