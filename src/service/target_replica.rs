//! One replica of several: follows the log and serves its contents until it becomes leader, then runs the full
//! service.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::aws::{self, BucketAccess};
use crate::config::{Config, ObjectPlace, Replication, Target};
use crate::notify::Notifiers;
use crate::objects::{self, AnyStorage, Rights, Setting};
use crate::replication::known_targets::KnownTarget;
use crate::replication::lease::{Role, Terms};
use crate::replication::{self, Identity, LogError, Replicas};
use crate::service::follower_view::Farthest;
use crate::service::history_queries::History;
use crate::service::inbox::Inbox;
use crate::service::operations::OperatorActions;
use crate::service::shared_by_targets::Shared;
use crate::service::target_service::{self, TargetService, Term};
use crate::service::{MAX_HISTORY_QUERIES, StartError, event_loop, follower_view, history_queries, replica_view};
use crate::store::{Store, StoreError, StoreHandle};
use crate::web::Snapshot;
use trainspotter_clock::Clock;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::Place;

/// Wall time between attempts to open an unreachable log.
pub(super) const REOPEN_DELAY: Duration = Duration::from_secs(2);

/// Maximum wall time between two refreshes of a follower's figures.
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// Runs a replica of one target until `stop`.
pub(super) async fn run(
    watching: TargetService,
    replication: &Replication,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let Some((watching, replicas)) = join(watching, replication, &stop).await? else { return Ok(()) };
    let (replicas, name) = (Arc::new(replicas), watching.target.name.clone());
    let assignment = &watching.shared.assignment;
    let shared = assignment.join(&name, replicas.status.clone(), Arc::clone(&replicas.is_assigned));
    let mut status = replicas.status.clone();
    let mut shown = Snapshot { place: watching.place(), ..Snapshot::default() };
    loop {
        let now = status.borrow_and_update().clone();
        let until_it_changes = stop.child_token();
        let changed = {
            let until_it_changes = until_it_changes.clone();
            let mut status = replicas.status.clone();
            let term = now.term;
            async move {
                // If the sender is gone, the replica is gone and there is nothing left to do.
                let _ = status.wait_for(|status| status.term != term).await;
                until_it_changes
            }
        };
        let done = if now.role == Role::Leading {
            let store = replicas.store.for_term(now.term);
            let (until_given_up, hands_over) = (stop.child_token(), CancellationToken::new());
            shared.leads(until_given_up.clone());
            let handing_over = hands_over.clone();
            let leading = async {
                let Shared { since, clock, .. } = watching.shared;
                let opened = target_service::state(&watching.config, store, false, since, clock).await?;
                let (replicas, shown, ends) = (Arc::clone(&replicas), shown.clone(), stop.clone());
                let term = Term { replicas, shown, ends, hands_over };
                watching.clone().lead(opened, Some(term), until_given_up.clone()).await
            };
            tokio::pin!(leading);
            tokio::select! {
                biased;
                _over = changed => {
                    // If it has handed over by itself, its result says why.
                    if handing_over.is_cancelled() { Some(leading.await) } else { None }
                }
                ended = &mut leading => Some(ended),
            }
        } else {
            let following = follow(&watching, &replicas, shown.clone(), until_it_changes.clone());
            tokio::select! {
                biased;
                token = changed => { token.cancel(); None }
                () = following => Some(Ok(())),
            }
        };
        match done {
            Some(ended) if stop.is_cancelled() => {
                replicas.hand_over(true).await;
                return ended;
            }
            Some(Err(error)) => {
                replicas.hand_over(true).await;
                return Err(error);
            }
            Some(Ok(())) | None => {}
        }
        shown = watching.shared.hub.latest(&name).unwrap_or(shown);
    }
}

/// Opens the log, with retries. `None` if stopped first. Permanent failures are errors.
async fn join(
    watching: TargetService,
    replication: &Replication,
    stop: &CancellationToken,
) -> Result<Option<(TargetService, Replicas)>, StartError> {
    let mut waiting: Option<(DropGuard, watch::Sender<Snapshot>)> = None;
    let mut logged = None;
    let account = aws::account_of(&watching.target, watching.shared.clock);
    let Some(account) = stop.run_until_cancelled(account).await else { return Ok(None) };
    loop {
        let opening = async {
            let watching = with_log(watching.clone(), replication).await?;
            let replicas = open(&watching.config, &watching.shared, account.clone()).await?;
            Ok((watching, replicas))
        };
        let Some(opened) = stop.run_until_cancelled(opening).await else { return Ok(None) };
        match opened {
            Ok(replicas) => {
                return Ok(Some(replicas));
            }
            Err(Failed::Lasting(error)) => return Err(error),
            Err(Failed::ForNow(problem)) => {
                if logged.as_ref() != Some(&problem) {
                    tracing::error!(problem, log = %replication.log, "cannot reach the replication log; retrying");
                    logged = Some(problem.clone());
                }
                let snapshot = Snapshot {
                    place: watching.place(),
                    not_ready: Some(format!("cannot reach the replication log: {problem}")),
                    ..Snapshot::default()
                };
                match &waiting {
                    Some((_, shown)) => _ = shown.send_replace(snapshot),
                    None => waiting = Some(show_waiting(&watching, snapshot)),
                }
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(REOPEN_DELAY)).await.is_none() {
            return Ok(None);
        }
    }
}

/// Publishes a snapshot that says why there are no figures yet.
fn show_waiting(watching: &TargetService, snapshot: Snapshot) -> (DropGuard, watch::Sender<Snapshot>) {
    let (shown, latest) = watch::channel(snapshot);
    let stop = CancellationToken::new();
    let (stopped, watching) = (stop.clone(), watching.clone());
    tokio::spawn(async move {
        let Ok(store) = Store::in_memory().and_then(StoreHandle::start) else { return };
        let clock = watching.shared.clock;
        let (notifiers, _) = Notifiers::new::<StoreHandle, crate::notify::Integration>(Vec::new(), None, &store, clock);
        let acting = OperatorActions::new(&watching.shared, &watching.config, &[], &store, &notifiers, &latest);
        let (senders, _inbox) = Inbox::new();
        let (past, _questions) = mpsc::channel(MAX_HISTORY_QUERIES);
        watching.shared.hub.put(acting.watched(watching.place(), latest, senders.queries, past));
        stopped.cancelled().await;
    });
    (stop.drop_guard(), shown)
}

/// Sets the log and the file of the target. The original log stays with its first target; every other target has a
/// log below it. This depends on the log only, so all replicas agree whatever is on their disks.
async fn with_log(watching: TargetService, replication: &Replication) -> Result<TargetService, Failed> {
    let below = replication.log.below(&watching.target.name);
    let own = log_identity(&watching.config.targets);
    let Shared { config: whole, clock, .. } = &watching.shared;
    let root = watches(whole, replication, &replication.log, *clock).await?;
    let apart = match &root {
        Some(root) => *root != own,
        None if !watching.is_alone => true,
        None => watches(whole, replication, &below, *clock).await?.is_some(),
    };
    let log = if apart { below } else { replication.log.clone() };
    if let Some(root) = root.as_ref().filter(|_| apart && watching.is_alone) {
        tracing::warn!(
            "the log {} belongs to a service that watches {root}; this service watches {own} and uses {log} \
             instead: configure a separate prefix for each in `store.log`",
            replication.log
        );
    }
    // If no target has the first log, the first file remains that of its target.
    let is_first = !apart || (root.is_none() && watching.config.store == watching.files.first);
    let store = if is_first { watching.files.first.clone() } else { watching.files.beside.clone() };
    let replication = Some(Replication { log, ..replication.clone() });
    Ok(TargetService { config: Config { store, replication, ..watching.config }, apart, ..watching })
}

/// Identity of the service that owns the log at a place; `None` if there is no log yet.
pub(super) async fn watches(
    whole: &Config,
    replication: &Replication,
    log: &ObjectPlace,
    clock: Clock,
) -> Result<Option<String>, Failed> {
    let terms = Terms::of(replication.lease);
    let storage = storage(whole, replication, log, clock).await?;
    replication::watches(&storage, terms).await.map_err(|error| of_log(error, log))
}

/// Opens the log of a target that is no longer configured, on a copy in memory: the file, if there is one, belongs to
/// the target, which may return. This replica leaves it to others. `None` if there is no log, or if it is the original
/// log and goes on under the new name of the target.
pub(super) async fn open_removed(
    shared: &Shared,
    replication: &Replication,
    known: &KnownTarget,
) -> Result<Option<Replicas>, Failed> {
    let (whole, clock) = (&*shared.config, shared.clock);
    let (root, below) = (&replication.log, replication.log.below(&known.name));
    let log = if watches(whole, replication, root, clock).await?.as_ref() == Some(&known.watches) {
        if shared.targets.borrow().iter().any(|target| log_identity(std::slice::from_ref(target)) == known.watches) {
            return Ok(None);
        }
        root
    } else if watches(whole, replication, &below, clock).await?.as_ref() == Some(&known.watches) {
        &below
    } else {
        return Ok(None);
    };
    let failed = |error: StoreError| Failed::Lasting(StartError::new("opening the log", error));
    let (store, terms) = (Store::in_memory().map_err(failed)?, Terms::of(replication.lease));
    let storage = storage(whole, replication, log, clock).await?;
    let identity = Identity { watches: known.watches.clone(), ..identity(whole, shared.assignment.writer()) };
    let opened = replication::open((store, None), storage, identity, terms, clock, false).await;
    opened.map(Some).map_err(|error| of_log(error, log))
}

/// The current targets, as they are noted beside the logs.
pub(super) fn known(targets: &[Target]) -> Vec<KnownTarget> {
    let with: BTreeSet<String> = targets.iter().map(|target| target.name.clone()).collect();
    let known = |target: &Target| KnownTarget {
        name: target.name.clone(),
        watches: log_identity(std::slice::from_ref(target)),
        with: with.clone(),
    };
    targets.iter().map(known).collect()
}

/// Opens the storage of a log. Bucket settings that are not given default to those of the first target.
pub(super) async fn storage(
    whole: &Config,
    replication: &Replication,
    log: &ObjectPlace,
    clock: Clock,
) -> Result<AnyStorage, Failed> {
    let Replication { region, endpoint, role, .. } = replication;
    let access = BucketAccess { region: region.as_deref(), endpoint: endpoint.as_deref(), role: role.as_deref() };
    let setting = Setting { place: "store.log", region: "store.region", rights: Rights::Keep };
    let opened = objects::open(log, access.or_target_defaults(whole), setting, clock).await;
    opened.map_err(|error| Failed::Lasting(StartError::new("opening the log", error)))
}

/// Whether several targets can be shared with other replicas. A missing permission applies to all targets, and a deployment that starts
/// with it must fail rather than wait. With one target, opening its log checks this.
pub(super) async fn check_permissions(shared: &Shared) -> Result<(), StartError> {
    let Some(replication) = shared.config.replication.as_ref().filter(|_| shared.config.targets.len() > 1) else {
        return Ok(());
    };
    let checking = async {
        let storage = storage(&shared.config, replication, &replication.log, shared.clock).await?;
        let checked = shared.assignment.check_permissions(&storage, Terms::of(replication.lease)).await;
        checked.map_err(|error| of_log(error.into(), &replication.log))
    };
    match checking.await {
        Err(Failed::Lasting(error)) => Err(error),
        // Each target waits for its log and reports that.
        Err(Failed::ForNow(_)) | Ok(()) => Ok(()),
    }
}

/// Why a log could not be opened.
pub(super) enum Failed {
    Lasting(StartError),
    ForNow(String),
}

pub(super) fn of_log(error: LogError, log: &ObjectPlace) -> Failed {
    if error.is_lasting() {
        Failed::Lasting(StartError::new("opening the log", format!("{log}: {error}")))
    } else {
        Failed::ForNow(error.to_string())
    }
}

async fn open(config: &Config, shared: &Shared, account: Option<String>) -> Result<Replicas, Failed> {
    let clock = shared.clock;
    let failed = |error: StoreError| Failed::Lasting(StartError::new("opening the state file", error));
    let no_log = || Failed::Lasting(StartError::new("opening the log", "there is none"));
    let replication = config.replication.as_ref().ok_or_else(no_log)?;
    let of_log = |error: LogError| of_log(error, &replication.log);
    let mut store = StoreHandle::serve(&config.store, clock.now()).await.map_err(failed)?;
    for aside in store.take_set_aside() {
        event_loop::log_set_aside(&aside);
    }
    let (file, terms) = (config.store.as_path(), Terms::of(replication.lease));
    let storage = storage(&shared.config, replication, &replication.log, clock).await?;
    let identity = Identity { account, ..identity(config, shared.assignment.writer()) };
    replication::open((store, Some(file)), storage, identity, terms, clock, true).await.map_err(of_log)
}

/// Identity of a log's target: region, role and endpoint.
fn log_identity(targets: &[Target]) -> String {
    let watches = targets.iter().map(|target| {
        let role = target.role.as_deref().map(|role| format!(" as {role}")).unwrap_or_default();
        let endpoint = target.endpoint.as_deref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
        format!("{}{role}{endpoint}", target.region)
    });
    watches.collect::<Vec<_>>().join(", ")
}

/// Identity of this process. All replicas of a log must watch the same targets.
fn identity(config: &Config, writer: String) -> Identity {
    // Settings that differ per replica are left out. Rules count by their locations only: each replica reads the
    // contents itself.
    let listen = ([127, 0, 0, 1], 0).into();
    let same = Config { store: Default::default(), listen, ..config.clone() };
    let digest: String = Sha256::digest(format!("{same:?}")).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Identity { writer, watches: log_identity(&config.targets), account: None, config: digest, version }
}

/// Shares the targets among the replicas, until `stop`.
pub(super) async fn share(shared: Shared, stop: CancellationToken) {
    let Some(replication) = &shared.config.replication else { return };
    // On failure the log cannot be opened either, and that error is reported.
    if let Ok(storage) = storage(&shared.config, replication, &replication.log, shared.clock).await {
        shared.assignment.clone().run(storage, Terms::of(replication.lease), stop).await;
    }
}

/// Serves the contents of the log until `stop`.
async fn follow(watching: &TargetService, replicas: &Replicas, shown: Snapshot, stop: CancellationToken) {
    let TargetService { shared, config, .. } = watching;
    let (snapshot, latest) = watch::channel(shown);
    let (store, clock) = (&replicas.store, shared.clock);
    let (notifiers, _) = Notifiers::new::<StoreHandle, crate::notify::Integration>(Vec::new(), None, store, clock);
    let rules = shared.rules.borrow().rules.clone();
    let acting = OperatorActions::new(shared, config, &rules, store, &notifiers, &latest);
    let (past, questions) = mpsc::channel(MAX_HISTORY_QUERIES);
    let (senders, inbox) = Inbox::new();
    let history = History::of(shared, config, latest.clone(), senders.queries.clone());
    shared.hub.put(acting.watched(watching.place(), latest, senders.queries.clone(), past));
    let shown = snapshot.borrow().replica.as_ref().map_or(0, |replica| replica.record);
    let farthest = Farthest::of(shown.max(replicas.status.borrow().number));
    tokio::join!(
        show(config.store.as_path(), watching.place(), replicas, (snapshot, farthest.clone()), stop.clone()),
        acting.operations.run(acting.inbox, stop.clone()),
        history_queries::answer(history, questions, stop.clone()),
        follower_view::answer(inbox.into_queries(), config, &rules, (replicas, farthest), stop.clone()),
    );
}

/// Publishes each new frame of the log. A replica that lost the lead may have to apply old records again: meanwhile it keeps what it has shown,
/// so that figures do not go back to those of an earlier time, which a scraper would take for a reset of all counters.
async fn show(
    file: &Path,
    place: Place,
    replicas: &Replicas,
    (snapshot, mut farthest): (watch::Sender<Snapshot>, Farthest),
    stop: CancellationToken,
) {
    let mut status = replicas.status.clone();
    let mut shown = None;
    loop {
        let now = status.borrow_and_update().clone();
        // The alerts are read last, by the replica itself: if it has gone back to old records until then, its status says so.
        if farthest.is_reached_by(now.number)
            && shown != Some(now.number)
            && let Ok(frame) = follower_view::latest(file.to_owned()).await
            && let Ok(alerts) = replicas.store.call(|store| store.alerts()).await
            && replicas.status.borrow().number >= now.number
        {
            shown = Some(now.number);
            let frame = frame.map(|frame| in_place(frame, &place));
            snapshot.send_modify(|snapshot| {
                snapshot.place = frame.as_ref().map_or_else(|| place.clone(), |frame| frame.place.clone());
                snapshot.ready = frame.is_some();
                snapshot.not_ready = None;
                snapshot.ticked_at = frame.as_ref().map(|frame| frame.at);
                snapshot.frame = frame.map(Arc::new).unwrap_or_default();
                snapshot.alerts = alerts.into();
            });
        }
        let trouble = now.trouble.as_ref().map(|trouble| format!("the replication log failed: {trouble}"));
        snapshot.send_modify(|snapshot| {
            if !snapshot.ready {
                snapshot.not_ready = Some(trouble.clone().unwrap_or_else(|| "the log has no metrics yet".to_owned()));
            }
            snapshot.store_error = trouble;
            snapshot.replica = Some(replica_view::of(&now));
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SHOW_EVERY) => {}
        }
    }
}

/// Sets the target's place on a frame; the account comes from the ARNs of its queues.
fn in_place(frame: Frame, place: &Place) -> Frame {
    let account = frame.queues.iter().find_map(|queue| Place::account_of(&queue.arn)).map(Into::into);
    Frame { place: Place { account, ..place.clone() }, ..frame }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_with_rules_at_other_places_are_not_configured_alike() {
        let digest = |more: &str| {
            let text = format!("targets: [{{ region: us-east-1 }}]\n{more}");
            let config = crate::config::load("c.yaml", &text, Path::new("/etc"), &|_| None).unwrap();
            identity(&config, "a".to_owned()).config
        };
        let rules = digest("rules: [one.yaml]");
        assert_eq!(rules, digest("rules: [one.yaml]\nlisten: 127.0.0.1:9999\nstore: other.db"));
        assert_ne!(rules, digest("rules: [two.yaml]"));
        assert_ne!(rules, digest("rules: [one.yaml, two.yaml]"));
    }
}
