//! Order of dispatch: fair share by weight, usage and reservation, and the priority of queues.

use super::*;

fn fair(weights: &[(&str, f64)], decay: u64, reservation: u8) -> Policy {
    let shares =
        weights.iter().map(|(share, weight)| WeightedShare { share: (*share).into(), weight: *weight }).collect();
    Policy::FairShare { shares, decay: minutes(decay), reservation }
}

/// Number of jobs in flight of each of these shares.
fn running(scheduler: &Scheduler, shares: &[&str]) -> Vec<usize> {
    let count = |share: &&str| {
        let of_share = |job: &&Job| job.share.as_ref().is_some_and(|name| name.as_str() == *share);
        scheduler.jobs().filter(|job| job.status.is_in_flight()).filter(of_share).count()
    };
    shares.iter().map(count).collect()
}

#[test]
fn capacity_goes_by_weight_where_lower_gets_more() {
    let table = [
        (vec![], vec![6, 6]),
        (vec![("b", 0.5)], vec![4, 8]),
        (vec![("b*", 0.2)], vec![2, 10]),
        (vec![("a", 2.0), ("b", 1.0)], vec![4, 8]),
    ];
    for (weights, expected) in table {
        let mut scheduler = scheduler(setup(InstanceType::ANY, 12.0, fair(&weights, 0, 0)), Delays::NONE);
        for n in 0..40 {
            scheduler.submit(wish(0, Some(if n < 20 { "a" } else { "b" }), 1, 60)).unwrap();
        }
        scheduler.advance(START);
        assert_eq!(running(&scheduler, &["a", "b"]), expected, "{weights:?}");
    }
}

#[test]
fn shares_that_have_used_nothing_go_by_weight_and_only_then_by_age() {
    // One instance, three shares without usage, submitted in the order of decreasing weight factors.
    let weights = [("LOWPRI", 5.0), ("MIDPRI", 3.0), ("HIGHPRI", 1.0)];
    let mut scheduler = scheduler(setup(InstanceType::ANY, 1.0, fair(&weights, 0, 0)), Delays::NONE);
    for (share, _) in weights.iter().chain(&weights) {
        scheduler.submit(wish(0, Some(share), 1, 60)).unwrap();
    }
    scheduler.advance(START);
    assert_eq!(running(&scheduler, &["HIGHPRI", "MIDPRI", "LOWPRI"]), [1, 0, 0]);
    let front = scheduler.front(&research(), 2);
    let shares: Vec<_> = front.iter().map(|job| job.share.as_ref().unwrap().as_str()).collect();
    assert_eq!(shares, ["MIDPRI", "LOWPRI"], "what HIGHPRI uses now counts");
    // At equal weight the older job goes first.
    let mut equal = self::scheduler(setup(InstanceType::ANY, 1.0, fair(&[], 0, 0)), Delays::NONE);
    for share in ["z", "a"] {
        equal.submit(wish(0, Some(share), 1, 60)).unwrap();
    }
    equal.advance(START);
    assert_eq!(running(&equal, &["z", "a"]), [1, 0]);
}

#[test]
fn past_use_counts_against_a_share_and_is_forgotten() {
    // Right after `a` used the queue alone its usage counts, later hardly.
    for (pause, expected) in [(0, "b"), (600, "a")] {
        let mut scheduler = scheduler(setup(InstanceType::ANY, 4.0, fair(&[], 60, 0)), Delays::NONE);
        scheduler.submit(wish(0, Some("a"), 4, 60)).unwrap();
        scheduler.advance(minute(60 + pause));
        let now = 60 + pause;
        // Both wait behind a third job, and `a` came first.
        scheduler.submit(wish(now, Some("c"), 4, 1)).unwrap();
        scheduler.advance(minute(now));
        scheduler.submit(wish(now, Some("a"), 4, 60)).unwrap();
        scheduler.submit(wish(now, Some("b"), 4, 60)).unwrap();
        let front: Vec<_> = {
            scheduler.advance(minute(now));
            scheduler.front(&research(), 9).iter().map(|job| job.share.clone().unwrap()).collect()
        };
        scheduler.advance(minute(now + 1));
        assert_eq!(running(&scheduler, &[expected]), [1], "after {pause} minutes");
        assert_eq!(front[0].as_str(), expected, "the front of the queue is who goes next");
    }
}

#[test]
fn a_reservation_keeps_capacity_for_shares_that_are_not_active() {
    // With one active share of 50 %, half is reserved; with two, a quarter. A single job is never refused capacity.
    let mut scheduler = scheduler(setup(InstanceType::ANY, 16.0, fair(&[], 0, 50)), Delays::NONE);
    for _ in 0..20 {
        scheduler.submit(wish(0, Some("a"), 1, 60)).unwrap();
    }
    scheduler.advance(START);
    assert_eq!(running(&scheduler, &["a"]), [8]);
    for _ in 0..20 {
        scheduler.submit(wish(1, Some("b"), 1, 60)).unwrap();
    }
    scheduler.advance(minute(1));
    assert_eq!(running(&scheduler, &["a", "b"]), [8, 4]);

    let mut alone = self::scheduler(setup(InstanceType::ANY, 16.0, fair(&[], 0, 50)), Delays::NONE);
    alone.submit(wish(0, Some("a"), 16, 60)).unwrap();
    alone.advance(START);
    assert_eq!(running(&alone, &["a"]), [1]);
}

#[test]
fn no_more_than_500_share_identifiers_are_active() {
    let mut scheduler = scheduler(setup(InstanceType::ANY, 1.0, fair(&[], 0, 0)), Delays::NONE);
    for n in 0..500 {
        scheduler.submit(wish(0, Some(&format!("share-{n}")), 1, 1)).unwrap();
    }
    let refusal = scheduler.submit(wish(0, Some("one-more"), 1, 1));
    assert_eq!(refusal, Err(Refusal::TooManyShares("one-more".into())));
    scheduler.submit(wish(0, Some("share-7"), 1, 1)).unwrap();
    scheduler.advance(minute(600));
    scheduler.advance(minute(700));
    scheduler.submit(wish(700, Some("one-more"), 1, 1)).unwrap();
}

#[test]
fn the_queue_of_higher_priority_is_served_first() {
    let mut setup = setup(InstanceType::ANY, 2.0, Policy::Fifo);
    let urgent = QueueSetup { priority: 9, ..QueueSetup::new("urgent", "gpus", Policy::Fifo) };
    setup.queues.push(urgent);
    let mut scheduler = scheduler(setup, Delays::NONE);
    for _ in 0..3 {
        scheduler.submit(wish(0, None, 1, 10)).unwrap();
    }
    for _ in 0..2 {
        scheduler.submit(Submission { queue: "urgent".into(), ..wish(1, None, 1, 10) }).unwrap();
    }
    scheduler.advance(minute(5));
    assert_eq!(statuses(&scheduler), ["RUNNING", "RUNNING", "RUNNABLE", "RUNNABLE", "RUNNABLE"]);
    scheduler.advance(minute(10));
    assert_eq!(statuses(&scheduler), ["SUCCEEDED", "SUCCEEDED", "RUNNABLE", "RUNNING", "RUNNING"]);
}
