//! Cost of polls in calls, bytes and CPU time, over a queue with a backlog, compared with listing everything:
//! `cargo bench --bench polling`.
//!
//! A fake Batch on its own thread has one queue with a backlog, 200 jobs in flight, and 50 changes between polls:
//! jobs arrive, are dispatched, end. First everything is listed and dropped by the bare SDK and, if a `python3` with
//! boto3 is available, by boto3; then it is listed by a poller whose ledger knows all jobs. Then steady-state polls
//! are measured: all waiting jobs were described before. Only the client's CPU time counts. The argument `BACKLOG`
//! measures a single case.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Uri;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use trainspotter::aws::{Clients, Poller, connect};
use trainspotter::config::{Poll, Target};
use trainspotter_clock::Clock;
use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::jobs::Job as Tracked;
use trainspotter_core::model::{JobDetails, JobSeen, Observation};

/// Waiting jobs.
const BACKLOGS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const IN_FLIGHT: usize = 200;
/// Number of arrivals, of dispatches and of ends between two polls.
const CHANGES: usize = 17;
const PAGE: usize = 100;
/// Measured polls, in steady state.
const POLLS: u32 = 20;
const EVERY: Duration = Duration::from_secs(30);
/// Maximum backlog listed by boto3: a larger one takes minutes.
const MOST_FOR_BOTO3: usize = 10_000;

/// Creation time of the first job, in ms.
const START: i64 = 1_700_000_000_000;

type World = Arc<Mutex<Jobs>>;
type Failed = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let argument = std::env::args().find_map(|argument| argument.parse().ok());
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| waiting | calls to list all | calls a poll | of all | kB a poll | ms of CPU a poll | bare SDK, µs a job | ours, µs a job | boto3, µs a job |"
    )?;
    writeln!(out, "|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for backlog in argument.map_or(BACKLOGS.to_vec(), |backlog| vec![backlog]) {
        let row = Builder::new_current_thread().enable_all().build()?.block_on(measure(backlog))?;
        writeln!(out, "{row}")?;
        out.flush()?;
    }
    Ok(())
}

async fn measure(backlog: usize) -> Result<String, Failed> {
    let world = World::new(Mutex::new(Jobs::new(backlog)));
    let served = Arc::new(Served::default());
    let endpoint = serve(Arc::clone(&world), Arc::clone(&served))?;
    let clock = Clock::fast(1_000.0);
    let target = Target { endpoint: Some(endpoint.clone()), ..Target::new("us-east-1") };
    let clients = connect(&target, 1e6, clock).await?;

    let all = list_everything(&clients).await?;
    let python = if backlog <= MOST_FOR_BOTO3 { boto3(&endpoint, all.jobs) } else { None };

    let poll = Poll {
        every: EVERY,
        topology_every: Duration::from_secs(300),
        reconcile_every: Duration::from_secs(1_000_000),
        utilisation_every: Duration::from_secs(300),
        calls_per_second: 1e6,
    };
    let mut side = Side {
        poller: Poller::new(clients, target, poll, clock),
        engine: Engine::new(Vec::new(), cadence(poll.reconcile_every, EVERY), Saved::default(), clock.now()),
        clock,
    };
    // Two calls, since the topology comes with the first.
    side.list(false).await;
    side.list(false).await;
    side.describe_all();
    let (mut cpu, jobs) = (cpu_time(), served.jobs.load(Ordering::Relaxed));
    side.list(true).await;
    let listed = (served.jobs.load(Ordering::Relaxed) - jobs) as f64;
    let ours = (cpu_time() - cpu).as_secs_f64() * 1e6 / listed;
    side.poll().await;

    let before = (served.calls.load(Ordering::Relaxed), served.bytes.load(Ordering::Relaxed));
    cpu = Duration::ZERO;
    for _ in 0..POLLS {
        locked(&world).change();
        let began = cpu_time();
        side.poll().await;
        cpu += cpu_time() - began;
    }
    let a_poll = |total: u64| total as f64 / f64::from(POLLS);
    let calls = a_poll(served.calls.load(Ordering::Relaxed) - before.0);
    let kilobytes = a_poll(served.bytes.load(Ordering::Relaxed) - before.1) / 1e3;
    let python = python.map_or_else(|| "–".to_owned(), |micros| format!("{micros:.1}"));
    Ok(format!(
        "| {backlog} | {} | {calls:.1} | {:.1} % | {kilobytes:.0} | {:.1} | {:.1} | {ours:.1} | {python} |",
        all.calls,
        100.0 * calls / all.calls as f64,
        cpu.as_secs_f64() * 1e3 / f64::from(POLLS),
        all.micros,
    ))
}

/// The service's side: sends requests and applies responses.
struct Side {
    poller: Poller,
    engine: Engine,
    clock: Clock,
}

impl Side {
    /// Lists what the plan requests, or everything, and applies it.
    async fn list(&mut self, everything: bool) {
        let (out, mut reported) = mpsc::channel(100);
        let mut questions = self.engine.questions(self.clock.now());
        if everything {
            questions.reconcile.insert("q".into());
        }
        let listing = async {
            self.poller.poll(&questions, &out).await;
            self.poller.reconcile(&questions, &out).await;
            drop(out);
        };
        let taking = async {
            while let Some(observations) = reported.recv().await {
                self.engine.observe(observations);
            }
        };
        tokio::join!(listing, taking);
    }

    /// A whole poll with its tick.
    async fn poll(&mut self) {
        self.list(false).await;
        let (out, mut reported) = mpsc::channel(100);
        let questions = self.engine.questions(self.clock.now());
        let deadline = self.clock.now() + Duration::from_secs(100_000_000);
        let answering = async {
            self.poller.answer(&questions, deadline, &out).await;
            drop(out);
        };
        let taking = async {
            while let Some(observations) = reported.recv().await {
                self.engine.observe(observations);
            }
        };
        tokio::join!(answering, taking);
        drop(self.engine.tick(self.clock.now()));
    }

    /// Describes all waiting jobs, as many earlier polls would have.
    fn describe_all(&mut self) {
        let now = self.clock.now();
        let described = |job: &Tracked| {
            let details = Some(Box::new(JobDetails { priority: Some(1), ..JobDetails::default() }));
            JobSeen { details, ..job.latest.clone() }
        };
        let jobs = self.engine.ledger().open_jobs().map(described).collect();
        self.engine.observe(vec![Observation::Jobs { at: now, answered_at: now, jobs }]);
    }
}

struct Listed {
    calls: u64,
    jobs: u64,
    /// µs of CPU per job.
    micros: f64,
}

/// Lists all waiting and in-flight jobs page by page, and drops them.
async fn list_everything(clients: &Clients) -> Result<Listed, Failed> {
    let (mut calls, mut jobs, began) = (0, 0, cpu_time());
    for status in ["RUNNABLE", "SCHEDULED", "STARTING", "RUNNING"] {
        let mut token = None;
        loop {
            let list = clients.batch.list_service_jobs().job_queue("q").job_status(status.into());
            let page = list.set_next_token(token).send().await?;
            (calls, jobs) = (calls + 1, jobs + page.job_summary_list().len() as u64);
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
    }
    Ok(Listed { calls, jobs, micros: (cpu_time() - began).as_secs_f64() * 1e6 / jobs as f64 })
}

/// As above with boto3, in µs of CPU per job, without the start-up of the interpreter and its imports.
fn boto3(endpoint: &str, jobs: u64) -> Option<f64> {
    let script = "import resource, sys, boto3
batch = boto3.client('batch', region_name='us-east-1', endpoint_url=sys.argv[1], aws_access_key_id='a', aws_secret_access_key='b')
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
batch.list_service_jobs(jobQueue='q', jobStatus='RUNNING')
before = cpu()
for status in ['RUNNABLE', 'SCHEDULED', 'STARTING', 'RUNNING']:
    token = {}
    while True:
        page = batch.list_service_jobs(jobQueue='q', jobStatus=status, **token)
        if 'nextToken' not in page:
            break
        token = {'nextToken': page['nextToken']}
print(cpu() - before)";
    let python = std::env::var("TRAINSPOTTER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let said = Command::new(python).args(["-c", script, endpoint]).output().ok()?;
    let seconds: f64 = String::from_utf8(said.stdout).ok()?.trim().parse().ok()?;
    Some(seconds * 1e6 / jobs as f64)
}

/// A job of the fake: its number and creation time.
type Job = (usize, i64);

/// The jobs of the fake's queue.
struct Jobs {
    next: usize,
    now: i64,
    waiting: VecDeque<Job>,
    in_flight: VecDeque<Job>,
    ended: VecDeque<Job>,
}

impl Jobs {
    fn new(backlog: usize) -> Self {
        let now = START;
        let mut jobs =
            Self { next: 0, now, waiting: VecDeque::new(), in_flight: VecDeque::new(), ended: VecDeque::new() };
        for _ in 0..backlog + IN_FLIGHT {
            jobs.submit();
        }
        jobs.in_flight = jobs.waiting.drain(..IN_FLIGHT).collect();
        jobs
    }

    fn submit(&mut self) {
        self.next += 1;
        // Created at ten per second up to now.
        self.now += 100;
        self.waiting.push_back((self.next, self.now));
    }

    fn change(&mut self) {
        for _ in 0..CHANGES {
            self.submit();
            self.in_flight.extend(self.waiting.pop_front());
            self.ended.extend(self.in_flight.pop_front());
        }
    }

    fn status_of(&self, place: usize) -> &'static str {
        match place * 4 / self.in_flight.len().max(1) {
            0 | 1 => "RUNNING",
            2 => "STARTING",
            _ => "SCHEDULED",
        }
    }

    /// A page of a list, and the total number of its jobs.
    fn about(&self, request: &Value, from: usize) -> (Vec<(Job, &'static str)>, usize) {
        let waiting = || self.waiting.iter().map(|job| (*job, "RUNNABLE"));
        let in_flight = || self.in_flight.iter().enumerate().map(|(place, job)| (*job, self.status_of(place)));
        let filter = &request["filters"][0];
        let all: Vec<_> = if filter["name"] == "AFTER_CREATED_AT" {
            let after: i64 = filter["values"][0].as_str().and_then(|after| after.parse().ok()).unwrap_or(0);
            let ended = self.ended.iter().rev().map(|job| (*job, "SUCCEEDED"));
            let all = waiting().rev().chain(in_flight().rev()).chain(ended);
            all.take_while(|((_, created), _)| *created > after).collect()
        } else {
            match request["jobStatus"].as_str().unwrap_or("RUNNING") {
                "RUNNABLE" => return (waiting().skip(from).take(PAGE).collect(), self.waiting.len()),
                status => in_flight().filter(|(_, other)| *other == status).collect(),
            }
        };
        (all.iter().skip(from).take(PAGE).copied().collect(), all.len())
    }

    fn page(&self, request: &Value) -> (String, usize) {
        let from: usize = request["nextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
        let (page, all) = self.about(request, from);
        let mut text = "{\"jobSummaryList\":[".to_owned();
        for (index, (job, status)) in page.iter().enumerate() {
            text.push_str(if index > 0 { "," } else { "" });
            summary(&mut text, *job, status);
        }
        text.push(']');
        if from + PAGE < all {
            let _ = write!(text, ",\"nextToken\":\"{}\"", from + PAGE);
        }
        text.push('}');
        (text, page.len())
    }

    fn description(&self, request: &Value) -> String {
        let number = request["jobId"].as_str().and_then(|id| id.rsplit('-').next()).and_then(|id| id.parse().ok());
        let number: usize = number.unwrap_or(0);
        let is = |job: &&Job| job.0 == number;
        let found = self.waiting.iter().rev().find(is).map(|job| (*job, "RUNNABLE"));
        let found = found.or_else(|| {
            let place = self.in_flight.iter().position(|job| job.0 == number)?;
            Some((*self.in_flight.get(place)?, self.status_of(place)))
        });
        let found = found.or_else(|| Some((*self.ended.iter().rev().find(is)?, "SUCCEEDED")));
        let mut text = String::new();
        summary(&mut text, found.map_or((number, 0), |(job, _)| job), found.map_or("FAILED", |(_, status)| status));
        text.pop();
        text.push_str(",\"jobQueue\":\"arn:aws:batch:us-east-1:123456789012:job-queue/q\",\"schedulingPriority\":1,\"tags\":{\"owner\":\"ada\"}}");
        text
    }
}

fn summary(text: &mut String, (number, created): Job, status: &str) {
    let id = format!("5b6f1d3e-5c0a-4b7e-9d1f-{number:012}");
    let _ = write!(
        text,
        "{{\"jobId\":\"{id}\",\"jobArn\":\"arn:aws:batch:us-east-1:123456789012:service-job/{id}\",\"jobName\":\"pretrain-{number}\",\
         \"serviceJobType\":\"SAGEMAKER_TRAINING\",\"status\":\"{status}\",\"createdAt\":{created},\
         \"capacityUsage\":[{{\"capacityUnit\":\"NUM_INSTANCES\",\"quantity\":2.0}}]"
    );
    if status != "RUNNABLE" {
        let _ = write!(text, ",\"scheduledAt\":{}", created + 60_000);
    }
    if status == "RUNNING" || status == "SUCCEEDED" {
        let _ = write!(text, ",\"startedAt\":{}", created + 120_000);
    }
    if status == "SUCCEEDED" {
        let _ = write!(text, ",\"stoppedAt\":{}", created + 600_000);
    }
    text.push('}');
}

/// Requests served by the fake.
#[derive(Default)]
struct Served {
    calls: AtomicU64,
    jobs: AtomicU64,
    bytes: AtomicU64,
}

/// Serves the fake on its own thread for the life of this process.
fn serve(world: World, served: Arc<Served>) -> Result<String, Failed> {
    let (tell, reported) = std::sync::mpsc::channel();
    std::thread::spawn(move || -> Result<(), Failed> {
        let serving = async move {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            tell.send(listener.local_addr()?)?;
            let router = Router::new().fallback(answer).with_state((world, served));
            Ok(axum::serve(listener, router).await?)
        };
        Builder::new_current_thread().enable_all().build()?.block_on(serving)
    });
    Ok(format!("http://{}", reported.recv()?))
}

async fn answer(State((world, served)): State<(World, Arc<Served>)>, uri: Uri, body: Bytes) -> String {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (text, jobs) = match uri.path().rsplit('/').next().unwrap_or_default() {
        "listservicejobs" => locked(&world).page(&request),
        "describeservicejob" => (locked(&world).description(&request), 1),
        "describejobqueues" => (QUEUES.to_owned(), 0),
        "describeserviceenvironments" => (ENVIRONMENTS.to_owned(), 0),
        _ => ("{}".to_owned(), 0),
    };
    served.calls.fetch_add(1, Ordering::Relaxed);
    served.jobs.fetch_add(jobs as u64, Ordering::Relaxed);
    served.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
    text
}

const QUEUES: &str = r#"{"jobQueues":[{"jobQueueName":"q","jobQueueArn":"arn:aws:batch:us-east-1:123456789012:job-queue/q",
    "state":"ENABLED","status":"VALID","jobQueueType":"SAGEMAKER_TRAINING","priority":1,
    "serviceEnvironmentOrder":[{"order":1,"serviceEnvironment":"gpus"}]}]}"#;
const ENVIRONMENTS: &str = r#"{"serviceEnvironments":[{"serviceEnvironmentName":"gpus",
    "serviceEnvironmentType":"SAGEMAKER_TRAINING","state":"ENABLED",
    "capacityLimits":[{"maxCapacity":400,"capacityUnit":"NUM_INSTANCES"}]}]}"#;

fn locked(world: &World) -> std::sync::MutexGuard<'_, Jobs> {
    world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// CPU time of this thread; zero where the system does not provide it.
fn cpu_time() -> Duration {
    let reported = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(reported.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}
