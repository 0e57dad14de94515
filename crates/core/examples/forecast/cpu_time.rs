//! CPU time of a forecast.

use std::collections::BTreeMap;
use std::io::{Result, Write};
use std::time::{Duration, Instant};

use trainspotter_core::forecast::{Forecaster, InitialState, JobTraits, OpenJob, RUNS, run};
use trainspotter_core::model::{Capacity, JobId, Policy, QuotaShare, ServiceEnvironment, ShareName, Sharing};
use trainspotter_core::scheduler::{Delays, QueueSetup, Setup};

use crate::synthetic::Random;
use crate::workload::{START, TYPE};

const SHARES: usize = 20;
const IN_FLIGHT: usize = 400;

pub fn measure(out: &mut impl Write) -> Result<()> {
    writeln!(out, "## What it costs\n")?;
    writeln!(out, "{SHARES} quota shares that lend and borrow, {IN_FLIGHT} jobs in flight, {RUNS} runs, one core:\n")?;
    writeln!(out, "| waiting jobs | seconds of CPU |\n|---:|---:|")?;
    for waiting in [100, 1_000, 10_000] {
        let mut forecaster = Forecaster::default();
        let initial = initial_state(waiting, &mut forecaster);
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let starts = run(&initial, RUNS);
        forecaster.take(&initial, &starts);
        let cpu = cpu_seconds().zip(cpu).map(|(after, before)| after - before);
        writeln!(out, "| {waiting} | {:.2} |", cpu.unwrap_or_else(|| began.elapsed().as_secs_f64()))?;
    }
    writeln!(
        out,
        "\nAt most 1,000 waiting jobs are simulated, the first ones of each share. Estimates of jobs behind them extrapolate the pace of their share, and say so
(`beyond_front`). The service makes forecasts on a separate thread when something has changed, and pauses between two so that they take no more than
`forecast.cpu_share` of one core (5 % by default). All targets share that budget and take turns: of 64 targets that need 2 s each, each gets a new
forecast every 43 minutes."
    )
}

/// CPU seconds of this thread; `None` if the system does not provide them, so that wall time is used instead.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? / 1e9)
}

fn initial_state(waiting: usize, forecaster: &mut Forecaster) -> InitialState {
    let mut random = Random(7);
    let share = |index: usize| ShareName::new(format!("share-{index}"));
    let quota = |index: usize| QuotaShare {
        name: share(index),
        enabled: true,
        limits: vec![Capacity::new(TYPE, 40.0)],
        sharing: Sharing::LendAndBorrow { borrow_limit: Some(100) },
        in_share_preemption: false,
    };
    let setup = Setup {
        environments: vec![ServiceEnvironment {
            name: "gpus".to_owned(),
            enabled: true,
            limits: vec![Capacity::new(TYPE, 40.0 * SHARES as f64)],
        }],
        queues: vec![QueueSetup::new("q", "gpus", Policy::QuotaShares((0..SHARES).map(quota).collect()))],
        delays: Delays::NONE,
        ..Setup::default()
    };
    let traits = |index: usize| JobTraits {
        queue: "q".into(),
        share: Some(share(index % SHARES)),
        owner: Some(format!("owner-{}", index % 60)),
        name: format!("train-{}", ["a", "b", "c"][index % 3]),
        instances: 2.0,
    };
    for index in 0..5_000 {
        let seconds = 600.0 + random.unit() * 20_000.0;
        forecaster.attempt_ended(&JobId::new(format!("past-{index}")), 1, &traits(index), (START, seconds), true);
        let (id, demand) = (JobId::new(format!("came-{index}")), vec![Capacity::new(TYPE, 2.0)].into());
        let at = START - Duration::from_secs_f64(random.unit() * 7.0 * 86_400.0);
        forecaster.arrived(&id, (at, None), &traits(index), 0, &demand);
    }
    let mut profiles = BTreeMap::new();
    let mut job = |index: usize, age: Option<f64>| {
        let kind = traits(index).kind();
        let profile = profiles.entry(index % 60).or_insert_with(|| forecaster.profile(kind)).clone();
        OpenJob {
            id: JobId::new(format!("{}-{index}", if age.is_some() { "runs" } else { "waits" })),
            queue: "q".into(),
            share: traits(index).share,
            priority: 0,
            demand: vec![Capacity::new(TYPE, 2.0)].into(),
            created_at: START,
            dispatched_at: age.map(|age| START - Duration::from_secs_f64(age)),
            holds_at_most: None,
            preemption_retries: None,
            kind,
            profile,
            lacks_instances: false,
        }
    };
    let in_flight = (0..IN_FLIGHT).map(|index| job(index, Some(random.unit() * 10_000.0))).collect();
    let waiting = (0..waiting).map(|index| job(index, None)).collect();
    let arrivals = forecaster.arrivals(START, |_, _| true);
    InitialState {
        now: START,
        setup,
        disabled: Vec::new(),
        in_flight,
        waiting,
        left_out: 0,
        arrivals,
        ended: forecaster.ended(),
    }
}
