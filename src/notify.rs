//! Notifies people of alerts: at least once, under one id, in order, whatever the receivers do.
//!
//! A transition becomes one outbox row per receiver ([`outbox`]), stored in the transaction of the transition itself.
//! One [`Notifier`] per receiver takes its rows from there, puts them into words ([`message`]) and sends them through a
//! [`Integration`] until the receiver took them or it is given up. Nothing that is not committed is ever sent.

mod alertmanager;
mod digest;
mod error;
mod grouping;
mod http;
pub mod message;
mod notifier;
pub mod outbox;
mod pagerduty;
mod retry;
pub mod routing;
pub mod routing_table;
pub mod sample;
pub mod silence;
mod slack;
mod sns;
pub mod trace;
mod webhook;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Channel;
use crate::notify::message::Message;
use trainspotter_clock::Clock;

pub use alertmanager::Alertmanager;
pub use digest::{Digest, notification};
pub use error::IntegrationError;
pub use http::judge;
pub use notifier::{ATTEMPT_TIMEOUT, Notifier, Notifiers, Outcome};
pub use outbox::{OutboxRow, rows};
pub use pagerduty::PagerDuty;
pub use slack::Slack;
pub use sns::Sns;
pub use webhook::Webhook;

/// Whatever brings messages to one receiver.
pub trait Deliver: fmt::Debug + Send + Sync + 'static {
    /// Sends a message once.
    ///
    /// # Errors
    /// What to do next, and why.
    fn deliver(&self, message: &Message, clock: &Clock) -> impl Future<Output = Result<Receipt, Failure>> + Send;

    /// How many alerts a message lists at most, where several go together; the others follow in the next.
    fn most_together(&self) -> usize {
        100
    }

    /// How often a receiver has to be notified of what fires, so that it does not take it for over; in clock time, never if `None`.
    fn repeats_every(&self, _clock: &Clock) -> Option<Duration> {
        None
    }
}

impl<D: Deliver> Deliver for Arc<D> {
    fn deliver(&self, message: &Message, clock: &Clock) -> impl Future<Output = Result<Receipt, Failure>> + Send {
        D::deliver(self, message, clock)
    }

    fn most_together(&self) -> usize {
        D::most_together(self)
    }

    fn repeats_every(&self, clock: &Clock) -> Option<Duration> {
        D::repeats_every(self, clock)
    }
}

/// How a receiver is reached.
#[derive(Debug)]
pub enum Integration {
    /// An HTTP endpoint.
    Webhook(Webhook),
    /// An SNS topic.
    Sns(Sns),
    /// A Slack channel.
    Slack(Slack),
    /// A PagerDuty service.
    PagerDuty(PagerDuty),
    /// An Alertmanager.
    Alertmanager(Alertmanager),
}

impl Integration {
    /// Prepares a channel; for a topic `sns` is a client of its region.
    ///
    /// # Errors
    /// The channel cannot be used. Says why, without secrets.
    pub fn new(channel: &Channel, sns: Option<aws_sdk_sns::Client>) -> Result<Self, IntegrationError> {
        match channel {
            Channel::Webhook { endpoint, keys, headers } => {
                Webhook::new(endpoint, keys)?.with_headers(headers).map(Self::Webhook)
            }
            Channel::Sns { topic, .. } => {
                sns.map(|sns| Self::Sns(Sns::new(topic, sns))).ok_or(IntegrationError::NoSnsClient)
            }
            Channel::SlackWebhook { endpoint, owners } => {
                Slack::webhook(endpoint).map(|slack| Self::Slack(slack.with_owners(owners)))
            }
            Channel::SlackApp { endpoint, token, channel, owners } => {
                Slack::app(endpoint, token, channel).map(|slack| Self::Slack(slack.with_owners(owners)))
            }
            Channel::PagerDuty { endpoint, routing_key } => PagerDuty::new(endpoint, routing_key).map(Self::PagerDuty),
            Channel::Alertmanager { endpoint, headers } => {
                Alertmanager::new(endpoint)?.with_headers(headers).map(Self::Alertmanager)
            }
        }
    }
}

impl Deliver for Integration {
    async fn deliver(&self, message: &Message, clock: &Clock) -> Result<Receipt, Failure> {
        match self {
            Self::Webhook(webhook) => webhook.deliver(message, clock).await,
            Self::Sns(sns) => sns.deliver(message).await,
            Self::Slack(slack) => slack.deliver(message, clock).await,
            Self::PagerDuty(pagerduty) => pagerduty.deliver(message, clock).await,
            Self::Alertmanager(alertmanager) => alertmanager.deliver(message, clock).await,
        }
    }

    fn most_together(&self) -> usize {
        match self {
            Self::Sns(_) => sns::MAX_TOGETHER,
            Self::Webhook(_) | Self::Slack(_) | Self::PagerDuty(_) | Self::Alertmanager(_) => 100,
        }
    }

    fn repeats_every(&self, clock: &Clock) -> Option<Duration> {
        match self {
            Self::Alertmanager(_) => Some(alertmanager::repeat_interval(clock)),
            // These keep what they got until its end comes.
            Self::Webhook(_) | Self::Sns(_) | Self::Slack(_) | Self::PagerDuty(_) => None,
        }
    }
}

/// A message was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// What the receiver said, for people who test it.
    pub said: String,
    /// What the receiver calls the message, if it has a name for it.
    pub reference: Option<String>,
}

impl From<http::Answer> for Receipt {
    fn from(answer: http::Answer) -> Self {
        Self { said: format!("{} {}", answer.status, answer.body).trim().to_owned(), reference: None }
    }
}

/// A message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why, without secrets.
    pub reason: String,
    /// What to do next.
    pub remedy: RetryClass,
}

/// What to do about a message that was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// Try again, with backoff; the receiver as a whole is in trouble.
    Retry {
        /// How long the receiver asks to be left alone, in clock time.
        after: Option<Duration>,
    },
    /// Leave the receiver alone and try it now and then: repeating is of no use until someone has changed something.
    Park,
    /// As [`RetryClass::Park`], but for this message alone: the receiver takes others.
    SetAside,
}

impl Failure {
    fn retry(reason: String, after: Option<Duration>) -> Self {
        Self { reason, remedy: RetryClass::Retry { after } }
    }

    fn park(reason: String) -> Self {
        Self { reason, remedy: RetryClass::Park }
    }

    fn set_aside(reason: String) -> Self {
        Self { reason, remedy: RetryClass::SetAside }
    }

    fn unwritable(error: &dyn fmt::Display) -> Self {
        Self::set_aside(format!("the notification cannot be written: {error}"))
    }
}
