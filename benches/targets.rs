//! Cost of many targets compared with a single one with as many jobs: resident memory, CPU and poll delay:
//! `cargo bench --bench targets`.
//!
//! The service is a separate process, as shipped, with the rules of the repository. Fake Batch servers in this
//! process have the jobs. As in `cargo bench --bench ledger`, a tenth of the tracked jobs waits, a few run, and the
//! rest has ended: these are created during the warm-up and have ended when they are listed first, since jobs that
//! ended before the service started are not listed. Jobs arrive, are dispatched and end at the same total rate in
//! both cases. CPU time is measured after the warm-up, also per listed job and per call. Meanwhile waiting jobs are
//! described, which takes an hour and all remaining calls: for the same work, all targets together have the call
//! budget of the single one.
//!
//! The arguments `TARGETS JOBS CALLS` measure a single case, with this many calls per second in total; with `open` no
//! job has ended and all wait. `TRAINSPOTTER_WARM_UP` and `TRAINSPOTTER_MEASURED` set other durations in seconds.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Uri;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// Targets, jobs per target, and calls per second over all targets. The first case has the default budget per target.
const CASES: [(usize, usize, f64); 3] = [(64, 15_600, 64.0 * 5.0), (64, 15_600, 100.0), (1, 64 * 15_600, 100.0)];
/// Fraction of the jobs that have not ended.
const OPEN: f64 = 0.1;
/// Fraction of the warm-up in which the ended jobs end.
const ENDING: f64 = 0.6;
/// Arrivals per second, over all targets.
const ARRIVALS: f64 = 36.0;
const PAGE: usize = 100;
/// Clock ticks per second of CPU time in `/proc`.
const TICKS: f64 = 100.0;

type Failed = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let open = if std::env::args().any(|argument| argument == "open") { 1.0 } else { OPEN };
    let cases = match numbers[..] {
        [targets, jobs, calls, ..] => vec![(targets, jobs, calls as f64)],
        _ => CASES.to_vec(),
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| targets | jobs of each | open in all | kept in full in all | MB resident | most | ms of CPU a second | calls a second | jobs listed a second | longest poll interval, s |"
    )?;
    writeln!(out, "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for (targets, jobs, calls) in cases {
        writeln!(out, "{}", measure(targets, jobs, open, calls).await?)?;
        out.flush()?;
    }
    Ok(())
}

async fn measure(targets: usize, all: usize, open: f64, calls_per_second: f64) -> Result<String, Failed> {
    let folder = tempfile::tempdir()?;
    let mut watched = Vec::new();
    let seconds = |name: &str, otherwise: u64| {
        let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
        Duration::from_secs(given.unwrap_or(otherwise))
    };
    let warm_up = seconds("TRAINSPOTTER_WARM_UP", 420);
    let jobs = (all as f64 * open) as usize;
    let ended = Ended::within(warm_up.mul_f64(ENDING), all - jobs);
    let listed = Arc::<AtomicU64>::default();
    for number in 0..targets {
        let spacing = 1_000.0 * targets as f64 / ARRIVALS;
        let (began, listed) = (now() - jobs as f64 * spacing, Arc::clone(&listed));
        let world = World { account: 111_111_110_000 + number, began, spacing, jobs, ended, listed };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(answer).with_state(world);
        tokio::spawn(async move { axum::serve(listener, router).await });
        watched.push(json!({ "name": format!("t{number:02}"), "region": "us-east-1", "endpoint": endpoint }));
    }
    let (mut service, page) = start(folder.path(), &watched, calls_per_second / targets as f64).await?;
    tokio::time::sleep(warm_up).await;
    let ready = reqwest::get(format!("{page}/readyz")).await?;
    if !ready.status().is_success() {
        return Err(format!("it is not ready: {}", ready.text().await?).into());
    }
    let process = service.id().ok_or("it ended")?;
    let (measured, before, calls_before) = (seconds("TRAINSPOTTER_MEASURED", 300), cpu(process)?, calls(&page).await?);
    let (began, listed_before) = (std::time::Instant::now(), listed.load(Ordering::Relaxed));
    let mut longest: f64 = 0.0;
    while began.elapsed() < measured {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let text = reqwest::get(format!("{page}/metrics")).await?.text().await?;
        longest = values(&text, "trainspotter_poll_interval_seconds").fold(longest, f64::max);
    }
    let passed = began.elapsed().as_secs_f64();
    let (used, calls) = ((cpu(process)? - before) / passed, (calls(&page).await? - calls_before) / passed);
    let text = reqwest::get(format!("{page}/metrics")).await?.text().await?;
    let kept: f64 = values(&text, "trainspotter_ledger_jobs").sum();
    let jobs_listed = (listed.load(Ordering::Relaxed) - listed_before) as f64 / passed;
    let (resident, most) = (memory(process, "VmRSS:")?, memory(process, "VmHWM:")?);
    service.kill().await?;
    Ok(format!(
        "| {targets} | {all} | {} | {kept:.0} | {resident} | {most} | {:.0} | {calls:.1} | {jobs_listed:.0} | {longest:.1} |",
        targets * jobs,
        used * 1e3
    ))
}

async fn start(folder: &Path, targets: &[Value], calls: f64) -> Result<(Child, String), Failed> {
    let config = folder.join("trainspotter.yaml");
    let text = json!({
        "targets": targets,
        "poll": { "calls_per_second": calls },
        "rules": [concat!(env!("CARGO_MANIFEST_DIR"), "/alerts")],
        "listen": "127.0.0.1:0",
        "store": "state.db",
    });
    std::fs::write(&config, text.to_string())?;
    let mut service = Command::new(env!("CARGO_BIN_EXE_trainspotter"))
        .args(["run", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(service.stderr.take().ok_or("no stderr")?).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(address) = line.strip_prefix("listening on ") {
            let page = address.to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((service, page));
        }
    }
    Err("the service ended without an address".into())
}

/// Number of calls so far.
async fn calls(page: &str) -> Result<f64, Failed> {
    let text = reqwest::get(format!("{page}/metrics")).await?.text().await?;
    Ok(values(&text, "trainspotter_source_calls_total").sum())
}

/// Values of a metric in Prometheus' text format.
fn values<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    let of = text.lines().filter(move |line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    of.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

/// CPU seconds used by a process.
fn cpu(process: u32) -> Result<f64, Failed> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    Ok(times.sum::<f64>() / TICKS)
}

/// Megabytes in a line of a process's status.
fn memory(process: u32, name: &str) -> Result<u64, Failed> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024 / 1_000_000)
}

/// Milliseconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}

/// A queue: job N is created N spacings after it began.
#[derive(Clone, Debug)]
struct World {
    account: usize,
    /// Start, in ms since 1970.
    began: f64,
    /// Time between jobs, in ms.
    spacing: f64,
    jobs: usize,
    ended: Ended,
    /// Number of jobs on the pages of all worlds so far.
    listed: Arc<AtomicU64>,
}

/// Jobs that are created and end during the warm-up.
#[derive(Clone, Copy, Debug)]
struct Ended {
    /// Start, in ms since 1970.
    from: f64,
    /// Time between jobs, in ms.
    spacing: f64,
    jobs: usize,
}

impl Ended {
    fn within(time: Duration, jobs: usize) -> Self {
        Self { from: now(), spacing: time.as_secs_f64() * 1e3 / jobs.max(1) as f64, jobs }
    }

    /// A page of the jobs created after a time, newest first, with the token of the next page.
    fn page(&self, world: &World, after: f64, token: Option<usize>) -> Option<String> {
        let there = (((now() - self.from) / self.spacing).max(0.0) as usize).min(self.jobs);
        let first = (((after - self.from) / self.spacing).max(0.0) as usize).min(there);
        let until = token.unwrap_or(there);
        let from = until.saturating_sub(PAGE).max(first);
        let mut text = "{\"jobSummaryList\":[".to_owned();
        for number in (from..until).rev() {
            text.push_str(if number + 1 < until { "," } else { "" });
            let created = (self.from + number as f64 * self.spacing) as i64;
            world.write(&mut text, &format!("7c2e9a41-0b3d-4f6a-8e5c-{number:012}"), "SUCCEEDED", created);
            text.push_str(&format!(",\"startedAt\":{},\"stoppedAt\":{}}}", created + 1, created + 2));
        }
        // The other jobs follow.
        let next = if from > first { format!("ended {from}") } else { world.newest().to_string() };
        let _ = write!(text, "],\"nextToken\":\"{next}\"}}");
        (until > first).then_some(text)
    }
}

impl World {
    fn created(&self, number: usize) -> i64 {
        (self.began + number as f64 * self.spacing) as i64
    }

    /// Number of the newest job.
    fn newest(&self) -> usize {
        ((now() - self.began) / self.spacing) as usize
    }

    /// Numbers of waiting jobs and of jobs in flight.
    fn parts(&self) -> (usize, usize) {
        let in_flight = self.jobs / 5_000 + 1;
        (self.jobs - in_flight, in_flight)
    }

    fn status(&self, number: usize, newest: usize) -> &'static str {
        let (waiting, in_flight) = self.parts();
        match newest.saturating_sub(number) {
            age if age < waiting => "RUNNABLE",
            age if age < waiting + in_flight / 4 => "SCHEDULED",
            age if age < waiting + in_flight / 2 => "STARTING",
            age if age < waiting + in_flight => "RUNNING",
            _ => "SUCCEEDED",
        }
    }

    /// A page of a list, newest first; waiting jobs in queue order.
    fn page(&self, request: &Value) -> String {
        let newest = self.newest();
        let (waiting, in_flight) = self.parts();
        // Pages continue after the last job of the previous one, whatever has changed since.
        let token = request["nextToken"].as_str().unwrap_or_default();
        let filter = &request["filters"][0];
        let ended = token.strip_prefix("ended ").and_then(|number| number.parse::<usize>().ok());
        if filter["name"] == "AFTER_CREATED_AT"
            && (token.is_empty() || ended.is_some())
            && let Some(page) = self.ended.page(self, after(filter), ended)
        {
            return page;
        }
        let token = token.parse::<usize>().ok();
        let (from, last, wanted) = if filter["name"] == "AFTER_CREATED_AT" {
            let first = ((after(filter) - self.began) / self.spacing).max(0.0) as usize + 1;
            (token.unwrap_or(newest), first.max(1), None)
        } else {
            let status = request["jobStatus"].as_str().unwrap_or("RUNNING");
            let oldest = if status == "RUNNABLE" { newest - waiting } else { newest - waiting - in_flight };
            (token.unwrap_or(newest), oldest + 1, Some(status.to_owned()))
        };
        let mut text = "{\"jobSummaryList\":[".to_owned();
        let (mut count, mut number) = (0, from);
        while number >= last && count < PAGE {
            let status = self.status(number, newest);
            if wanted.as_ref().is_none_or(|wanted| wanted == status) {
                text.push_str(if count > 0 { "," } else { "" });
                self.summary(&mut text, number, status);
                count += 1;
            }
            number -= 1;
        }
        text.push(']');
        if number >= last {
            let _ = write!(text, ",\"nextToken\":\"{number}\"");
        }
        text.push('}');
        text
    }

    fn summary(&self, text: &mut String, number: usize, status: &str) {
        let (waiting, in_flight) = self.parts();
        let id = format!("5b6f1d3e-5c0a-4b7e-9d1f-{number:012}");
        self.write(text, &id, status, self.created(number));
        let stages = [
            ("scheduledAt", waiting, status != "RUNNABLE"),
            ("startedAt", waiting + in_flight / 2, status == "RUNNING" || status == "SUCCEEDED"),
            ("stoppedAt", waiting + in_flight, status == "SUCCEEDED"),
        ];
        for (name, later, _) in stages.iter().filter(|(.., is_there)| *is_there) {
            let _ = write!(text, ",\"{name}\":{}", self.created(number + later));
        }
        text.push('}');
    }

    /// Writes a job, except for its end.
    fn write(&self, text: &mut String, id: &str, status: &str, created: i64) {
        self.listed.fetch_add(1, Ordering::Relaxed);
        let number = id.rsplit('-').next().unwrap_or_default().trim_start_matches('0');
        let _ = write!(
            text,
            "{{\"jobId\":\"{id}\",\"jobArn\":\"arn:aws:batch:us-east-1:{}:service-job/{id}\",\"jobName\":\"pretrain-{number}\",\
             \"serviceJobType\":\"SAGEMAKER_TRAINING\",\"status\":\"{status}\",\"createdAt\":{created},\
             \"capacityUsage\":[{{\"capacityUnit\":\"NUM_INSTANCES\",\"quantity\":2.0}}]",
            self.account,
        );
    }

    fn description(&self, request: &Value) -> String {
        let number = request["jobId"].as_str().and_then(|id| id.rsplit('-').next()).and_then(|id| id.parse().ok());
        let number = number.unwrap_or(0);
        let mut text = String::new();
        self.summary(&mut text, number, self.status(number, self.newest()));
        text.pop();
        let _ = write!(
            text,
            ",\"jobQueue\":\"arn:aws:batch:us-east-1:{}:job-queue/q\",\"schedulingPriority\":1,\"tags\":{{\"owner\":\"ada\"}}}}",
            self.account
        );
        text
    }
}

/// The time of a filter, in ms since 1970.
fn after(filter: &Value) -> f64 {
    filter["values"][0].as_str().and_then(|after| after.parse().ok()).unwrap_or(0.0)
}

async fn answer(State(world): State<World>, uri: Uri, body: Bytes) -> String {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    match uri.path().rsplit('/').next().unwrap_or_default() {
        "listservicejobs" => world.page(&request),
        "describeservicejob" => world.description(&request),
        "describejobqueues" => QUEUES.replace("ACCOUNT", &world.account.to_string()),
        "describeserviceenvironments" => ENVIRONMENTS.to_owned(),
        _ if body.starts_with(b"Action=GetCallerIdentity") => IDENTITY.replace("ACCOUNT", &world.account.to_string()),
        _ => "{}".to_owned(),
    }
}

const QUEUES: &str = r#"{"jobQueues":[{"jobQueueName":"q","jobQueueArn":"arn:aws:batch:us-east-1:ACCOUNT:job-queue/q",
    "state":"ENABLED","status":"VALID","jobQueueType":"SAGEMAKER_TRAINING","priority":1,
    "serviceEnvironmentOrder":[{"order":1,"serviceEnvironment":"gpus"}]}]}"#;
const ENVIRONMENTS: &str = r#"{"serviceEnvironments":[{"serviceEnvironmentName":"gpus",
    "serviceEnvironmentType":"SAGEMAKER_TRAINING","state":"ENABLED",
    "capacityLimits":[{"maxCapacity":400,"capacityUnit":"NUM_INSTANCES"}]}]}"#;
const IDENTITY: &str = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::ACCOUNT:user/bench</Arn>\
    <UserId>AIDABENCH</UserId><Account>ACCOUNT</Account></GetCallerIdentityResult></GetCallerIdentityResponse>";
