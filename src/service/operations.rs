//! Operator actions over the API: silences, the outbox and test notifications. Every action is logged with its
//! author.

mod outbox;
mod silences;
mod test_notifications;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Permission};
use crate::notify::Notifiers;
use crate::notify::silence::Silence;
use crate::service::shared_by_targets::Shared;
use crate::store::{StoreError, StoreHandle};
use crate::web::{Access, JobQuery, Operation, PastQuery, Refusal, Snapshot, Token, WatchedTarget};
use trainspotter_clock::Clock;
use trainspotter_core::model::Place;
use trainspotter_core::rules::Rule;

/// Wall time between reloads of the silences, so that silences added on the command line appear within it.
const READ_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum queued operations; further callers wait for room.
const MAX_WAITING: usize = 256;

/// Maximum concurrent test notifications.
const MAX_TESTS: usize = 4;

/// Access control from the configuration; tokens are passed on as hashes only.
pub(super) fn access(config: &Config) -> Access {
    let may_operate = |may| matches!(may, Permission::Operate);
    Access::new(config.api.iter().map(|api| Token::new(&api.name, api.token.expose(), may_operate(api.may))))
}

/// The operations task, and the handles that other parts need.
pub(super) struct OperatorActions {
    pub(super) operations: Operations,
    asked: mpsc::Sender<Operation>,
    pub(super) inbox: mpsc::Receiver<Operation>,
    pub(super) rules: watch::Sender<Arc<[Rule]>>,
    silences: watch::Receiver<Arc<[Silence]>>,
    pub(super) access: Access,
}

impl OperatorActions {
    pub(super) fn new(
        shared: &Shared,
        config: &Config,
        rules: &[Rule],
        store: &StoreHandle,
        notifiers: &Notifiers,
        snapshot: &watch::Receiver<Snapshot>,
    ) -> Self {
        let (asked, inbox) = mpsc::channel(MAX_WAITING);
        let (rules, rules_now) = watch::channel(rules.into());
        let (shown, silences) = watch::channel([].into());
        let operations = Operations {
            config: Arc::new(config.clone()),
            clock: shared.clock,
            store: store.clone(),
            notifiers: notifiers.clone(),
            rules: rules_now,
            snapshot: snapshot.clone(),
            silences: shown,
        };
        Self { operations, asked, inbox, rules, silences, access: shared.access.clone() }
    }

    /// The target as the pages see it, with the given handles.
    pub(super) fn watched(
        &self,
        place: Place,
        snapshot: watch::Receiver<Snapshot>,
        jobs: mpsc::Sender<JobQuery>,
        history: mpsc::Sender<PastQuery>,
    ) -> WatchedTarget {
        let (operations, silences) = (self.asked.clone(), self.silences.clone());
        WatchedTarget { place, snapshot, jobs, history, operations, silences }
    }
}

/// Handles operations, and publishes the current silences.
#[derive(Clone, Debug)]
pub(super) struct Operations {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) store: StoreHandle,
    pub(super) notifiers: Notifiers,
    pub(super) rules: watch::Receiver<Arc<[Rule]>>,
    pub(super) snapshot: watch::Receiver<Snapshot>,
    pub(super) silences: watch::Sender<Arc<[Silence]>>,
}

impl Operations {
    /// Handles operations until `stop`. An operation runs to its end even if its caller disconnects.
    pub(super) async fn run(self, mut inbox: mpsc::Receiver<Operation>, stop: CancellationToken) {
        let tests = Arc::new(Semaphore::new(MAX_TESTS));
        self.publish_silences().await;
        loop {
            let operation = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                operation = inbox.recv() => operation,
                () = tokio::time::sleep(READ_INTERVAL) => {
                    self.publish_silences().await;
                    continue;
                }
            };
            let Some(operation) = operation else { return stop.cancelled().await };
            self.answer(operation, &tests).await;
        }
    }

    async fn answer(&self, operation: Operation, tests: &Arc<Semaphore>) {
        match operation {
            Operation::ListSilences { reply } => {
                let _ = reply.send(self.all_silences().await);
            }
            Operation::AddSilence { silence, allow_unmatched, reply } => {
                let _ = reply.send(self.add_silence(silence, allow_unmatched).await);
            }
            Operation::EndSilence { id, author, reply } => {
                let _ = reply.send(self.end_silence(id, &author).await);
            }
            Operation::ListOutbox { filter, reply } => {
                let _ = reply.send(self.list_outbox(filter).await);
            }
            Operation::ChangeOutbox { change, receiver, ids, author, reply } => {
                let _ = reply.send(self.change_outbox(change, receiver, ids, &author).await);
            }
            Operation::Test { test, author, reply } => match Arc::clone(tests).try_acquire_owned() {
                Ok(place) => {
                    let this = self.clone();
                    tokio::spawn(async move {
                        let _ = reply.send(this.test(test, &author).await);
                        drop(place);
                    });
                }
                Err(_) => {
                    let message = format!("{MAX_TESTS} test notifications are in progress; try again");
                    let _ = reply.send(Err(Refusal::Unavailable(message)));
                }
            },
        }
    }
}

/// Refusal: nothing was done because this replica follows, or the state file is unusable.
fn unavailable(error: StoreError) -> Refusal {
    if error == StoreError::NotLeading {
        let message = "this replica follows, and only the leader changes anything: repeat the request at the leader, the \
                       replica whose /api/v1/health has `leads: true`";
        return Refusal::Unavailable(message.to_owned());
    }
    Refusal::Unavailable(format!("cannot use the state file: {error}"))
}
