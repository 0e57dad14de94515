//! Retries, timeouts, lack of instances, preemption limits and time limits.

use super::*;

const ALGORITHM: &str = "Received status from SageMaker: AlgorithmError: exit code 1";
const NO_INSTANCES: &str = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Unable to provision requested compute resources";

fn one_share(limit: f64) -> Scheduler {
    scheduler(quotas(&[("only", limit, Sharing::Lend)]), Delays::NONE)
}

fn attempts(outcomes: &[bool]) -> Plan {
    let outcome =
        |good: &bool| if *good { PlannedOutcome::Succeeds } else { PlannedOutcome::Fails(ALGORITHM.to_owned()) };
    Plan::Attempts(
        outcomes.iter().map(|good| PlannedAttempt { duration: minutes(10), outcome: outcome(good) }).collect(),
    )
}

fn retry(attempts: u32, rules: &[(&str, ExitAction)]) -> Terms {
    let rule =
        |(pattern, action): &(&str, ExitAction)| ExitRule { on_status_reason: (*pattern).to_owned(), action: *action };
    let rules = rules.iter().map(rule).collect();
    Terms { retry: RetryStrategy { attempts, rules }, ..Terms::default() }
}

#[test]
fn a_failed_attempt_is_tried_again_as_far_as_allowed() {
    use ExitAction::{Exit, Retry};
    let table: [(Terms, &[bool], &str, usize); 6] = [
        (retry(1, &[]), &[false, true], "FAILED", 1),
        (retry(2, &[]), &[false, true], "SUCCEEDED", 2),
        (retry(3, &[]), &[false], "FAILED", 3),
        (retry(3, &[("Received*", Exit)]), &[false, true], "FAILED", 1),
        (retry(3, &[("Received*Algo", Exit), ("Received*", Retry), ("*", Exit)]), &[false, true], "SUCCEEDED", 2),
        (retry(3, &[("Other*", Exit)]), &[false, true], "SUCCEEDED", 2),
    ];
    for (terms, outcomes, status, made) in table {
        let mut scheduler = one_share(1.0);
        let id = scheduler.submit(Submission {
            plan: attempts(outcomes),
            terms: terms.clone(),
            ..wish(0, Some("only"), 1, 0)
        });
        let id = id.unwrap();
        scheduler.advance(minute(60));
        let job = scheduler.job(&id).unwrap();
        assert_eq!((job.status.as_str(), job.attempts.len()), (status, made), "{terms:?}");
        assert!(!job.terminated);
        let names: std::collections::BTreeSet<_> =
            job.attempts.iter().map(|attempt| attempt.training_job.clone()).collect();
        assert_eq!(names.len(), made, "each attempt is a training job of its own");
        assert_eq!(
            job.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(),
            (1..=made as u32).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_retry_goes_back_to_its_place_by_age() {
    let mut scheduler = one_share(1.0);
    let first = Submission { plan: attempts(&[false, true]), terms: retry(2, &[]), ..wish(0, Some("only"), 1, 0) };
    let first = scheduler.submit(first).unwrap();
    scheduler.submit(wish(1, Some("only"), 1, 10)).unwrap();
    scheduler.advance(minute(10));
    assert_eq!(statuses(&scheduler), ["RUNNING", "RUNNABLE"]);
    assert_eq!(life(&scheduler, &first), [(Phase::Running, 10), (Phase::Running, 0)]);
}

#[test]
fn an_attempt_that_runs_out_of_time_is_not_tried_again() {
    let mut scheduler = one_share(1.0);
    let terms = Terms { attempt_timeout: Some(minutes(5)), ..retry(3, &[]) };
    let slow = scheduler.submit(Submission { terms: terms.clone(), ..wish(0, Some("only"), 1, 6) }).unwrap();
    let quick = scheduler.submit(Submission { terms, ..wish(0, Some("only"), 1, 5) }).unwrap();
    scheduler.advance(minute(60));
    assert_eq!(statuses(&scheduler), ["FAILED", "SUCCEEDED"]);
    assert_eq!(life(&scheduler, &slow), [(Phase::Running, 5)]);
    assert_eq!(reason(&scheduler, &slow), "Job attempt duration exceeded timeout");
    assert_eq!(reason(&scheduler, &quick), COMPLETED);
}

#[test]
fn lack_of_instances_takes_no_attempt_and_only_the_latest_is_kept() {
    let delays = Delays { scheduled: (minutes(2), minutes(2)), capacity_retry: minutes(5), ..Delays::NONE };
    let mut scheduler = scheduler(quotas(&[("only", 1.0, Sharing::Lend)]), delays);
    let terms = Terms { capacity_failures: 2, ..Terms::default() };
    let id = scheduler.submit(Submission { terms, ..wish(0, Some("only"), 1, 10) }).unwrap();
    scheduler.submit(wish(0, Some("only"), 1, 10)).unwrap();
    scheduler.advance(minute(2));
    assert_eq!(statuses(&scheduler), ["RUNNABLE", "RUNNABLE"], "it blocks what is behind it");
    assert_eq!(reason(&scheduler, &id), NO_INSTANCES);
    assert_eq!(used(&scheduler), [0]);
    let first = scheduler.job(&id).unwrap().capacity_failed.clone().unwrap();
    scheduler.advance(minute(60));
    let job = scheduler.job(&id).unwrap();
    use Phase::{Running, Scheduled, Waiting};
    let expected = [(Scheduled, 2), (Waiting, 5), (Scheduled, 2), (Waiting, 5), (Scheduled, 2), (Running, 10)];
    assert_eq!(life(&scheduler, &id), expected);
    assert_eq!((job.attempts.len(), job.capacity_failures), (1, 2));
    let latest = job.capacity_failed.as_deref().unwrap();
    assert_eq!((first.number, latest.number, job.attempts[0].number), (1, 2, 3));
    assert_ne!(first.training_job, latest.training_job);
    assert_eq!(job.first_wait(), Some(Duration::ZERO));
}

#[test]
fn during_an_outage_nothing_of_that_type_starts() {
    let outage = Outage { unit: TYPE.into(), from: minute(5), to: Some(minute(30)) };
    let setup = Setup { outages: vec![outage], ..setup(InstanceType::ANY, 4.0, Policy::Fifo) };
    let mut scheduler = scheduler(setup, Delays { capacity_retry: minutes(10), ..Delays::NONE });
    let early = scheduler.submit(wish(0, None, 1, 20)).unwrap();
    let late = scheduler.submit(wish(10, None, 1, 20)).unwrap();
    scheduler.advance(minute(90));
    assert_eq!(life(&scheduler, &early), [(Phase::Running, 20)], "what runs is not touched");
    assert_eq!(scheduler.job(&late).unwrap().started_at, Some(minute(30)));
    assert_eq!(scheduler.job(&late).unwrap().capacity_failures, 2);
    scheduler.add_outage(Outage { unit: "ml.g5.12xlarge".into(), from: START, to: None });
    let other = scheduler.submit(wish(90, None, 1, 20)).unwrap();
    scheduler.advance(minute(91));
    assert_eq!(scheduler.job(&other).unwrap().status, JobStatus::Running);
}

#[test]
fn preemptions_may_be_limited() {
    for (retries, expected) in [(None, "RUNNABLE"), (Some(1), "RUNNABLE"), (Some(0), "FAILED")] {
        let shares = [("first", 1.0, BORROWS), ("second", 1.0, BORROWS)];
        let mut scheduler = scheduler(quotas(&shares), Delays::NONE);
        let terms = Terms { preemption_retries: retries, ..retry(5, &[]) };
        let id = scheduler.submit(Submission { terms, ..wish(0, Some("first"), 2, 60) }).unwrap();
        scheduler.advance(START);
        scheduler.submit(wish(1, Some("second"), 1, 60)).unwrap();
        scheduler.advance(minute(2));
        let job = scheduler.job(&id).unwrap();
        assert_eq!((job.status.as_str(), job.preemptions, job.attempts.len()), (expected, 1, 0), "{retries:?}");
        assert_eq!(job.preempted.len(), 1);
        assert_eq!(job.stopped_at.is_some(), expected == "FAILED");
    }
}

fn limit(blocked: Blocked, after: u64) -> TimeLimit {
    TimeLimit { blocked, after: minutes(after) }
}

#[test]
fn a_head_that_blocks_for_too_long_is_terminated_and_what_is_behind_it_goes() {
    let mut setup = quotas(&[("only", 2.0, Sharing::Lend)]);
    setup.queues[0].time_limits = vec![limit(Blocked::InstanceCapacity, 20), limit(Blocked::QuotaLimit, 10)];
    setup.environments[0].limits = vec![Capacity::new(TYPE, 9.0)];
    let mut scheduler = scheduler(setup, Delays::NONE);
    let too_large = scheduler.submit(wish(0, Some("only"), 3, 1)).unwrap();
    let behind = scheduler.submit(wish(0, Some("only"), 1, 1)).unwrap();
    let second = scheduler.submit(wish(0, Some("only"), 3, 1)).unwrap();
    scheduler.advance(minute(10) - Duration::from_millis(1));
    assert_eq!(statuses(&scheduler), ["RUNNABLE"; 3]);
    scheduler.advance(minute(10));
    assert_eq!(statuses(&scheduler), ["FAILED", "RUNNING", "RUNNABLE"]);
    let job = scheduler.job(&too_large).unwrap();
    assert!(job.terminated);
    assert_eq!(
        reason(&scheduler, &too_large),
        "Terminated by JobStateTimeLimit action due to reason: MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED"
    );
    // The third became the head only then.
    scheduler.advance(minute(60));
    assert_eq!(scheduler.job(&behind).unwrap().status, JobStatus::Succeeded);
    assert_eq!(scheduler.job(&second).unwrap().stopped_at, Some(minute(20)));
    assert_eq!(scheduler.next_event(), None);
}

#[test]
fn requesting_instances_again_does_not_restart_the_time_limit() {
    let mut setup = setup(InstanceType::ANY, 2.0, Policy::Fifo);
    setup.queues[0].time_limits = vec![limit(Blocked::InstanceCapacity, 20)];
    setup.outages = vec![Outage { unit: TYPE.into(), from: START, to: None }];
    let mut scheduler = scheduler(setup, Delays { capacity_retry: minutes(6), ..Delays::NONE });
    let id = scheduler.submit(wish(0, None, 1, 1)).unwrap();
    scheduler.advance(minute(60));
    let job = scheduler.job(&id).unwrap();
    assert_eq!((job.status.as_str(), job.stopped_at), ("FAILED", Some(minute(20))));
    assert!(reason(&scheduler, &id).ends_with("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"));
}

#[test]
fn codes_are_read_as_they_are_written() {
    for blocked in [Blocked::InstanceCapacity, Blocked::EnvironmentLimit, Blocked::QuotaLimit] {
        assert_eq!(Blocked::parse(blocked.code()), Some(blocked));
        assert!(blocked.termination().ends_with(blocked.code()));
    }
    assert_eq!(Blocked::parse("CAPACITY"), None);
}

#[test]
fn what_sagemaker_refuses_fails_when_it_is_dispatched_and_holds_nothing() {
    let mut scheduler = scheduler(setup(TYPE, 1.0, Policy::Fifo), Delays::NONE);
    let first = scheduler.submit(wish(0, None, 1, 60)).unwrap();
    let refused = Submission { plan: Plan::Refused("ValidationException".to_owned()), ..wish(1, None, 1, 60) };
    let refused = scheduler.submit(refused).unwrap();
    let behind = scheduler.submit(wish(2, None, 1, 60)).unwrap();
    scheduler.advance(minute(30));
    assert_eq!(scheduler.job(&refused).unwrap().status, JobStatus::Runnable, "it waits for its turn like any other");
    scheduler.advance(minute(60));
    let job = scheduler.job(&refused).unwrap();
    assert_eq!((job.status.as_str(), reason(&scheduler, &refused)), ("FAILED", "ValidationException"));
    assert!(job.attempts.is_empty() && job.training_job.is_none() && !job.terminated, "{job:?}");
    assert_eq!(scheduler.job(&first).unwrap().status, JobStatus::Succeeded);
    assert_eq!(
        scheduler.job(&behind).unwrap().status,
        JobStatus::Running,
        "what it did not take is there for the next"
    );
}

#[test]
fn transitions_have_the_kind_and_the_time() {
    let shares = [("lends", 1.0, BORROWS), ("borrows", 1.0, BORROWS)];
    let mut scheduler = scheduler(quotas(&shares), Delays::NONE);
    scheduler.keep_transitions(minute(1));
    let early = scheduler.submit(wish(0, Some("borrows"), 1, 600)).unwrap();
    let borrower = scheduler.submit(wish(1, Some("borrows"), 1, 600)).unwrap();
    scheduler.submit(wish(2, Some("lends"), 1, 600)).unwrap();
    scheduler.advance(minute(3));
    scheduler.terminate(&early, "enough");
    let number = scheduler.job(&borrower).unwrap().number;
    let of = |transitions: &[Transition], job| {
        let kind = |kind: &TransitionKind| {
            let TransitionKind::Moved { from, since, to } = kind else { return format!("{kind:?}") };
            format!("{}@{} {}", from.as_str(), since.since(START).as_secs() / 60, to.as_str())
        };
        let of_job = transitions.iter().filter(|transition| transition.job == job);
        of_job.map(|one| format!("{} {}", one.at.since(START).as_secs() / 60, kind(&one.kind))).collect::<Vec<_>>()
    };
    let transitions = scheduler.take_transitions();
    let expected = [
        "1 Submitted",
        "1 SUBMITTED@1 RUNNABLE",
        "1 RUNNABLE@1 SCHEDULED",
        "1 SCHEDULED@1 STARTING",
        "1 STARTING@1 RUNNING",
        "2 Preempted",
        "2 RUNNING@1 RUNNABLE",
        "3 RUNNABLE@2 SCHEDULED",
    ];
    assert_eq!(of(&transitions, number)[..8], expected, "{transitions:?}");
    assert_eq!(of(&transitions, 0), ["3 Terminated", "3 RUNNING@0 FAILED"], "what is older is not kept");
    assert_eq!(scheduler.take_transitions(), [], "taken once");
}
