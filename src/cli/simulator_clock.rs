//! The clock of a simulator in another process, for a service that watches it.

use std::time::Duration;

use url::Url;

use crate::cli::Failure;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

/// Real time within which the simulator must report its time.
const TIMEOUT: Duration = Duration::from_secs(10);

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
