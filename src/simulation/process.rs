//! The processes of one replica, each the real service: they are killed, replaced while they run, and restarted.

use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::aws::TOPICS;
use super::network::TOKEN;
use super::scenario::{Fault, FaultKind};
use super::world::Shared;
use crate::config::{
    ApiToken, Channel, Config, History, LogFormat, ObjectPlace, Permission, Poll, Publish, Receiver, Replication,
    RulesPlace, Secret, Target,
};
use crate::service::{Service, StartError, load_rules};
use trainspotter_core::model::{PriorityBands, SharesShown};

/// Seconds between polls.
pub(super) const POLL: u64 = 30;

/// Maximum seconds for which two processes overlap in a deployment: the new one waits a minute for the file.
const OVERLAP: u64 = 30;

/// Maximum duration of a shutdown.
const STOP: Duration = Duration::from_secs(120);

/// Maximum age of a process that may end because it cannot open its files.
const MAX_START: f64 = 120.0;

/// Seconds until an ended process is restarted, as by an orchestrator.
const RESTART: Duration = Duration::from_secs(10);

/// Arguments of a process.
#[derive(Clone)]
struct Start {
    world: Shared,
    replica: usize,
    /// Number of its file.
    file: u32,
    /// Calls per second: the setting that a configuration change changes.
    rate: f64,
}

/// A running process.
struct Process {
    start: Start,
    began: f64,
    port: u16,
    stop: CancellationToken,
    targets: mpsc::Sender<Vec<Target>>,
    running: JoinHandle<Result<(), StartError>>,
}

/// Runs the processes of a replica, one after the other, until `stop`.
#[expect(clippy::wildcard_enum_match_arm, reason = "only deaths are left")]
pub(super) async fn replica(world: Shared, replica: usize, stop: CancellationToken) {
    let (mut events, has_log): (Vec<Fault>, bool) = {
        let world = world.lock().unwrap();
        let of_it = |fault: &&Fault| {
            let is_event = matches!(
                fault.kind,
                FaultKind::Death | FaultKind::DeathWithDisk | FaultKind::Deployment | FaultKind::ConfigChanged
            );
            is_event && (fault.replica == replica || fault.kind == FaultKind::ConfigChanged)
        };
        (world.scenario.faults.iter().filter(of_it).cloned().collect(), world.scenario.replicas > 1)
    };
    events.sort_by_key(|event| event.at);
    let mut process = Start { world: world.clone(), replica, file: 0, rate: 50.0 }.run().await;
    for event in events {
        let wait = event.at as f64 - world.lock().unwrap().passed();
        let waiting = tokio::time::sleep(Duration::from_secs_f64(wait.max(0.0)));
        let Some(mut running) = process.run_until(waiting).await else { return };
        let mut start = running.start.clone();
        process = match event.kind {
            FaultKind::ConfigChanged => {
                running.start.rate += 1.0;
                let _ = running.targets.send(vec![target(running.start.rate)]).await;
                running
            }
            FaultKind::Deployment => {
                start.file += u32::from(has_log);
                let overlap = tokio::time::sleep(Duration::from_secs(event.lasts.min(OVERLAP)));
                let Some(next) = start.run().await.run_until(overlap).await else { return };
                running.end().await;
                next
            }
            _ => {
                running.kill().await;
                tokio::time::sleep(Duration::from_secs(event.lasts)).await;
                // Without a log the state is lost with the disk.
                start.file += u32::from(event.kind == FaultKind::DeathWithDisk && has_log);
                start.run().await
            }
        };
    }
    if let Some(process) = process.run_until(stop.cancelled()).await {
        process.end().await;
    }
}

impl Start {
    async fn run(self) -> Process {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (clock, config, began) = {
            let mut world = self.world.lock().unwrap();
            let (folder, has_log) = (world.folder.path().to_owned(), world.scenario.replicas > 1);
            (world.clock(self.replica), config(folder, self.replica, self.file, self.rate, has_log), world.passed())
        };
        let rules = load_rules(&[self.world.lock().unwrap().folder.path().join("rules.yaml")]).unwrap_or_default();
        let stop = CancellationToken::new();
        let service = Service { config, rules, clock, since: clock.now(), listener };
        let (targets, changes) = mpsc::channel(4);
        let running = tokio::spawn(service.run_with_target_updates(changes, stop.clone()));
        Process { start: self, began, port, stop, targets, running }
    }
}

impl Process {
    /// Waits. A process that ends at startup because the disk fails is restarted. `None` if one ended for another reason.
    async fn run_until(mut self, until: impl Future<Output = ()>) -> Option<Self> {
        let mut until = std::pin::pin!(until);
        loop {
            let ended = tokio::select! {
                biased;
                () = until.as_mut() => return Some(self),
                ended = &mut self.running => ended,
            };
            self.hide();
            {
                let mut world = self.start.world.lock().unwrap();
                let is_young = world.passed() - self.began < MAX_START;
                if !matches!(ended, Ok(Err(_))) || !is_young || world.disk().error.is_none() {
                    let replica = self.start.replica;
                    world.violated(format!("replica {replica} ended by itself: {ended:?}"));
                    return None;
                }
            }
            tokio::time::sleep(RESTART).await;
            self = self.start.run().await;
        }
    }

    /// Makes its pages unreachable.
    fn hide(&self) {
        self.start.world.lock().unwrap().pages.retain(|page| page.port != self.port);
    }

    /// Kills it.
    async fn kill(self) {
        self.running.abort();
        self.hide();
        let _ = self.running.await;
    }

    /// Requests a graceful shutdown.
    async fn end(self) {
        self.stop.cancel();
        let Self { start, port, running, .. } = self;
        let ended = tokio::time::timeout(STOP, running).await;
        let mut world = start.world.lock().unwrap();
        world.pages.retain(|page| page.port != port);
        if !matches!(ended, Ok(Ok(Ok(())))) {
            world.violated(format!("a stop ended badly: {ended:?}"));
        }
    }
}

fn target(calls_per_second: f64) -> Target {
    Target {
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        calls_per_second: Some(calls_per_second),
        ..Target::new("us-east-1")
    }
}

fn config(folder: PathBuf, replica: usize, number: u32, rate: f64, has_log: bool) -> Config {
    let replication = Replication {
        log: ObjectPlace::Bucket { bucket: "log".to_owned(), prefix: String::new() },
        region: None,
        endpoint: None,
        role: None,
        lease: Duration::from_secs(30),
    };
    let receiver = |name: &str| Receiver::new(name, Channel::sns(format!("arn:aws:sns:us-east-1:123456789012:{name}")));
    let token = ApiToken { name: "operator".to_owned(), token: Secret::new(TOKEN), may: Permission::Operate };
    Config {
        targets: vec![target(rate)],
        poll: Poll {
            every: Duration::from_secs(POLL),
            topology_every: Duration::from_secs(300),
            reconcile_every: Duration::from_secs(600),
            utilisation_every: Duration::from_secs(600),
            calls_per_second: 50.0,
        },
        publish: Publish { cloudwatch: None, otlp: Vec::new() },
        prices: [].into(),
        shares: SharesShown::default(),
        priority_bands: PriorityBands::default(),
        forecast: 0.0,
        rules: vec![RulesPlace::Path(folder.join("rules.yaml"))],
        receivers: TOPICS.map(receiver).into(),
        idle_inhibitions: 0,
        store: folder.join(format!("state-{replica}-{number}.db")),
        replication: has_log.then_some(replication),
        history: History { keep: Duration::from_secs(600), at_most: 10_000_000 },
        archive: None,
        tags: Vec::new(),
        reports: Vec::new(),
        listen: ([127, 0, 0, 1], 0).into(),
        api: vec![token],
        external_url: None,
        log: LogFormat::Pretty,
        traces: None,
        logs: None,
    }
}
