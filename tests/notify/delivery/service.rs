//! A store with notifiers, and the alerts that are committed to it.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trainspotter::config::{Channel, Endpoint, Receiver, Secret};
use trainspotter::notify::outbox::{self, NotificationId, OutboxRow};
use trainspotter::notify::{Integration, IntegrationError, Notifiers, Outcome, Webhook};
use trainspotter::store::{Commit, Store, StoreHandle};
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Alert, ResolveReason, Transition, TransitionKind};

use super::hook::Hook;
use crate::support::alerts::firing;

pub(super) const FIRED: TransitionKind = TransitionKind::Fired;
pub(super) const RESOLVED: TransitionKind = TransitionKind::Resolved(ResolveReason::Recovered);

/// Wall time after which a test has failed.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// A store with notifiers.
pub(super) struct Service {
    pub(super) store: StoreHandle,
    pub(super) clock: Clock,
    pub(super) receivers: Vec<String>,
    pub(super) notifiers: Notifiers,
    pub(super) tasks: Vec<JoinHandle<()>>,
    pub(super) stop: CancellationToken,
    /// Whether a commit wakes the notifiers.
    pub(super) ring: bool,
}

impl Service {
    pub(super) fn start<const N: usize>(clock: Clock, receivers: [(&'static str, &Hook); N]) -> Self {
        Self::with_urls(clock, receivers.into_iter().map(|(name, hook)| (name, hook.url())).collect())
    }

    pub(super) fn with_urls(clock: Clock, receivers: Vec<(&'static str, Secret)>) -> Self {
        Self::on(Store::in_memory().unwrap(), clock, receivers)
    }

    /// Uses a long timeout, so that responses arrive however busy the machine is.
    pub(super) fn on(store: Store, clock: Clock, receivers: Vec<(&'static str, Secret)>) -> Self {
        Self::giving_up(MAX_WAIT, store, clock, receivers)
    }

    /// Sets the wall time after which an attempt times out.
    pub(super) fn giving_up(
        after: Duration,
        store: Store,
        clock: Clock,
        receivers: Vec<(&'static str, Secret)>,
    ) -> Self {
        let store = StoreHandle::start(store).unwrap();
        let integrations =
            receivers.iter().map(|(name, url)| (receiver(name), Integration::Webhook(hook(url).unwrap()))).collect();
        let (notifiers, tasks) = Notifiers::new(integrations, Some("https://spotter.example/"), &store, clock);
        let stop = CancellationToken::new();
        let tasks =
            tasks.into_iter().map(|task| tokio::spawn(task.with_attempt_timeout(after).run(stop.clone()))).collect();
        let receivers = receivers.into_iter().map(|(name, _)| name.to_owned()).collect();
        Self { store, clock, receivers, notifiers, tasks, stop, ring: true }
    }

    pub(super) async fn commit(&self, transitions: &[Transition]) {
        let receivers: Vec<_> = self.receivers.iter().map(String::as_str).collect();
        self.commit_for(transitions, &receivers).await;
    }

    pub(super) async fn commit_for(&self, transitions: &[Transition], receivers: &[&str]) {
        let receivers: Vec<_> = receivers.iter().map(|name| receiver(name)).collect();
        let at = self.clock.now();
        let commit = Commit { at, outbox: outbox::rows(transitions, &receivers, at), ..Commit::default() };
        self.store.commit(Arc::new(commit)).await.unwrap();
        if self.ring {
            self.notifiers.committed();
        }
    }

    pub(super) async fn until(&self, met: impl Fn(&[OutboxRow]) -> bool) {
        let wait = async {
            while !met(&self.store.call(|store| store.outbox()).await.unwrap()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(wait).await;
    }

    /// Shuts the notifiers down. Returns their counts and the outbox.
    pub(super) async fn stop(self) -> (BTreeMap<(String, Outcome), u64>, Vec<OutboxRow>) {
        self.stop.cancel();
        for task in self.tasks {
            within(task).await.unwrap();
        }
        (self.notifiers.take_counts(), self.store.call(|store| store.outbox()).await.unwrap())
    }

    /// Aborts everything at once.
    pub(super) async fn crash(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

pub(super) fn open(file: &Path) -> Store {
    let (store, set_aside) = Store::open(file, Timestamp::from_millis(0)).unwrap();
    assert_eq!(set_aside, None);
    store
}

pub(super) fn hook(url: &Secret) -> Result<Webhook, IntegrationError> {
    Webhook::new(&Endpoint { url: url.clone(), allow_loopback: true }, &[])
}

pub(super) fn receiver(name: &str) -> Receiver {
    Receiver::new(name, Channel::sns(String::new()))
}

pub(super) fn id(alert: &str, kind: TransitionKind, receiver: &str) -> NotificationId {
    NotificationId::of(&transition(alert, kind), receiver)
}

/// A transition of the alert of job queue `queue`.
pub(super) fn transition(queue: &str, kind: TransitionKind) -> Transition {
    let by = BTreeMap::from([("queue".to_owned(), queue.to_owned())]);
    let fired_at = Timestamp::from_millis(1_700_000_000_000);
    let at = if kind == FIRED { fired_at } else { fired_at + Duration::from_secs(90) };
    let alert = Alert { evaluated_at: at, ..firing("Waits", by, fired_at) };
    Transition { alert, kind, at }
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(MAX_WAIT, future).await.unwrap_or_else(|_| panic!("not within {MAX_WAIT:?}"))
}
