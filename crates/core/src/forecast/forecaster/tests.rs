//! Tests of what is learned, kept and restored.

use std::time::Duration;

use super::*;
use crate::forecast::calibration::Rough;
use crate::forecast::stored_ring::MAX_ROWS;

fn traits(name: &str) -> JobTraits {
    JobTraits { queue: "q".into(), share: None, owner: Some("ada".into()), name: name.into(), instances: 1.0 }
}

#[test]
fn what_was_learned_is_known_as_long_as_its_row_is_kept() {
    let (mut forecaster, of, demand) = (Forecaster::default(), traits("train"), Demand::default());
    let at = Timestamp::default();
    let mut learn = |number: u64| {
        let job = JobId::new(number.to_string());
        forecaster.arrived(&job, (at, None), &of, 0, &demand);
        forecaster.attempt_ended(&job, 1, &of, (at, 60.0), true);
        (forecaster.seen_arrivals.len() as u64, forecaster.seen_attempts.len() as u64, forecaster.ended())
    };
    (0..=MAX_ROWS).for_each(|number| _ = learn(number));
    assert_eq!(learn(1), (MAX_ROWS, MAX_ROWS, MAX_ROWS + 1), "its rows are kept");
    assert_eq!(learn(0), (MAX_ROWS, MAX_ROWS, MAX_ROWS + 2), "its rows were overwritten");
}

/// Two rings of 10,000 rows for each of hundreds of targets.
#[test]
fn rows_are_small_and_share_their_traits_before_and_after_a_restart() {
    assert!(size_of::<SharedAttempt>() <= 48 && size_of::<SharedArrival>() <= 56);
    let mut forecaster = Forecaster::default();
    let demand = Demand::from(vec![crate::model::Capacity::new("ml.p5.48xlarge", 1.0)]);
    for number in 0..1_000 {
        let (job, at) = (JobId::new(number.to_string()), Timestamp::default());
        let of = traits(&format!("{}-{number}", ["train", "evaluate"][number % 2]));
        forecaster.arrived(&job, (at, Some(at)), &of, 0, &demand);
        forecaster.attempt_ended(&job, 1, &of, (at, 60.0), true);
    }
    let restored = Forecaster::restore(forecaster.rows());
    assert_eq!(restored.rows(), forecaster.rows());
    for forecaster in [&forecaster, &restored] {
        assert_eq!(forecaster.traits.len(), 2);
        let demands: HashSet<_> = forecaster.arrivals.iter().map(|row| row.demand.as_ptr()).collect();
        assert_eq!(demands.len(), 1);
    }
}

#[test]
fn traits_that_no_row_has_any_more_are_dropped() {
    let mut forecaster = Forecaster::default();
    let name = |number: u64| -> String {
        (0..4).map(|place| char::from(b'a' + u8::try_from(number / 26_u64.pow(place) % 26).unwrap())).collect()
    };
    for number in 0..MAX_ROWS * 3 {
        let job = JobId::new(number.to_string());
        forecaster.attempt_ended(&job, 1, &traits(&name(number)), (Timestamp::default(), 60.0), true);
    }
    let known = forecaster.traits.len() as u64;
    assert!((MAX_ROWS..=MAX_ROWS * 2).contains(&known), "{known}");
}

#[test]
fn a_restart_makes_no_history_young_of_which_not_all_truths_are_kept() {
    let raw = Interval { low: 100.0, middle: 200.0, high: 300.0 };
    let mut forecaster = Forecaster::default();
    let mut record_resolved = |queue: &str, number: u64| {
        let at = Timestamp::default() + Duration::from_secs(2 * number);
        let (queue, share, shown) = (queue.into(), Some("s".into()), Some(raw));
        let (after, late_after) = (at, None);
        forecaster.record_resolved(&Truth { at, queue, share, raw, shown, actual: 200.0, after, late_after });
    };
    record_resolved("forgotten", 0);
    // More than six hours in total; the last 10,000 span less.
    (0..MAX_ROWS + 1_000).for_each(|number| record_resolved("q", number));
    let rough = |forecaster: &Forecaster| forecaster.calibration.rough(&"q".into(), Some(&"s".into()));
    assert_eq!(rough(&forecaster), None);
    let names = |forecaster: &Forecaster| forecaster.rows.named(FIRST_TRUTHS).count();
    assert_eq!(names(&forecaster), 5);
    let mut restored = Forecaster::restore(forecaster.rows());
    assert_eq!(rough(&restored), None);
    // A group without a stored estimate is removed from the stored rows, and nothing else is written again.
    assert_eq!(names(&restored), 3);
    assert!(restored.take_unsaved().changes.values().all(Option::is_none));
    // State of an earlier release has no first times: those of the stored estimates are used, and stored from
    // then on.
    let mut earlier = forecaster.rows();
    earlier.retain(|name, _| !name.starts_with(FIRST_TRUTHS));
    let mut restored = Forecaster::restore(earlier);
    assert_eq!((rough(&restored), restored.take_unsaved().changes.len()), (Some(Rough::Young), 3));
}
