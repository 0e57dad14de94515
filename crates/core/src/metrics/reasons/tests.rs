//! Every reason in its simplest form, as a queue with four shares.

use std::collections::BTreeMap;

use super::*;
use crate::jobs::Ledger;
use crate::model::{
    Capacity, JobDetails, JobId, JobSeen, Position, QueueSnapshot, ServiceEnvironment, Sharing, Timestamp,
};

const TYPE: &str = "ml.p5.48xlarge";

/// A job of a scenario: share, status, instances, priority.
type Drawn = (&'static str, JobStatus, f64, i32);

fn seen(index: usize, (share, status, instances, priority): &Drawn) -> JobSeen {
    let created_at = Timestamp::from_millis(i64::try_from(index).unwrap() * 1_000);
    JobSeen {
        name: "train".into(),
        share: Some((*share).into()),
        scheduled_at: status.is_in_flight().then_some(created_at),
        demand: vec![Capacity::new(TYPE, *instances)].into(),
        details: Some(Box::new(JobDetails { priority: Some(*priority), ..JobDetails::default() })),
        ..JobSeen::new(format!("job-{index}"), "research", status.clone(), created_at)
    }
}

/// Shares a (borrows up to 50 %), b (borrows), c (lends) and d (reserved), 4 instances each, in an environment of 16.
fn queue() -> Queue {
    let share = |name: &str, sharing| QuotaShare {
        name: name.into(),
        enabled: true,
        limits: vec![Capacity::new(TYPE, 4.0)],
        sharing,
        in_share_preemption: false,
    };
    Queue::new(
        "research",
        Policy::QuotaShares(vec![
            share("a", Sharing::LendAndBorrow { borrow_limit: Some(50) }),
            share("b", Sharing::LendAndBorrow { borrow_limit: None }),
            share("c", Sharing::Lend),
            share("d", Sharing::Reserve),
        ]),
        Some(ServiceEnvironment { name: "whole".to_owned(), enabled: true, limits: vec![Capacity::new(TYPE, 16.0)] }),
    )
}

/// A waiting job.
pub(super) fn waiting_job() -> Job {
    let (mut ledger, job) = (Ledger::default(), seen(0, &("c", JobStatus::Runnable, 1.0, 0)));
    ledger.observe(job.clone(), Timestamp::from_millis(1_000));
    ledger.job(&job.id).unwrap().clone()
}

fn whys(queue: Queue, jobs: impl IntoIterator<Item = JobSeen>) -> Vec<Option<Why>> {
    whys_behind(queue, jobs, &[])
}

/// Reasons if AWS reports `front` as the first jobs of the queue.
fn whys_behind(queue: Queue, jobs: impl IntoIterator<Item = JobSeen>, front: &[JobId]) -> Vec<Option<Why>> {
    let (mut ledger, now) = (Ledger::default(), Timestamp::from_millis(3_600_000));
    let jobs: Vec<JobSeen> = jobs.into_iter().collect();
    jobs.iter().for_each(|job| drop(ledger.observe(job.clone(), now)));
    let position = |id: &JobId| Position { job_arn: format!("arn:aws:batch:::service-job/{id}"), since: None };
    let snapshot = QueueSnapshot { front: front.iter().map(position).collect(), ..QueueSnapshot::default() };
    let fronts = BTreeMap::from([(queue.name.clone(), snapshot)]);
    let inputs = Inputs {
        now,
        queues: &[queue],
        ledger: &ledger,
        fronts: &fronts,
        prices: &BTreeMap::new(),
        reserved: &[],
        sources: &[],
        expected_starts: &BTreeMap::new(),
        forecasts: &[],
    };
    jobs.iter().map(|job| of_job(ledger.job(&job.id).unwrap(), &inputs, BTreeMap::new())).collect()
}

fn position(why: &Option<Why>) -> Option<QueuePosition> {
    why.as_ref()?.position
}

/// Checks why the last of the jobs waits.
fn check(jobs: &[Drawn], expected: Reason) {
    let why = whys(queue(), jobs.iter().enumerate().map(|(index, job)| seen(index, job))).pop().unwrap().unwrap();
    assert_eq!(why.reason, expected, "{jobs:?}: {:?}", why.evidence);
    assert!(why.story().len() >= 3);
}

#[test]
fn each_reason_in_its_simplest_form() {
    use JobStatus::{Runnable, Running, Submitted};
    check(&[("c", Submitted, 1.0, 0)], Reason::Evaluating);
    check(&[("c", Runnable, 5.0, 0)], Reason::ExceedsShare);
    check(&[("a", Runnable, 7.0, 0)], Reason::ExceedsShare);
    // A reserved quota cannot be borrowed: 12 of the 16 can.
    check(&[("b", Runnable, 13.0, 0)], Reason::ExceedsShare);
    check(&[("d", Running, 3.0, 0), ("d", Runnable, 2.0, 0)], Reason::ShareAtLimit);
    check(&[("b", Running, 12.0, 0), ("b", Runnable, 1.0, 0)], Reason::ShareAtLimit);
    check(&[("a", Running, 6.0, 0), ("a", Runnable, 1.0, 0)], Reason::BorrowLimit);
    check(&[("b", Running, 10.0, 0), ("c", Runnable, 4.0, 0)], Reason::Reclaiming);
    check(&[("c", Runnable, 1.0, 0), ("c", Runnable, 1.0, 0)], Reason::Behind);
    check(&[("c", Runnable, 1.0, 0)], Reason::Evaluating);
}

#[test]
fn a_reason_given_by_batch_has_precedence() {
    let said = |reason: &str| {
        let job = JobSeen { status_reason: Some(reason.into()), ..seen(0, &("c", JobStatus::Runnable, 1.0, 0)) };
        whys(queue(), [job]).pop().unwrap().unwrap().reason
    };
    assert_eq!(said("MISCONFIGURATION:ROLE - cannot be assumed"), Reason::Misconfigured);
    assert_eq!(
        said("MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requirements exceed quota share capacity limits."),
        Reason::ExceedsShare
    );
    assert_eq!(said("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - none left"), Reason::NoCapacity);
    let disabled = whys(Queue { enabled: false, ..queue() }, [seen(0, &("c", JobStatus::Runnable, 9.0, 0))]);
    assert_eq!(disabled[0].as_ref().unwrap().reason, Reason::Disabled);
}

#[test]
fn a_place_is_by_priority_and_then_age() {
    use JobStatus::{Runnable, Running};
    let jobs = [("c", Runnable, 1.0, 0), ("c", Runnable, 2.0, 5), ("c", Running, 1.0, 9), ("c", Runnable, 1.0, 0)];
    let whys = whys(queue(), jobs.iter().enumerate().map(|(index, job)| seen(index, job)));
    let positions: Vec<_> =
        whys.iter().map(|why| position(why).map(|at| (at.in_share.unwrap(), at.gpus_ahead.unwrap()))).collect();
    assert_eq!(positions, [Some((2, 16.0)), Some((1, 0.0)), None, Some((3, 24.0))]);
}

#[test]
fn a_place_in_the_queue_is_exact_among_the_first_and_bounded_beyond() {
    let jobs =
        |count: usize| (0..count).map(|index| seen(index, &(["b", "c"][index % 2], JobStatus::Runnable, 1.0, 0)));
    let front: Vec<JobId> = (0..100).map(|index| format!("job-{index}").into()).collect();
    let whys = whys_behind(queue(), jobs(250), &front);
    let bounds = |index: usize| position(&whys[index]).unwrap().queue_bounds;
    assert_eq!([bounds(0), bounds(99), bounds(100), bounds(249)], [(1, 1), (100, 100), (101, 250), (125, 250)]);
    let story = whys[100].as_ref().unwrap().story();
    assert!(
        story[1].starts_with("It is number 51 of its share, and between number 101 and 250 in the queue"),
        "{story:?}"
    );

    // If AWS lists fewer jobs than it could, the list is older than the job.
    let whys = whys_behind(queue(), jobs(20), &front[..10]);
    assert_eq!(position(&whys[19]).unwrap().queue_bounds, (10, 20));
}

#[test]
fn the_explanation_has_numbers_positions_and_a_next_step() {
    let jobs = [("d", JobStatus::Running, 3.0, 0), ("d", JobStatus::Runnable, 2.0, 0)];
    let why = whys(queue(), jobs.iter().enumerate().map(|(index, job)| seen(index, job))).pop().unwrap().unwrap();
    let waited = BTreeMap::from([(Reason::Behind, 90.0), (Reason::ShareAtLimit, 13_200.0)]);
    assert_eq!(
        Why { waited, ..why }.story(),
        [
            "It requests 2 ml.p5.48xlarge; its share uses 3 of 4, and other shares have 12 to lend.",
            "It is the first of its share, number 1 in the queue.",
            "Waited so far, by reason: 3h 40m with the share at its limit, 1m 30s behind other jobs.",
            "Next: wait for the share's own jobs to end, or raise its quota.",
        ]
    );
}

#[test]
fn places_in_a_fifo_queue_agree_also_among_jobs_of_the_same_moment() {
    let fifo = || Queue { policy: Policy::Fifo, ..queue() };
    // A sweep: all jobs created at the same moment. AWS orders them differently from their ids.
    let job = |id: &str, created: i64| JobSeen {
        id: id.into(),
        share: None,
        created_at: Timestamp::from_millis(created),
        ..seen(0, &("", JobStatus::Runnable, 1.0, 0))
    };
    let sweep = || ["a", "b", "c", "d", "e"].map(|id| job(id, 1_000));
    let front: Vec<JobId> = ["e", "c", "a", "d", "b"].map(JobId::from).into();
    let whys = whys_behind(fifo(), sweep(), &front);
    let positions: Vec<_> =
        whys.iter().map(|why| position(why).map(|at| (at.in_share.unwrap(), at.in_queue)).unwrap()).collect();
    assert_eq!(positions, [(3, Some(3)), (5, Some(5)), (2, Some(2)), (4, Some(4)), (1, Some(1))]);
    let story = |why: &Option<Why>| why.as_ref().unwrap().story()[1].clone();
    assert_eq!(story(&whys[0]), "It is number 3 in the queue; the jobs before it request 16 GPUs.");
    assert_eq!(story(&whys[2]), "It is number 2 in the queue; the job before it requests 8 GPUs.");
    assert_eq!(story(&whys[4]), "It is the first in the queue.");

    // Without AWS's list they may be in any order, behind older ones.
    let whys = whys_behind(fifo(), sweep().into_iter().chain([job("z", 500), job("y", 2_000)]), &[]);
    for why in &whys[..5] {
        let at = position(why).unwrap();
        assert_eq!((at.queue_bounds, at.in_queue), ((2, 6), None));
        assert!((2..=6).contains(&at.in_share.unwrap()), "{at:?}");
    }
    assert_eq!(story(&whys[0]), "It is between number 2 and 6 in the queue.");
    assert_eq!([position(&whys[5]).unwrap().queue_bounds, position(&whys[6]).unwrap().queue_bounds], [(1, 1), (7, 7)]);
}

#[test]
fn a_reason_speaks_of_the_limits_there_are_and_of_a_size_that_is_known() {
    let whole = |policy: Policy| Queue { policy, ..queue() };
    let reported = |queue: Queue, demand: Vec<Capacity>| {
        let job = JobSeen { demand: demand.into(), ..seen(0, &("a", JobStatus::Runnable, 1.0, 0)) };
        whys(queue, [job]).pop().unwrap().unwrap().story()[0].clone()
    };
    let instances = |count| vec![Capacity::new(TYPE, count)];
    assert_eq!(
        reported(whole(Policy::Fifo), instances(20.0)),
        "It requests 20 ml.p5.48xlarge; the service environment allows 16."
    );
    assert_eq!(
        reported(queue(), instances(7.0)),
        "It requests 7 ml.p5.48xlarge; its share has 4 and may use at most 6, and the service environment allows 16."
    );
    let unknown = "Its request is unknown, and no obstacle is known.";
    assert_eq!(reported(whole(Policy::Fifo), Vec::new()), unknown);
    assert_eq!(reported(queue(), vec![Capacity::new(TYPE, 1e308)]), unknown);
}

/// Positions of some jobs of a backlog, in dispatch order.
fn in_backlog(queue: Queue, jobs: usize, asked: &[usize], job: impl Fn(usize) -> JobSeen) -> Vec<Why> {
    let (mut ledger, now) = (Ledger::default(), Timestamp::from_millis(3_600_000_000));
    (0..jobs).for_each(|index| drop(ledger.observe(job(index), now)));
    let inputs = Inputs {
        now,
        queues: &[queue],
        ledger: &ledger,
        fronts: &BTreeMap::new(),
        prices: &BTreeMap::new(),
        reserved: &[],
        sources: &[],
        expected_starts: &BTreeMap::new(),
        forecasts: &[],
    };
    let why = |index: &usize| of_job(ledger.job(&job(*index).id).unwrap(), &inputs, BTreeMap::new()).unwrap();
    asked.iter().map(why).collect()
}

#[test]
fn deep_in_a_backlog_the_position_is_a_lower_bound() {
    let most = queue_position::MAX_COUNTED_AHEAD;
    let asked = [0, 1, most, most + 1, most + 40];
    let shown = |why: &Why| {
        let at = why.position.unwrap();
        (at.in_share, at.in_share_at_least, at.queue_bounds.0, at.queue_bounds.1, at.gpus_ahead)
    };
    let of_share = |index| seen(index, &("c", JobStatus::Runnable, if index % 2 == 0 { 1.0 } else { 2.0 }, 0));
    let whys = in_backlog(queue(), most + 50, &asked, of_share);
    let waiting = most + 50;
    let known = |place: usize, gpus| (Some(place), place, place, waiting, Some(gpus));
    let unknown = (None, most + 2, most + 2, waiting, None);
    let expected = [known(1, 0.0), known(2, 8.0), known(most + 1, 12.0 * most as f64), unknown, unknown];
    assert_eq!(whys.iter().map(shown).collect::<Vec<_>>(), expected);
    let words = "More than 10000 jobs of its share are before it, and between number 10002 and 10050 in the queue.";
    assert_eq!(whys[4].story()[1], words);

    // First in, first out, regardless of priority.
    let priority = |index: usize| i32::try_from(index % 3).unwrap();
    let of_queue = |index| JobSeen { share: None, ..seen(index, &("", JobStatus::Runnable, 1.0, priority(index))) };
    let whys = in_backlog(Queue { policy: Policy::Fifo, ..queue() }, most + 50, &asked, of_queue);
    let known = |place: usize| (Some(place), place, place, place, Some(8.0 * (place - 1) as f64));
    assert_eq!(whys.iter().map(shown).collect::<Vec<_>>(), [known(1), known(2), known(most + 1), unknown, unknown]);
    let words = "More than 10000 jobs are before it: it is between number 10002 and 10050 in the queue.";
    assert_eq!(whys[4].story()[1], words);
}

#[test]
fn a_list_of_jobs_has_the_same_reasons_as_each_of_them_alone() {
    use JobStatus::{Pending, Runnable, Running, Submitted};
    let statuses = [Runnable, Submitted, Runnable, Pending, Runnable, Running];
    let (mut ledger, now) = (Ledger::default(), Timestamp::from_millis(3_600_000));
    let drawn = |index: usize| {
        let instances = [0.5, 1.0, 7.0, 2.0][index % 4];
        seen(index, &(["a", "b", "c", "d"][index / 6 % 4], statuses[index % 6].clone(), instances, 0))
    };
    (0..96).for_each(|index| drop(ledger.observe(drawn(index), now)));
    let inputs = Inputs {
        now,
        queues: &[queue()],
        ledger: &ledger,
        fronts: &BTreeMap::new(),
        prices: &BTreeMap::new(),
        reserved: &[],
        sources: &[],
        expected_starts: &BTreeMap::new(),
        forecasts: &[],
    };
    let notes = crate::metrics::alert_notes::Notes::new(inputs);
    let mut reasons = std::collections::BTreeSet::new();
    for job in (0..96).map(|index| ledger.job(&drawn(index).id).unwrap()) {
        let alone = of_job(job, &inputs, BTreeMap::new()).map(|why| Why { position: None, ..why });
        assert_eq!(notes.why(job, BTreeMap::new()), alone, "{}", job.latest.id);
        reasons.extend(alone.map(|why| why.reason));
    }
    assert!(reasons.len() >= 3, "{reasons:?}");
}
