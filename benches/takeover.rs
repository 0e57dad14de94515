//! Duration of a takeover with many waiting jobs, until the first complete figures: `cargo bench --bench takeover`.
//!
//! The simulator replaces AWS: all jobs but 200 wait. An engine that has listed all of them fills a state file, as
//! polls would have. Then reading the file is timed alone, and after it the start of a service on the file with the
//! default call budget, until it is ready. Last, that state begins a log: one service leads, another one follows, the
//! first one stops, and the time is measured until the figures of the other one are its own. The argument `JOBS`
//! measures a single case.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trainspotter::aws::{Poller, connect};
use trainspotter::config::{Config, load};
use trainspotter::service::{Service, StartError};
use trainspotter::store::{Commit, Store};
use trainspotter_clock::Clock;
use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::jobs::Job;
use trainspotter_core::model::{JobDetails, JobSeen, Observation, Timestamp};
use trainspotter_simulator::{Simulation, serve, trace};

const CASES: [usize; 2] = [100_000, 1_000_000];
const IN_FLIGHT: usize = 200;
/// Period in which the jobs were submitted: a restart lists again only those of the last minute.
const SUBMITTED_WITHIN: Duration = Duration::from_secs(10 * 86_400);
/// Jobs per page when reading the file.
const PAGE: usize = 2_000;

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let argument = std::env::args().find_map(|argument| argument.parse().ok());
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| jobs | MB of state | s to read it | s until ready | calls for jobs | s from the stop to own figures of a follower |"
    )?;
    writeln!(out, "|---:|---:|---:|---:|---:|---:|")?;
    for jobs in argument.map_or(CASES.to_vec(), |jobs| vec![jobs]) {
        writeln!(out, "{}", measure(jobs).await?)?;
        out.flush()?;
    }
    Ok(())
}

async fn measure(jobs: usize) -> Result<String, Failed> {
    let folder = tempfile::tempdir()?;
    let (trace, state) = (folder.path().join("training.csv"), folder.path().join("state.db"));
    std::fs::write(&trace, workload(jobs))?;
    let clock = Clock::real();
    // All jobs have been submitted.
    let began = clock.now() - SUBMITTED_WITHIN - Duration::from_secs(100);
    let simulation = Simulation::new(trace::load(&trace, began)?, 7, clock);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = listener.local_addr()?;
    tokio::spawn(serve(listener, simulation, CancellationToken::new()));
    let config = configured(&endpoint.to_string(), &state, None)?;
    fill(&config, clock, began).await?;

    let reading = Instant::now();
    let engine = read(&state, &config, began)?;
    let reading = reading.elapsed();
    drop(engine);

    let taking_over = Instant::now();
    let service = Running::start(config, clock, began).await?;
    service.until(|health| health["ready"] == true).await;
    let ready = taking_over.elapsed();
    let metrics = reqwest::get(format!("{}/metrics", service.page)).await?.text().await?;
    let calls = |line: &&str| line.starts_with("trainspotter_source_calls_total") && line.contains("ServiceJob");
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    let calls: f64 = metrics.lines().filter(calls).filter_map(value).sum();
    service.stop().await?;
    let size = std::fs::metadata(&state)?.len() as f64 / 1e6;

    let log = format!("file://{}", folder.path().join("log").display());
    let first = Running::start(configured(&endpoint.to_string(), &state, Some(&log))?, clock, began).await?;
    first.until(|health| health["replica"]["leads"] == true && health["ready"] == true).await;
    let own = configured(&endpoint.to_string(), &folder.path().join("second.db"), Some(&log))?;
    let second = Running::start(own, clock, began).await?;
    second.until(|health| health["replica"]["leader"].is_string() && health["ready"] == true).await;
    let stopping = Instant::now();
    first.stop().await?;
    let handed_over_at = jiff::Timestamp::now();
    let is_own = |health: &Value| {
        let ticked_at = health["ticked_at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
        health["replica"]["leads"] == true && health["ready"] == true && ticked_at > Some(handed_over_at)
    };
    second.until(is_own).await;
    let warm = stopping.elapsed();
    second.stop().await?;
    Ok(format!(
        "| {jobs} | {size:.0} | {:.1} | {:.1} | {calls} | {:.1} |",
        reading.as_secs_f64(),
        ready.as_secs_f64(),
        warm.as_secs_f64(),
    ))
}

/// The configuration of a service, alone or as a replica.
fn configured(endpoint: &str, state: &Path, log: Option<&str>) -> Result<Config, Failed> {
    let log = log.map(|log| format!(", log: \"{log}\"")).unwrap_or_default();
    let text = format!(
        "targets: [{{ region: us-east-1, endpoint: \"http://{endpoint}\" }}]\nstore: {{ file: \"{}\"{log} }}\nlisten: \"127.0.0.1:0\"\n",
        state.display()
    );
    Ok(load("bench.yaml", &text, Path::new("/"), &|_| None)?)
}

/// A service and its pages.
struct Running {
    page: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), StartError>>,
}

impl Running {
    async fn start(config: Config, clock: Clock, since: Timestamp) -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let page = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let service = Service { config, rules: Vec::new(), clock, since, listener };
        let task = tokio::spawn(service.run(stop.clone()));
        Ok(Self { page, stop, task })
    }

    async fn until(&self, is_so: impl Fn(&Value) -> bool) {
        let health = async || -> Result<Value, Failed> {
            let text = reqwest::get(format!("{}/api/v1/health", self.page)).await?.text().await?;
            Ok(serde_json::from_str(&text)?)
        };
        while !health().await.is_ok_and(|health| is_so(&health)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn stop(self) -> Result<(), Failed> {
        self.stop.cancel();
        Ok(self.task.await??)
    }
}

/// A trace of waiting jobs, and some running ones.
fn workload(jobs: usize) -> String {
    let job = |number: usize| {
        let submitted = number as u64 * SUBMITTED_WITHIN.as_secs() / jobs as u64;
        let start = if number < IN_FLIGHT { (submitted + 20).to_string() } else { String::new() };
        format!("pretrain-transformer-{number},share-{},8,{submitted},{start},\n", number % 20)
    };
    "job_id,share,num_gpu,submit_s,start_s,end_s\n".to_owned() + &(0..jobs).map(job).collect::<String>()
}

/// Fills a state file with all jobs.
async fn fill(config: &Config, clock: Clock, began: Timestamp) -> Result<(), Failed> {
    let target = config.targets.first().cloned().ok_or("no target")?;
    let clients = connect(&target, 1e6, clock).await?;
    let mut poller = Poller::new(clients, target, config.poll, clock);
    let mut engine =
        Engine::new(Vec::new(), cadence(config.poll.reconcile_every, config.poll.every), Saved::default(), began);
    // A poll continues where the previous one stopped.
    for _ in 0..1_000_000 {
        let (out, mut reported) = mpsc::channel(100);
        let questions = engine.questions(clock.now());
        if engine.is_ready() && questions.waiting.is_empty() && questions.reconcile.is_empty() {
            break;
        }
        let listing = async {
            poller.poll(&questions, &out).await;
            poller.reconcile(&questions, &out).await;
            drop(out);
        };
        let taking = async {
            while let Some(observations) = reported.recv().await {
                engine.observe(observations);
            }
        };
        tokio::join!(listing, taking);
    }
    let now = clock.now();
    let described = |job: &Job| {
        let details = JobDetails { priority: Some(1), owner: Some("ada".into()), ..JobDetails::default() };
        JobSeen { details: Some(Box::new(details)), ..job.latest.clone() }
    };
    let jobs = engine.ledger().open_jobs().map(described).collect();
    engine.observe(vec![Observation::Jobs { at: now, answered_at: now, jobs }]);
    let output = engine.tick(now);
    let watermarks = [("counted_until", output.counted_until), ("open_since", output.open_since)];
    let watermarks: BTreeMap<_, _> = watermarks.map(|(name, at)| (name.to_owned(), at)).into();
    let commit = Commit { at: now, watermarks, jobs: output.jobs, queues: output.queues, ..Commit::default() };
    Store::open(&config.store, now)?.0.commit(&commit)?;
    Ok(())
}

/// What the service does with the file at start.
fn read(state: &Path, config: &Config, began: Timestamp) -> Result<Engine, Failed> {
    let mut store = Store::serve(state, began)?;
    store.set_bad_rows_aside(began)?;
    let saved = store.load()?;
    let saved = Saved {
        series: saved.series,
        queues: saved.queues,
        counted_until: saved.watermarks.get("counted_until").copied(),
        ..Saved::default()
    };
    let mut engine = Engine::new(Vec::new(), cadence(config.poll.reconcile_every, config.poll.every), saved, began);
    let mut after = None;
    loop {
        let (jobs, last) = store.jobs_after(after.as_ref(), PAGE)?;
        engine.restore(jobs);
        after = last;
        if after.is_none() {
            return Ok(engine);
        }
    }
}
