//! `simulate`: the AWS-compatible endpoint alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::cli::{Failure, listen, say};
use crate::clock::Clock;
use crate::config::LogFormat;
use crate::runtime::{start_logs, stop_on_signals};
use crate::simulate::trace;
use crate::simulate::workload::{self, Workload};
use crate::simulate::{self, Simulation};

/// How much work a synthetic workload makes in advance, in clock time.
const HORIZON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Serve an AWS-compatible endpoint (Batch, SageMaker, CloudWatch, SNS) over simulated training queues.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter simulate --listen 127.0.0.1:4566
  AWS_ENDPOINT_URL=http://127.0.0.1:4566 aws batch describe-job-queues

What really happened: GET /_sim/truth")]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) world: World,
    /// Address to serve on; port 0 takes any free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4566")]
    listen: SocketAddr,
}

/// What is simulated, how fast and how long.
#[derive(Debug, clap::Args)]
pub(super) struct World {
    /// Simulated seconds per real second, 0.01 to 100000.
    #[arg(long, value_name = "N", default_value = "600", value_parser = speed)]
    pub(super) speed: f64,
    /// Seed of everything random: equal seeds give equal histories.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Take the jobs from a trace (CSV: job_id, share, num_gpu, submit_s and duration_s, or start_s and end_s).
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Stop by itself after this much real time, such as 60s.
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) duration: Option<Duration>,
}

impl World {
    /// The clock of this world, beginning now.
    pub(super) fn clock(&self) -> Clock {
        Clock::fast(self.speed)
    }

    /// The simulation, beginning at the clock's now.
    pub(super) fn simulation(&self, clock: Clock) -> Result<Simulation, Failure> {
        Ok(Simulation::new(self.workload(clock)?, self.seed, clock))
    }

    fn workload(&self, clock: Clock) -> Result<Workload, Failure> {
        match &self.trace {
            Some(path) => load_trace(path, clock),
            None => Ok(workload::synthetic(self.seed, clock.now(), HORIZON)),
        }
    }

    /// Stops after `--for`, if that was given.
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

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let _logs = start_logs(LogFormat::Pretty, None).map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).map_err(Failure::failed)?;
    let simulation = arguments.world.simulation(arguments.world.clock())?;
    let listener = listen(arguments.listen).await?;
    say(format_args!("{} times real time, seed {}; Ctrl-C stops it", arguments.world.speed, arguments.world.seed));
    arguments.world.stop_in_time(&stop);
    simulate::serve(listener, simulation, stop).await.map_err(Failure::failed)
}

fn load_trace(path: &Path, clock: Clock) -> Result<Workload, Failure> {
    trace::load(path, clock.now()).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=100_000.0).contains(&speed) { Ok(speed) } else { Err("must lie between 0.01 and 100000".to_owned()) }
}
