//! Invariants of every run, with any faults. Each check is in the file of its subject.

mod counters;
mod figures;
mod messages;

use std::cell::Cell;
use std::fmt;

use super::read_pages::LOOK_EVERY;
use super::scenario::{FaultKind, Scenario};
use super::truth::TrueJob;
use super::world::World;

/// Seconds after a fault during which figures may be older.
pub(super) const AFTER: f64 = 150.0;

/// A world after its run, and the true history of its jobs.
pub(super) struct Past<'a> {
    pub(super) world: &'a World,
    pub(super) jobs: Vec<TrueJob>,
    /// How often the state of a job on a page was compared with the truth.
    pub(super) judged: Cell<u64>,
}

impl Past<'_> {
    /// Whether there was no fault between two moments, nor shortly before.
    fn is_clean(&self, from: f64, to: f64) -> bool {
        from > 60.0 && is_clean(&self.world.scenario, from, to)
    }

    /// Whether a fault of a kind is active at a moment, or ended shortly before.
    fn is_during(&self, kind: FaultKind, at: f64) -> bool {
        let of_kind = self.world.scenario.faults.iter().filter(|fault| fault.kind == kind);
        of_kind
            .map(|fault| (fault.at as f64, (fault.at + fault.lasts) as f64 + AFTER))
            .any(|(from, to)| from <= at && at <= to)
    }

    /// Whether a run has any of these.
    fn has(&self, whats: &[FaultKind]) -> bool {
        self.world.scenario.faults.iter().any(|fault| whats.contains(&fault.kind))
    }
}

fn is_clean(scenario: &Scenario, from: f64, to: f64) -> bool {
    let faults = scenario.faults.iter().filter(|fault| !fault.kind.is_harmless());
    let mut windows = faults.map(|fault| {
        // A fault without an end in the scenario lasts until the end of the run.
        let lasts = if fault.kind == FaultKind::UnknownInstanceType { 1e9 } else { fault.lasts as f64 };
        (fault.at as f64, fault.at as f64 + lasts + AFTER)
    });
    !windows.any(|(begins, ends)| begins <= to && from <= ends)
}

/// Runs all checks.
pub(super) fn all(past: &Past<'_>) -> Result<(), Failure> {
    type Check = fn(&Past<'_>) -> Result<(), String>;
    let checks: [(&'static str, Check); 15] = [
        ("the processes run until they are stopped", processes_run),
        ("a service that is ready answers", pages_answer),
        ("the service is ready in the end", is_ready_in_the_end),
        ("figures balance", figures::balance),
        ("shares add up", figures::shares_add_up),
        ("states are true", figures::states_are_true),
        ("waits are true", figures::waits_are_true),
        ("counters never fall", counters::never_fall),
        ("counters are true in the end", counters::are_true_in_the_end),
        ("counted waits add up", counters::waits_add_up),
        ("no message is doubled", messages::none_is_doubled),
        ("each end follows its beginning", messages::each_end_follows_its_beginning),
        ("no message is false", messages::none_is_false),
        ("no message is missing", messages::none_is_missing),
        ("silences hold", messages::silences_hold),
    ];
    checks.into_iter().try_for_each(|(broken, check)| check(past).map_err(|how| Failure { broken, how }))
}

/// A failed check, and details.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) broken: &'static str,
    pub(super) how: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - not so: {}", self.broken, self.how)
    }
}

fn pages_answer(past: &Past<'_>) -> Result<(), String> {
    // A query waits for the current commit.
    let of_looks = past
        .world
        .looks
        .iter()
        .filter(|look| past.is_clean(look.at - AFTER, look.at) && !past.is_during(FaultKind::SlowDisk, look.at));
    let refused = of_looks.filter_map(|look| Some((look.at, look.refused.as_ref()?))).next();
    refused.map_or(Ok(()), |(at, refused)| Err(format!("at {at:.0} s: {refused}")))
}

/// At the end, after the period without faults, one replica leads and is ready.
fn is_ready_in_the_end(past: &Past<'_>) -> Result<(), String> {
    let end = past.world.ended.unwrap_or_default();
    let last = past.world.looks.iter().rfind(|look| look.is_ready && look.leads).map_or(0.0, |look| look.at);
    if last < end - 2.0 * LOOK_EVERY as f64 {
        return Err(format!("the run ended at {end:.0} s, and nobody was ready after {last:.0} s"));
    }
    Ok(())
}

fn processes_run(past: &Past<'_>) -> Result<(), String> {
    past.world.violation.clone().map_or(Ok(()), Err)
}
