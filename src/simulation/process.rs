//! The processes of one replica: each is the real service. They are killed, replaced while they run, and started again.

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

/// Seconds for which two processes run beside each other at most, in a deployment: for a minute the new one waits for the file.
const OVERLAP: u64 = 30;

/// How long a stop may take.
const STOP: Duration = Duration::from_secs(120);

/// A process that runs.
struct Process {
    port: u16,
    stop: CancellationToken,
    targets: mpsc::Sender<Vec<Target>>,
    running: JoinHandle<Result<(), StartError>>,
}

/// Runs the processes of a replica, one after the other, until `stop`.
pub(super) async fn replica(world: Shared, replica: usize, stop: CancellationToken) {
    let mut events: Vec<Fault> = {
        let world = world.lock().unwrap();
        let of_it = |fault: &&Fault| {
            let is_event = matches!(
                fault.kind,
                FaultKind::Death | FaultKind::DeathWithDisk | FaultKind::Deployment | FaultKind::ConfigChanged
            );
            is_event && (fault.replica == replica || fault.kind == FaultKind::ConfigChanged)
        };
        world.scenario.faults.iter().filter(of_it).cloned().collect()
    };
    events.sort_by_key(|event| event.at);
    let (mut number, mut rate) = (0, 50.0);
    let mut process = Process::start(&world, replica, number, rate).await;
    for event in events {
        let wait = event.at as f64 - world.lock().unwrap().passed();
        tokio::time::sleep(Duration::from_secs_f64(wait.max(0.0))).await;
        match event.kind {
            FaultKind::ConfigChanged => {
                rate += 1.0;
                let _ = process.targets.send(vec![target(rate)]).await;
            }
            FaultKind::Deployment => {
                let has_log = world.lock().unwrap().scenario.replicas > 1;
                number += u32::from(has_log);
                let next = Process::start(&world, replica, number, rate).await;
                tokio::time::sleep(Duration::from_secs(event.lasts.min(OVERLAP))).await;
                process.end(&world).await;
                process = next;
            }
            _ => {
                process.kill(&world).await;
                tokio::time::sleep(Duration::from_secs(event.lasts)).await;
                // Without a log nobody loses a disk and keeps a promise.
                number +=
                    u32::from(event.kind == FaultKind::DeathWithDisk && world.lock().unwrap().scenario.replicas > 1);
                process = Process::start(&world, replica, number, rate).await;
            }
        }
    }
    tokio::select! {
        biased;
        () = stop.cancelled() => process.end(&world).await,
        ended = &mut process.running => {
            world.lock().unwrap().violated(format!("replica {replica} ended by itself: {ended:?}"));
        }
    }
}

impl Process {
    async fn start(world: &Shared, replica: usize, number: u32, rate: f64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (clock, config) = {
            let mut world = world.lock().unwrap();
            let folder = world.folder.path().to_owned();
            (world.clock(replica), config(folder, replica, number, rate, world.scenario.replicas > 1))
        };
        let rules = load_rules(&[world.lock().unwrap().folder.path().join("rules.yaml")]).unwrap_or_default();
        let stop = CancellationToken::new();
        let service = Service { config, rules, clock, since: clock.now(), listener };
        let (targets, changes) = mpsc::channel(4);
        let running = tokio::spawn(service.run_with_target_updates(changes, stop.clone()));
        Self { port, stop, targets, running }
    }

    /// Ends at once, wherever it is.
    async fn kill(self, world: &Shared) {
        self.running.abort();
        world.lock().unwrap().pages.retain(|page| page.port != self.port);
        let _ = self.running.await;
    }

    /// Is asked to end.
    async fn end(self, world: &Shared) {
        self.stop.cancel();
        let ended = tokio::time::timeout(STOP, self.running).await;
        let mut world = world.lock().unwrap();
        world.pages.retain(|page| page.port != self.port);
        match ended {
            Ok(Ok(Ok(()))) => {}
            other => world.violated(format!("a stop ended badly: {other:?}")),
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
