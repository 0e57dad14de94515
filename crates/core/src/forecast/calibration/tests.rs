//! Intervals become as wide as they have to be.

use super::*;
use crate::forecast::pending_estimates::{PendingEstimates, WaitEnd};
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
        late_after: None,
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
fn what_has_changed_is_learned_and_what_was_is_forgotten() {
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

/// Records estimates that a forecast at an hour made for so many jobs.
fn record_forecast(calibration: &mut Calibration, hour: u64, jobs: usize, raw: Interval, actual: f64) {
    let at = Timestamp::default() + Duration::from_secs(3_600 * hour) + Duration::from_secs_f64(actual);
    (0..jobs).for_each(|_| calibration.record(&Truth { at, ..truth(raw, None, actual) }));
}

#[test]
fn a_backlog_of_thousands_of_jobs_does_not_displace_the_backlogs_before_it() {
    let mut calibration = Calibration::default();
    let raw = Interval { low: 1000.0, middle: 1000.0, high: 1000.0 };
    for hour in 0..100 {
        let actual = [300.0, 1000.0, 1000.0, 1000.0, 8000.0][hour % 5];
        record_forecast(&mut calibration, hour as u64, 20, raw, actual);
    }
    let before = calibration.correct(raw, &"q".into(), None).unwrap();
    assert!(before.low < 301.0 && before.high > 7_999.0, "{before:?}");
    record_forecast(&mut calibration, 100, 2 * MAX_TRUTHS, raw, 1000.0);
    assert_eq!(calibration.correct(raw, &"q".into(), None), Some(before));
    assert!(calibration.known(&"q".into(), None) <= MAX_TRUTHS);
}

#[test]
fn thousands_of_forecasts_in_one_hour_do_not_displace_the_hours_before_it() {
    let mut calibration = Calibration::default();
    let raw = Interval { low: 1000.0, middle: 1000.0, high: 1000.0 };
    (0..100).for_each(|hour| record_forecast(&mut calibration, hour, 20, raw, 1000.0));
    for number in 0..3 * MAX_TRUTHS as u64 {
        let at = Timestamp::default() + Duration::from_secs(3_600 * 101) + Duration::from_millis(100 * number);
        calibration.record(&Truth { at, ..truth(raw, None, 1000.0) });
    }
    let truths = &calibration.groups.get(&Group::All).unwrap().kept;
    assert_eq!(truths.iter().filter(|truth| truth.made_at() < 100 * HOUR_MILLIS).count(), 2_000);
}

#[test]
fn of_a_backlog_short_and_long_waits_are_kept_alike() {
    let mut calibration = Calibration::default();
    let raw = Interval { low: 1000.0, middle: 1000.0, high: 1000.0 };
    (0..100).for_each(|hour| record_forecast(&mut calibration, hour, 20, raw, 1000.0));
    let began = Timestamp::default() + Duration::from_secs(3_600 * 101);
    let all = 10 * MAX_TRUTHS as u64;
    for seconds in 1..=all {
        let at = began + Duration::from_secs(seconds);
        calibration.record(&Truth { at, ..truth(raw, None, seconds as f64) });
    }
    let all_queues = calibration.groups.get_mut(&Group::All).unwrap();
    // Those that resolved since the last time are all there.
    all_queues.thin();
    let truths = &all_queues.kept;
    let kept: Vec<f64> = truths.iter().map(|truth| truth.actual).filter(|actual| *actual != 1000.0).collect();
    let early = kept.iter().filter(|actual| **actual <= all as f64 / 2.0).count() as f64 / kept.len() as f64;
    assert!(kept.len() > 100 && (0.4..0.6).contains(&early), "{early} of {}", kept.len());
}

#[test]
fn of_many_small_forecasts_the_latest_are_kept() {
    let mut calibration = Calibration::default();
    let raw = Interval { low: 1000.0, middle: 1000.0, high: 1000.0 };
    let last = 2 * MAX_TRUTHS as u64;
    (0..last).for_each(|hour| record_forecast(&mut calibration, hour, 1, raw, 1000.0));
    let truths = &calibration.groups.get(&Group::All).unwrap().kept;
    assert!((AFTER_THINNING..=MAX_TRUTHS).contains(&truths.len()), "{}", truths.len());
    let hours = truths.iter().map(|truth| (truth.made_at() / HOUR_MILLIS) as u64);
    assert!(hours.eq(last - truths.len() as u64..last));
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
    let (queue, mut kept) = (QueueName::new("q"), PendingEstimates::default());
    let ids: Vec<JobId> = (0..40).map(|index| JobId::new(format!("job-{index}"))).collect();
    for id in &ids {
        assert!(kept.keep(id, &queue, None, now, raw, Some(raw)));
    }
    let mut calibration = settled(raw);
    calibration.settle(now);
    let before = calibration.correct(raw, &queue, None).unwrap();
    assert_eq!(kept.take_late(now + Duration::from_secs(290), now), []);
    let later = now + Duration::from_secs(600);
    let late = kept.take_late(later, now);
    assert_eq!((late.len(), kept.take_late(later, later).len()), (40, 0), "each is late once");
    late.iter().for_each(|late| calibration.record_late(late));
    calibration.settle(later);
    let after = calibration.correct(raw, &queue, None).unwrap();
    assert!(after.high > before.high, "{before:?} {after:?}");
    assert_eq!((after.low, after.middle), (before.low, before.middle));
    // They start at last: that they missed their high end is not counted again, and they did not miss the low one.
    for id in &ids {
        for truth in kept.resolve(id, later, WaitEnd::Dispatched, later) {
            assert_eq!(truth.late_after, Some(now));
            calibration.record(&truth);
        }
    }
    let adapted = calibration.groups[&Group::All].offsets.outwards[1];
    calibration.settle(later + Duration::from_secs(3_600));
    assert_eq!(calibration.groups[&Group::All].offsets.outwards[1].to_bits(), adapted.to_bits());
}

#[test]
fn misses_that_come_together_move_an_interval_less_than_as_many_apart() {
    let raw = Interval { low: 100.0, middle: 200.0, high: 300.0 };
    let adapted = |apart: u64| {
        let mut calibration = settled(raw);
        let begin = Timestamp::default() + Duration::from_secs(3_600 * 200);
        calibration.settle(begin);
        let before = calibration.groups[&Group::All].offsets.outwards[1];
        for index in 0..4 {
            let after = begin + Duration::from_secs(apart * index);
            calibration.record(&Truth { at: after, after, ..truth(raw, Some(raw), 900.0) });
        }
        calibration.settle(begin + Duration::from_secs(3_600 * 100));
        calibration.groups[&Group::All].offsets.outwards[1] - before
    };
    let (together, apart) = (adapted(0), adapted(600));
    // Twice as much, less what leaks meanwhile.
    assert!(together > 0.05 && (apart / together - 1.85).abs() < 0.15, "{together} {apart}");
}

#[test]
fn few_truths_of_a_share_count_less_than_its_queue_and_many_count_more() {
    let raw = Interval { low: 1000.0, middle: 1000.0, high: 1000.0 };
    // Each of another forecast: those of one forecast would weigh as one.
    let of_share = |share: &str, second: usize, actual: f64| {
        let at = Timestamp::default() + Duration::from_secs(second as u64);
        Truth { at, share: Some(share.into()), ..truth(raw, None, actual) }
    };
    let middle = |of_share_truths: usize| {
        let mut calibration = Calibration::default();
        (0..1_000).for_each(|second| calibration.record(&of_share("other", second, 8_000.0)));
        (0..of_share_truths).for_each(|second| calibration.record(&of_share("own", second, 1_000.0)));
        calibration.correct(raw, &"q".into(), Some(&"own".into())).unwrap().middle
    };
    let middles: Vec<f64> = [0, MIN_TRUTHS, 200, 900].into_iter().map(middle).collect();
    assert!((middles[0] - 8_000.0).abs() < 1.0 && middles[1] > 6_000.0, "{middles:?}");
    assert!((2_000.0..4_000.0).contains(&middles[2]) && middles[3] < 2_000.0, "{middles:?}");
}

/// SplitMix64, from 0 to 1.
fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (((word ^ (word >> 31)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

fn normal(state: &mut u64) -> f64 {
    (0..12).map(|_| unit(state)).sum::<f64>() - 6.0
}

#[test]
fn coverage_holds_in_each_share_when_what_comes_next_is_other_than_what_was() {
    let raw = Interval { low: 500.0, middle: 1_000.0, high: 2_000.0 };
    // Name, spread of the errors, and their shift from the middle of the run on: jobs start much later, as before, much sooner.
    let shares = [("a", 0.5, 1.5), ("b", 1.0, 0.0), ("c", 1.5, -1.5)];
    let seed = 1_u64;
    let (mut state, mut calibration) = (seed, Calibration::default());
    let mut held = [(0_u32, 0_u32); 3];
    for forecast in 0..400 {
        let after = Timestamp::default() + Duration::from_secs(600 * forecast);
        calibration.settle(after);
        let shown = shares.map(|(share, ..)| calibration.correct(raw, &"q".into(), Some(&share.into())));
        for ((share, spread, shift), (shown, held)) in shares.iter().zip(shown.iter().zip(&mut held)) {
            let shift = if forecast < 200 { 0.0 } else { *shift };
            // Errors of one forecast are correlated.
            let common = normal(&mut state);
            for _ in 0..1 + (unit(&mut state) * 4.0) as u32 {
                let error = spread * (common + normal(&mut state)) / 2.0_f64.sqrt() + shift;
                let actual = 1_000.0 * error.exp();
                if forecast >= 200 {
                    let holds = shown.is_some_and(|shown| shown.holds(actual));
                    *held = (held.0 + 1, held.1 + u32::from(holds));
                }
                let share = Some((*share).into());
                calibration.record(&Truth { at: after, share, after, ..truth(raw, *shown, actual) });
            }
        }
    }
    let coverage = held.map(|(all, held)| f64::from(held) / f64::from(all));
    assert!(coverage.iter().all(|one| (0.7..=0.9).contains(one)), "seed {seed}: {coverage:?}");
}

#[test]
fn a_calm_time_moves_the_ends_inwards_only_a_little_and_misses_are_forgotten() {
    let raw = Interval { low: 1_000.0, middle: 2_000.0, high: 4_000.0 };
    let corrected = |periods: &[(u64, f64)]| {
        let mut calibration = settled(raw);
        let mut at = Timestamp::default() + Duration::from_secs(3_600 * 200);
        for (forecasts, actual) in periods {
            for _ in 0..*forecasts {
                at = at + Duration::from_secs(600);
                // The misses of the simulation stay as they were: only the offsets follow.
                let truth = truth(raw, Some(raw), *actual);
                calibration.groups.values_mut().for_each(|truths| {
                    truths.offsets.count(&Truth { at, after: at, ..truth.clone() });
                });
            }
        }
        calibration.settle(at + Duration::from_secs(3_600));
        calibration.groups[&Group::All].offsets.now()
    };
    let calm = corrected(&[(1_000, 2_000.0)]);
    assert!(calm[0] > 0.0 && calm[0] <= 0.5 && calm[2] < 0.0 && calm[2] >= -0.15, "{calm:?}");
    let missed = corrected(&[(1_000, 2_000.0), (10, 9_000.0)]);
    assert!((missed[0] - calm[0]).abs() < 1e-9 && missed[2] > 1.0, "only the missed end moves: {missed:?}");
    let calm_again = corrected(&[(1_000, 2_000.0), (10, 9_000.0), (60, 2_000.0)]);
    assert!(calm_again[2] < 0.1, "{missed:?} {calm_again:?}");
}

#[test]
fn a_restart_or_takeover_at_any_time_restores_offsets_and_corrections() {
    let raw = Interval { low: 500.0, middle: 1_000.0, high: 2_000.0 };
    let share = |state: &mut u64| Some(ShareName::new(["a", "b", "c"][(unit(state) * 3.0) as usize]));
    for seed in 1..=5 {
        let (mut state, mut live) = (seed, Calibration::default());
        // Estimates whose miss was counted while their job waits, and resolved ones.
        let (mut waiting, mut truths): (Vec<Late>, Vec<Truth>) = (Vec::new(), Vec::new());
        for forecast in 0..200 {
            let after = Timestamp::default() + Duration::from_secs(200 * forecast);
            live.settle(after);
            for _ in 0..(unit(&mut state) * 4.0) as usize {
                let late = (unit(&mut state) < 0.3).then(|| waiting.pop()).flatten();
                let share = late.as_ref().map_or_else(|| share(&mut state), |late| late.share.clone());
                let shown = live.correct(raw, &"q".into(), share.as_ref());
                let actual = if late.is_some() { 9_000.0 } else { 1_000.0 * normal(&mut state).exp() };
                let late_after = late.map(|late| late.after);
                truths.push(Truth { at: after, share, after, late_after, ..truth(raw, shown, actual) });
                live.record(truths.last().unwrap());
            }
            if forecast > 20 && unit(&mut state) < 0.3 {
                waiting.push(Late { queue: "q".into(), share: share(&mut state), after });
                live.record_late(waiting.last().unwrap());
            }
            let mut restored = Calibration::default();
            restored.replay(truths.iter(), waiting.clone());
            for calibration in [&mut live, &mut restored] {
                calibration.settle(after + Duration::from_secs(200));
            }
            let offsets = |calibration: &Calibration| -> Vec<[u64; 2]> {
                calibration.groups.values().map(|truths| truths.offsets.outwards.map(f64::to_bits)).collect()
            };
            assert_eq!(offsets(&restored), offsets(&live), "seed {seed}, forecast {forecast}");
            for share in ["a", "b", "c"].map(|share| Some(share.into())) {
                let corrected = |calibration: &Calibration| calibration.correct(raw, &"q".into(), share.as_ref());
                assert_eq!(corrected(&restored), corrected(&live), "seed {seed}, forecast {forecast}");
            }
        }
    }
}
