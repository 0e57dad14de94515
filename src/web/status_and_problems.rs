//! Whether the service is ready, and what is wrong with its targets: for probes, health and live updates.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::Snapshot;
use trainspotter_core::metrics::SourceHealth;

/// The engine counts as stalled after missing this many ticks.
const MISSED_TICKS: u32 = 3;

/// Lower bound in wall time before the engine counts as stalled: with a fast clock, ticks are shorter than the
/// pauses of a busy machine.
const MIN_ALLOWED_SILENCE: Duration = Duration::from_secs(30);

/// Wall time between checks whether the service is ready.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum targets listed when none is ready.
const MAX_NAMED: usize = 5;

/// Overall status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// The engine is stalled: all figures are outdated.
    Stale,
    /// The first poll is not complete: figures are incomplete.
    Starting,
    /// A source fails, so that some figures are outdated; or there is another problem with the state file, rule
    /// files or a sink.
    Degraded,
    /// No problems.
    Ok,
}

/// Overall status: that of the worst target, without those that have not started yet beside others.
pub(super) fn status_of_all(pages: &Pages, latest: &[Snapshot]) -> Status {
    // The previous configuration stays in effect, but it is not the requested one.
    let of_configuration = pages.configuration.borrow().as_ref().map_or(Status::Ok, |_| Status::Degraded);
    status_of_targets(pages, latest).min(of_configuration)
}

fn status_of_targets(pages: &Pages, latest: &[Snapshot]) -> Status {
    let all = latest.iter().map(|snapshot| status(pages, snapshot));
    if latest.len() < 2 {
        return all.min().unwrap_or(Status::Starting);
    }
    let statuses: Vec<Status> = all.collect();
    if statuses.iter().all(|status| *status == Status::Stale) {
        Status::Stale
    } else if all_not_ready(pages, latest).is_some() {
        Status::Starting
    } else if statuses.iter().all(|status| *status == Status::Ok) {
        Status::Ok
    } else {
        Status::Degraded
    }
}

pub(super) fn status(pages: &Pages, snapshot: &Snapshot) -> Status {
    if silent_for(pages, snapshot) > allowed_silence(pages) {
        Status::Stale
    } else if !snapshot.ready {
        Status::Starting
    } else if snapshot.store_error.is_some()
        || !snapshot.problems.is_empty()
        || snapshot.frame.sources.iter().any(|source| source.error.is_some())
        || snapshot.replica.as_ref().is_some_and(|replica| replica.damaged_copy.is_some())
    {
        Status::Degraded
    } else {
        Status::Ok
    }
}

/// Why the figures are incomplete: no target has had a complete poll; or, if they were never complete before, one
/// has started, has not failed and is not complete yet.
pub(super) fn all_not_ready(pages: &Pages, latest: &[Snapshot]) -> Option<String> {
    let is_named = latest.len() > 1;
    let why = |snapshot: &Snapshot| {
        let why = not_ready(snapshot);
        if is_named { format!("{}: {why}", snapshot.place.target) } else { why }
    };
    let waiting: Vec<&Snapshot> = latest.iter().filter(|snapshot| !snapshot.ready).collect();
    if waiting.len() == latest.len() {
        let whys: Vec<String> = waiting.iter().take(MAX_NAMED).map(|snapshot| why(snapshot)).collect();
        return Some(if whys.is_empty() {
            "the service is still starting: see the log".to_owned()
        } else {
            whys.join("; ")
        });
    }
    if pages.was_ready.load(Ordering::Relaxed) {
        return None;
    }
    waiting.into_iter().find(|snapshot| !has_failed(snapshot)).map(why)
}

impl Pages {
    /// Waits until the figures of all targets are complete. Targets added afterwards are not waited for.
    pub async fn until_ready(self) {
        while all_not_ready(&self, &self.latest()).is_some() {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        self.was_ready.store(true, Ordering::Relaxed);
    }
}

/// Whether a target is known to fail.
fn has_failed(snapshot: &Snapshot) -> bool {
    snapshot.store_error.is_some()
        || !snapshot.problems.is_empty()
        || snapshot.frame.sources.iter().any(|source| source.error.is_some())
}

/// Why the figures of a target are incomplete.
pub(super) fn not_ready(snapshot: &Snapshot) -> String {
    snapshot.not_ready.clone().unwrap_or_else(|| "the first poll is not complete yet".to_owned())
}

/// All problems, one line each.
pub(super) fn all_problems(pages: &Pages, latest: &[Snapshot]) -> Vec<String> {
    let configuration = pages.configuration.borrow();
    let mut all: Vec<String> = configuration.iter().map(|why| format!("configuration: {why}")).collect();
    all.extend(of_targets(pages, latest));
    all
}

/// Problems of the targets, one line each; prefixed with the target's name if there are several.
fn of_targets(pages: &Pages, latest: &[Snapshot]) -> Vec<String> {
    let [_, _, ..] = latest else { return latest.iter().flat_map(problems).collect() };
    let named = |snapshot: &Snapshot| {
        let target = Arc::clone(&snapshot.place.target);
        let mut all = problems(snapshot);
        if !snapshot.ready && snapshot.not_ready.is_none() {
            all.push(not_ready(snapshot));
        }
        all.extend(stalled(pages, snapshot));
        all.into_iter().map(move |problem| format!("{target}: {problem}")).collect::<Vec<_>>()
    };
    latest.iter().flat_map(named).collect()
}

/// Problems of a target's sources, state file and other parts, one line each.
pub(super) fn problems(snapshot: &Snapshot) -> Vec<String> {
    let of_source = |health: &SourceHealth| Some(format!("{}: {}", health.source.as_str(), health.error.as_ref()?));
    let sources = snapshot.frame.sources.iter().filter_map(of_source);
    let state = snapshot.store_error.iter().map(|error| format!("state file: {error}"));
    let other = snapshot.replica.as_ref().filter(|replica| !replica.leads && !replica.same_config);
    let replicas = other.map(|_| {
        "replicas: the leader has a different configuration; after a takeover this replica would use its own".to_owned()
    });
    let damaged = snapshot.replica.iter().filter_map(|replica| replica.damaged_copy.as_ref());
    let damaged = damaged.map(|damaged| format!("the replication log: {damaged}"));
    let mut problems: Vec<String> =
        sources.chain(state).chain(snapshot.problems.iter().cloned()).chain(replicas).chain(damaged).collect();
    // Do not repeat a source's error that is also the reason for not being ready.
    let waiting = snapshot.not_ready.clone().filter(|_| !snapshot.ready);
    let failures: Vec<&String> = snapshot.frame.sources.iter().filter_map(|health| health.error.as_ref()).collect();
    problems.extend(waiting.filter(|why| !failures.iter().any(|failure| why.ends_with(*failure))));
    problems
}

/// The problem that a target has not ticked for long, if so.
pub(super) fn stalled(pages: &Pages, snapshot: &Snapshot) -> Option<String> {
    let silent = silent_for(pages, snapshot);
    let is_long = silent > allowed_silence(pages);
    is_long.then(|| format!("no tick for {} s of the service's clock", silent.as_secs()))
}

/// Time since the last tick, or since the start of the service, in clock time.
pub(super) fn silent_for(pages: &Pages, snapshot: &Snapshot) -> Duration {
    pages.clock.now().since(snapshot.ticked_at.unwrap_or(pages.started_at))
}

pub(super) fn allowed_silence(pages: &Pages) -> Duration {
    pages.tick_every.saturating_mul(MISSED_TICKS).max(pages.clock.of_wall(MIN_ALLOWED_SILENCE))
}
