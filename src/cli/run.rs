//! `run`: the service.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;
use url::Url;

use crate::cli::{Failure, config_watch, listen, load_config, remote_simulator_clock};
use crate::service::{SentLogs, Service, start_logs, stop_on_signals};
use trainspotter_clock::Clock;

/// Run the service.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter run --config /etc/trainspotter/trainspotter.yaml
  trainspotter run --config env:TRAINSPOTTER_CONFIG
  trainspotter run --config s3://bucket/trainspotter.yaml

Changes to targets and rules are reloaded at run time. Other changes need a restart; the pages and /readyz show when one is
pending. If the new configuration is invalid, the previous one stays in effect and the error is shown there.
SIGTERM or Ctrl-C stops the service within 20 seconds; a second one stops it immediately.")]
pub(super) struct Arguments {
    /// The configuration: a file, env:NAME for the content of an environment variable, or s3://bucket/object. S3 uses
    /// the region in AWS_REGION and the service's own credentials.
    #[arg(long, value_name = "FILE")]
    config: String,
    /// Address of the pages and the API; overrides `listen` of the configuration.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Take the time from `trainspotter simulate` at this URL, and run as fast as it does: for tests over simulated days. The
    /// targets of the configuration must name it as their `endpoint`. Its speed must not change afterwards.
    #[arg(long, value_name = "URL")]
    simulator: Option<Url>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let source = load_config::Source::load(&arguments.config).await?;
    if let Some(simulator) = &arguments.simulator {
        remote_simulator_clock::check_targets(simulator, &source.config.targets)?;
    }
    let rules = source.rules().await?;
    let config = source.config;
    let sent = SentLogs { traces: config.traces.as_deref(), logs: config.logs.as_deref() };
    let _logs = start_logs(config.log, sent).map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).map_err(Failure::failed)?;
    let listener = listen(arguments.listen.unwrap_or(config.listen)).await?;
    let clock = match &arguments.simulator {
        Some(simulator) => remote_simulator_clock::of(simulator).await?,
        None => Clock::real(),
    };
    let watch = config_watch::Watch::of(arguments.config, source.text, &config, arguments.simulator);
    let following = config_watch::configuration(watch, stop.clone());
    let service = Service { config, rules, clock, since: clock.now(), listener };
    service.run_with_config_updates(following, stop).await.map_err(Failure::failed)
}
