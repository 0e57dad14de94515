//! The jobs of the fixture.

use crate::web::tests::fixture_snapshot::ago;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::web::{Demand, EvidenceView, JobView, Span, StartView, WhyView};
use trainspotter_core::forecast::{Forecaster, JobTraits};
use trainspotter_core::model::{Capacity, JobStatus, Policy, Queue, QuotaShare, ServiceEnvironment, Sharing};
use trainspotter_core::what_if;

/// Twelve waiting jobs of `research`, and two of `production`: one that was preempted once and runs again, and one
/// that failed.
pub(super) fn jobs() -> Vec<JobView> {
    let mut jobs: Vec<_> = (0..12).map(waiting).collect();
    jobs.push(JobView {
        queue: "production".into(),
        share: None,
        state: JobStatus::Running,
        status: JobStatus::Running,
        status_reason: Some("Running".to_owned()),
        scheduled_at: Some(ago(4_000)),
        started_at: Some(ago(3_900)),
        wait_seconds: Some(1_000.0),
        waiting_seconds: None,
        attempts: Some(2),
        preemptions: Some(1),
        training_job: Some("AWSBatch-nightly-2".into()),
        spans: vec![
            waited(span("waiting", 1, 5_000, Some(4_000)), &[("capacity_in_use", 700.0), ("behind", 290.0)]),
            span("running", 1, 4_000, Some(3_000)),
            waited(span("waiting", 2, 3_000, Some(1_000)), &[("share_at_limit", 1_500.0), ("no_capacity", 500.0)]),
            span("running", 2, 1_000, None),
        ],
        ..named("job-nightly", "nightly", 5_000)
    });
    jobs.push(JobView {
        queue: "production".into(),
        state: JobStatus::Failed,
        status: JobStatus::Failed,
        status_reason: Some("Received status from SageMaker: AlgorithmError: CUDA out of memory".to_owned()),
        scheduled_at: Some(ago(9_000)),
        started_at: Some(ago(8_700)),
        stopped_at: Some(ago(2_000)),
        wait_seconds: Some(600.0),
        attempts: Some(1),
        owner: Some("bob".to_owned()),
        tags: std::collections::BTreeMap::new(),
        training_job: Some("AWSBatch-rank-eval-1".into()),
        story: vec![
            "It failed 33m ago, at 2026-03-01T11:26:40Z, after it had run 1h 51m: its own code failed.".to_owned(),
            "It waited 10m before it was dispatched.".to_owned(),
            "Next: read the job's log; the page of its training job in the SageMaker console links to it.".to_owned(),
        ],
        spans: vec![
            waited(span("waiting", 1, 9_600, Some(9_000)), &[("capacity_in_use", 600.0)]),
            span("scheduled", 1, 9_000, Some(8_900)),
            span("starting", 1, 8_900, Some(8_700)),
            span("running", 1, 8_700, Some(2_000)),
        ],
        ..named("job-failed", "rank-eval", 9_600)
    });
    jobs
}

fn waiting(number: u64) -> JobView {
    let share = ["language", "vision", "language"][usize::try_from(number % 3).unwrap()];
    let age = 15_000 - 1_100 * number;
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    JobView {
        share: Some(share.into()),
        wait_seconds: Some(age as f64),
        waiting_seconds: Some(age as f64),
        start: Some(start(number)),
        spans: vec![span("waiting", 1, age, None)],
        story: vec![
            format!("It waits because its share {share} uses all that it may."),
            "The share uses 20 of its 16 instances, of which it borrows 4; nobody lends it more.".to_owned(),
            "Next: wait for a job of the share to end, or ask for a higher quota or borrow limit.".to_owned(),
        ],
        why: Some(why(share, age)),
        ..named(&format!("job-{number:02}"), &format!("{share}-pretrain-{number}"), age)
    }
}

fn why(share: &str, age: u64) -> WhyView {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let age = age as f64;
    WhyView {
        reason: if share == "language" { "share_at_limit" } else { "capacity_in_use" },
        permanent: false,
        position_in_share: Some(2),
        position_in_share_at_least: Some(2),
        position_in_queue: None,
        position_in_queue_at_least: Some(2),
        position_in_queue_at_most: Some(17),
        gpus_ahead: Some(32.0),
        evidence: EvidenceView {
            unit: Some("ml.p5.48xlarge".into()),
            needs: Some(4.0),
            capacity: Some(32.0),
            free: Some(2.0),
            share_uses: Some(20.0),
            share_quota: Some(16.0),
            share_most: Some(20.0),
            lendable: Some(0.0),
            reserved: None,
        },
        waited_seconds: [("share_at_limit", age * 0.6), ("reclaiming", age * 0.3), ("no_capacity", age * 0.1)].into(),
        story: vec!["Its share uses all that it may.".to_owned()],
    }
}

/// Jobs with odd numbers have an estimate.
fn start(number: u64) -> StartView {
    let known = number % 2 == 1;
    let at = |hours: u64| known.then(|| ago(0) + Duration::from_secs(3_600 * hours));
    StartView {
        outlook: if known { "expected" } else { "too_little_history" },
        sentence: if known {
            "Likely to start in 3h (P50). Of ten such jobs, one starts within 1h and nine within 7h. Of 50 recent \
             such intervals, 41 contained the actual start."
        } else {
            "Too little history: 3 estimates have been verified so far; estimates are shown once 10 have, with how \
             often they were right."
        }
        .to_owned(),
        p10: at(1),
        p50: at(3),
        p90: at(7),
        made_at: at(0),
        beyond_front: false,
        rough: false,
        rests_on: known.then(|| "2 jobs go first and 8 jobs hold the capacity they wait for; 6 of 10 of them typically run for about 3h.".to_owned()),
        would_change: known.then(|| "Earlier with a higher quota of its share.".to_owned()),
        coverage: known.then_some(0.82),
        median_error_seconds: known.then_some(900.0),
        truths: if known { 50 } else { 3 },
    }
}

fn named(id: &str, name: &str, age: u64) -> JobView {
    JobView {
        account: None,
        region: None,
        id: id.into(),
        name: name.to_owned(),
        queue: "research".into(),
        share: None,
        state: JobStatus::Runnable,
        status: JobStatus::Runnable,
        status_reason: None,
        priority: Some(10),
        created_at: ago(age),
        scheduled_at: None,
        started_at: None,
        stopped_at: None,
        attempt_timeout_seconds: None,
        time_limit_at: None,
        wait_seconds: None,
        waiting_seconds: None,
        attempts: Some(0),
        preemptions: None,
        retries_left: Some(2),
        preemptions_left: None,
        gpus: Some(32.0),
        demand: vec![Demand { unit: "ml.p5.48xlarge".into(), quantity: 4.0 }],
        owner: Some("ada".to_owned()),
        tags: std::collections::BTreeMap::new(),
        training_job: None,
        story: Vec::new(),
        why: None,
        start: None,
        start_by: None,
        spans: Vec::new(),
    }
}

fn span(phase: &'static str, attempt: u32, from: u64, to: Option<u64>) -> Span {
    Span {
        phase,
        attempt,
        from: ago(from),
        to: to.map(ago),
        from_uncertain_seconds: 0.0,
        to_uncertain_seconds: to.map(|_| 0.0),
        waited_seconds: BTreeMap::new(),
    }
}

fn waited(span: Span, seconds: &[(&str, f64)]) -> Span {
    Span { waited_seconds: seconds.iter().map(|(reason, seconds)| ((*reason).to_owned(), *seconds)).collect(), ..span }
}

/// A recording of forty jobs of two shares, as a service stores it.
pub(super) fn past() -> BTreeMap<String, String> {
    let share = |name: &str| QuotaShare {
        name: name.into(),
        enabled: true,
        limits: vec![Capacity::new("ml.p5.48xlarge", 2.0)],
        sharing: Sharing::Lend,
        in_share_preemption: false,
    };
    let environment = ServiceEnvironment {
        name: "gpus".to_owned(),
        enabled: true,
        limits: vec![Capacity::new("ml.p5.48xlarge", 4.0)],
    };
    let queue = Queue {
        has_time_limit: false,
        ..Queue::new("research", Policy::QuotaShares(vec![share("language"), share("vision")]), Some(environment))
    };
    let mut forecaster = Forecaster::default();
    forecaster.keep_queues(&what_if::of_queues(&[queue]));
    for number in 0..40_u64 {
        let (id, at) = (format!("past-{number}"), ago(90_000 - 1_500 * number));
        let of = JobTraits {
            queue: "research".into(),
            share: Some(["language", "vision"][usize::try_from(number % 2).unwrap()].into()),
            owner: None,
            name: "train".to_owned(),
            instances: 1.0,
        };
        let started = at + Duration::from_secs(60 * number);
        let demand = vec![Capacity::new("ml.p5.48xlarge", 1.0)].into();
        forecaster.arrived(&id.as_str().into(), (at, Some(started)), &of, 0, &demand);
        forecaster.attempt_ended(&id.as_str().into(), 1, &of, (started, 7_000.0), true);
    }
    forecaster.rows()
}
