//! Worked examples of user-visible behaviour.

mod changes;
mod fair_share;
mod preemption;
mod retries_and_limits;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::model::Capacity;
use crate::model::InstanceType;
use crate::model::Policy;
use crate::model::QuotaShare;
use crate::model::ShareName;
use crate::model::Sharing;
use crate::model::WeightedShare;

const TYPE: &str = "ml.p5.48xlarge";
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const BORROWS: Sharing = Sharing::LendAndBorrow { borrow_limit: None };
const PREEMPTED: &str = "Cross-share preemption triggered to reclaim borrowed capacity";
const PREEMPTING: &str = "PREEMPTION_IN_PROGRESS: Cross-share preemption triggered to reclaim borrowed capacity";
const COMPLETED: &str = "Received status from SageMaker: Training job completed";

fn minute(minutes: u64) -> Timestamp {
    START + Duration::from_secs(60 * minutes)
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn environment(unit: &str, total: f64) -> ServiceEnvironment {
    ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits: vec![Capacity::new(unit, total)] }
}

/// One queue, `research`, on its own environment.
fn setup(unit: &str, total: f64, policy: Policy) -> Setup {
    Setup {
        environments: vec![environment(unit, total)],
        queues: vec![QueueSetup::new("research", "gpus", policy)],
        delays: Delays::NONE,
        ..Setup::default()
    }
}

fn share(name: &str, limit: f64, sharing: Sharing) -> QuotaShare {
    let limits = vec![Capacity::new(TYPE, limit)];
    QuotaShare { name: name.into(), enabled: true, limits, sharing, in_share_preemption: false }
}

fn quotas(shares: &[(&str, f64, Sharing)]) -> Setup {
    let total = shares.iter().map(|(_, limit, _)| limit).sum();
    let shares = shares.iter().map(|(name, limit, sharing)| share(name, *limit, *sharing)).collect();
    setup(TYPE, total, Policy::QuotaShares(shares))
}

fn scheduler(setup: Setup, delays: Delays) -> Scheduler {
    Scheduler::new(Setup { delays, ..setup }, 1, START)
}

fn research() -> QueueName {
    "research".into()
}

fn wish(at: u64, share: Option<&str>, count: u32, minutes: u64) -> Submission {
    Submission {
        at: minute(at),
        name: "train".to_owned(),
        queue: research(),
        share: share.map(ShareName::from),
        priority: 0,
        demand: vec![Capacity::new(TYPE, f64::from(count))],
        tags: BTreeMap::new(),
        plan: Plan::Runs { duration: Duration::from_secs(60 * minutes), outcome: PlannedOutcome::Succeeds },
        terms: Terms::default(),
        utilisation: 0.9,
    }
}

fn used(scheduler: &Scheduler) -> Vec<u64> {
    scheduler.usage(&research()).iter().map(|row| row.used).collect()
}

fn reason<'a>(scheduler: &'a Scheduler, id: &JobId) -> &'a str {
    scheduler.job(id).unwrap().status_reason.as_deref().unwrap_or_default()
}

/// Phases of a job's spans and their lengths in minutes, without empty ones; 0 is the open one.
fn life(scheduler: &Scheduler, id: &JobId) -> Vec<(Phase, u64)> {
    let length = |span: &Span| span.to.map_or(0, |to| to.since(span.from).as_secs() / 60);
    let spans = scheduler.job(id).unwrap().spans.iter().map(|span| (span.phase, length(span), span.to.is_none()));
    spans.filter(|(_, minutes, open)| *minutes > 0 || *open).map(|(phase, minutes, _)| (phase, minutes)).collect()
}

fn statuses(scheduler: &Scheduler) -> Vec<&str> {
    scheduler.jobs().map(|job| job.status.as_str()).collect()
}

#[test]
fn a_share_grows_into_idle_quota_and_falls_back_when_its_owner_asks() {
    let shares = [("first", 60.0, BORROWS), ("second", 40.0, BORROWS)];
    let mut scheduler = scheduler(quotas(&shares), Delays { stopping: Duration::from_secs(20), ..Delays::NONE });
    for _ in 0..25 {
        scheduler.submit(wish(0, Some("second"), 1, 600)).unwrap();
    }
    for _ in 0..20 {
        scheduler.submit(wish(1, Some("first"), 5, 600)).unwrap();
    }
    scheduler.advance(minute(5));
    assert_eq!(used(&scheduler), [75, 25]);
    let usage = scheduler.usage(&research());
    assert_eq!(usage.iter().map(|row| (row.borrowed, row.lent)).collect::<Vec<_>>(), [(15, 0), (0, 15)]);

    for _ in 0..15 {
        scheduler.submit(wish(6, Some("second"), 1, 600)).unwrap();
    }
    scheduler.advance(minute(6));
    assert_eq!(used(&scheduler), [75, 25], "stopping takes a while");
    let stopping = scheduler.jobs().filter(|job| job.status_reason.as_deref() == Some(PREEMPTING));
    assert_eq!(stopping.map(|job| job.status.as_str()).collect::<Vec<_>>(), ["RUNNING"; 3]);
    scheduler.advance(minute(7));
    assert_eq!(used(&scheduler), [60, 40]);

    let back = scheduler.jobs().find(|job| job.preemptions == 1).unwrap();
    assert_eq!(back.status, JobStatus::Runnable);
    assert_eq!(back.status_reason.as_deref(), Some(PREEMPTING));
    assert_eq!((back.scheduled_at, back.started_at), (None, None));
    assert_eq!(back.preempted[0].status_reason.as_deref(), Some(PREEMPTED));
    assert_eq!(back.preempted[0].stopped_at, Some(minute(6) + Duration::from_secs(20)));
    assert_eq!(back.attempt(), 2);
}

#[test]
fn a_requeue_may_keep_the_times() {
    let setup = Setup {
        quirks: Quirks { after_requeue: AfterRequeue::Kept, ..Quirks::default() },
        ..quotas(&[("first", 1.0, BORROWS), ("second", 1.0, BORROWS)])
    };
    let mut scheduler = Scheduler::new(setup, 1, START);
    let id = scheduler.submit(wish(0, Some("first"), 2, 60)).unwrap();
    scheduler.advance(START);
    scheduler.submit(wish(5, Some("second"), 1, 60)).unwrap();
    scheduler.advance(minute(6));
    let job = scheduler.job(&id).unwrap();
    assert_eq!((job.status.as_str(), job.scheduled_at, job.started_at), ("RUNNABLE", Some(START), Some(START)));
}

#[test]
fn what_each_sharing_may_use_of_a_neighbours_idle_quota() {
    let some = |percent| Sharing::LendAndBorrow { borrow_limit: Some(percent) };
    let table = [
        (Sharing::Reserve, BORROWS, 4),
        (Sharing::Lend, BORROWS, 4),
        (Sharing::Unknown, BORROWS, 4),
        (BORROWS, BORROWS, 12),
        (BORROWS, Sharing::Lend, 12),
        (BORROWS, Sharing::Reserve, 4),
        (some(0), Sharing::Lend, 4),
        (some(50), Sharing::Lend, 6),
        (some(500), Sharing::Lend, 12),
    ];
    for (own, neighbour, expected) in table {
        let mut scheduler = scheduler(quotas(&[("own", 4.0, own), ("other", 8.0, neighbour)]), Delays::NONE);
        for _ in 0..20 {
            scheduler.submit(wish(0, Some("own"), 1, 60)).unwrap();
        }
        scheduler.advance(START);
        assert_eq!(used(&scheduler), [expected, 0], "{own:?} beside {neighbour:?}");
    }
}

#[test]
fn a_job_that_can_never_fit_is_marked_and_blocks_its_share_only() {
    let shares = [
        ("small", 2.0, Sharing::Lend),
        ("other", 6.0, Sharing::LendAndBorrow { borrow_limit: Some(10) }),
        ("free", 1.0, BORROWS),
        ("kept", 4.0, Sharing::Reserve),
    ];
    let table = [
        ("small", 99, Some("SERVICE_ENVIRONMENT_MAX_RESOURCE")),
        ("small", 3, Some("exceed quota share capacity limits.")),
        ("other", 7, Some("capacity limits and borrow limits.")),
        ("other", 6, None),
        ("free", 10, Some("exceeds all configured borrowable capacity.")),
        ("free", 9, None),
    ];
    for (share, count, expected) in table {
        let mut scheduler = scheduler(quotas(&shares), Delays::NONE);
        let id = scheduler.submit(wish(0, Some(share), count, 1)).unwrap();
        scheduler.submit(wish(0, Some(share), 1, 1)).unwrap();
        scheduler.advance(minute(60));
        let reason = scheduler.job(&id).unwrap().status_reason.clone().unwrap();
        match expected {
            Some(text) => assert!(reason.contains(text), "{reason}"),
            None => assert_eq!(reason, COMPLETED),
        }
        let blocked = if expected.is_some() { ["RUNNABLE"; 2] } else { ["SUCCEEDED"; 2] };
        assert_eq!(statuses(&scheduler), blocked);
    }
}

#[test]
fn a_fifo_queue_keeps_its_order_even_when_a_later_job_would_fit() {
    let mut scheduler = scheduler(setup(InstanceType::ANY, 4.0, Policy::Fifo), Delays::NONE);
    for count in [3, 2, 1] {
        scheduler.submit(wish(0, None, count, 10)).unwrap();
    }
    scheduler.advance(START);
    assert_eq!(statuses(&scheduler), ["RUNNING", "RUNNABLE", "RUNNABLE"]);
    assert_eq!(scheduler.next_event(), Some(minute(10)));
    scheduler.advance(minute(10));
    assert_eq!(statuses(&scheduler), ["SUCCEEDED", "RUNNING", "RUNNING"]);
    assert_eq!(scheduler.usage(&research())[0].quota, Some(4));
}

#[test]
fn priority_goes_before_age_within_a_share() {
    let mut scheduler = scheduler(quotas(&[("only", 1.0, Sharing::Lend)]), Delays::NONE);
    for priority in [0, 0, 5] {
        scheduler.submit(Submission { priority, ..wish(0, Some("only"), 1, 10) }).unwrap();
    }
    scheduler.advance(START);
    assert_eq!(statuses(&scheduler), ["RUNNABLE", "RUNNABLE", "RUNNING"]);
    let front: Vec<_> = scheduler.front(&research(), 9).iter().map(|job| job.number).collect();
    assert_eq!(front, [0, 1]);
}

#[test]
fn a_recorded_job_happens_as_recorded_whatever_the_capacity() {
    let mut scheduler = scheduler(quotas(&[("only", 1.0, Sharing::Lend)]), Delays::TYPICAL);
    let record = |start: Option<u64>, end: Option<u64>| Plan::Recorded {
        start: start.map(minute),
        end: end.map(minute),
        outcome: PlannedOutcome::Succeeds,
    };
    for (start, end) in [(Some(5), Some(20)), (Some(5), None), (None, Some(30)), (None, None), (Some(0), Some(0))] {
        scheduler.submit(Submission { plan: record(start, end), ..wish(0, Some("only"), 4, 0) }).unwrap();
    }
    scheduler.advance(minute(60));
    assert_eq!(statuses(&scheduler), ["SUCCEEDED", "RUNNING", "FAILED", "RUNNABLE", "SUCCEEDED"]);
    let waits: Vec<_> = scheduler.jobs().map(|job| job.first_wait().map(|wait| wait.as_secs() / 60)).collect();
    assert_eq!(waits, [Some(5), Some(5), None, None, Some(0)]);
    let job = scheduler.jobs().next().unwrap();
    assert_eq!((job.started_at, job.stopped_at), (Some(minute(5)), Some(minute(20))));
    assert!(scheduler.jobs().nth(2).unwrap().terminated);
}

#[test]
fn jobs_end_as_planned_or_when_someone_ends_them() {
    let mut scheduler = scheduler(quotas(&[("only", 2.0, Sharing::Lend)]), Delays::TYPICAL);
    let fails = Plan::Runs {
        duration: Duration::from_secs(60),
        outcome: PlannedOutcome::Fails("Received status from SageMaker: AlgorithmError".to_owned()),
    };
    scheduler.submit(Submission { plan: fails, ..wish(0, Some("only"), 1, 0) }).unwrap();
    let running = scheduler.submit(wish(0, Some("only"), 1, 600)).unwrap();
    let waiting = scheduler.submit(wish(0, Some("only"), 2, 600)).unwrap();
    let future = scheduler.submit(wish(90, Some("only"), 1, 600)).unwrap();
    scheduler.advance(minute(10));
    assert_eq!(statuses(&scheduler), ["FAILED", "RUNNING", "RUNNABLE"]);
    assert!(!scheduler.terminate(&future, "not there yet"));
    assert!(scheduler.terminate(&waiting, "changed my mind"));
    assert!(scheduler.terminate(&running, "changed my mind"));
    assert!(!scheduler.terminate(&running, "twice"));
    assert_eq!(statuses(&scheduler), ["FAILED"; 3]);
    assert_eq!(used(&scheduler), [0]);
    assert_eq!(scheduler.next_event(), Some(minute(90)));
    let [failed, ended, cancelled] = scheduler.jobs().collect::<Vec<_>>()[..] else { panic!("three jobs") };
    assert_eq!(failed.attempts.len(), 1);
    assert!(!failed.terminated && ended.terminated && cancelled.terminated);
    assert_eq!((ended.attempts.len(), cancelled.attempts.len()), (1, 0));
    assert_eq!(cancelled.stopped_at, Some(minute(10)));
}

#[test]
fn the_states_take_their_time() {
    let mut scheduler = scheduler(quotas(&[("only", 2.0, Sharing::Lend)]), Delays::TYPICAL);
    let id = scheduler.submit(wish(0, Some("only"), 1, 30)).unwrap();
    assert_eq!(scheduler.job(&id).unwrap().status, JobStatus::Submitted);
    scheduler.advance(minute(60));
    let job = scheduler.job(&id).unwrap();
    let seconds: Vec<_> =
        job.spans.iter().map(|span| (span.phase, span.to.unwrap().since(span.from).as_secs())).collect();
    let [(Phase::Waiting, 2), (Phase::Scheduled, scheduled), (Phase::Starting, starting), (Phase::Running, 1800)] =
        seconds[..]
    else {
        panic!("{seconds:?}")
    };
    assert!((20..=90).contains(&scheduled) && (30..=120).contains(&starting), "{seconds:?}");
    assert!(job.training_job.as_ref().unwrap().as_str().starts_with("AWSBatchtrain"));
}

#[test]
fn what_cannot_be_filed_is_refused() {
    let setup = quotas(&[("open", 1.0, Sharing::Lend), ("closed", 1.0, Sharing::Lend)]);
    let mut scheduler = scheduler(setup, Delays::NONE);
    let closed = QuotaShare { enabled: false, ..share("closed", 1.0, Sharing::Lend) };
    scheduler.put_share(&research(), closed).unwrap();
    let table = [
        (None, Refusal::MissingShare),
        (Some("closed"), Refusal::DisabledShare("closed".into())),
        (Some("absent"), Refusal::UnknownShare("absent".into())),
    ];
    for (share, refusal) in table {
        assert_eq!(scheduler.submit(wish(0, share, 1, 1)), Err(refusal));
    }
    let elsewhere = Submission { queue: "elsewhere".into(), ..wish(0, None, 1, 1) };
    assert_eq!(scheduler.submit(elsewhere), Err(Refusal::UnknownQueue("elsewhere".into())));
}
