//! A sample notification to one receiver, so that whoever sets it up sees what it answers.

use std::time::Duration;

use crate::aws;
use crate::config::{Config, Receiver};
use crate::notify::message::Message;
use crate::notify::{Courier, Deliver as _, sample};
use trainspotter_clock::Clock;

/// Wall time that the receiver has.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends a sample to a receiver, past the outbox, and returns what it answered.
///
/// # Errors
/// Why it was not delivered, without secrets.
pub async fn test_receiver(config: &Config, receiver: &Receiver, clock: Clock) -> Result<String, String> {
    let target = config.targets.first().ok_or("the configuration has no target")?;
    let clients = aws::connect(target, config.poll.calls_per_second, clock)
        .await
        .map_err(|error| format!("connecting to AWS: {error}"))?;
    let courier = Courier::new(&receiver.channel, &clients.sns)?;
    let row = sample::test(&receiver.name, clock.now());
    let message = Message::of(&row, config.external_url.as_deref());
    let delivered = tokio::time::timeout(PATIENCE, courier.deliver(&message, &clock)).await;
    match delivered {
        Ok(Ok(receipt)) => Ok(receipt.said),
        Ok(Err(failure)) => Err(failure.reason),
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(PATIENCE))),
    }
}
