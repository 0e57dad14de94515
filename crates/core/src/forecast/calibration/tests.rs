//! Intervals become as wide as they have to be.

use super::*;
use crate::forecast::kept_estimates::{Kept, WaitEnd};
use crate::forecast::rows::Rows;
use crate::model::JobId;

fn truth(raw: Interval, shown: Option<Interval>, actual: f64) -> Truth {
    Truth {
        at: Timestamp::default(),
        queue: "q".into(),
        share: None,
        raw,
        shown,
        actual,
        after: Timestamp::default(),
        is_known_late: false,
    }
}

#[test]
fn intervals_become_as_wide_as_the_truth_is_scattered_and_are_not_shown_before() {
    let mut calibration = Calibration::default();
    let raw = Interval { low: 3500.0, middle: 3600.0, high: 3700.0 };
    let actual = |index: u32| 1800.0 * f64::from(1 + index * 37 % 100) / 25.0;
    let mut held = 0;
    for index in 0..500 {
        let shown = calibration.correct(raw, &"q".into(), None);
        assert_eq!(shown.is_none(), index < 10, "after {index}");
        held += u32::from(index >= 100 && shown.unwrap().holds(actual(index)));
        calibration.record(&truth(raw, shown, actual(index)));
    }
    let coverage = f64::from(held) / 400.0;
    assert!((0.76..=0.86).contains(&coverage), "{coverage}");
    let quality = calibration.quality(&"q".into(), None).unwrap();
    assert!((0.76..=0.86).contains(&quality.coverage), "{quality:?}");
}

#[test]
fn what_has_changed_is_learnt_and_what_was_is_forgotten() {
    let mut calibration = Calibration::default();
    let raw = Interval { low: 1000.0, middle: 1000.0, high: 1000.0 };
    let at = |hours: u64| Timestamp::default() + Duration::from_secs(3_600 * hours);
    for hour in 0..400 {
        calibration.record(&Truth { at: at(hour), ..truth(raw, None, 1000.0) });
    }
    for hour in 400..500 {
        calibration.record(&Truth { at: at(hour), ..truth(raw, None, 8000.0) });
    }
    let corrected = calibration.correct(raw, &"q".into(), None).unwrap();
    assert!((corrected.middle - 8000.0).abs() < 1.0, "{corrected:?}");
}

#[test]
fn an_interval_is_rough_while_the_history_is_young_or_most_were_wrong() {
    let raw = Interval { low: 100.0, middle: 200.0, high: 300.0 };
    let rough = |truths: u64, apart: u64, actual: f64| {
        let mut calibration = Calibration::default();
        for index in 0..truths {
            let at = Timestamp::default() + Duration::from_secs(apart * index);
            calibration.record(&Truth { at, ..truth(raw, Some(raw), actual) });
        }
        calibration.rough(&"q".into(), None)
    };
    assert_eq!((rough(0, 600, 200.0), rough(99, 600, 200.0)), (Some(Rough::FewTruths), Some(Rough::FewTruths)));
    assert_eq!(rough(500, 10, 200.0), Some(Rough::Young));
    assert_eq!(rough(500, 600, 900.0), Some(Rough::OftenWrong));
    assert_eq!(rough(SETTLED as u64, 600, 200.0), None);
    // Much that comes true in little time is not young for ever.
    let many = MAX_TRUTHS as u64 * 2;
    assert_eq!((rough(many, 2, 200.0), rough(many, 4, 200.0)), (Some(Rough::Young), None));
}

/// What is known after a hundred truths, a forecast each, of which one in ten missed each end.
fn settled(raw: Interval) -> Calibration {
    let mut calibration = Calibration::default();
    for index in 0..100 {
        let at = Timestamp::default() + Duration::from_secs(3_600 * index);
        let actual = [50.0, 150.0, 180.0, 190.0, 200.0, 210.0, 220.0, 250.0, 290.0, 400.0][index as usize % 10];
        calibration.record(&Truth { at, after: at, ..truth(raw, Some(raw), actual) });
    }
    calibration
}

#[test]
fn a_job_that_waits_beyond_its_interval_widens_the_next_at_once_and_counts_once() {
    let raw = Interval { low: 100.0, middle: 200.0, high: 300.0 };
    let now = Timestamp::default() + Duration::from_secs(3_600 * 200);
    let (queue, mut rows, mut kept) = (QueueName::new("q"), Rows::default(), Kept::default());
    let ids: Vec<JobId> = (0..40).map(|index| JobId::new(format!("job-{index}"))).collect();
    for id in &ids {
        assert!(kept.keep(id, &queue, None, now, raw, Some(raw), &mut rows));
    }
    let mut calibration = settled(raw);
    calibration.settle(now);
    let before = calibration.correct(raw, &queue, None).unwrap();
    assert_eq!(kept.take_late(now + Duration::from_secs(290)), []);
    let later = now + Duration::from_secs(600);
    let late = kept.take_late(later);
    assert_eq!((late.len(), kept.take_late(later).len()), (40, 0), "each is late once");
    late.iter().for_each(|(queue, share)| calibration.record_late(queue, share.as_ref()));
    calibration.settle(later);
    let after = calibration.correct(raw, &queue, None).unwrap();
    assert!(after.high > before.high, "{before:?} {after:?}");
    assert_eq!((after.low, after.middle), (before.low, before.middle));
    // They start at last: that they missed their high end is not counted again, and they did not miss the low one.
    for id in &ids {
        for truth in kept.resolve(id, later, WaitEnd::Dispatched, later, &mut rows) {
            assert!(truth.is_known_late);
            calibration.record(&truth);
        }
    }
    let adapted = calibration.groups[&Group::All].adapted[1];
    calibration.settle(later + Duration::from_secs(3_600));
    assert_eq!(calibration.groups[&Group::All].adapted[1].to_bits(), adapted.to_bits());
}

#[test]
fn misses_that_come_together_move_an_interval_less_than_as_many_apart() {
    let raw = Interval { low: 100.0, middle: 200.0, high: 300.0 };
    let adapted = |apart: u64| {
        let mut calibration = settled(raw);
        let begin = Timestamp::default() + Duration::from_secs(3_600 * 200);
        calibration.settle(begin);
        let before = calibration.groups[&Group::All].adapted[1];
        for index in 0..16 {
            let after = begin + Duration::from_secs(apart * index);
            calibration.record(&Truth { at: after, after, ..truth(raw, Some(raw), 900.0) });
        }
        calibration.settle(begin + Duration::from_secs(3_600 * 100));
        before - calibration.groups[&Group::All].adapted[1]
    };
    let (together, apart) = (adapted(0), adapted(600));
    assert!(together > 0.05 && (apart / together - 4.0).abs() < 0.3, "{together} {apart}");
}
