//! The estimator against a textbook example, and the bucketed one against the exact one.

use proptest::prelude::*;

use super::*;

/// Remission times, in weeks, of 21 patients under 6-MP (Freireich et al., 1963): the standard textbook example.
const REMISSIONS: [(f64, bool); 21] = [
    (6.0, true),
    (6.0, true),
    (6.0, true),
    (6.0, false),
    (7.0, true),
    (9.0, false),
    (10.0, true),
    (10.0, false),
    (11.0, false),
    (13.0, true),
    (16.0, true),
    (17.0, false),
    (19.0, false),
    (20.0, false),
    (22.0, true),
    (23.0, true),
    (25.0, false),
    (32.0, false),
    (32.0, false),
    (34.0, false),
    (35.0, false),
];

#[test]
fn the_textbook_example_comes_out() {
    let curve = exact(REMISSIONS.to_vec());
    let published =
        [(6.0, 0.8571), (7.0, 0.8067), (10.0, 0.7529), (13.0, 0.6902), (16.0, 0.6275), (22.0, 0.5378), (23.0, 0.4482)];
    assert_eq!(curve.len(), published.len());
    for ((seconds, surviving), (week, expected)) in curve.iter().zip(published) {
        assert!((seconds - week).abs() < f64::EPSILON && (surviving - expected).abs() < 5e-5, "{curve:?}");
    }
    assert_eq!((quantile(&curve, 0.5), quantile(&curve, 0.9)), (Some(23.0), None));
}

#[test]
fn without_censoring_it_is_the_plain_quantile() {
    let curve = exact((1..=100).map(|seconds| (f64::from(seconds), true)).collect());
    assert_eq!(
        (quantile(&curve, 0.5), quantile(&curve, 0.95), quantile(&curve, 1.0)),
        (Some(50.0), Some(95.0), Some(100.0))
    );
}

#[test]
fn what_has_left_the_window_no_longer_counts() {
    let mut survival = KaplanMeier::default();
    survival.record(Timestamp::default(), 60.0, true);
    survival.forget(Timestamp::default() + WINDOW - SLOT);
    assert!(survival.quantiles(&[]).is_some());
    survival.forget(Timestamp::default() + WINDOW);
    assert_eq!(survival.quantiles(&[]), None);
}

#[test]
fn a_stuck_share_looks_stuck() {
    let mut survival = KaplanMeier::default();
    (0..50).for_each(|_| survival.record(Timestamp::default(), 60.0, true));
    let p95 = |waiting: f64| survival.quantiles(&[waiting; 50]).unwrap()[2];
    assert!((p95(7_200.0) - 7_200.0).abs() < 1e-9 && (p95(14_400.0) - 14_400.0).abs() < 1e-9);
}

proptest! {
    /// Continuous waits, as in reality: with few jobs at risk, swapping two neighbours would change a quantile.
    #[test]
    fn the_live_estimate_is_within_one_percent_of_the_exact_one(
        waits in prop::collection::vec((0.0_f64..12.0, prop::bool::weighted(0.8)), 1..400),
    ) {
        let waits: Vec<(f64, bool)> = waits.into_iter().map(|(log, started)| (log.exp(), started)).collect();
        // Within a bucket the order of starts and censorings is lost, so the exact estimator is computed for both
        // orders.
        let mut survival = KaplanMeier::default();
        waits.iter().filter(|wait| wait.1).for_each(|wait| survival.record(Timestamp::default(), wait.0, true));
        let waiting: Vec<f64> = waits.iter().filter(|wait| !wait.1).map(|wait| wait.0).collect();
        let live = survival.quantiles(&waiting).unwrap();
        let rounded = |up: f64| {
            let near = |(seconds, started): &(f64, bool)| (if *started { *seconds } else { seconds * up }, *started);
            exact(waits.iter().map(near).collect())
        };
        let (early, late) = (rounded(1.0 / RATIO), rounded(RATIO));
        let longest = waits.iter().map(|wait| wait.0).fold(0.0, f64::max);
        for ((_, p), live) in QUANTILES.iter().zip(live) {
            let of = |curve| quantile(curve, *p).unwrap_or(longest);
            let (low, high) = (of(&late).min(of(&early)), of(&early).max(of(&late)));
            prop_assert!(low / 1.01 <= live && live <= high * 1.01, "p{p}: {low} <= {live} <= {high}");
        }
    }
}
