//! Shortens a failing scenario, as long as it still fails.

use super::Ended;
use super::checks::Failure;
use super::scenario::{FaultKind, Scenario};

/// Maximum number of runs for shortening.
const MAX_RUNS: usize = 150;

/// The shortest scenario found that fails the same check, and its failure.
pub(super) fn shortened(
    scenario: &Scenario,
    failure: &Failure,
    run: impl Fn(&Scenario) -> Result<Ended, Failure>,
) -> (Scenario, Failure) {
    let (mut best, mut how, mut runs) = (scenario.clone(), failure.clone(), 0);
    'shorten: loop {
        for shorter in shorter(&best) {
            runs += 1;
            if runs > MAX_RUNS {
                break 'shorten;
            }
            match run(&shorter) {
                Err(found) if found.broken == failure.broken => {
                    (best, how) = (shorter, found);
                    continue 'shorten;
                }
                Ok(_) | Err(_) => {}
            }
        }
        break;
    }
    (best, how)
}

/// Shorter scenarios, those that omit most first.
fn shorter(scenario: &Scenario) -> Vec<Scenario> {
    let mut found = Vec::new();
    for kind in FaultKind::ALL {
        let without = Scenario {
            faults: scenario.faults.iter().filter(|fault| fault.kind != *kind).cloned().collect(),
            ..scenario.clone()
        };
        found.push(without);
    }
    for index in 0..scenario.faults.len() {
        let mut without = scenario.clone();
        without.faults.remove(index);
        found.push(without);
    }
    if scenario.replicas > 1 {
        let mut fewer = Scenario { replicas: scenario.replicas - 1, ..scenario.clone() };
        fewer.faults.retain(|fault| fault.replica < fewer.replicas);
        found.push(fewer);
    }
    for index in 0..scenario.jobs.len() {
        let mut without = scenario.clone();
        without.jobs.remove(index);
        found.push(without);
    }
    let last =
        scenario.jobs.iter().map(|job| job.at).chain(scenario.faults.iter().map(|fault| fault.at + fault.lasts)).max();
    found.push(Scenario { lasts: last.unwrap_or(60).max(60), ..scenario.clone() });
    for index in 0..scenario.faults.len() {
        let mut briefer = scenario.clone();
        briefer.faults[index].lasts = halved(briefer.faults[index].lasts, 10);
        found.push(briefer);
    }
    for index in 0..scenario.jobs.len() {
        let mut briefer = scenario.clone();
        briefer.jobs[index].lasts = halved(briefer.jobs[index].lasts, 20);
        found.push(briefer);
    }
    found.retain(|shorter| shorter != scenario && !shorter.jobs.is_empty());
    found
}

/// Half of a number of seconds, unless that is too short to matter.
fn halved(seconds: u64, least: u64) -> u64 {
    if seconds / 2 >= least { seconds / 2 } else { seconds }
}
