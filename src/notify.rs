//! Telling people of alerts: at least once, under one id, in order, whatever the receivers do.
//!
//! A transition becomes one outbox row per receiver ([`outbox`]), stored in the transaction of the transition itself.
//! One [`Notifier`] per receiver takes its rows from there, puts them into words ([`message`]) and sends them through a
//! [`Courier`] until the receiver took them or a day has passed. Nothing that is not committed is ever sent.

pub mod message;
mod notifier;
pub mod outbox;
mod retry;
#[cfg(test)]
pub(crate) mod sample;
mod sns;
mod webhook;

use std::time::Duration;

use crate::clock::Clock;
use crate::config::Channel;
use crate::notify::message::Message;

pub use notifier::{Notifier, Notifiers, Outcome};
pub use outbox::{OutboxRow, rows};
pub use sns::Sns;
pub use webhook::Webhook;

/// How a receiver is reached.
#[derive(Debug)]
pub enum Courier {
    /// An HTTP endpoint.
    Webhook(Webhook),
    /// An SNS topic.
    Sns(Sns),
}

impl Courier {
    /// Prepares a channel; `sns` is a client of the topics' region.
    ///
    /// # Errors
    /// See [`Webhook::new`].
    pub fn new(channel: &Channel, sns: &aws_sdk_sns::Client) -> Result<Self, String> {
        match channel {
            Channel::Webhook { url, allow_loopback } => Webhook::new(url, *allow_loopback).map(Self::Webhook),
            Channel::Sns { topic } => Ok(Self::Sns(Sns::new(topic, sns.clone()))),
        }
    }

    /// Sends a message once.
    ///
    /// # Errors
    /// What to do next, and why.
    pub async fn deliver(&self, message: &Message, clock: &Clock) -> Result<(), Failure> {
        match self {
            Self::Webhook(webhook) => webhook.deliver(message, clock).await,
            Self::Sns(sns) => sns.deliver(message).await,
        }
    }
}

/// A message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why, without secrets.
    pub reason: String,
    /// What to do next.
    pub remedy: Remedy,
}

/// What to do about a message that was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Try again, with backoff; the receiver as a whole is in trouble.
    Retry {
        /// How long the receiver asks to be left alone, in clock time.
        after: Option<Duration>,
    },
    /// Set this message aside and try it now and then: repeating it is of no use until someone has changed something.
    Park,
}

impl Failure {
    fn retry(reason: String, after: Option<Duration>) -> Self {
        Self { reason, remedy: Remedy::Retry { after } }
    }

    fn park(reason: String) -> Self {
        Self { reason, remedy: Remedy::Park }
    }
}
