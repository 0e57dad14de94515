//! The row of an ended job, with its figures worked out by hand.

use super::*;
use crate::jobs::{FailureCategory, Ledger};
use crate::model::{Capacity, JobDetails, JobSeen, JobStatus, Policy, Queue, Timestamp};

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

/// Two instances of eight GPUs, dispatched after ten minutes, that ran from minute 20 to minute 70.
fn row(outcome: Outcome) -> EndedJob {
    let status = if outcome == Outcome::Succeeded { JobStatus::Succeeded } else { JobStatus::Failed };
    let job = |status, started, stopped| JobSeen {
        name: "train".into(),
        share: Some("vision".into()),
        status_reason: Some("x".repeat(MAX_STATUS_REASON + 1).into()),
        scheduled_at: Some(second(600)),
        started_at: started,
        stopped_at: stopped,
        demand: vec![Capacity::new("ml.p5.48xlarge", 2.0)].into(),
        details: Some(Box::new(JobDetails { preemptions: 3, ..JobDetails::default() })),
        ..JobSeen::new("job-1", "prod", status, second(0))
    };
    let mut ledger = Ledger::default();
    ledger.observe(job(JobStatus::Scheduled, None, None), second(700));
    ledger.observe(job(JobStatus::Running, Some(second(1_200)), None), second(1_300));
    ledger.observe(job(status, Some(second(1_200)), Some(second(4_200))), second(4_300));
    let arn = "arn:aws:batch:us-east-1:111122223333:job-queue/prod".to_owned();
    let queues = [
        Queue {
            arn: "arn:aws:batch:us-west-2:444455556666:job-queue/a".to_owned(),
            ..Queue::new("a", Policy::Fifo, None)
        },
        Queue { arn, ..Queue::new("prod", Policy::Fifo, None) },
    ];
    let event = Event {
        at: second(4_200),
        queue: "prod".into(),
        share: Some("vision".into()),
        owner: Some("ann".into()),
        priority: Some(7),
        job: Some("job-1".into()),
        uncertain_seconds: 0.0,
        is_news: true,
        what: EventKind::Ended { outcome, gpu_seconds: Some(5.0) },
    };
    let prices = Prices::from([("ml.p5.48xlarge".into(), 32.0)]);
    let of = |event: &Event| {
        EndedJob::of(
            event,
            &Inputs {
                now: second(4_300),
                queues: &queues,
                ledger: &ledger,
                fronts: &BTreeMap::new(),
                prices: &prices,
                reserved: &[],
                sources: &[],
                expected_starts: &BTreeMap::new(),
                forecasts: &[],
            },
        )
    };
    // A job that the ledger no longer has gets what the event says.
    let dropped = of(&Event { job: Some("gone".into()), ..event.clone() }).unwrap();
    assert_eq!(dropped.lost_gpu_seconds, (outcome != Outcome::Succeeded).then_some(5.0));
    assert_eq!((dropped.ended_at, dropped.owner.as_deref(), dropped.priority), (second(4_200), Some("ann"), Some(7)));
    assert_eq!((dropped.run_seconds, dropped.region.as_deref()), (None, Some("us-east-1")));
    of(&event).unwrap()
}

#[test]
fn a_row_has_the_times_the_gpus_and_the_cost_of_a_job() {
    for (outcome, lost) in [(Outcome::Succeeded, 0.0), (Outcome::Failed(FailureCategory::UserCode), 3_000.0 * 16.0)] {
        let row = row(outcome);
        assert_eq!((row.account.as_deref(), row.region.as_deref()), (Some("111122223333"), Some("us-east-1")));
        assert_eq!(
            (row.queue.as_str(), row.share.as_deref(), row.owner.as_deref()),
            ("prod", Some("vision"), Some("ann"))
        );
        assert_eq!((row.priority, row.preemptions, row.attempts), (Some(7), Some(3), Some(1)));
        assert_eq!(row.failure_category.is_some(), outcome != Outcome::Succeeded);
        assert_eq!((row.submitted_at, row.scheduled_at), (Some(second(0)), Some(second(600))));
        assert_eq!((row.started_at, row.ended_at), (Some(second(1_200)), second(4_200)));
        assert_eq!(
            (row.wait_seconds, row.first_wait_seconds, row.run_seconds),
            (Some(600.0), Some(600.0), Some(3_000.0))
        );
        // An hour of two instances with eight GPUs each.
        assert_eq!(
            (row.gpus, row.gpu_seconds, row.run_gpu_seconds),
            (Some(16.0), Some(3_600.0 * 16.0), Some(3_000.0 * 16.0))
        );
        assert_eq!((row.lost_gpu_seconds, row.dollars), (Some(lost), Some(64.0)));
        assert_eq!(row.instances, [("ml.p5.48xlarge".to_owned(), 2.0)].into());
        assert_eq!(row.status_reason.map(|text| text.len()), Some(MAX_STATUS_REASON));
    }
}

#[test]
fn an_arn_has_an_account_and_a_region_and_other_text_has_none() {
    let of = |arn: &str| {
        let (account, region) = account_and_region(arn);
        (account.unwrap_or_else(|| "none".to_owned()), region.unwrap_or_else(|| "none".to_owned()))
    };
    for (arn, account, region) in [
        ("arn:aws:batch:us-east-1:111122223333:job-queue/prod", "111122223333", "us-east-1"),
        ("arn:aws:batch:us-east-1::job-queue/prod", "none", "us-east-1"),
        ("arn:aws:batch::111122223333:x", "111122223333", "none"),
        ("prod", "none", "none"),
        ("", "none", "none"),
    ] {
        assert_eq!(of(arn), (account.to_owned(), region.to_owned()), "{arn}");
    }
}
