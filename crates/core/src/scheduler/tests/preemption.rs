//! Preemption within a share, by priority.

use super::*;

/// A share with limit 60 beside one with 40, full of jobs of 15 with these priorities.
fn full_share(preempts: bool, priorities: [i32; 4]) -> Scheduler {
    let first = QuotaShare { in_share_preemption: preempts, ..share("first", 60.0, Sharing::Lend) };
    let shares = vec![first, share("second", 40.0, Sharing::Reserve)];
    let mut scheduler = scheduler(setup(TYPE, 100.0, Policy::QuotaShares(shares)), Delays::NONE);
    for priority in priorities {
        scheduler.submit(Submission { priority, ..wish(0, Some("first"), 15, 600) }).unwrap();
    }
    scheduler.advance(START);
    assert_eq!(used(&scheduler), [60, 0]);
    scheduler
}

#[test]
fn a_priority_90_job_takes_the_place_of_the_lowest_priority_in_its_full_share() {
    let mut scheduler = full_share(true, [50, 10, 30, 40]);
    let urgent = scheduler.submit(Submission { priority: 90, ..wish(1, Some("first"), 15, 600) }).unwrap();
    scheduler.advance(minute(2));
    assert_eq!(statuses(&scheduler), ["RUNNING", "RUNNABLE", "RUNNING", "RUNNING", "RUNNING"]);
    assert_eq!(scheduler.job(&urgent).unwrap().first_wait(), Some(Duration::ZERO));
    assert_eq!(used(&scheduler), [60, 0]);
    let lowest = scheduler.jobs().nth(1).unwrap();
    assert_eq!((lowest.priority, lowest.preemptions), (10, 1));
    assert!(lowest.status_reason.as_deref().unwrap().starts_with("PREEMPTION_IN_PROGRESS: In-share"));
}

#[test]
fn equals_are_not_preempted_and_neither_is_anyone_where_it_is_off() {
    for (preempts, priorities) in [(false, [0; 4]), (true, [90; 4])] {
        let mut scheduler = full_share(preempts, priorities);
        scheduler.submit(Submission { priority: 90, ..wish(1, Some("first"), 15, 600) }).unwrap();
        scheduler.advance(minute(2));
        assert_eq!(statuses(&scheduler), ["RUNNING", "RUNNING", "RUNNING", "RUNNING", "RUNNABLE"]);
    }
}

#[test]
fn a_job_whose_priority_is_raised_preempts_and_one_that_is_lowered_is_preempted() {
    let mut scheduler = full_share(true, [5, 5, 5, 5]);
    let waiting = scheduler.submit(Submission { priority: 5, ..wish(1, Some("first"), 15, 600) }).unwrap();
    scheduler.advance(minute(2));
    let third = scheduler.jobs().nth(2).unwrap().id.clone();
    assert!(scheduler.set_priority(&third, 1));
    scheduler.advance(minute(3));
    assert_eq!(scheduler.job(&waiting).unwrap().status, JobStatus::Running);
    assert_eq!(scheduler.job(&third).unwrap().status, JobStatus::Runnable);
    assert!(scheduler.set_priority(&third, 6));
    scheduler.advance(minute(4));
    assert_eq!(scheduler.job(&third).unwrap().status, JobStatus::Running);
    assert_eq!(used(&scheduler), [60, 0]);
}

#[test]
fn within_a_borrowing_share_a_job_takes_over_what_was_borrowed() {
    let first = QuotaShare { in_share_preemption: true, ..share("first", 4.0, BORROWS) };
    let shares = vec![first, share("second", 4.0, Sharing::Lend)];
    let mut scheduler = scheduler(setup(TYPE, 8.0, Policy::QuotaShares(shares)), Delays::NONE);
    for priority in [3, 1, 2, 4] {
        scheduler.submit(Submission { priority, ..wish(0, Some("first"), 2, 600) }).unwrap();
    }
    scheduler.submit(Submission { priority: 9, ..wish(1, Some("first"), 2, 600) }).unwrap();
    scheduler.advance(minute(2));
    assert_eq!(statuses(&scheduler), ["RUNNING", "RUNNABLE", "RUNNING", "RUNNING", "RUNNING"]);
    assert_eq!(used(&scheduler), [8, 0]);
    // The owner reclaims its capacity from the job with the lowest priority now.
    scheduler.submit(wish(3, Some("second"), 4, 600)).unwrap();
    scheduler.advance(minute(4));
    assert_eq!(used(&scheduler), [4, 4]);
    let left: Vec<_> =
        scheduler.jobs().filter(|job| job.status == JobStatus::Running).map(|job| job.priority).collect();
    assert_eq!(left, [4, 9, 0]);
}
