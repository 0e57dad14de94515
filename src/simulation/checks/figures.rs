//! Figures equal the truth, as far as polls can observe it.

use serde_json::Value;

use super::Past;
use crate::simulation::process::POLL;
use crate::simulation::record::Look;
use crate::simulation::scenario::FaultKind;
use crate::simulation::truth::State;

/// Maximum age of figures in seconds without faults: two polls and their duration.
pub(super) const AGE: f64 = 2.0 * POLL as f64 + 10.0;

fn sum(values: &Value, key: &str) -> f64 {
    values.as_array().into_iter().flatten().filter_map(|row| row[key].as_f64()).sum()
}

/// In every response lent equals borrowed, and the parts of a waterfall sum to its capacity.
pub(super) fn balance(past: &Past<'_>) -> Result<(), String> {
    for Look { at, shares, waterfall, .. } in &past.world.looks {
        let (lent, borrowed) = (sum(shares, "lent"), sum(shares, "borrowed"));
        if (lent - borrowed).abs() > 1e-9 {
            return Err(format!("at {at:.0} s: {lent} lent and {borrowed} borrowed"));
        }
        for row in waterfall.as_array().into_iter().flatten() {
            let Some(capacity) = row["capacity_gpus"].as_f64() else { continue };
            let parts: f64 = row["parts"].as_object().into_iter().flatten().filter_map(|(_, gpus)| gpus.as_f64()).sum();
            if (capacity - parts).abs() > 1e-9 {
                return Err(format!("at {at:.0} s: parts of {parts} GPUs in a capacity of {capacity}"));
            }
        }
    }
    Ok(())
}

/// Each quota is used, lent or idle, and usage above it is borrowed.
pub(super) fn shares_add_up(past: &Past<'_>) -> Result<(), String> {
    for Look { at, shares, .. } in &past.world.looks {
        for row in shares.as_array().into_iter().flatten() {
            let of = |key: &str| row[key].as_f64().unwrap_or_default();
            let Some(quota) = row["quota"].as_f64() else { continue };
            let instances = f64::from(past.world.scenario.instances);
            let own = if row["share"] == "a" { 1.0 } else { instances - 1.0 };
            let beyond = (of("used") - quota).max(0.0);
            let rest = (quota - of("used") - of("lent")).max(0.0);
            let adds_up = of("lent") <= (quota - of("used")).max(0.0) && of("borrowed") <= beyond && of("idle") == rest;
            if quota != own || !adds_up {
                return Err(format!("at {at:.0} s: a share with a quota of {own} does not add up: {row}"));
            }
        }
    }
    Ok(())
}

/// Each job is shown in a recent state; none is missing, and none is extra.
pub(super) fn states_are_true(past: &Past<'_>) -> Result<(), String> {
    // Times of jobs are from AWS's clock, which may be ahead.
    let skews = past.world.scenario.faults.iter().filter(|fault| fault.kind == FaultKind::ClockSkew && fault.by > 0);
    let ahead: f64 = skews.map(|fault| fault.by as f64).sum();
    for look in &past.world.looks {
        let Look { at, jobs, is_ready, .. } = look;
        for shown in jobs {
            let id = shown["id"].as_str().unwrap_or_default();
            if !past.jobs.iter().any(|job| job.id == id && job.created <= *at + ahead) {
                return Err(format!("at {at:.0} s: {id} is shown, and no such job is there"));
            }
        }
        if !is_ready || !past.is_clean(at - AGE, *at) {
            continue;
        }
        for job in &past.jobs {
            let states = job.states_between(at - AGE, *at);
            let shown = jobs.iter().find(|shown| shown["id"] == job.id.as_str());
            let Some(shown) = shown else {
                let has_ended = job.ended.is_some_and(|ended| ended < *at);
                if job.created < at - AGE && !has_ended {
                    return Err(format!(
                        "at {at:.0} s: {} is missing, which was created at {:.0} s",
                        job.id, job.created
                    ));
                }
                continue;
            };
            if shown["share"].as_str().unwrap_or_default() != job.share {
                return Err(format!(
                    "at {at:.0} s: {} is shown in share {}, and is in {}",
                    job.id, shown["share"], job.share
                ));
            }
            past.judged.set(past.judged.get() + 1);
            let state = State::of(shown["state"].as_str().unwrap_or_default());
            if !state.is_some_and(|state| states.contains(&state)) {
                return Err(format!("at {at:.0} s: {} is shown as {}, and was {states:?}", job.id, shown["state"]));
            }
        }
    }
    Ok(())
}

/// First waits equal AWS's, except after a dispatch that no poll could see.
pub(super) fn waits_are_true(past: &Past<'_>) -> Result<(), String> {
    for job in &past.jobs {
        let Some((wait, scheduled)) = job.first_wait.zip(job.first_scheduled) else { continue };
        if !past.is_clean(scheduled - AGE, scheduled + AGE) {
            continue;
        }
        // As shown last, and first.
        let later = past.world.looks.iter().filter(|look| look.is_ready && look.at > scheduled + AGE);
        let shown: Vec<&Value> =
            later.filter_map(|look| look.jobs.iter().find(|shown| shown["id"] == job.id.as_str())).collect();
        let could_be_missed = job.preemptions + job.capacity_failures > 0;
        let tolerance = if could_be_missed { AGE } else { 0.01 };
        for shown in shown.first().into_iter().chain(shown.last()) {
            let Some(shown) = shown["wait_seconds"].as_f64() else {
                return Err(format!("{} has no wait, and waited {wait} s", job.id));
            };
            if (shown - wait).abs() > tolerance {
                return Err(format!("{} waited {wait} s, and {shown} s are shown", job.id));
            }
        }
    }
    Ok(())
}
