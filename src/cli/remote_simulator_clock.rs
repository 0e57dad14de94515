//! The clock of a simulator in another process, for a service that watches it.

use std::time::Duration;

use url::Url;

use crate::cli::Failure;
use crate::config::Target;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

/// Real time within which the simulator must report its time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Refuses targets that are not the simulator's: at its speed, the service would call AWS itself many times as often.
///
/// # Errors
/// The endpoint of a target is missing or of another origin.
pub(super) fn check_targets(simulator: &Url, targets: &[Target]) -> Result<(), Failure> {
    let is_simulated = |target: &&Target| {
        let endpoint = target.endpoint.as_deref().and_then(|endpoint| Url::parse(endpoint).ok());
        endpoint.is_some_and(|endpoint| endpoint.origin() == simulator.origin())
    };
    let others: Vec<&str> =
        targets.iter().filter(|target| !is_simulated(target)).map(|target| target.name.as_str()).collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--simulator: these targets are not the simulator's: {}; set their `endpoint` to {}",
        others.join(", "),
        simulator.origin().ascii_serialization()
    )))
}

/// A clock that starts at the simulator's current time and runs at its speed.
///
/// # Errors
/// It does not answer, or not like a simulator, or its speed is out of range.
pub(super) async fn of(simulator: &Url) -> Result<Clock, Failure> {
    #[derive(serde::Deserialize)]
    struct Control {
        now: Timestamp,
        speed: f64,
    }
    let simulator = simulator.origin().ascii_serialization();
    let url = format!("{simulator}/_sim/control");
    let failed = |error: reqwest::Error| {
        Failure::failed(format!(
            "--simulator: {url} does not respond like `trainspotter simulate`: {}",
            error.without_url()
        ))
    };
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(failed)?;
    let answer = client.get(&url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let Control { now, speed } = answer.json().await.map_err(failed)?;
    // A pace that is set over its API may be anything.
    if !(0.01..=100_000.0).contains(&speed) {
        return Err(Failure::failed(format!("--simulator: {simulator} runs at {speed} times real time")));
    }
    Ok(Clock::starting_at(now, speed))
}
