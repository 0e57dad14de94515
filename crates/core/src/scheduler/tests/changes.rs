//! Changes of environments, queues, shares and jobs while jobs run.

use super::*;

fn enabled(scheduler: &mut Scheduler, on: bool) {
    let queue = scheduler.queue(&research()).unwrap().clone();
    scheduler.put_queue(QueueSetup { enabled: on, ..queue }).unwrap();
}

#[test]
fn everything_can_be_made_one_by_one_and_removed_again() {
    let mut scheduler = Scheduler::new(Setup { delays: Delays::NONE, ..Setup::default() }, 1, START);
    scheduler.put_queue(QueueSetup::new("research", "gpus", Policy::QuotaShares(Vec::new()))).unwrap();
    assert_eq!(scheduler.submit(wish(0, Some("a"), 1, 60)), Err(Refusal::UnknownShare("a".into())));
    scheduler.put_share(&research(), share("a", 2.0, Sharing::Lend)).unwrap();
    let first = scheduler.submit(wish(0, Some("a"), 1, 60)).unwrap();
    scheduler.advance(START);
    assert!(reason(&scheduler, &first).starts_with("MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE"));
    assert_eq!(scheduler.environments().count(), 0);

    scheduler.put_environment(environment(TYPE, 4.0));
    scheduler.advance(minute(1));
    assert_eq!(statuses(&scheduler), ["RUNNING"]);
    assert!(scheduler.environment("gpus").is_some());
    let second = scheduler.submit(wish(1, Some("a"), 2, 60)).unwrap();
    scheduler.advance(minute(1));

    assert!(scheduler.remove_share(&research(), &"a".into(), "Quota share deleted"));
    assert!(!scheduler.remove_share(&research(), &"a".into(), "twice"));
    assert_eq!(statuses(&scheduler), ["FAILED", "FAILED"]);
    assert_eq!(reason(&scheduler, &second), "Quota share deleted");
    assert_eq!(scheduler.usage(&research()), []);
    assert!(scheduler.remove_queue(&research(), "Job queue deleted"));
    assert!(!scheduler.remove_queue(&research(), "twice"));
    assert!(scheduler.remove_environment("gpus") && !scheduler.remove_environment("gpus"));
    assert_eq!((scheduler.queues().count(), scheduler.environments().count()), (0, 0));
    assert_eq!(scheduler.jobs().count(), 2, "history stays");

    scheduler.put_queue(QueueSetup::new("research", "gpus", Policy::Fifo)).unwrap();
    assert_eq!(scheduler.jobs_of(&research(), ..).count(), 0, "a new queue of that name has none of it");
}

#[test]
fn a_queue_keeps_its_kind_of_policy() {
    let mut scheduler = scheduler(quotas(&[("a", 1.0, Sharing::Lend)]), Delays::NONE);
    assert_eq!(scheduler.put_policy(&research(), Policy::Fifo), Err(Refusal::OtherPolicy(research())));
    let nowhere = QueueName::from("nowhere");
    let unknown = scheduler.put_share(&nowhere, share("a", 1.0, Sharing::Lend));
    assert_eq!(unknown, Err(Refusal::UnknownQueue(nowhere)));
}

#[test]
fn what_is_disabled_takes_no_new_jobs_and_finishes_those_it_has() {
    for (quirk, drained) in [(DisabledQueue::Drains, "RUNNING"), (DisabledQueue::Holds, "RUNNABLE")] {
        let setup = Setup {
            quirks: Quirks { disabled_queue: quirk, ..Quirks::default() },
            ..setup(InstanceType::ANY, 1.0, Policy::Fifo)
        };
        let mut scheduler = scheduler(setup, Delays::NONE);
        for at in [0, 0, 9] {
            scheduler.submit(wish(at, None, 1, 10)).unwrap();
        }
        scheduler.advance(minute(1));
        enabled(&mut scheduler, false);
        assert_eq!(scheduler.submit(wish(1, None, 1, 10)), Err(Refusal::DisabledQueue(research())));
        scheduler.advance(minute(10));
        assert_eq!(statuses(&scheduler), ["SUCCEEDED", drained], "and the third came to a closed door");
        enabled(&mut scheduler, true);
        scheduler.advance(minute(11));
        assert_eq!(statuses(&scheduler), ["SUCCEEDED", "RUNNING"]);
    }

    let mut scheduler = scheduler(quotas(&[("a", 1.0, Sharing::Lend)]), Delays::NONE);
    for _ in 0..2 {
        scheduler.submit(wish(0, Some("a"), 1, 10)).unwrap();
    }
    scheduler.advance(minute(1));
    scheduler.put_share(&research(), QuotaShare { enabled: false, ..share("a", 1.0, Sharing::Lend) }).unwrap();
    scheduler.advance(minute(10));
    assert_eq!(statuses(&scheduler), ["SUCCEEDED", "RUNNING"]);
}

#[test]
fn nothing_is_dispatched_to_a_disabled_environment() {
    let mut scheduler = scheduler(setup(InstanceType::ANY, 1.0, Policy::Fifo), Delays::NONE);
    for _ in 0..2 {
        scheduler.submit(wish(0, None, 1, 10)).unwrap();
    }
    scheduler.advance(minute(1));
    scheduler.put_environment(ServiceEnvironment { enabled: false, ..environment(InstanceType::ANY, 1.0) });
    scheduler.advance(minute(30));
    assert_eq!(statuses(&scheduler), ["SUCCEEDED", "RUNNABLE"]);
    scheduler.put_environment(environment(InstanceType::ANY, 1.0));
    scheduler.advance(minute(31));
    assert_eq!(statuses(&scheduler), ["SUCCEEDED", "RUNNING"]);
}

#[test]
fn a_lowered_limit_lets_jobs_run_and_starts_nothing_until_it_fits() {
    let mut scheduler = scheduler(setup(InstanceType::ANY, 4.0, Policy::Fifo), Delays::NONE);
    for at in [0, 0, 5, 5] {
        scheduler.submit(wish(at, None, 2, 10)).unwrap();
    }
    scheduler.advance(minute(6));
    scheduler.put_environment(environment(InstanceType::ANY, 2.0));
    let usage = &scheduler.usage(&research())[0];
    assert_eq!((usage.quota, usage.used), (Some(2), 4));
    scheduler.advance(minute(10));
    assert_eq!(statuses(&scheduler), ["SUCCEEDED", "SUCCEEDED", "RUNNING", "RUNNABLE"]);
    scheduler.put_environment(environment(InstanceType::ANY, 1.0));
    scheduler.advance(minute(20));
    let last = scheduler.jobs().nth(3).unwrap().id.clone();
    assert!(reason(&scheduler, &last).starts_with("MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE"));
    scheduler.put_environment(environment(InstanceType::ANY, 2.0));
    scheduler.advance(minute(21));
    assert_eq!(scheduler.job(&last).unwrap().status, JobStatus::Running);
}

#[test]
fn jobs_above_a_lowered_quota_are_preempted_for_those_within_theirs_and_no_more() {
    for sharing in [Sharing::Reserve, Sharing::Lend, BORROWS] {
        let mut scheduler = scheduler(quotas(&[("a", 6.0, sharing), ("b", 4.0, Sharing::Lend)]), Delays::NONE);
        for _ in 0..6 {
            scheduler.submit(wish(0, Some("a"), 1, 600)).unwrap();
        }
        scheduler.advance(minute(1));
        scheduler.put_share(&research(), share("a", 2.0, sharing)).unwrap();
        scheduler.put_share(&research(), share("b", 8.0, Sharing::Lend)).unwrap();
        scheduler.advance(minute(2));
        assert_eq!(used(&scheduler), [6, 0], "nobody asks for it yet");
        scheduler.submit(wish(3, Some("b"), 5, 600)).unwrap();
        scheduler.advance(minute(4));
        assert_eq!(used(&scheduler), [5, 5], "{sharing:?}");
        let usage = scheduler.usage(&research());
        assert_eq!((usage[0].borrowed, usage[0].excess, usage[1].lent), (3, 0, 3));
    }
}

#[test]
fn use_above_limits_that_no_share_lends_is_excess() {
    let mut scheduler = scheduler(quotas(&[("a", 6.0, Sharing::Lend), ("b", 4.0, Sharing::Lend)]), Delays::NONE);
    scheduler.submit(wish(0, Some("a"), 6, 600)).unwrap();
    scheduler.submit(wish(0, Some("b"), 3, 600)).unwrap();
    scheduler.advance(minute(1));
    scheduler.put_share(&research(), share("a", 2.0, Sharing::Lend)).unwrap();
    let usage = scheduler.usage(&research());
    assert_eq!((usage[0].borrowed, usage[0].excess, usage[1].lent), (1, 3, 1));
    // Free capacity of a removed share serves an entitled job before any preemption.
    scheduler.submit(wish(2, Some("b"), 1, 600)).unwrap();
    scheduler.advance(minute(3));
    assert_eq!(used(&scheduler), [6, 4]);
}

#[test]
fn an_environment_may_change_what_it_counts() {
    let mut scheduler = scheduler(setup(TYPE, 2.0, Policy::Fifo), Delays::NONE);
    for at in [0, 5] {
        scheduler.submit(wish(at, None, 2, 10)).unwrap();
    }
    scheduler.advance(minute(5));
    scheduler.put_environment(environment("ml.g5.12xlarge", 3.0));
    let usage: Vec<_> = scheduler
        .usage(&research())
        .into_iter()
        .map(|row| (row.unit.as_str().to_owned(), row.quota, row.used))
        .collect();
    let gone = (TYPE.to_owned(), Some(0), 2);
    assert_eq!(usage, [("ml.g5.12xlarge".to_owned(), Some(3), 0), gone], "still counted while it is held");
    scheduler.put_environment(environment(InstanceType::ANY, 4.0));
    scheduler.advance(minute(6));
    assert_eq!(statuses(&scheduler), ["RUNNING", "RUNNING"]);
    assert_eq!(used(&scheduler), [4]);
    scheduler.advance(minute(60));
    assert_eq!(used(&scheduler), [0]);
}

#[test]
fn a_queue_may_move_to_another_environment_with_what_it_holds() {
    let mut scheduler = scheduler(setup(InstanceType::ANY, 2.0, Policy::Fifo), Delays::NONE);
    for at in [0, 5] {
        scheduler.submit(wish(at, None, 2, 10)).unwrap();
    }
    scheduler.advance(minute(5));
    let larger = ServiceEnvironment { name: "larger".to_owned(), ..environment(InstanceType::ANY, 4.0) };
    scheduler.put_environment(larger);
    scheduler.put_queue(QueueSetup::new("research", "larger", Policy::Fifo)).unwrap();
    scheduler.put_queue(QueueSetup::new("other", "gpus", Policy::Fifo)).unwrap();
    scheduler.submit(Submission { queue: "other".into(), ..wish(5, None, 2, 10) }).unwrap();
    scheduler.advance(minute(6));
    assert_eq!(statuses(&scheduler), ["RUNNING"; 3]);
    scheduler.advance(minute(60));
    assert_eq!(statuses(&scheduler), ["SUCCEEDED"; 3]);
}

#[test]
fn a_job_ends_when_asked_to_in_every_state() {
    let one = minutes(1);
    let delays = Delays { submitted: one, scheduled: (one, one), starting: (one, one), stopping: one, ..Delays::NONE };
    let expected = ["SUBMITTED", "SCHEDULED", "STARTING", "RUNNING", "RUNNING"];
    for (minutes, status) in (0..5).zip(expected) {
        let mut scheduler = scheduler(quotas(&[("a", 1.0, BORROWS), ("b", 1.0, BORROWS)]), delays.clone());
        let id = scheduler.submit(wish(0, Some("a"), 2, 600)).unwrap();
        // In the last case it is being preempted.
        scheduler.submit(wish(3, Some("b"), 1, 600)).unwrap();
        scheduler.advance(minute(minutes) + Duration::from_secs(1));
        assert_eq!(scheduler.job(&id).unwrap().status.as_str(), status);
        assert_eq!(reason(&scheduler, &id) == PREEMPTING, minutes == 4);
        assert!(scheduler.terminate(&id, "enough"));
        let job = scheduler.job(&id).unwrap();
        assert_eq!((job.status.as_str(), job.terminated), ("FAILED", true));
        assert_eq!(reason(&scheduler, &id), "enough");
        assert_eq!(job.attempts.len(), usize::from(minutes > 0));
        assert_eq!(used(&scheduler)[0], 0);
        assert!(!scheduler.terminate(&id, "twice") && !scheduler.set_priority(&id, 1));
        scheduler.advance(minute(30));
        assert_eq!(used(&scheduler), [0, 1]);
    }
}

#[test]
fn tags_can_be_replaced() {
    let mut scheduler = scheduler(setup(InstanceType::ANY, 4.0, Policy::Fifo), Delays::NONE);
    let id = scheduler.submit(wish(0, None, 1, 1)).unwrap();
    let tags = BTreeMap::from([("owner".to_owned(), "ada".to_owned())]);
    assert!(scheduler.set_tags(&id, tags.clone()));
    assert_eq!(*scheduler.job(&id).unwrap().tags, tags);
    assert!(!scheduler.set_tags(&"nobody".into(), BTreeMap::new()));
}
