//! A set-up with every problem, fixed step by step; and the memory of a share's use.

use super::*;
use crate::metrics::Counting;
use crate::metrics::borrowed_and_lent;
use crate::model::{Account, Capacity, OutsideUse, ServiceEnvironment, Sharing, Timestamp};

const UNIT: &str = "ml.p5.48xlarge";

fn share(name: &str, limit: f64, sharing: Sharing) -> QuotaShare {
    let limits = vec![Capacity::new(UNIT, limit)];
    QuotaShare { name: name.into(), enabled: true, limits, sharing, in_share_preemption: false }
}

fn queue(name: &str, shares: Vec<QuotaShare>) -> Queue {
    let limits = vec![Capacity::new(UNIT, 16.0)];
    Queue::new(
        name,
        Policy::QuotaShares(shares),
        Some(ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits }),
    )
}

fn check(queues: &[Queue], unused: &[(&str, &str, f64)], expected: &[(&str, &str, &str)]) {
    let unused =
        unused.iter().map(|(queue, share, days)| (((*queue).into(), (*share).into()), days * 86_400.0)).collect();
    let found = findings(queues, &[], &[], &unused, &Refused::new(), &Account::default());
    let reported: Vec<_> =
        found.iter().map(|one| (one.queue.as_str(), one.problem.as_str(), one.what.as_str())).collect();
    assert_eq!(reported, expected);
}

#[test]
fn quotas_on_one_environment_may_not_sum_to_more_than_it_has() {
    let of = |a, b| {
        [queue("one", vec![share("a", a, Sharing::Reserve)]), queue("two", vec![share("b", b, Sharing::Reserve)])]
    };
    check(&of(10.0, 6.0), &[], &[]);
    let what = "The quotas of the shares on environment gpus sum to 17 ml.p5.48xlarge; it has 16.";
    check(&of(10.0, 7.0), &[], &[("one", "over_promised", what)]);
}

#[test]
fn a_lender_needs_a_borrower() {
    let borrows = Sharing::LendAndBorrow { borrow_limit: None };
    let never = Sharing::LendAndBorrow { borrow_limit: Some(0) };
    let vain = ("q", "nobody_borrows", "a lends, but no other share of q may borrow.");
    for (a, b, expected) in [
        (Sharing::Lend, Sharing::Reserve, vec![vain]),
        (Sharing::Lend, borrows, vec![]),
        (borrows, Sharing::Reserve, vec![]),
        (Sharing::Reserve, Sharing::Reserve, vec![]),
        (borrows, borrows, vec![]),
        (Sharing::Lend, never, vec![vain]),
    ] {
        check(&[queue("q", vec![share("a", 8.0, a), share("b", 8.0, b)])], &[], &expected);
    }
}

#[test]
fn a_share_unused_for_a_week_and_a_queue_without_a_limit_are_reported() {
    let whole = queue("q", vec![share("a", 16.0, Sharing::Reserve)]);
    check(std::slice::from_ref(&whole), &[("q", "a", 6.9)], &[]);
    check(
        std::slice::from_ref(&whole),
        &[("q", "a", 8.5)],
        &[("q", "share_unused", "No job of a has held an instance for 8 days.")],
    );
    let what = "q has no job state time limit: a job that can never start blocks others.";
    check(&[Queue { has_time_limit: false, ..whole }], &[], &[("q", "no_time_limit", what)]);
}

#[test]
fn how_long_a_share_is_unused_outlives_a_restart() {
    let queue = queue("q", vec![share("a", 16.0, Sharing::Reserve)]);
    let rows = |used| {
        let held = [((queue.name.clone(), Some("a".into()), UNIT.into()), used)].into();
        borrowed_and_lent::figures(&queue, &held)
    };
    let second = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
    let seconds = |unused: Unused| unused.values().copied().collect::<Vec<_>>();
    let mut counting = Counting::new(&[], &[], second(0));
    assert_eq!(seconds(counting.last_use.unused(&rows(0.0), second(100))), [0.0], "seen first");
    assert_eq!(seconds(counting.last_use.unused(&rows(0.0), second(130))), [30.0]);
    assert_eq!(seconds(counting.last_use.unused(&rows(2.0), second(160))), [0.0]);
    assert_eq!(seconds(counting.last_use.unused(&rows(0.0), second(220))), [60.0]);
    let mut restarted = Counting::new(&counting.saved(), &[], second(220));
    assert_eq!(seconds(restarted.last_use.unused(&rows(0.0), second(300))), [140.0]);
    assert_eq!(seconds(restarted.last_use.unused(&[], second(330))), [0.0; 0], "it vanishes with its share");
}

#[test]
fn jobs_that_a_limit_of_the_account_refused_are_a_finding() {
    use crate::jobs::Ledger;
    use crate::model::{JobSeen, JobStatus};
    let limit = "Received status from SageMaker: The account-level service limit 'ml.p5.48xlarge for training job usage' \
         is 10 Instances, with current utilization of 8 Instances and a request delta of 4 Instances.";
    let (mut ledger, mut counting) = (Ledger::default(), Counting::default());
    let at = Timestamp::from_millis(60_000);
    for (id, reason) in
        [("1", limit), ("2", "Received status from SageMaker: AlgorithmError: exit code 1"), ("3", limit)]
    {
        let seen = JobSeen {
            name: "train".into(),
            status_reason: Some(reason.into()),
            stopped_at: Some(at),
            demand: vec![Capacity::new(UNIT, 4.0)].into(),
            ..JobSeen::new(id, "q", JobStatus::Failed, at)
        };
        let changes = ledger.observe(seen, at);
        counting.record(changes);
    }
    counting.count(&ledger, at);
    let refused = refused(&counting.failures(at), &ledger, at);
    let found = findings(&[queue("q", vec![])], &[], &[], &Unused::new(), &refused, &Account::default());
    let [found] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((found.problem.as_str(), found.share.as_ref()), ("account_quota", None));
    assert_eq!(
        found.what,
        "The account's limit 'ml.p5.48xlarge for training job usage' is 10 instances; SageMaker refused 2 jobs because of it \
         in the last day."
    );
    let later = at + 25 * 3_600 * std::time::Duration::from_secs(1);
    assert!(super::refused(&counting.failures(later), &ledger, later).is_empty(), "a day later it is over");
}

#[test]
fn what_aws_calls_invalid_is_reported_with_its_reason() {
    let what = "Environment gpus is INVALID; AWS gives no reason.";
    let invalid = Queue { invalid: vec![what.to_owned()], ..queue("q", vec![share("a", 4.0, Sharing::Reserve)]) };
    check(&[invalid], &[], &[("q", "invalid", what)]);
}

#[test]
fn environments_that_allow_more_than_the_account_may_run_are_a_finding() {
    let queues = [queue("one", vec![]), queue("two", vec![])];
    let outside = |limit: f64, instances: Vec<Capacity>| {
        let limits = vec![Capacity::new(UNIT, limit), Capacity::new("ml.m5.large", 1.0)];
        let account = Account { limits, outside: Some(OutsideUse { instances, is_complete: false }) };
        findings(&queues, &[], &[], &Unused::new(), &Refused::new(), &account)
            .into_iter()
            .map(|one| (one.queue.to_string(), one.problem.as_str(), one.what))
            .collect::<Vec<_>>()
    };
    let of = |limit: f64| outside(limit, Vec::new());
    let what = "The account's limit is 10 ml.p5.48xlarge for training jobs; the environments (gpus) allow 16.";
    assert_eq!(of(10.0), [("one".to_owned(), "account_quota", what.to_owned())], "both queues draw on one environment");
    assert_eq!(of(16.0), []);
    let others = |gpus: f64| vec![Capacity::new(UNIT, gpus), Capacity::new("ml.m5.large", 9.0)];
    assert_eq!(outside(20.0, others(4.0)), [], "it just fits, and no environment allows ml.m5.large");
    let what = "The account's limit is 20 ml.p5.48xlarge for training jobs; the environments (gpus) allow 16, and \
     training jobs outside of the watched queues use 5.";
    assert_eq!(outside(20.0, others(5.0)), [("one".to_owned(), "account_quota", what.to_owned())]);
}

#[test]
fn a_clock_that_is_seconds_off_is_a_finding_of_the_first_queue() {
    let queues = [queue("one", vec![]), queue("two", vec![])];
    let of = |skew| clock_skew(&queues, skew).map(|one| (one.queue.to_string(), one.problem.as_str(), one.what));
    for small in [None, Some(0.0), Some(4.9), Some(-5.0)] {
        assert_eq!(of(small), None, "{small:?}");
    }
    let found = |what: &str| Some(("one".to_owned(), "clock_skew", what.to_owned()));
    assert_eq!(of(Some(90.0)), found("This machine's clock is 1m 30s ahead of AWS's."));
    assert_eq!(of(Some(-6.0)), found("This machine's clock is 6s behind AWS's."));
    assert_eq!(clock_skew(&[], Some(90.0)), None);
}
