//! Measures the accuracy of forecasts: `cargo run --release -p trainspotter-core --example forecast >
//! docs/FORECAST.md`.
//!
//! `TRAINSPOTTER_TRACES` names a folder with traces (default `../shared/data/traces`); if it does not exist, only
//! synthetic workloads are tested. Arguments that are files are tested instead: `--example forecast -- mine.csv`. Any
//! other argument selects cases by a part of their name.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

mod coverage_by_share;
mod cpu_time;
mod replay;
mod report;
mod synthetic;
mod workload;
mod workload_from_counts;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::report::Case;
use crate::workload::Workload;

const POLICIES: [&str; 3] = ["FIFO", "fair share", "quota shares"];

/// Seeds of synthetic workloads. No parameter was chosen on them.
const SEEDS: [u64; 4] = [101, 102, 103, 104];

/// The per-minute record in the folder of traces.
const MINUTES: &str = "helios_earth_vc_minutes_2020-05.csv";

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (files, only): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|given| Path::new(given).is_file());
    let workloads = if files.is_empty() { standard() } else { traces(files.iter().map(PathBuf::from).collect()) };
    let cases: Vec<(&Workload, &str)> =
        workloads.iter().flat_map(|workload| POLICIES.map(|policy| (workload, policy))).collect();
    let is_wanted = |(workload, policy): &(&Workload, &str)| {
        only.iter().all(|only| format!("{}, {policy}", workload.name).contains(only))
    };
    let results = run(cases.into_iter().filter(is_wanted).collect());
    if results.is_empty() {
        writeln!(std::io::stderr(), "no case matches, and there is no such file")?;
        std::process::exit(64);
    }
    report::head(&mut out, &results)?;
    report::tables(&mut out, &results)?;
    out.flush()?;
    cpu_time::measure(&mut out)
}

/// The traces in the folder, the per-minute record, and synthetic workloads.
fn standard() -> Vec<Workload> {
    let folder =
        std::env::var("TRAINSPOTTER_TRACES").map_or_else(|_| PathBuf::from("../shared/data/traces"), PathBuf::from);
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|kind| kind == "csv")).collect();
    files.sort();
    let mut workloads = traces(files);
    workloads.extend(workload_from_counts::workload(&folder.join(MINUTES)));
    workloads.extend(SEEDS.into_iter().filter_map(synthetic::workload));
    workloads
}

/// Those of some files that are traces of jobs.
fn traces(files: Vec<PathBuf>) -> Vec<Workload> {
    let read = |file: &PathBuf| {
        let workload = workload::trace(file);
        if workload.is_none() {
            let _ =
                writeln!(std::io::stderr(), "{}: no trace of jobs with share, num_gpu and submit_s", file.display());
        }
        workload
    };
    files.iter().filter_map(read).collect()
}

/// Runs cases, as many at once as there are cores; the results are in their order.
fn run(cases: Vec<(&Workload, &'static str)>) -> Vec<Case> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Case)>> = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((workload, policy)) = cases.get(index).copied() else { return };
                    let began = Instant::now();
                    let tested = replay::replay(workload, policy);
                    let line =
                        format!("{}, {policy}: {} estimates, {:.0?}", workload.name, tested.len(), began.elapsed());
                    let _ = writeln!(std::io::stderr(), "{line}");
                    if let Ok(mut results) = results.lock() {
                        results.push((index, (workload.name.clone(), policy, tested)));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, case)| case).collect()
}
