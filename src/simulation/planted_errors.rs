//! Checks of the checks: the world gives the service wrong data, or loses its messages, and a check must fail.

use super::scenario::Scenario;
use super::{run, run_and, run_distorted};
use crate::mutated_inputs::number_from;

/// What is wrong with the world during the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distortion {
    /// Lists of jobs end after their first page.
    DroppedPage,
    /// Jobs are listed in the other share.
    SwappedShare,
    /// A receiver gets no message about an end.
    LostEnd,
    /// A receiver gets each message twice.
    Doubled,
    /// Some responses of AWS are changed at random.
    Mangled,
    /// Messages arrive while the alert is silenced or pending: all start times are earlier.
    Early,
}

impl Distortion {
    /// The response to a request for jobs, as the service receives it.
    pub(super) fn of_jobs(self, answer: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(answer).into_owned();
        match self {
            Self::DroppedPage => text.replace("\"nextToken\"", "\"noToken\"").into_bytes(),
            Self::SwappedShare => {
                let (a, b) = ("\"shareIdentifier\":\"a\"", "\"shareIdentifier\":\"b\"");
                let (quota_a, quota_b) = ("\"quotaShareName\":\"a\"", "\"quotaShareName\":\"b\"");
                let swapped = text.replace(a, "\u{1}").replace(b, a).replace('\u{1}', b);
                swapped.replace(quota_a, "\u{1}").replace(quota_b, quota_a).replace('\u{1}', quota_b).into_bytes()
            }
            Self::LostEnd | Self::Doubled | Self::Early | Self::Mangled => text.into_bytes(),
        }
    }

    /// One in how many responses of AWS is changed at random.
    pub(super) fn mangles_one_in(self) -> Option<u64> {
        // Only some, so that the service gets as far as the others.
        (self == Self::Mangled).then_some(8)
    }

    /// How often a receiver gets a message.
    pub(super) fn copies(self, is_resolved: bool) -> usize {
        match self {
            Self::LostEnd if is_resolved => 0,
            Self::Doubled => 2,
            Self::LostEnd | Self::DroppedPage | Self::SwappedShare | Self::Early | Self::Mangled => 1,
        }
    }

    /// By how many seconds a message is received too early.
    pub(super) fn early_by(self) -> f64 {
        if self == Self::Early { 200.0 } else { 0.0 }
    }
}

/// No faults, and jobs that wait.
const QUIET: &str = "world: seed 1 lasts 420 replicas 1 policy quota instances 3
    job: at 20 share a instances 1 lasts 200 failing 0 attempts 1
    job: at 30 share b instances 2 lasts 260 failing 0 attempts 1
    job: at 40 share b instances 2 lasts 60 failing 0 attempts 1
    job: at 40 share a instances 1 lasts 60 failing 1 attempts 2
    job: at 40 share b instances 1 lasts 60 failing 0 attempts 1
    job: at 310 share a instances 1 lasts 60 failing 0 attempts 1";

#[test]
fn what_is_wrong_is_found() {
    let scenario: Scenario = QUIET.parse().unwrap();
    run(&scenario).unwrap_or_else(|failure| panic!("{failure}"));
    let broken = [
        (Distortion::DroppedPage, "states are true"),
        (Distortion::SwappedShare, "states are true"),
        (Distortion::LostEnd, "each end follows its beginning"),
        (Distortion::Doubled, "no message is doubled"),
        (Distortion::Early, "no message is false"),
    ];
    for (distortion, broken) in broken {
        let found = run_distorted(&scenario, distortion).map_err(|failure| failure.broken);
        assert_eq!(found, Err(broken), "{distortion:?}");
    }
}

/// Runs of mangled responses; each changes about fifty.
const MANGLED_RUNS: u64 = 6;

#[test]
#[expect(clippy::print_stderr, reason = "how many responses were changed is what this test is about")]
fn mutated_responses_of_aws_end_no_process() {
    let runs = number_from("TRAINSPOTTER_MANGLED_RUNS").unwrap_or(MANGLED_RUNS);
    let mut mangled = 0;
    for seed in 0..runs {
        let scenario: Scenario = QUIET.replacen("seed 1", &format!("seed {seed}"), 1).parse().unwrap();
        let mut violation = None;
        // Figures may be anything: only the processes are judged.
        let _ = run_and(&scenario, Some(Distortion::Mangled), |past| {
            mangled += past.world.mangled;
            violation.clone_from(&past.world.violation);
        });
        assert_eq!(violation, None, "seed {seed}");
    }
    eprintln!("{mangled} responses of AWS were mangled in {runs} runs");
    assert!(mangled > 20 * runs, "only {mangled} responses were mangled");
}
