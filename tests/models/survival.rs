//! Compares the estimator of waits with lifelines, a survival analysis library, on the same data.

use crate::support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use support::python::python;
use trainspotter_core::metrics::kaplan_meier::exact;

/// Pseudo-random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Waits of 1 to 500 jobs, with and without ties, from all started to hardly any.
fn waits(seed: u64) -> Vec<(f64, bool)> {
    let mut dice = Dice(seed);
    let (jobs, censored, ties) = (1 + dice.roll(500), dice.roll(10), dice.roll(2) == 0);
    let wait = |_| {
        let seconds = dice.roll(if ties { 60 } else { 600_000 }) as f64 / if ties { 1.0 } else { 7.0 };
        (seconds, dice.roll(10) >= censored)
    };
    (0..jobs).map(wait).collect()
}

#[tokio::test]
async fn lifelines_draws_the_same_curves() {
    let Some(python) = python().await else { return };
    let samples: Vec<_> = (0..60).map(waits).collect();
    let mut peer = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/survival.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    peer.stdin.take().unwrap().write_all(&serde_json::to_vec(&samples).unwrap()).unwrap();
    let output = peer.wait_with_output().unwrap();
    assert!(output.status.success());
    let curves: Vec<Vec<(f64, f64)>> = serde_json::from_slice(&output.stdout).unwrap();
    let mut points = 0;
    for (seed, (sample, theirs)) in samples.into_iter().zip(curves).enumerate() {
        let ours = exact(sample);
        assert_eq!(ours.len(), theirs.len(), "seed {seed}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let same = (ours.0 - theirs.0).abs() <= 1e-9 * ours.0 && (ours.1 - theirs.1).abs() < 1e-9;
            assert!(same, "seed {seed}: {ours:?} is not {theirs:?}");
            points += 1;
        }
    }
    eprintln!("{points} points agree to 1e-9");
    assert!(points > 1_000);
}
