//! What all targets have in common: whom they notify, where their figures go, the rules, and the pages that show them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::aws::CallCounter;
use crate::config::{Config, Receiver, Target};
use crate::notify::Integration;
use crate::replication::sharing::Sharing;
use crate::service::forecasting::Turns;
use crate::service::rule_reload::News;
use crate::service::{StartError, senders};
use crate::web::{Access, Snapshot, Targets, WatchedTarget};
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Rule;

/// What targets share. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// The whole configuration, as it was at the start.
    pub(super) config: Arc<Config>,
    /// The targets as they are now.
    pub(super) targets: watch::Sender<Arc<[Target]>>,
    pub(super) clock: Clock,
    /// Since when things count, on the first start.
    pub(super) since: Timestamp,
    /// Who is notified, and how.
    pub(super) receivers: Arc<[(Receiver, Arc<Integration>)]>,
    /// What receivers and sinks ask of AWS; they are nobody's target, and whichever ticks next counts it.
    pub(super) calls: CallCounter,
    /// The rules as they are now.
    pub(super) rules: watch::Receiver<RulesNow>,
    pub(super) hub: Hub,
    pub(super) access: Access,
    /// Whether CloudWatch is to tell targets apart.
    pub(super) places: Arc<AtomicBool>,
    /// How many targets there are now.
    pub(super) target_count: Arc<AtomicUsize>,
    /// How the targets are spread over replicas, where there are several.
    pub(super) sharing: Sharing,
    /// Whose present is run forward.
    pub(super) forecasts: Turns,
}

/// The rules in effect, and what is wrong with the files if they are from before.
#[derive(Clone, Debug, Default)]
pub(super) struct RulesNow {
    pub(super) rules: Arc<[Rule]>,
    pub(super) mistakes: Option<Arc<str>>,
}

impl Shared {
    /// Prepares what no target has to itself.
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
        let receivers = senders::integrations(config, &calls, clock).await?.into();
        let targets = watch::Sender::new(config.targets.as_slice().into());
        let (config, hub, places) = (Arc::new(config.clone()), Hub::default(), Arc::default());
        let target_count = Arc::<AtomicUsize>::default();
        let forecasts = Turns::new(Arc::clone(&target_count));
        let sharing = Sharing::new(&format!("{:016x}", RandomState::new().build_hasher().finish()));
        Ok(Self {
            config,
            targets,
            clock,
            since,
            receivers,
            calls,
            rules,
            hub,
            access,
            places,
            target_count,
            sharing,
            forecasts,
        })
    }

    /// Lets an event loop know of rules that have changed since it began, until `stop`.
    pub(super) async fn pass_rules_on(mut self, news: mpsc::Sender<News>, stop: CancellationToken) {
        // What was there at the start is no news, but for mistakes.
        let mut known = self.rules.borrow_and_update().clone();
        if let Some(mistakes) = &known.mistakes {
            let _ = news.send(Err(mistakes.to_string())).await;
        }
        loop {
            let changed = tokio::select! {
                () = stop.cancelled() => return,
                changed = self.rules.changed() => changed,
            };
            if changed.is_err() {
                return stop.cancelled().await;
            }
            let now = self.rules.borrow_and_update().clone();
            let found = match &now.mistakes {
                Some(mistakes) => Err(mistakes.to_string()),
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

/// The targets that pages show.
#[derive(Clone, Debug)]
pub(super) struct Hub(watch::Sender<Arc<[WatchedTarget]>>);

impl Default for Hub {
    fn default() -> Self {
        Self(watch::Sender::new([].into()))
    }
}

impl Hub {
    /// Shows a target, instead of what was there under its name.
    pub(super) fn put(&self, target: WatchedTarget) {
        self.0.send_modify(|targets| {
            let mut all = targets.to_vec();
            all.retain(|other| other.place.target != target.place.target);
            all.push(target);
            all.sort_by(|one, other| one.place.target.cmp(&other.place.target));
            *targets = all.into();
        });
    }

    /// What is shown of a target now.
    pub(super) fn latest(&self, name: &str) -> Option<Snapshot> {
        let targets = self.0.borrow();
        targets.iter().find(|target| *target.place.target == *name).map(|target| target.snapshot.borrow().clone())
    }

    /// Shows a target no more.
    pub(super) fn remove(&self, name: &str) {
        self.0.send_modify(|targets| {
            *targets = targets.iter().filter(|other| *other.place.target != *name).cloned().collect();
        });
    }

    /// What is shown now.
    pub(super) fn targets(&self) -> Targets {
        self.0.subscribe()
    }
}
