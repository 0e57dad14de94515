//! `demo`: simulated AWS, service and pages in one process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::cli::remote::TOKEN_VARIABLE;
use crate::cli::simulate::{ChosenWorld, World};
use crate::cli::{Failure, listen, load_config, remote_simulator_clock, say};
use crate::config::{
    ApiToken, Archive, Channel, CloudWatch, Config, Endpoint, History, LogFormat, MIN_TOKEN, ObjectPlace, Otlp,
    OtlpProtocol, Permission, Poll, Publish, Receiver, Reserved, Secret, Target,
};
use crate::service::{SentLogs, Service, start_logs, stop_on_signals};
use trainspotter_clock::Clock;
use trainspotter_core::model::{PriorityBands, SharesShown, Timestamp, format};
use trainspotter_core::rules::{Rule, parse_rules};
use trainspotter_simulator as simulator;
use trainspotter_simulator::Simulation;

/// The rules of the demo: the shipped packs.
const PACKS: [(&str, &str); 2] = [
    ("alerts/default.yaml", include_str!("../../alerts/default.yaml")),
    ("alerts/queues.yaml", include_str!("../../alerts/queues.yaml")),
];

/// Real time between two progress lines.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Run a demo: a simulated AWS account, the service and its pages in one process. Needs no network and no AWS account.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter demo
  trainspotter demo --speed 60 --for 10m
  trainspotter demo --trace jobs.csv --webhook http://127.0.0.1:9000/hook
  trainspotter demo --simulator http://127.0.0.1:4566             uses a running `trainspotter simulate`
  trainspotter demo --speed 3600 --for 4m --archive ./archive     ten days; then: trainspotter report --archive ./archive --from 10d

At the default speed an hour passes in six seconds. If TRAINSPOTTER_TOKEN is set, clients with that token can add
silences and test receivers.")]
pub(super) struct Arguments {
    #[command(flatten)]
    world: World,
    /// Monitor the simulator at this URL (`trainspotter simulate`) instead of one in this process. Its clock speed must not
    /// change afterwards.
    #[arg(long, value_name = "URL", conflicts_with_all = ["speed", "seed", "trace", "scenario", "quirks"])]
    simulator: Option<Url>,
    /// Address of the pages and the API; port 0 selects a free port.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
    /// Send alerts to this webhook; it may be on this machine.
    #[arg(long, value_name = "URL")]
    webhook: Option<Url>,
    /// Write the archive (Parquet files) to this folder, for `report --archive`.
    #[arg(long, value_name = "FOLDER")]
    archive: Option<PathBuf>,
    /// Send metrics to this OTLP receiver: gRPC for an origin with port 4317, HTTP otherwise.
    #[arg(long, value_name = "URL")]
    otlp: Option<Url>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    if let Some(problem) = arguments.archive.as_deref().and_then(load_config::unusable_folder) {
        return Err(Failure::usage(format!("--archive: {problem}")));
    }
    let _logs = start_logs(LogFormat::Pretty, SentLogs::default()).map_err(Failure::failed)?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone()).map_err(Failure::failed)?;
    if let Some(simulator) = &arguments.simulator {
        return watch(&arguments, simulator, stop).await;
    }
    let (world, tokens) = (arguments.world.choose()?, tokens()?);
    let clock = world.clock();
    let since = clock.now();
    let simulation = world.simulation(clock)?;
    let endpoint = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Failure::failed)?;
    let endpoint_address = endpoint.local_addr().map_err(Failure::failed)?;
    let listener = listen(arguments.listen).await?;
    let page = listener.local_addr().map_err(Failure::failed)?;
    introduce(&arguments, &world, endpoint_address, page);

    let state = StateFile::new(endpoint_address.port());
    let topic = simulation.create_topic("trainspotter");
    let config = config(&arguments, format!("http://{endpoint_address}"), Some(topic), &state, tokens);
    let service = Service { config, rules: rules()?, clock, since, listener };
    // The endpoint must outlive the service, which still publishes and notifies while it shuts down.
    let endpoint_stop = CancellationToken::new();
    let serving = tokio::spawn(simulator::serve(endpoint, simulation.clone(), endpoint_stop.clone()));
    arguments.world.stop_in_time(&stop);
    let reporting = tokio::spawn(report_progress(simulation, clock, stop.clone()));
    let ended = service.run(stop.clone()).await;
    stop.cancel();
    endpoint_stop.cancel();
    let _ = tokio::join!(serving, reporting);
    ended.map_err(Failure::failed)
}

/// The service alone, over a simulator that is there already.
async fn watch(arguments: &Arguments, simulator: &Url, stop: CancellationToken) -> Result<(), Failure> {
    let endpoint = simulator.origin().ascii_serialization();
    let (clock, tokens) = (remote_simulator_clock::of(simulator).await?, tokens()?);
    let listener = listen(arguments.listen).await?;
    let page = listener.local_addr().map_err(Failure::failed)?;
    say(format_args!("The simulator at {endpoint}, at {} times real time.", clock.speed()));
    say(format_args!("  page      http://{page}/"));
    let state = StateFile::new(page.port());
    let config = config(arguments, endpoint, None, &state, tokens);
    let service = Service { config, rules: rules()?, clock, since: clock.now(), listener };
    arguments.world.stop_in_time(&stop);
    service.run(stop).await.map_err(Failure::failed)
}

fn introduce(arguments: &Arguments, world: &ChosenWorld, endpoint: SocketAddr, page: SocketAddr) {
    let jobs = world.trace.as_ref().map_or_else(
        || format!("a synthetic workload, seed {}", world.seed),
        |path| format!("the jobs of {}", path.display()),
    );
    say(format_args!("A simulated AWS account with {jobs}, at {} times real time.", world.speed));
    say(format_args!("  page      http://{page}/"));
    say(format_args!("  figures   http://{page}/metrics and http://{page}/api/v1/queues"));
    say(format_args!("  AWS       http://{endpoint} (boto3 and the AWS CLI work with it)"));
    say(format_args!("  truth     http://{endpoint}/_sim/truth: what the service should have found"));
    match arguments.world.duration {
        Some(duration) => say(format_args!("It stops after {}.", format::duration(duration.as_secs_f64()))),
        None => say(format_args!("Press Ctrl-C to stop.")),
    }
}

fn rules() -> Result<Vec<Rule>, Failure> {
    let packs = PACKS.into_iter().map(|(file, text)| parse_rules(file, text).map_err(Failure::failed));
    Ok(packs.collect::<Result<Vec<_>, _>>()?.concat())
}

/// An operator token with the value that commands send, if it is set.
fn tokens() -> Result<Vec<ApiToken>, Failure> {
    let Ok(token) = std::env::var(TOKEN_VARIABLE) else { return Ok(Vec::new()) };
    if token.len() < MIN_TOKEN {
        return Err(Failure::usage(format!("{TOKEN_VARIABLE}: a token must have at least {MIN_TOKEN} characters")));
    }
    Ok(vec![ApiToken { name: "demo".to_owned(), token: Secret::new(token), may: Permission::Operate }])
}

fn config(
    arguments: &Arguments,
    endpoint: String,
    topic: Option<String>,
    state: &StateFile,
    tokens: Vec<ApiToken>,
) -> Config {
    let target = Target {
        endpoint: Some(endpoint),
        reserved: Reserved { training_plans: true, warm_pools: true },
        ..Target::new("us-east-1")
    };
    let poll = Poll {
        every: Duration::from_secs(30),
        topology_every: Duration::from_secs(300),
        reconcile_every: Duration::from_secs(900),
        utilisation_every: Duration::from_secs(300),
        calls_per_second: 50.0,
    };
    let mut receivers: Vec<Receiver> =
        topic.into_iter().map(|topic| Receiver::new("simulated-sns", Channel::sns(topic))).collect();
    receivers.extend(arguments.webhook.as_ref().map(|url| {
        let endpoint = Endpoint { url: Secret::new(url.as_str()), allow_loopback: true };
        Receiver::new("webhook", Channel::Webhook { endpoint, keys: Vec::new(), headers: BTreeMap::new() })
    }));
    let cloudwatch = CloudWatch::new("Trainspotter", Duration::from_secs(60));
    Config {
        targets: vec![target],
        poll,
        publish: Publish { cloudwatch: Some(cloudwatch), otlp: arguments.otlp.iter().map(otlp).collect() },
        prices: [].into(),
        shares: SharesShown::default(),
        priority_bands: PriorityBands::default(),
        // A demo runs fast: with a tenth of a core, an hour of its time would pass between two estimates.
        forecast: 0.25,
        rules: Vec::new(),
        receivers,
        idle_inhibitions: 0,
        store: state.0.clone(),
        replication: None,
        history: History { keep: Duration::from_secs(86_400), at_most: 100_000_000 },
        archive: arguments.archive.clone().map(|folder| Archive::at(ObjectPlace::Folder(folder))),
        tags: Vec::new(),
        reports: Vec::new(),
        listen: arguments.listen,
        api: tokens,
        external_url: None,
        log: LogFormat::Pretty,
        traces: None,
        logs: None,
    }
}

fn otlp(url: &Url) -> Otlp {
    let bare = url.path() == "/";
    let grpc = bare && url.port() == Some(4317);
    let endpoint = match (bare, grpc) {
        (true, false) => format!("{}v1/metrics", url.as_str()),
        (_, _) => url.as_str().to_owned(),
    };
    let protocol = if grpc { OtlpProtocol::Grpc } else { OtlpProtocol::Http };
    Otlp::new(endpoint, protocol)
}

/// Temporary state file of the demo, removed on drop.
struct StateFile(PathBuf);

impl StateFile {
    fn new(port: u16) -> Self {
        let name = format!("trainspotter-demo-{}-{port}.db", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.0.clone().into_os_string();
            path.push(suffix);
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn report_progress(simulation: Simulation, clock: Clock, stop: CancellationToken) {
    let began_at: Timestamp = clock.now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PROGRESS_EVERY) => {}
        }
        let progress = simulation.progress();
        let hours = clock.now().seconds_since(began_at) / 3600.0;
        let states: Vec<String> = progress.jobs.iter().map(|(state, count)| format!("{count} {state}")).collect();
        say(format_args!("{hours:6.1} simulated hours: {}", states.join(", ")));
    }
}
