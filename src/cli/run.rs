//! `run`: the service.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use crate::cli::{Failure, follow, inputs, listen};
use crate::service::{SentLogs, Service, start_logs, stop_on_signals};
use trainspotter_clock::Clock;

/// Run the service.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter run --config /etc/trainspotter/trainspotter.yaml
  trainspotter run --config env:TRAINSPOTTER_CONFIG
  trainspotter run --config s3://bucket/trainspotter.yaml

Targets that are added, changed or removed there are taken in while it runs, as rules are; everything else needs a restart, which the
pages and /readyz say. So are mistakes, with which nothing changes.
SIGTERM or Ctrl-C stops it within 20 seconds; a second one at once.")]
pub(super) struct Arguments {
    /// The configuration file, env:NAME for an environment variable with its text, or s3://bucket/object. The bucket is asked in the
    /// region AWS_REGION, with the service's own credentials.
    #[arg(long, value_name = "FILE")]
    config: String,
    /// Serve the page and the API here instead of where the configuration says.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let source = inputs::Source::load(&arguments.config).await?;
    let rules = source.rules().await?;
    let config = source.config;
    let sent = SentLogs { traces: config.traces.as_deref(), logs: config.logs.as_deref() };
    let _logs = start_logs(config.log, sent).map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).map_err(Failure::failed)?;
    let listener = listen(arguments.listen.unwrap_or(config.listen)).await?;
    let clock = Clock::real();
    let following = follow::configuration(arguments.config, source.text, &config, stop.clone());
    let service = Service { config, rules, clock, since: clock.now(), listener };
    service.run_with_config_updates(following, stop).await.map_err(Failure::failed)
}
