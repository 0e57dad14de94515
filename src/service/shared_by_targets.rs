//! State shared by all targets: receivers, sinks, rules and pages.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::aws::CallCounter;
use crate::config::{Config, Receiver, Target};
use crate::notify::Integration;
use crate::replication::target_assignment::TargetAssignment;
use crate::service::forecasting::ForecastScheduler;
use crate::service::kept_job_limits::KeptJobLimits;
use crate::service::rule_files::RulesError;
use crate::service::rule_reload::RulesUpdate;
use crate::service::{StartError, receiver_clients};
use crate::web::{Access, Snapshot, Targets, WatchedTarget};
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Rule;

/// State shared by all targets. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// The complete configuration, as of the start.
    pub(super) config: Arc<Config>,
    /// The current targets.
    pub(super) targets: watch::Sender<Arc<[Target]>>,
    /// The targets whose tasks have not ended.
    pub(super) running: RunningTargets,
    pub(super) clock: Clock,
    /// Start of counting on the first start.
    pub(super) since: Timestamp,
    /// Receivers and their integrations.
    pub(super) receivers: Arc<[(Receiver, Arc<Integration>)]>,
    /// AWS calls of receivers and sinks. They belong to no target, so the next target that ticks counts them.
    pub(super) calls: CallCounter,
    /// The current rules.
    pub(super) rules: watch::Receiver<RulesNow>,
    pub(super) hub: Hub,
    pub(super) access: Access,
    /// Whether CloudWatch metrics need a dimension for the target.
    pub(super) places: Arc<AtomicBool>,
    /// Number of targets now.
    pub(super) target_count: Arc<AtomicUsize>,
    /// How targets are shared among replicas, if there are several.
    pub(super) assignment: TargetAssignment,
    /// Forecast scheduling.
    pub(super) forecasts: ForecastScheduler,
    /// How many jobs each target keeps.
    pub(super) kept_job_limits: KeptJobLimits,
}

/// The rules in effect and, if they are outdated, the errors in the current files.
#[derive(Clone, Debug, Default)]
pub(super) struct RulesNow {
    pub(super) rules: Arc<[Rule]>,
    pub(super) mistakes: Option<RulesError>,
}

impl Shared {
    /// Creates the shared state.
    ///
    /// # Errors
    /// A receiver cannot be used.
    pub(super) async fn new(
        config: &Config,
        rules: watch::Receiver<RulesNow>,
        access: Access,
        clock: Clock,
        since: Timestamp,
    ) -> Result<Self, StartError> {
        let calls = CallCounter::default();
        let receivers = receiver_clients::integrations(config, &calls, clock).await?.into();
        let targets = watch::Sender::new(config.targets.as_slice().into());
        let (config, hub, places) = (Arc::new(config.clone()), Hub::default(), Arc::default());
        let target_count = Arc::<AtomicUsize>::default();
        let forecasts = ForecastScheduler::new(Arc::clone(&target_count));
        let process_id = format!("{:016x}", RandomState::new().build_hasher().finish());
        #[cfg(test)]
        let process_id = crate::simulation::process_id().unwrap_or(process_id);
        let assignment = TargetAssignment::new(&process_id);
        Ok(Self {
            config,
            targets,
            running: RunningTargets::default(),
            clock,
            since,
            receivers,
            calls,
            rules,
            hub,
            access,
            places,
            target_count,
            assignment,
            forecasts,
            kept_job_limits: KeptJobLimits::default(),
        })
    }

    /// Forwards rule changes to an event loop, until `stop`.
    pub(super) async fn forward_rules(mut self, news: mpsc::Sender<RulesUpdate>, stop: CancellationToken) {
        // The rules of the start are not a change, but errors are reported.
        let mut known = self.rules.borrow_and_update().clone();
        if let Some(mistakes) = &known.mistakes {
            let _ = news.send(Err(mistakes.clone())).await;
        }
        loop {
            let changed = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = self.rules.changed() => changed,
            };
            if changed.is_err() {
                return stop.cancelled().await;
            }
            let now = self.rules.borrow_and_update().clone();
            let found = match &now.mistakes {
                Some(mistakes) => Err(mistakes.clone()),
                None if now.mistakes != known.mistakes || !Arc::ptr_eq(&now.rules, &known.rules) => {
                    Ok(now.rules.to_vec())
                }
                None => continue,
            };
            known = now;
            if news.send(found).await.is_err() {
                return stop.cancelled().await;
            }
        }
    }
}

/// The targets whose tasks have not ended, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct RunningTargets(Arc<watch::Sender<BTreeMap<String, usize>>>);

/// Guard: a task of the target has not ended.
#[derive(Debug)]
pub(super) struct RunningTarget {
    targets: RunningTargets,
    name: String,
}

impl RunningTargets {
    /// Adds a task of a target, until the guard is dropped.
    pub(super) fn enter(&self, name: &str) -> RunningTarget {
        self.0.send_modify(|tasks| *tasks.entry(name.to_owned()).or_default() += 1);
        RunningTarget { targets: self.clone(), name: name.to_owned() }
    }

    /// Waits until all tasks of a target have ended.
    pub(super) async fn until_ended(&self, name: &str) {
        // The sender is this value, so it is there.
        let _ = self.0.subscribe().wait_for(|tasks| !tasks.contains_key(name)).await;
    }
}

impl Drop for RunningTarget {
    fn drop(&mut self) {
        self.targets.0.send_modify(|tasks| {
            let left = tasks.get(&self.name).map_or(0, |count| count - 1);
            if left == 0 {
                tasks.remove(&self.name);
            } else {
                tasks.insert(self.name.clone(), left);
            }
        });
    }
}

/// The targets shown on the pages.
#[derive(Clone, Debug)]
pub(super) struct Hub(watch::Sender<Arc<[WatchedTarget]>>);

impl Default for Hub {
    fn default() -> Self {
        Self(watch::Sender::new([].into()))
    }
}

impl Hub {
    /// Adds or replaces a target by name.
    pub(super) fn put(&self, target: WatchedTarget) {
        self.0.send_modify(|targets| {
            let mut all = targets.to_vec();
            all.retain(|other| other.place.target != target.place.target);
            all.push(target);
            all.sort_by(|one, other| one.place.target.cmp(&other.place.target));
            *targets = all.into();
        });
    }

    /// The current snapshot of a target.
    pub(super) fn latest(&self, name: &str) -> Option<Snapshot> {
        let targets = self.0.borrow();
        targets.iter().find(|target| *target.place.target == *name).map(|target| target.snapshot.borrow().clone())
    }

    /// Removes a target.
    pub(super) fn remove(&self, name: &str) {
        self.0.send_modify(|targets| {
            *targets = targets.iter().filter(|other| *other.place.target != *name).cloned().collect();
        });
    }

    /// The current targets.
    pub(super) fn targets(&self) -> Targets {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn a_target_runs_until_the_last_of_its_tasks_has_ended() {
        let running = RunningTargets::default();
        let has_ended = |name: &str| running.until_ended(name).now_or_never().is_some();
        let (first, second, other) = (running.enter("one"), running.enter("one"), running.enter("two"));
        assert!(has_ended("three") && !has_ended("one"));
        drop(first);
        assert!(!has_ended("one"));
        drop(second);
        assert!(has_ended("one") && !has_ended("two"));
        drop(other);
        assert!(has_ended("two"));
    }
}
