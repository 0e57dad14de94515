//! With a log the alerts of a removed target are ended by one replica: the one that leads the target's log, as when a
//! replica leads a target that is configured. While another replica still watches the target, nothing is ended.

use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::config::{Replication, Target};
use crate::objects::AnyStorage;
use crate::replication::Replicas;
use crate::replication::known_targets::{self, KnownTarget};
use crate::replication::lease::{Role, Terms};
use crate::service::StartError;
use crate::service::removed_targets::end_and_send;
use crate::service::replicas::{self, Failed};
use crate::service::shared_by_targets::Shared;
use crate::store::StoreError;

/// Wall time between attempts to read the notes about targets: nothing else waits for them.
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// Ends the alerts of all targets that the log knows and that are not among these, until `stop`.
pub(super) async fn end_alerts_except(
    shared: &Shared,
    replication: &Replication,
    now: &[Target],
    stop: &CancellationToken,
) {
    let terms = Terms::of(replication.lease);
    let opening = replicas::storage(&shared.config, replication, &replication.log, shared.clock);
    // On failure the log cannot be opened either, and that error is reported.
    let Some(Ok(storage)) = stop.run_until_cancelled(opening).await else { return };
    let now = replicas::known(now);
    let Some(removed) = stop.run_until_cancelled(noted(&storage, &now, terms)).await else { return };
    let ending = removed.iter().map(async |known| {
        let problem = match end(shared, replication, known, stop).await {
            Ok(true) => match known_targets::forget(&storage, &known.name, terms).await {
                Ok(()) => return,
                Err(error) => error.to_string(),
            },
            Ok(false) => return,
            Err(error) => error.to_string(),
        };
        tracing::warn!(
            target = known.name,
            problem,
            "cannot resolve the alerts of a removed target; the next attempt is after a restart or a change of the targets"
        );
    });
    join_all(ending).await;
}

/// Notes the current targets, and returns the removed ones. Retries until the log can be reached.
async fn noted(storage: &AnyStorage, now: &[KnownTarget], terms: Terms) -> Vec<KnownTarget> {
    let mut is_logged = false;
    loop {
        match known_targets::note(storage, now, terms).await {
            Ok(removed) => return removed,
            Err(error) if error.is_lasting => {
                // The targets themselves report it.
                tracing::debug!(%error, "cannot find out whether targets were removed");
                return Vec::new();
            }
            Err(error) => {
                if !std::mem::replace(&mut is_logged, true) {
                    tracing::warn!(%error, "cannot find out yet whether targets were removed; retrying");
                }
            }
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Follows the log of a removed target, and ends its alerts once this replica leads it. Returns whether everything was
/// sent; `false` also if it was stopped first.
async fn end(
    shared: &Shared,
    replication: &Replication,
    known: &KnownTarget,
    stop: &CancellationToken,
) -> Result<bool, StartError> {
    let Some(opened) = stop.run_until_cancelled(open(shared, replication, known)).await else { return Ok(false) };
    // Without a log it has no alerts.
    let Some(replicas) = opened? else { return Ok(true) };
    let attempt = Terms::of(replication.lease).attempt();
    let mut status = replicas.status.clone();
    let done = loop {
        let now = status.borrow_and_update().clone();
        if now.role == Role::Leading {
            let store = replicas.store.for_term(now.term);
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(false),
                // Another replica has taken over: it ends the alerts, or watches the target.
                _lost = status.wait_for(|status| status.term != now.term) => {}
                ended = end_and_send(shared, &known.name, &store, attempt) => match ended {
                    Err(StoreError::NotLeading) => {}
                    ended => break ended,
                },
            }
        } else {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(false),
                changed = status.changed() => if changed.is_err() { break Ok(false) },
            }
        }
    };
    replicas.hand_over(true).await;
    done.map_err(|error| StartError::new("ending the alerts of a removed target", error))
}

/// Opens the log of a removed target. Retries until it can be reached.
async fn open(shared: &Shared, replication: &Replication, known: &KnownTarget) -> Result<Option<Replicas>, StartError> {
    loop {
        match replicas::open_removed(shared, replication, known).await {
            Ok(opened) => return Ok(opened),
            Err(Failed::Lasting(error)) => return Err(error),
            Err(Failed::ForNow(_)) => tokio::time::sleep(replicas::REOPEN_DELAY).await,
        }
    }
}
