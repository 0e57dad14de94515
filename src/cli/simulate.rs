//! `simulate`: the AWS-compatible endpoint alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::{Failure, listen, say};
use crate::config::{LogFormat, place_problem};
use crate::service::{SentLogs, start_logs, stop_on_signals};
use trainspotter_clock::Clock;
use trainspotter_core::model::parse_duration;
use trainspotter_simulator as simulator;
use trainspotter_simulator::quirks::Quirks;
use trainspotter_simulator::scenario::{self, Scenario};
use trainspotter_simulator::trace;
use trainspotter_simulator::workload::Workload;
use trainspotter_simulator::{Accounts, Simulation};

/// Default speed: simulated seconds per real second.
const SPEED: f64 = 600.0;
const SEED: u64 = 1;

/// Serve an AWS-compatible endpoint (Batch, SageMaker, CloudWatch, SNS) over simulated training queues.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter simulate --listen 127.0.0.1:4566
  trainspotter simulate --place 111122223333/us-east-1 --place 444455556666/us-east-1 --place 444455556666/eu-west-1
  curl -d '{\"account\": \"444455556666\", \"refuse\": true, \"expire\": true}' -H 'content-type: application/json' http://127.0.0.1:4566/_sim/accounts
  AWS_ENDPOINT_URL=http://127.0.0.1:4566 aws batch describe-job-queues
  curl -d '{\"advance\": \"1h\"}' -H 'content-type: application/json' http://127.0.0.1:4566/_sim/control

Ground truth: GET /_sim/truth. Time and events: POST /_sim/control. Faults: POST /_sim/faults. Roles: POST /_sim/accounts.
With several --place, ?account=…&region=… selects one.")]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) world: World,
    /// Address to listen on; port 0 selects a free port.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4566")]
    listen: SocketAddr,
    /// Simulate this account and Region; repeatable. Each has its own jobs. Callers that have assumed no role belong to
    /// the first account.
    #[arg(long = "place", value_name = "ACCOUNT/REGION", value_parser = place)]
    places: Vec<(String, String)>,
    /// Expire role sessions after this time, regardless of the requested duration, such as 15m.
    #[arg(long, value_name = "DURATION", value_parser = session, requires = "places")]
    session_lasts: Option<Duration>,
    /// Refuse to assume roles of this account.
    #[arg(long = "refuse-roles-of", value_name = "ACCOUNT", requires = "places")]
    refuses: Vec<String>,
}

/// Options of the simulation: scenario, speed and duration.
#[derive(Debug, clap::Args)]
pub(super) struct World {
    /// Simulated seconds per real second, 0.01 to 100000. [default: from the scenario, or 600]
    #[arg(long, value_name = "N", value_parser = speed)]
    speed: Option<f64>,
    /// Random seed: equal seeds give equal runs. [default: from the scenario, or 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Read the jobs from a trace (CSV: job_id, share, num_gpu, submit_s and duration_s, or start_s and end_s).
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Read jobs, GPU use, quirks and faults from a scenario (YAML). Command line options take precedence.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Choose between two behaviours where AWS's is undocumented, such as after_requeue=kept; see
    /// crates/simulator/README.md.
    #[arg(long = "quirk", value_name = "NAME=VALUE", value_parser = quirk)]
    quirks: Vec<(String, String)>,
    /// Stop after this much real time, such as 60s.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) duration: Option<Duration>,
}

/// A world, with all files read.
pub(super) struct ChosenWorld {
    /// Simulated seconds per real second.
    pub(super) speed: f64,
    /// Random seed.
    pub(super) seed: u64,
    /// Trace of jobs, instead of generated ones.
    pub(super) trace: Option<PathBuf>,
    scenario: Scenario,
}

impl World {
    /// Reads the scenario; arguments take precedence over it.
    pub(super) fn choose(&self) -> Result<ChosenWorld, Failure> {
        let (mut scenario, folder) = match &self.scenario {
            Some(path) => (read_scenario(path)?, path.parent()),
            None => (Scenario::default(), None),
        };
        scenario.quirks.extend(self.quirks.iter().cloned());
        let of_scenario = scenario.trace.as_ref().map(|trace| folder.unwrap_or(Path::new("")).join(trace));
        Ok(ChosenWorld {
            speed: self.speed.or(scenario.speed).unwrap_or(SPEED),
            seed: self.seed.or(scenario.seed).unwrap_or(SEED),
            trace: self.trace.clone().or(of_scenario),
            scenario,
        })
    }

    /// Stops after `--for`, if given.
    pub(super) fn stop_in_time(&self, stop: &CancellationToken) {
        if let Some(duration) = self.duration {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::time::sleep(duration).await;
                stop.cancel();
            });
        }
    }
}

impl ChosenWorld {
    /// The clock of this world, starting now.
    pub(super) fn clock(&self) -> Clock {
        Clock::fast(self.speed)
    }

    /// The simulation, starting at the clock's current time.
    pub(super) fn simulation(&self, clock: Clock) -> Result<Simulation, Failure> {
        Ok(Simulation::new(self.workload(clock)?, self.seed, clock).with(&self.scenario))
    }

    /// Accounts and Regions, each with its own seed: the first has the requested one.
    fn accounts(&self, places: &[(String, String)], clock: Clock) -> Result<Accounts, Failure> {
        let mut all = Vec::new();
        for (seed, (account, region)) in (self.seed..).zip(places) {
            let workload = self.workload_of(seed, clock)?;
            all.push(Simulation::new(workload, seed, clock).with(&self.scenario).at(account, region));
        }
        if all.is_empty() {
            return Ok(self.simulation(clock)?.into());
        }
        Accounts::new(all).map_err(|problem| Failure::usage(format!("--place: {problem}")))
    }

    /// The queues and jobs, starting at the clock's current time.
    pub(super) fn workload(&self, clock: Clock) -> Result<Workload, Failure> {
        self.workload_of(self.seed, clock)
    }

    fn workload_of(&self, seed: u64, clock: Clock) -> Result<Workload, Failure> {
        let Workload { setup, submissions } = match &self.trace {
            Some(path) => load_trace(path, clock)?,
            None => self.scenario.workload.clone().unwrap_or_default().workload(seed, clock.now()),
        };
        Ok(Workload { setup: self.scenario.applied_to(setup), submissions })
    }
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let _logs = start_logs(LogFormat::Pretty, SentLogs::default()).map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).map_err(Failure::failed)?;
    let world = arguments.world.choose()?;
    let mut accounts = world.accounts(&arguments.places, world.clock())?;
    if let Some(lasts) = arguments.session_lasts {
        accounts = accounts.with_sessions_of(lasts);
    }
    for account in &arguments.refuses {
        let refusing = accounts.refusing(account);
        accounts = refusing.map_err(|problem| Failure::usage(format!("--refuse-roles-of: {problem}")))?;
    }
    let listener = listen(arguments.listen).await?;
    say(format_args!("{} times real time, seed {}; press Ctrl-C to stop", world.speed, world.seed));
    arguments.world.stop_in_time(&stop);
    simulator::serve_accounts(listener, accounts, stop).await.map_err(Failure::failed)
}

fn read_scenario(path: &Path) -> Result<Scenario, Failure> {
    let file = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{file}: cannot be read: {error}")))?;
    scenario::parse(&file, &text).map_err(Failure::usage)
}

fn load_trace(path: &Path, clock: Clock) -> Result<Workload, Failure> {
    trace::load(path, clock.now()).map_err(Failure::usage)
}

fn quirk(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is NAME=VALUE")?;
    Quirks::default().set(name, value).map_err(|problem| format!("{name} {problem}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn place(text: &str) -> Result<(String, String), String> {
    let (account, region) = text.split_once('/').ok_or("must be ACCOUNT/REGION, such as 111122223333/us-east-1")?;
    match place_problem(account, region) {
        None => Ok((account.to_owned(), region.to_owned())),
        Some(problem) => Err(problem),
    }
}

fn session(text: &str) -> Result<Duration, String> {
    let lasts = parse_duration(text)?;
    if lasts < Duration::from_secs(1) { Err("must be at least 1s".to_owned()) } else { Ok(lasts) }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=100_000.0).contains(&speed) { Ok(speed) } else { Err("must be between 0.01 and 100000".to_owned()) }
}
