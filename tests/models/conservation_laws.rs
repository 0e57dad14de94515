//! Conservation laws of the figures, at every tick of random histories of queues.
//!
//! A scheduler is the simulated system, a ledger observes it, and the derived figures must add up and agree with the
//! scheduler.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use trainspotter_core::metrics::gpu_part_names::Part;
use trainspotter_core::metrics::{self, Frame, Reason, Value};
use trainspotter_core::model::{Capacity, JobSeen, JobStatus, Timestamp};
use trainspotter_core::scheduler::{Phase, WaitReason};

use world::{DOLLARS, GPUS, TICK, TICKS, TYPE, World};

/// Observations of a simulated system over its ticks.
#[derive(Default)]
struct Seen {
    /// GPU-seconds by queue and part, summed from the gauges.
    integral: BTreeMap<(String, &'static str), f64>,
    /// Job-ticks by true and reported wait reason.
    reasons: BTreeMap<(WaitReason, Reason), u64>,
    lent: bool,
}

impl Seen {
    /// Adds a frame, and checks its laws.
    fn observe(&mut self, world: &World, frame: &Frame) {
        for row in &frame.waterfall {
            let capacity = row.capacity_gpus.unwrap();
            let sum: f64 = row.parts.values().sum();
            assert!((sum - capacity).abs() < 1e-9, "{row:?}");
            let causes: f64 = row.unallocated.values().sum();
            assert!((causes - row.parts[&Part::Unallocated]).abs() < 1e-9, "{row:?}");
            assert!(row.parts.values().chain(row.unallocated.values()).all(|gpus| *gpus >= 0.0), "{row:?}");
            for (part, dollars) in &row.dollars_per_hour {
                assert!((dollars - row.parts[part] / GPUS * DOLLARS).abs() < 1e-9, "{row:?}");
            }
            assert_eq!(row.dollars_per_hour.len(), row.parts.len());
            for (part, gpus) in &row.parts {
                let at_zero = frame.at == Timestamp::default();
                let seconds = if at_zero { 0.0 } else { TICK.as_secs_f64() };
                *self.integral.entry((row.queue.to_string(), part.as_str())).or_default() += gpus * seconds;
            }
        }
        let (borrowed, lent) =
            frame.shares.iter().fold((0.0, 0.0), |(borrowed, lent), row| (borrowed + row.borrowed, lent + row.lent));
        assert!((borrowed - lent).abs() < 1e-9, "{:?}", frame.shares);
        self.lent |= lent > 0.0;
        let loans: f64 = frame.loans.iter().map(|loan| loan.gpus).sum();
        assert!((loans - lent * GPUS).abs() < 1e-9, "{:?}", frame.loans);
        // Shares of a fair-share queue have no quota.
        let quotas = frame.shares.iter().filter_map(|row| Some((row, row.quota?)));
        for (row, quota) in quotas.filter(|(row, quota)| row.used <= *quota) {
            assert!((row.used + row.lent + row.idle - quota).abs() < 1e-9, "{row:?}");
        }
        let waiting: Vec<_> = world.scheduler.jobs().filter(|job| job.status.is_waiting()).collect();
        assert_eq!(frame.reasons.iter().map(|row| row.jobs).sum::<u64>(), waiting.len() as u64, "one each");
        // Each query costs as much as a frame: every fifth tick is enough.
        let asked = if frame.at.since(Timestamp::default()).as_secs().is_multiple_of(5 * TICK.as_secs()) {
            waiting
        } else {
            Vec::new()
        };
        for job in asked {
            let (truth, reported) = (world.scheduler.wait_reason(&job.id).unwrap(), world.why(job, frame.at).unwrap());
            *self.reasons.entry((truth, reported.reason)).or_default() += 1;
        }
    }
}

/// Whether a reported reason agrees with the true one.
fn agrees(wait_reason: WaitReason, reason: Reason) -> bool {
    match wait_reason {
        WaitReason::Disabled => reason == Reason::Disabled,
        // The scheduler has made all possible decisions: no RUNNABLE job waits for one.
        WaitReason::NotExamined => reason == Reason::Evaluating,
        WaitReason::Misfit => reason == Reason::ExceedsShare,
        WaitReason::ShareLimit => reason == Reason::ShareAtLimit,
        WaitReason::BorrowLimit => reason == Reason::BorrowLimit,
        WaitReason::Claim => reason == Reason::Reclaiming,
        WaitReason::NoInstances => reason == Reason::NoCapacity,
        WaitReason::Full => reason == Reason::CapacityInUse,
        WaitReason::Reserved => reason == Reason::Reserved,
        WaitReason::Order => reason == Reason::Behind,
    }
}

fn counter(frame: &Frame, metric: &str, labels: [&str; 2]) -> f64 {
    let of = |sample: &&metrics::Sample| {
        sample.metric.name == metric
            && sample.labels.values().map(|value| &**value).eq({
                let mut labels = labels;
                // Label values are ordered by label name: part, queue.
                labels.reverse();
                labels
            })
    };
    match frame.samples.iter().find(of).map(|sample| &sample.value) {
        Some(Value::Counter(value)) => *value,
        other => panic!("{metric} {labels:?}: {other:?}"),
    }
}

#[test]
fn every_tick_of_every_world_adds_up() {
    let mut lent = 0;
    let mut reasons: BTreeMap<(WaitReason, Reason), u64> = BTreeMap::new();
    for seed in 0..6 {
        let (mut world, mut seen) = (World::new(seed), Seen::default());
        let mut last = Frame::default();
        for tick in 0..TICKS {
            last = world.tick(world::tick(tick));
            seen.observe(&world, &last);
        }
        for ((queue, part), expected) in &seen.integral {
            let counted = counter(&last, "gpu.time", [queue, part]);
            assert!((counted - expected).abs() < 1e-6, "seed {seed}: {queue} {part}: {counted} of {expected}");
        }
        holds_what_jobs_held(&world, &last, seed);
        stages_sum_to_lives(&world, &last, seed);
        lent += u32::from(seen.lent);
        for (pair, jobs) in seen.reasons {
            *reasons.entry(pair).or_default() += jobs;
        }
    }
    assert!(lent > 1, "{lent} worlds lend");
    given_as_it_was(&reasons);
}

/// At least 99 in 100 job-ticks were reported with the true reason; the others are listed.
fn given_as_it_was(reasons: &BTreeMap<(WaitReason, Reason), u64>) {
    let all: u64 = reasons.values().sum();
    let wrong: u64 =
        reasons.iter().filter(|((truth, reported), _)| !agrees(*truth, *reported)).map(|(_, jobs)| jobs).sum();
    for ((truth, reported), jobs) in reasons {
        let mark = if agrees(*truth, *reported) { "" } else { "  differs" };
        eprintln!("{jobs:>7} job-ticks {:<13} reported {}{mark}", truth.as_str(), reported.as_str());
    }
    let kinds: std::collections::BTreeSet<_> = reasons.keys().map(|(truth, _)| truth).collect();
    assert!(all > 10_000 && kinds.len() > 6, "the worlds are busy: {all} job-ticks of {kinds:?}");
    assert!(wrong * 100 <= all, "{wrong} of {all} job-ticks were given another reason");
}

/// The stages of jobs sum to their lifetimes: counted waits, start-ups and runs equal those of the scheduler's ended
/// jobs, except for jobs that were handed to SageMaker and never ran.
fn stages_sum_to_lives(world: &World, frame: &Frame, seed: u64) {
    let reported = |metric: &str| -> f64 {
        let of_metric = frame.samples.iter().filter(|sample| sample.metric.name == metric);
        let sums = of_metric.map(|sample| match &sample.value {
            Value::Distribution(distribution) => distribution.sum,
            Value::Gauge(_) | Value::Counter(_) => panic!("{metric}: {sample:?}"),
        });
        sums.sum()
    };
    let mut lives: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    let mut jobs_missed = 0;
    for job in world.scheduler.jobs() {
        let begins = |phase, attempt| job.spans.iter().any(|span| span.phase == phase && span.attempt == attempt);
        let missed = world.ledger.job(&job.id).is_none_or(|seen| seen.timeline.spans().len() < job.spans.len());
        jobs_missed += u32::from(missed);
        for span in &job.spans {
            let stage = match span.phase {
                Phase::Waiting if !begins(Phase::Scheduled, span.attempt) => continue,
                Phase::Waiting if span.attempt == 1 => "queue.wait",
                Phase::Waiting => "queue.wait.requeue",
                Phase::Scheduled | Phase::Starting if !begins(Phase::Running, span.attempt) => continue,
                Phase::Scheduled | Phase::Starting => "job.startup",
                Phase::Running => "job.run",
            };
            let Some(to) = span.to else { continue };
            let (seconds, slack) = lives.entry(stage).or_default();
            *seconds += to.seconds_since(span.from);
            // The end of a preempted attempt is known from polls only; an attempt that starts and ends between two
            // polls is not seen at all.
            let by_looking = stage == "job.run" && span.attempt < job.attempt();
            *slack += if missed {
                frame.at.seconds_since(job.created_at)
            } else if by_looking {
                TICK.as_secs_f64()
            } else {
                0.0
            };
        }
    }
    assert!(jobs_missed < 5, "seed {seed}: {jobs_missed}");
    // A job's return to the queue is known from polls only, too; the possible error of its waits is reported.
    let uncertain = frame.samples.iter().filter(|sample| sample.metric.name == "queue.wait.uncertain");
    let uncertain = uncertain.map(|sample| if let Value::Counter(seconds) = sample.value { seconds } else { 0.0 });
    if let Some((_, slack)) = lives.get_mut("queue.wait.requeue") {
        *slack += uncertain.sum::<f64>();
    }
    for (stage, (truth, slack)) in lives {
        let reported = reported(stage);
        assert!(
            (reported - truth).abs() <= slack + 1e-3,
            "seed {seed}: {stage}: {reported} of {truth}, within {slack}"
        );
    }
}

/// Held capacity from the counters equals that of the scheduler, within one interval at each end.
fn holds_what_jobs_held(world: &World, frame: &Frame, seed: u64) {
    for queue in ["quotas", "fifo", "fair"] {
        let held = ["scheduled", "starting", "running_busy", "running_idle", "running_unknown"];
        let counted: f64 = held.iter().map(|part| counter(frame, "gpu.time", [queue, part])).sum();
        let (mut truth, mut slack) = (0.0, 0.0);
        for job in world.scheduler.jobs().filter(|job| job.queue.as_str() == queue) {
            let gpus: f64 = job.demand.iter().map(|capacity| capacity.quantity * GPUS).sum();
            for span in job.spans.iter().filter(|span| span.phase != Phase::Waiting) {
                truth += gpus * span.to.unwrap_or(frame.at).seconds_since(span.from);
                slack += gpus * TICK.as_secs_f64();
            }
        }
        assert!(truth > 0.0 && (counted - truth).abs() <= slack, "seed {seed}: {queue}: {counted} of {truth}");
        // Observed ends are early as often as late: over a whole history they cancel out.
        assert!((counted / truth - 1.0).abs() < 0.02, "seed {seed}: {queue}: {counted} of {truth}");
    }
}

#[test]
fn a_stuck_queue_is_silent_in_the_histogram_and_loud_in_the_estimate() {
    let mut world = World::new(1);
    let mut before: Option<(u64, f64)> = None;
    for hour in 0..6 {
        let now = Timestamp::default() + Duration::from_secs(hour * 3600);
        for number in 0..40 {
            let job =
                JobSeen { id: format!("stuck-{number}").into(), queue: "fifo".into(), ..waiting(Timestamp::default()) };
            world.ledger.observe(job, now);
        }
        let frame = world.frame(now);
        let of_fifo = |labels: &metrics::Labels| labels.values().any(|value| &**value == "fifo");
        let count = frame.samples.iter().find(|one| one.metric.name == "queue.wait" && of_fifo(&one.labels));
        let Some(Value::Distribution(waits)) = count.map(|one| &one.value) else { panic!("no histogram") };
        let p95 = frame.estimates.iter().find(|row| row.queue.as_str() == "fifo").unwrap().seconds[2];
        if let Some((count, earlier)) = before.replace((waits.count, p95)) {
            assert_eq!(waits.count, count, "silent");
            assert!((p95 - earlier - 3600.0).abs() < 1.0, "an hour later it is an hour more: {earlier} then {p95}");
        }
    }
}

fn waiting(created_at: Timestamp) -> JobSeen {
    JobSeen {
        name: "train".into(),
        demand: vec![Capacity::new(TYPE, 1.0)].into(),
        ..JobSeen::new("job", "fifo", JobStatus::Runnable, created_at)
    }
}
