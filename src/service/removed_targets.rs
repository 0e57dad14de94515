//! Targets that were removed from the configuration while the service was down: resolves their alerts and notifies
//! receivers once. The state files and logs stay, and are used again if the target returns.

mod in_log;

use std::convert::Infallible;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::blocking;
use crate::config::Target;
use crate::notify::ATTEMPT_TIMEOUT;
use crate::notify::outbox::rows;
use crate::service::event_loop::as_target_removed;
use crate::service::shared_by_targets::Shared;
use crate::service::{state_files, target_outputs};
use crate::store::{Commit, StoreError, StoreHandle};
use trainspotter_core::metrics::Frame;
use trainspotter_core::rules::{ActiveAlerts, Transition};

/// Wall time for retries to receivers that do not answer; the rest is sent after the next start.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Wall time between checks whether everything was sent.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Ends the alerts of removed targets, until `stop`. Restarts whenever the targets change, since one may have
/// returned.
pub(super) async fn end_alerts(shared: Shared, stop: CancellationToken) {
    let mut targets = shared.targets.subscribe();
    loop {
        let now = targets.borrow_and_update().clone();
        let over = stop.child_token();
        let ending = async {
            match &shared.config.replication {
                Some(replication) => in_log::end_alerts_except(&shared, replication, &now, &over).await,
                None => _ = over.run_until_cancelled(end_alerts_except(&shared, now)).await,
            }
        };
        let waiting = async {
            let goes_on = tokio::select! {
                biased;
                () = stop.cancelled() => false,
                changed = targets.changed() => changed.is_ok(),
            };
            over.cancel();
            goes_on
        };
        let ((), goes_on) = tokio::join!(ending, waiting);
        if !goes_on {
            return;
        }
    }
}

/// Ends the alerts in all state files without a target. Files are handled concurrently, so that a receiver that is
/// down delays only its own file.
async fn end_alerts_except(shared: &Shared, targets: Arc<[Target]>) {
    let file = shared.config.store.clone();
    let looking = blocking::run(move || state_files::orphaned(&file, &targets));
    let ending = looking.await.unwrap_or_default().into_iter().map(async |(name, path)| {
        let span = span_of(&name);
        if let Err(error) = end(shared, &name, path).instrument(span.clone()).await {
            let _in_span = span.entered();
            tracing::warn!(
                %error,
                "cannot resolve the alerts of a removed target; the next attempt is after a restart or a change of \
                 the targets"
            );
        }
    });
    join_all(ending).await;
}

/// Log span of a removed target: of its labels only the name is known.
fn span_of(name: &str) -> Span {
    tracing::info_span!("watch", target = name)
}

/// Ends the alerts in one file, and sends its outbox.
async fn end(shared: &Shared, name: &str, path: PathBuf) -> Result<(), StoreError> {
    // A target that was removed just now ends its alerts itself.
    shared.running.until_ended(name).await;
    let (store, _) = StoreHandle::open(&path, shared.clock.now()).await?;
    end_and_send(shared, &store, ATTEMPT_TIMEOUT).await.map(|_| ())
}

/// Ends the alerts in a store and sends its outbox, each notification within a time limit. Returns whether everything
/// was sent to the receivers that are configured.
async fn end_and_send(shared: &Shared, store: &StoreHandle, attempt: Duration) -> Result<bool, StoreError> {
    let clock = shared.clock;
    let saved = store.load().await?;
    let mut alerts = ActiveAlerts::restore(saved.alerts);
    let now = clock.now();
    // Stepping without rules resolves every alert.
    let ended = alerts.step(&[], &Frame { at: now, ..Frame::default() }, now);
    let transitions: Vec<Transition> = ended.into_iter().map(as_target_removed).collect();
    if !transitions.is_empty() {
        tracing::info!(alerts = transitions.len(), "the target was removed; resolving its alerts");
        let outbox = rows(&transitions, &shared.config.receivers, now);
        // Everything else is kept: the target may return.
        let (series, queues, watermarks) = (saved.series, saved.queues, saved.watermarks);
        let commit = Commit { at: now, transitions, outbox, series, queues, watermarks, ..Commit::default() };
        store.commit(commit.into()).await?;
    }
    let (notifiers, tasks) = target_outputs::notifiers(shared, store);
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    // Without receivers there is nothing to wait for here, and what is not sent is decided below.
    let sending = async {
        join_all(tasks.into_iter().map(|task| task.with_attempt_timeout(attempt).run(stop.clone()))).await;
        pending::<Infallible>().await
    };
    notifiers.committed();
    // Nobody sends to a receiver that was removed, too.
    let is_configured = |name: &str| shared.config.receivers.iter().any(|receiver| receiver.name == name);
    let sent = async {
        while store.backlog().await?.iter().any(|(receiver, of)| of.pending > 0 && is_configured(receiver)) {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        Ok(true)
    };
    tokio::select! {
        biased;
        sent = sent => sent,
        never = sending => match never {},
        () = tokio::time::sleep(GIVE_UP_AFTER) => Ok(false),
    }
}
