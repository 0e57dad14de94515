//! What a change does to a past, and which values it may have.

use super::*;
use crate::model::{ServiceEnvironment, Timestamp};
use crate::scheduler::{QueueSetup, Setup};
use crate::what_if::past::PastJob;

const TYPE: &str = "ml.p5.48xlarge";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

/// A FIFO queue with ten instances over 1,000 seconds.
fn past() -> Past {
    let limits = vec![Capacity::new(TYPE, 10.0)];
    let other = vec![Capacity::new(TYPE, 99.0)];
    let environment = |name: &str, limits| ServiceEnvironment { name: name.to_owned(), enabled: true, limits };
    let setup = Setup {
        environments: vec![environment("others", other), environment("gpus", limits)],
        queues: vec![QueueSetup::new("q", "gpus", Policy::Fifo), QueueSetup::new("o", "others", Policy::Fifo)],
        ..Setup::default()
    };
    let job = |(submitted, queue, share, instances, seconds): (i64, &str, &str, f64, f64)| PastJob {
        at: at(submitted),
        queue: queue.into(),
        share: Some(share.into()),
        priority: 1,
        demand: vec![Capacity::new(TYPE, instances)],
        seconds,
        seen: None,
    };
    let jobs = [
        (0, "q", "a", 2.0, 500.0),
        (100, "q", "a", 1.0, 2_000.0),
        (200, "q", "b", 1.0, 1_000.0),
        (300, "o", "a", 50.0, 1_000.0),
    ];
    Past::new(setup, jobs.map(job).into(), Some(at(1_000)))
}

fn changed(texts: &[&str]) -> Result<Past, String> {
    let changes: Result<Vec<Change>, ChangeError> = texts.iter().map(|text| parse(text)).collect();
    changes.and_then(|changes| with_changes(&past(), &changes)).map_err(|error| error.to_string())
}

fn shares(past: Past) -> Vec<QuotaShare> {
    match past.setup.queues.into_iter().next().map(|queue| queue.policy) {
        Some(Policy::QuotaShares(shares)) => shares,
        other => panic!("{other:?}"),
    }
}

#[test]
fn new_quotas_divide_the_capacity_as_the_shares_asked_for_it() {
    // A share asked on average for 2 * 500 / 1,000 instances and for one all the time, at most as long as the past.
    let demand = past().mean_demand(&"q".into());
    assert_eq!(demand, [(Some("a".into()), 2.0), (Some("b".into()), 1.0)].into());
    let shares = shares(changed(&["queue.q.policy=quota-shares"]).unwrap());
    let quotas: Vec<(&str, f64)> = shares.iter().map(|share| (share.name.as_str(), share.limits[0].quantity)).collect();
    // Two thirds and one third of ten, in whole instances.
    assert_eq!(quotas, [("a", 7.0), ("b", 3.0)]);
    assert!(shares.iter().all(|share| share.sharing == Sharing::LendAndBorrow { borrow_limit: None }));
    let fair = changed(&["queue.q.policy=fair-share", "queue.q.share.a.weight=2"]).unwrap();
    let Policy::FairShare { shares, .. } = &fair.setup.queues[0].policy else { panic!("{fair:?}") };
    assert_eq!(shares.as_slice(), [WeightedShare { share: "a".into(), weight: 2.0 }]);
    let fifo = changed(&["queue.q.policy=quota-shares", "queue.q.policy=fifo"]).unwrap();
    assert_eq!(fifo.setup.queues[0].policy, Policy::Fifo);
}

#[test]
fn amounts_are_absolute_or_with_a_sign_relative_and_have_bounds() {
    for (value, expected) in [
        ("8", Ok(8.0)),
        ("0", Ok(0.0)),
        ("+5", Ok(15.0)),
        ("-10", Ok(0.0)),
        ("-11", Err("must not be negative")),
        ("1000000", Ok(1_000_000.0)),
        ("+999990", Ok(1_000_000.0)),
        ("+999991", Err("exceeds 1000000")),
        ("1000001", Err("is not a number of instances")),
        ("2.5", Err("is not a number of instances")),
        ("many", Err("is not a number of instances")),
    ] {
        let capacity = changed(&[&format!("queue.q.capacity={value}")]).map(|past| {
            let found = past.setup.environments.iter().find(|one| one.name == "gpus");
            found.map(|environment| environment.limits[0].quantity)
        });
        match (capacity, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, Some(expected), "{value}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{value}: {found}"),
            (found, expected) => panic!("{value}: {found:?} is not {expected:?}"),
        }
    }
}

#[test]
fn settings_of_a_quota_share_take_the_values_that_they_name() {
    let of_a = |setting: &str| {
        let text = format!("queue.q.share.a.{setting}");
        changed(&["queue.q.policy=quota-shares", &text]).map(|past| shares(past).swap_remove(0))
    };
    let sharing = |setting: &str| of_a(setting).map(|share| share.sharing);
    assert_eq!(sharing("sharing=reserve"), Ok(Sharing::Reserve));
    assert_eq!(sharing("sharing=lend"), Ok(Sharing::Lend));
    assert_eq!(sharing("sharing=lend-and-borrow"), Ok(Sharing::LendAndBorrow { borrow_limit: None }));
    for (value, limit) in
        [("0", Some(0)), ("50%", Some(50)), ("1000000", Some(1_000_000)), ("none", None), ("-1", None)]
    {
        let expected = Sharing::LendAndBorrow { borrow_limit: limit };
        assert_eq!(sharing(&format!("borrow_limit={value}")), Ok(expected), "{value}");
    }
    for value in ["1000001", "x", "-2"] {
        let error = sharing(&format!("borrow_limit={value}")).unwrap_err();
        assert!(error.contains("is not a borrow limit"), "{value}: {error}");
    }
    let preempts = |value: &str| of_a(&format!("in_share_preemption={value}")).map(|share| share.in_share_preemption);
    assert_eq!((preempts("true"), preempts("false")), (Ok(true), Ok(false)));
    assert!(preempts("yes").is_err_and(|error| error.contains("neither true nor false")));
    for (value, is_right) in [("0", true), ("9999", true), ("10000", false), ("-1", false)] {
        assert_eq!(of_a(&format!("priority={value}")).is_ok(), is_right, "{value}");
    }
    let past = changed(&["queue.q.share.a.priority=5"]).unwrap();
    let priorities: Vec<i32> = past.jobs.iter().map(|job| job.priority).collect();
    assert_eq!(priorities, [5, 5, 1, 1], "of this share of this queue only");
}
