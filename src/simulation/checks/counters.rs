//! Counters never fall, not even after a kill, and in the end equal what happened.

use std::collections::BTreeMap;

use super::figures::AGE;
use super::{AFTER, Past, is_clean};
use crate::simulation::scenario::{Fault, FaultKind, Scenario};
use crate::simulation::truth::TrueJob;

/// The counters of an answer of `/metrics`, by series.
fn counters(text: &str) -> BTreeMap<&str, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let is_counter = |series: &str| {
        let name = series.split('{').next().unwrap_or_default();
        ["_total", "_count", "_bucket"].iter().any(|end| name.ends_with(end))
    };
    samples
        .filter(|(series, _)| is_counter(series))
        .filter_map(|(series, value)| Some((series, value.parse().ok()?)))
        .collect()
}

/// The sum of a metric over all its series.
fn sum(text: &str, metric: &str) -> f64 {
    let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
    let of_metric = samples.filter(|(series, _)| series.split('{').next() == Some(metric));
    of_metric.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}

/// The counters of a leader are never below those of the previous leader, over kills, deployments and takeovers. A follower may lag, but its
/// counters never fall. A leader that cannot reach the log shows what it alone has seen, and later the contents of the log.
pub(super) fn never_fall(past: &Past<'_>) -> Result<(), String> {
    let mut before: BTreeMap<(u16, &str), f64> = BTreeMap::new();
    for look in past.world.looks.iter().filter(|look| !look.is_cut_off) {
        for (series, value) in counters(&look.metrics) {
            let is_kept = !series.starts_with("process_");
            let who = if look.leads && is_kept { 0 } else { look.port };
            let earlier = before.insert((who, series), value).unwrap_or_default();
            if value < earlier {
                return Err(format!("at {:.0} s: {series} falls from {earlier} to {value}", look.at));
            }
        }
    }
    Ok(())
}

/// Counters equal what happened.
pub(super) fn are_true_in_the_end(past: &Past<'_>) -> Result<(), String> {
    let Some(look) = past.world.looks.iter().rfind(|look| look.is_ready && look.leads) else {
        return Err("nobody was ever ready".to_owned());
    };
    let jobs = |wanted: fn(&TrueJob) -> u64| past.jobs.iter().map(wanted).sum::<u64>() as f64;
    let found_none = jobs(|job| job.capacity_failures);
    let requeues = jobs(|job| job.requeues);
    // After AWS's clock was set back, events may have times before those that an earlier run has counted.
    let is_dated_before = restarts_while_the_clock_of_aws_is_back(&past.world.scenario);
    let expected = [
        ("trainspotter_job_ended_total", (0.0, jobs(|job| job.is_ended.into()))),
        ("trainspotter_job_failures_total", (0.0, jobs(|job| job.has_failed.into()))),
        ("trainspotter_job_preemptions_total", (0.0, jobs(|job| job.preemptions))),
        ("trainspotter_job_run_seconds_count", (0.0, jobs(|job| job.runs))),
        ("trainspotter_queue_wait_seconds_count", (0.0, jobs(|job| job.first_scheduled.is_some().into()))),
        ("trainspotter_queue_wait_requeue_seconds_count", (found_none, requeues)),
    ];
    for (metric, (missing, most)) in expected {
        let counted = sum(&look.metrics, metric);
        let missing = if is_dated_before { most } else { missing };
        if counted < most - missing || most < counted {
            return Err(format!("{metric} is {counted}, and {} to {most} happened", most - missing));
        }
    }
    Ok(())
}

/// The sum of the counted waits equals AWS's, unless a fault hid one from the polls.
pub(super) fn waits_add_up(past: &Past<'_>) -> Result<(), String> {
    let waits: Vec<(f64, f64)> = past.jobs.iter().filter_map(|job| job.first_wait.zip(job.first_scheduled)).collect();
    let is_exact = past.jobs.iter().all(|job| job.preemptions + job.capacity_failures == 0);
    let is_clean = waits.iter().all(|(_, scheduled)| is_clean(&past.world.scenario, scheduled - AGE, scheduled + AGE));
    let Some(look) = past.world.looks.iter().rfind(|look| look.is_ready && look.leads) else { return Ok(()) };
    let (counted, waited) =
        (sum(&look.metrics, "trainspotter_queue_wait_seconds_sum"), waits.iter().map(|(wait, _)| wait).sum::<f64>());
    if is_exact && is_clean && (counted - waited).abs() > 0.01 * waits.len() as f64 {
        return Err(format!("{counted} s of waits are counted, and jobs waited {waited} s"));
    }
    Ok(())
}

/// Whether a service is restarted after AWS's clock was set back, before the service can notice. The real AWS's clock is never set back, and
/// a step of the machine's own clock is noticed at once.
fn restarts_while_the_clock_of_aws_is_back(scenario: &Scenario) -> bool {
    let is_restart = |kind: FaultKind| {
        let restarts = [FaultKind::Death, FaultKind::DeathWithDisk, FaultKind::Deployment, FaultKind::ConfigChanged];
        restarts.contains(&kind)
    };
    let back = |fault: &&Fault| fault.kind == FaultKind::ClockSkew && fault.by < 0;
    scenario.faults.iter().filter(back).any(|back| {
        let until = back.at as f64 + back.lasts as f64 + AFTER;
        let mut restarts = scenario.faults.iter().filter(|fault| is_restart(fault.kind));
        restarts.any(|restart| back.at <= restart.at && (restart.at as f64) < until)
    })
}
