//! How good forecasts are: `cargo run --release -p trainspotter-core --example forecast > docs/FORECAST.md`.
//!
//! `TRAINSPOTTER_TRACES` names a folder with traces (`../shared/data/traces` unless given); without it only synthetic work is tested.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

mod budget;
mod replay;
mod report;
mod workload;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

const POLICIES: [&str; 3] = ["FIFO", "fair share", "quota shares"];

/// Forecasts over a workload: more than half of them are tested.
const TIMES: u32 = 240;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let folder =
        std::env::var("TRAINSPOTTER_TRACES").map_or_else(|_| PathBuf::from("../shared/data/traces"), Into::into);
    let only = std::env::args().nth(1);
    let mut workloads = Vec::new();
    workloads.extend(workload::trace(&folder.join("philly_jobs.csv"), 0.9));
    workloads.extend(workload::trace(&folder.join("openb_recorded_jobs.csv"), 0.9));
    workloads.extend([1, 2, 3].into_iter().filter_map(|seed| workload::synthetic(seed, 14)));
    report::head(&mut out)?;
    let mut results = Vec::new();
    for workload in &workloads {
        for policy in POLICIES {
            let case = format!("{}, {policy}", workload.name);
            if only.as_ref().is_some_and(|only| !case.contains(only)) {
                continue;
            }
            let began = Instant::now();
            let tested = replay::replay(workload, policy, TIMES);
            writeln!(std::io::stderr(), "{case}: {} estimates, {:.0?}", tested.len(), began.elapsed())?;
            results.push((workload.name.clone(), policy, tested));
        }
    }
    report::tables(&mut out, &results)?;
    budget::measure(&mut out)
}
