//! `healthcheck`: asks a running service how it is, for container health checks.

use std::time::Duration;

use crate::cli::{Failure, print};

/// A health check that waits longer than the orchestrator does is no use.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Ask a running service whether it is healthy; exit 0 if it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example, in an ECS task definition:
  \"healthCheck\": { \"command\": [\"CMD\", \"/trainspotter\", \"healthcheck\"] }")]
pub(super) struct Arguments {
    /// What to ask.
    #[arg(long, default_value = "http://127.0.0.1:9464/healthz")]
    url: String,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(Failure::failed)?;
    let answer = client.get(&arguments.url).send().await;
    let answer = answer.map_err(|error| Failure::failed(format!("{} does not answer: {error}", arguments.url)))?;
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    if status.is_success() {
        print(format_args!("healthy"))
    } else {
        Err(Failure::failed(format!("unhealthy: {status} {body}")))
    }
}
