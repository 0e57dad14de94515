//! Cost of many targets compared with a single one with as many jobs: resident memory, CPU and poll delay:
//! `cargo bench --bench targets`.
//!
//! The service is a separate process, as shipped, with the rules of the repository. Fake Batch servers in this
//! process have the jobs. As in `cargo bench -p trainspotter-core --bench ledger`, a tenth of the tracked jobs waits, a few run, and the
//! rest has ended: these are created during the warm-up and have ended when they are listed first, since jobs that
//! ended before the service started are not listed. Jobs arrive, are dispatched and end at the same total rate in
//! both cases. CPU time is measured after the warm-up, also per listed job and per call. Meanwhile waiting jobs are
//! described, which takes an hour and all remaining calls: for the same work, all targets together have the call
//! budget of the single one.
//!
//! The arguments `TARGETS JOBS CALLS` measure a single case, with this many calls per second in total; with `open` no
//! job has ended and all wait. `TRAINSPOTTER_WARM_UP` and `TRAINSPOTTER_MEASURED` set other durations in seconds.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

#[path = "support/fake_batch.rs"]
mod fake_batch;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use fake_batch::{ARRIVALS, Ended, Failed, World, now, serve, start, values};

/// Targets, jobs per target, and calls per second over all targets. The first case has the default budget per target.
const CASES: [(usize, usize, f64); 3] = [(64, 15_600, 64.0 * 5.0), (64, 15_600, 100.0), (1, 64 * 15_600, 100.0)];
/// Fraction of the jobs that have not ended.
const OPEN: f64 = 0.1;
/// Fraction of the warm-up in which the ended jobs end.
const ENDING: f64 = 0.6;
/// Clock ticks per second of CPU time in `/proc`.
const TICKS: f64 = 100.0;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let open = if std::env::args().any(|argument| argument == "open") { 1.0 } else { OPEN };
    let cases = match numbers[..] {
        [targets, jobs, calls, ..] => vec![(targets, jobs, calls as f64)],
        _ => CASES.to_vec(),
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| targets | jobs of each | open in all | kept in full in all | MB resident | most | ms of CPU a second | calls a second | jobs listed a second | longest poll interval, s |"
    )?;
    writeln!(out, "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for (targets, jobs, calls) in cases {
        writeln!(out, "{}", measure(targets, jobs, open, calls).await?)?;
        out.flush()?;
    }
    Ok(())
}

async fn measure(targets: usize, all: usize, open: f64, calls_per_second: f64) -> Result<String, Failed> {
    let folder = tempfile::tempdir()?;
    let mut watched = Vec::new();
    let seconds = |name: &str, otherwise: u64| {
        let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
        Duration::from_secs(given.unwrap_or(otherwise))
    };
    let warm_up = seconds("TRAINSPOTTER_WARM_UP", 420);
    let jobs = (all as f64 * open) as usize;
    let ended = Ended::within(warm_up.mul_f64(ENDING), all - jobs);
    let listed = Arc::<AtomicU64>::default();
    for number in 0..targets {
        let spacing = 1_000.0 * targets as f64 / ARRIVALS;
        let (began, listed) = (now() - jobs as f64 * spacing, Arc::clone(&listed));
        let world = World { account: 111_111_110_000 + number, began, spacing, jobs, shares: 0, ended, listed };
        let endpoint = serve(world).await?;
        watched.push(json!({ "name": format!("t{number:02}"), "region": "us-east-1", "endpoint": endpoint }));
    }
    let (mut service, page) = start(folder.path(), &watched, calls_per_second / targets as f64).await?;
    tokio::time::sleep(warm_up).await;
    let ready = reqwest::get(format!("{page}/readyz")).await?;
    if !ready.status().is_success() {
        return Err(format!("it is not ready: {}", ready.text().await?).into());
    }
    let process = service.id().ok_or("it ended")?;
    let (measured, before, calls_before) = (seconds("TRAINSPOTTER_MEASURED", 300), cpu(process)?, calls(&page).await?);
    let (began, listed_before) = (std::time::Instant::now(), listed.load(Ordering::Relaxed));
    let mut longest: f64 = 0.0;
    while began.elapsed() < measured {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let text = reqwest::get(format!("{page}/metrics")).await?.text().await?;
        longest = values(&text, "trainspotter_poll_interval_seconds").fold(longest, f64::max);
    }
    let passed = began.elapsed().as_secs_f64();
    let (used, calls) = ((cpu(process)? - before) / passed, (calls(&page).await? - calls_before) / passed);
    let text = reqwest::get(format!("{page}/metrics")).await?.text().await?;
    let kept: f64 = values(&text, "trainspotter_ledger_jobs").sum();
    let jobs_listed = (listed.load(Ordering::Relaxed) - listed_before) as f64 / passed;
    let (resident, most) = (memory(process, "VmRSS:")?, memory(process, "VmHWM:")?);
    service.kill().await?;
    Ok(format!(
        "| {targets} | {all} | {} | {kept:.0} | {resident} | {most} | {:.0} | {calls:.1} | {jobs_listed:.0} | {longest:.1} |",
        targets * jobs,
        used * 1e3
    ))
}

/// Number of calls so far.
async fn calls(page: &str) -> Result<f64, Failed> {
    let text = reqwest::get(format!("{page}/metrics")).await?.text().await?;
    Ok(values(&text, "trainspotter_source_calls_total").sum())
}

/// CPU seconds used by a process.
fn cpu(process: u32) -> Result<f64, Failed> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    Ok(times.sum::<f64>() / TICKS)
}

/// Megabytes in a line of a process's status.
fn memory(process: u32, name: &str) -> Result<u64, Failed> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024 / 1_000_000)
}
