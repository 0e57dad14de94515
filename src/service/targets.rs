//! The supervisor of all targets. Each runs in separate tasks, so that a failing target delays no other. Targets
//! can be added and removed while the service runs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::config::{Config, Target};
use crate::publish::prometheus_text;
use crate::service::operations::access;
use crate::service::rule_files::RuleSources;
use crate::service::rule_reload::{self, RulesUpdate};
use crate::service::shared_by_targets::{RulesNow, Shared};
use crate::service::state_files::{self, Files, StateFile};
use crate::service::target_service::{TargetService, place_of};
use crate::service::{ConfigUpdates, Service, StartError, removed_targets, serve, target_replica};
use crate::web::{self, CachedRecordings, Pages, Snapshot, WatchedTarget};
use trainspotter_clock::Clock;

/// Minimum and maximum wall time before a failed target is restarted; the pause doubles with each failure.
const RESTART_DELAY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// For each such period that a target ran, its next pause is halved.
const STABLE_AFTER: Duration = Duration::from_secs(300);

/// A finished run of a target: name, generation and result.
type Ended = (String, u64, Result<(), StartError>);

/// Runs a service until `stop`.
pub(super) async fn run(service: Service, following: ConfigUpdates, stop: CancellationToken) -> Result<(), StartError> {
    let ConfigUpdates { targets: changes, problem } = following;
    let Service { config, rules, clock, since, listener } = service;
    let (rules_now, rules) = watch::channel(RulesNow { rules: rules.into(), mistakes: None });
    let access = access(&config);
    let shared = Shared::new(&config, rules, access.clone(), clock, since).await?;
    target_replica::check_permissions(&shared).await?;
    let pages = Pages {
        targets: shared.hub.targets(),
        access,
        clock,
        started_at: clock.now(),
        tick_every: config.poll.every,
        metrics: prometheus_text,
        was_ready: Arc::default(),
        configuration: problem,
        recordings: CachedRecordings::default(),
    };
    // They end with this service, whatever ends it.
    let mut tasks = JoinSet::new();
    let becoming_ready = tasks.spawn(pages.clone().until_ready());
    let (last, external_url) = (CancellationToken::new(), config.external_url.clone());
    tasks.spawn(serve(listener, web::router(pages), external_url, last.clone()));
    tasks.spawn(follow_rules(RuleSources::of(&config, clock), rules_now, last.clone()));
    tasks.spawn(target_replica::share(shared.clone(), stop.clone()));
    tasks.spawn(removed_targets::end_alerts(shared.clone(), stop.clone()));
    let ended = Supervisor::new(shared, stop.clone()).run(config.targets, changes).await;
    becoming_ready.abort();
    last.cancel();
    while tasks.join_next().await.is_some() {}
    ended
}

/// Watches rule files and buckets for all targets.
async fn follow_rules(sources: RuleSources, now: watch::Sender<RulesNow>, stop: CancellationToken) {
    if sources.is_empty() {
        return stop.cancelled().await;
    }
    let (news, mut inbox) = mpsc::channel::<RulesUpdate>(1);
    let apply_changes = async {
        while let Some(found) = inbox.recv().await {
            now.send_modify(|now| match found {
                Ok(rules) => *now = RulesNow { rules: rules.into(), mistakes: None },
                Err(mistakes) => now.mistakes = Some(mistakes),
            });
        }
    };
    tokio::join!(rule_reload::follow(sources, news, stop), apply_changes);
}

/// Owns the tasks of all targets.
struct Supervisor {
    shared: Shared,
    stop: CancellationToken,
    /// The desired targets.
    targets: Vec<Target>,
    starts: u64,
    running: BTreeMap<String, Running>,
    tasks: JoinSet<Ended>,
    /// Failed targets, with the time of their next start.
    waiting: VecDeque<(tokio::time::Instant, Target)>,
    pauses: BTreeMap<String, Duration>,
}

struct Running {
    start: u64,
    task: tokio::task::Id,
    since: tokio::time::Instant,
    target: Target,
    stop: CancellationToken,
    removed: CancellationToken,
}

impl Supervisor {
    fn new(shared: Shared, stop: CancellationToken) -> Self {
        let (running, tasks) = (BTreeMap::new(), JoinSet::new());
        let (targets, waiting, pauses) = (Vec::new(), VecDeque::new(), BTreeMap::new());
        Self { shared, stop, targets, starts: 0, running, tasks, waiting, pauses }
    }

    /// Runs these targets until stopped, and applies changes. With a single target, its end is the end of the
    /// service, unless the configuration has changed since the service started: a change ends no service.
    async fn run(mut self, targets: Vec<Target>, mut changes: mpsc::Receiver<Vec<Target>>) -> Result<(), StartError> {
        self.watch(targets);
        let first_starts = self.starts;
        loop {
            let retry = self.waiting.front().map(|(at, _)| *at);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok((name, start, result)) if self.is_of(&name, start) => {
                        if self.targets.len() == 1 && start <= first_starts {
                            self.stop.cancel();
                            return result;
                        }
                        self.ended(name, result);
                    }
                    // A run that was stopped because the target was changed or removed; its last snapshot may still
                    // be shown.
                    Ok((name, ..)) => {
                        if !self.targets.iter().any(|target| target.name == name) {
                            self.shared.hub.remove(&name);
                        }
                    }
                    Err(error) => {
                        let of = self.running.iter().find(|(_, running)| running.task == error.id());
                        if let Some((name, start)) = of.map(|(name, running)| (name.clone(), running.start)) {
                            let error = StartError::new("watching", format!("it panicked, which is a bug: {error}"));
                            if self.targets.len() == 1 && start <= first_starts {
                                self.stop.cancel();
                                return Err(error);
                            }
                            self.ended(name, Err(error));
                        }
                    }
                },
                Some(targets) = changes.recv() => self.watch(targets),
                () = sleep_until(retry) => {
                    if let Some((_, target)) = self.waiting.pop_front() {
                        self.start(target);
                    }
                }
            }
        }
        let mut first = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok((_, _, Err(error))) = ended {
                first = first.and(Err(error));
            }
        }
        if self.targets.len() == 1 { first } else { Ok(()) }
    }

    fn is_of(&self, name: &str, start: u64) -> bool {
        self.running.get(name).is_some_and(|running| running.start == start)
    }

    /// Starts and stops targets to match the list.
    fn watch(&mut self, targets: Vec<Target>) {
        let by_setting = self.shared.config.publish.cloudwatch.as_ref().and_then(|sink| sink.account_and_region);
        self.shared.assignment.set_count(targets.len());
        self.shared.target_count.store(targets.len(), Ordering::Relaxed);
        self.shared.targets.send_if_modified(|now| {
            let is_new = **now != *targets;
            *now = targets.as_slice().into();
            is_new
        });
        self.shared.places.store(by_setting.unwrap_or(targets.len() > 1), Ordering::Relaxed);
        let gone: Vec<String> = self
            .running
            .iter()
            .filter(|(_, running)| !targets.contains(&running.target))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            let is_removed = !targets.iter().any(|target| target.name == name);
            if let Some(running) = self.running.remove(&name) {
                if is_removed {
                    let span = span_of(&running.target);
                    span.in_scope(|| tracing::info!("the target was removed from the configuration"));
                    running.removed.cancel();
                    self.shared.hub.remove(&name);
                }
                running.stop.cancel();
            }
        }
        for (_, gone) in
            self.waiting.iter().filter(|(_, target)| !targets.iter().any(|other| other.name == target.name))
        {
            self.shared.hub.remove(&gone.name);
        }
        self.waiting.retain(|(_, target)| targets.contains(target));
        self.targets.clone_from(&targets);
        for target in &targets {
            let is_there = self.running.contains_key(&target.name);
            if !is_there && !self.waiting.iter().any(|(_, waiting)| waiting == target) {
                self.start(target.clone());
            }
        }
    }

    fn start(&mut self, target: Target) {
        self.starts += 1;
        let start = self.starts;
        let (stop, removed) = (self.stop.child_token(), CancellationToken::new());
        let watching = self.watching(&target, removed.clone());
        let name = target.name.clone();
        let (ended, stopped) = (name.clone(), stop.clone());
        let (running, span) = (self.shared.running.enter(&name), watching.span.clone());
        let run = async move {
            let _running = running;
            let result = match watching.config.replication.clone() {
                Some(replication) => target_replica::run(watching, &replication, stopped).await,
                None => watching.run(stopped).await,
            };
            (ended, start, result)
        };
        let task = self.tasks.spawn(run.instrument(span));
        let (task, since) = (task.id(), tokio::time::Instant::now());
        self.running.insert(name, Running { start, task, since, target, stop, removed });
    }

    fn watching(&self, target: &Target, removed: CancellationToken) -> TargetService {
        let shared = self.shared.clone();
        let all = &self.targets;
        let files = state_files::of_targets(&shared.config.store, all);
        let own = all.iter().zip(files).find(|(other, _)| other.name == target.name).map(|(_, file)| file);
        let StateFile { path, apart } = own.unwrap_or_else(|| state_files::apart(&shared.config.store, &target.name));
        let mut config = Config { targets: vec![target.clone()], store: path, ..Config::clone(&shared.config) };
        config.poll.calls_per_second = target.calls_per_second.unwrap_or(config.poll.calls_per_second);
        let span = span_of(target);
        let (is_alone, files) = (all.len() == 1, Files::of(&shared.config.store, &target.name));
        TargetService { shared, target: target.clone(), config, apart, is_alone, files, span, removed }
    }

    /// Handles the end of a target, and schedules its restart if it should run.
    fn ended(&mut self, name: String, result: Result<(), StartError>) {
        let Some(Running { target, stop, since, .. }) = self.running.remove(&name) else { return };
        stop.cancel();
        let Err(error) = result else { return };
        let pause = pause_after(self.pauses.get(&name).copied(), since.elapsed());
        span_of(&target).in_scope(|| {
            tracing::error!(
                %error,
                again_in = ?pause,
                "a target failed and will be restarted; other targets are not affected"
            );
        });
        self.shared.hub.put(failed_target(&target, &error.to_string(), self.shared.clock));
        self.pauses.insert(name, pause);
        self.waiting.push_back((tokio::time::Instant::now() + pause, target));
        self.waiting.make_contiguous().sort_by_key(|(at, _)| *at);
    }
}

/// Log span of a target. The account is added once AWS has returned it, if the role does not contain it.
fn span_of(target: &Target) -> Span {
    let (place, region) = (place_of(target), target.region.as_str());
    tracing::info_span!("watch", target = target.name.as_str(), account = place.account.as_deref(), region)
}

/// Pause before a target is restarted, from the previous pause and the time it ran.
fn pause_after(before: Option<Duration>, watched: Duration) -> Duration {
    let Some(before) = before else { return RESTART_DELAY.0 };
    let times = u32::try_from(watched.as_secs() / STABLE_AFTER.as_secs()).unwrap_or(u32::MAX);
    let pause = match times {
        0 => before * 2,
        times => before / 2_u32.saturating_pow(times),
    };
    pause.clamp(RESTART_DELAY.0, RESTART_DELAY.1)
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What the pages show for a target that cannot be watched: the reason.
fn failed_target(target: &Target, why: &str, clock: Clock) -> WatchedTarget {
    let place = place_of(target);
    let snapshot = Snapshot {
        place: place.clone(),
        not_ready: Some(why.to_owned()),
        problems: [why.to_owned()].into(),
        ticked_at: Some(clock.now()),
        ..Snapshot::default()
    };
    // The receiving ends are dropped, so that queries are answered with "try again later".
    let (jobs, history, operations) = (mpsc::channel(1).0, mpsc::channel(1).0, mpsc::channel(1).0);
    let (snapshot, silences) = (watch::channel(snapshot).1, watch::channel([].into()).1);
    WatchedTarget { place, snapshot, jobs, history, operations, silences }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_have_the_account_of_the_role_or_once_it_is_known() {
        crate::log_capture::keep_lines_enabled();
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(file.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, || {
            let role = Some("arn:aws:iam::111122223333:role/Reader".to_owned());
            span_of(&Target { role, ..Target::new("us-east-1") }).in_scope(|| tracing::info!("polled"));
            let own = span_of(&Target::new("eu-west-1"));
            own.in_scope(|| tracing::info!("starting"));
            own.record("account", "444455556666");
            own.in_scope(|| tracing::info!("ready"));
        });
        let logged = std::fs::read_to_string(file.path()).unwrap();
        let accounts: Vec<usize> = logged.lines().map(|line| line.matches("account=").count()).collect();
        assert_eq!(accounts, [1, 0, 1], "{logged}");
        assert!(logged.lines().next().unwrap().contains("account=\"111122223333\" region=\"us-east-1\""), "{logged}");
        assert!(logged.lines().last().unwrap().contains("account=\"444455556666\""), "{logged}");
    }

    #[test]
    fn a_target_that_fails_again_and_again_is_tried_less_often_and_one_that_was_watched_long_sooner() {
        let s = Duration::from_secs;
        assert_eq!(pause_after(None, s(1)), s(5));
        assert_eq!(pause_after(Some(s(5)), s(1)), s(10));
        assert_eq!(pause_after(Some(s(160)), s(299)), s(300));
        assert_eq!(pause_after(Some(s(300)), s(300)), s(150));
        assert_eq!(pause_after(Some(s(300)), s(900)), s(300) / 8);
        assert_eq!(pause_after(Some(s(300)), s(1_000_000_000)), s(5));
    }
}
