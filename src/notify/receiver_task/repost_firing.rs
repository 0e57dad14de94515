//! Sends firing alerts again, to receivers that expire alerts.
//!
//! These repetitions are not notifications: they have no outbox row, nobody is paged, and a failure is made up for
//! by the next repetition. The state file determines what is sent: alerts that the receiver was notified of and
//! that are not resolved. Repetition therefore continues after a restart, and never revives a resolved alert.

use crate::notify::Deliver;
use crate::notify::Failure;
use crate::notify::RetryClass;
use crate::notify::message::Message;
use crate::notify::outbox;
use crate::notify::outbox::Outbox;
use crate::notify::outbox::OutboxRow;
use crate::notify::receiver_task::FENCED_RECHECK;
use crate::notify::receiver_task::Notifier;
use crate::notify::receiver_task::STORE_PAUSE;
use crate::notify::receiver_task::TROUBLE_AFTER;
use crate::notify::retry;
use trainspotter_core::model::{Timestamp, format};
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;

impl<O: Outbox, C: Deliver> Notifier<O, C> {
    /// Sends firing alerts again, if due and needed by the receiver. Returns when to check again.
    pub(super) async fn repeat(&mut self) -> Option<Timestamp> {
        let every = self.integration.repeat_interval(&self.clock)?;
        let now = self.clock.now();
        if now < self.paused_until {
            return Some(self.paused_until);
        }
        if let Some(next) = self.repeated_at.map(|at| at + every).filter(|next| now < *next) {
            return Some(next);
        }
        let notified = match self.outbox.notified(&self.receiver.name).await {
            Ok(notified) => notified,
            Err(error) => {
                tracing::warn!(
                    receiver = self.receiver.name,
                    %error,
                    "cannot read from the state file which alerts the receiver was sent; retrying"
                );
                return Some(now + STORE_PAUSE);
            }
        };
        for alerts in notified.chunks(self.integration.max_alerts_per_message()) {
            if !self.outbox.may_send() {
                return Some(now + self.clock.of_wall(FENCED_RECHECK));
            }
            if let Err(failure) = self.send_again(alerts, now).await
                && !self.handle_failure(failure).await
            {
                return Some(self.paused_until);
            }
        }
        if self.failures > 0 && !notified.is_empty() {
            self.failures = 0;
            self.note_trouble(None).await;
        }
        self.repeated_at = Some(now);
        Some(now + every)
    }

    async fn send_again(&self, alerts: &[Alert], now: Timestamp) -> Result<(), Failure> {
        let row = |alert: &Alert| {
            let transition = Transition { alert: alert.clone(), kind: TransitionKind::Fired, at: now };
            outbox::row(&transition, &self.receiver.name, now)
        };
        let Some((first, others)) = alerts.split_first() else { return Ok(()) };
        let row = OutboxRow { together: others.iter().map(row).collect(), ..row(first) };
        let message = Message::of_group(&row, self.external_url.as_deref(), Some(&[]));
        tokio::select! {
            biased;
            result = self.integration.deliver(&message, &self.clock) => result.map(|_| ()),
            () = self.clock.sleep(self.clock.of_wall(self.attempt_timeout)) => {
                let wait = format::duration(self.attempt_timeout.as_secs_f64());
                Err(Failure::retry(format!("no response within {wait}"), None))
            }
        }
    }

    /// Handles a failure. Returns whether to continue with the remaining alerts.
    async fn handle_failure(&mut self, failure: Failure) -> bool {
        let now = self.clock.now();
        let Failure { reason: error, remedy } = failure;
        if self.failures == 0 {
            tracing::warn!(
                receiver = self.receiver.name,
                error,
                "cannot resend firing alerts to the receiver; retrying"
            );
        }
        let wait = match remedy {
            // Only these alerts are refused.
            RetryClass::SetAside => return true,
            RetryClass::Park => retry::PARKED,
            RetryClass::Retry { after } => retry::backoff(self.failures + 1, 1.0).max(after.unwrap_or_default()),
        };
        self.failed(now);
        self.paused_until = now + wait;
        if remedy == RetryClass::Park || now.since(self.failing_since) >= TROUBLE_AFTER {
            self.note_trouble(Some(&error)).await;
        }
        false
    }

    /// Notifies the other receivers that this one is failing, or has recovered.
    async fn note_trouble(&self, error: Option<&str>) {
        let noted = self.outbox.note_trouble(&self.receiver.name, error, self.clock.now(), &self.all).await;
        match noted {
            Ok(()) => {
                self.bell.send_replace(());
            }
            Err(error) => tracing::warn!(receiver = self.receiver.name, %error, "cannot write to the outbox; retrying"),
        }
    }
}
