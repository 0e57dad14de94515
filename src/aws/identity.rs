//! Finds the account id of a target: from STS or, if STS is unreachable, from queue ARNs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::aws::failure::Failure;
use crate::aws::{Clients, connect};
use crate::config::Target;
use trainspotter_clock::Clock;
use trainspotter_core::model::{Observation, Place, Queue};

/// How long a starting replica waits for STS, in wall time.
const ACCOUNT_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls per second of that request, which is outside the budget.
const CALLS_PER_SECOND: f64 = 1.0;

/// Account of a target's credentials, by its role or STS; `None` if STS does not respond in time or refuses.
pub async fn account_of(target: &Target, clock: Clock) -> Option<String> {
    if let Some(account) = target.role.as_deref().and_then(Place::account_of) {
        return Some(account.to_owned());
    }
    let clients = connect(target, CALLS_PER_SECOND, clock).await.ok()?;
    match tokio::time::timeout(ACCOUNT_TIMEOUT, clients.sts.get_caller_identity().send()).await {
        Ok(Ok(identity)) => identity.account,
        Ok(Err(error)) => {
            let error = Failure::new("GetCallerIdentity", &error);
            tracing::debug!(%error, "STS does not say which account this is");
            None
        }
        Err(_) => {
            tracing::debug!("STS does not respond in time, so the account is not known yet");
            None
        }
    }
}

/// Queries STS in the background until the account is known. Polls never wait for it.
#[derive(Debug, Default)]
pub(super) struct Identity {
    asking: Option<JoinHandle<()>>,
    is_known: Arc<AtomicBool>,
}

impl Identity {
    /// Starts a request, unless one is in progress or the account is known.
    pub(super) fn ask(&mut self, clients: &Clients, queues: &[Queue], out: &mpsc::Sender<Vec<Observation>>) {
        // The account is read from the ARNs elsewhere, so one attempt at STS is enough.
        let is_in_arns = queues.iter().any(|queue| Place::account_of(&queue.arn).is_some());
        let is_asked = self.asking.as_ref().is_some_and(|asking| is_in_arns || !asking.is_finished());
        if is_asked || self.is_known.load(Ordering::Relaxed) {
            return;
        }
        // A weak sender, so that this task does not keep the channel open.
        let (sts, out, is_known) = (clients.sts.clone(), out.downgrade(), Arc::clone(&self.is_known));
        self.asking = Some(tokio::spawn(async move {
            match sts.get_caller_identity().send().await {
                Ok(identity) => {
                    if let (Some(account), Some(out)) = (identity.account, out.upgrade())
                        && out.send(vec![Observation::Account(account)]).await.is_ok()
                    {
                        is_known.store(true, Ordering::Relaxed);
                    }
                }
                Err(error) => {
                    let error = Failure::new("GetCallerIdentity", &error);
                    tracing::debug!(%error, "STS did not return the account; it will be taken from the ARN of a queue");
                }
            }
        }));
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
    }
}

#[cfg(test)]
impl Identity {
    /// An instance that makes no requests, for tests that count calls.
    pub(super) fn known() -> Self {
        Self { asking: None, is_known: Arc::new(AtomicBool::new(true)) }
    }
}
