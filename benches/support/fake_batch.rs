//! A fake AWS Batch with very many jobs, and the service as a separate process that watches it: for benchmarks of
//! the whole service.

use std::error::Error;
use std::fmt::Write as _;
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

/// Arrivals per second, over all queues.
pub const ARRIVALS: f64 = 36.0;
const PAGE: usize = 100;

pub type Failed = Box<dyn Error + Send + Sync>;

/// Starts the service, with the rules of the repository and so many calls per second to each target. Returns it and
/// its address. `TRAINSPOTTER_BINARY` starts another build, to compare it.
pub async fn start(folder: &Path, targets: &[Value], calls: f64) -> Result<(Child, String), Failed> {
    let config = folder.join("trainspotter.yaml");
    let text = json!({
        "targets": targets,
        "poll": { "calls_per_second": calls },
        "rules": [concat!(env!("CARGO_MANIFEST_DIR"), "/alerts")],
        "listen": "127.0.0.1:0",
        "store": "state.db",
    });
    std::fs::write(&config, text.to_string())?;
    let binary = std::env::var_os("TRAINSPOTTER_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_trainspotter").into());
    let mut service = Command::new(binary)
        .args(["run", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(service.stderr.take().ok_or("no stderr")?).lines();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await? {
        if let Some(address) = line.strip_prefix("listening on ") {
            let page = address.to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((service, page));
        }
        said += &line;
    }
    Err(format!("the service ended without an address: {said}").into())
}

/// Values of a metric in Prometheus' text format.
pub fn values<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    let of = text.lines().filter(move |line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    of.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

/// Milliseconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}

/// Serves the queue of `world` until the benchmark ends. Returns its address.
pub async fn serve(world: World) -> Result<String, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let router = Router::new().fallback(answer).with_state(world);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(endpoint)
}

/// A queue: job N is created N spacings after it began.
#[derive(Clone, Debug)]
pub struct World {
    pub account: usize,
    /// Start, in ms since 1970.
    pub began: f64,
    /// Time between jobs, in ms.
    pub spacing: f64,
    pub jobs: usize,
    /// Share identifiers, which jobs take in turn; with 0, jobs have none.
    pub shares: usize,
    pub ended: Ended,
    /// Number of jobs on the pages of all worlds so far.
    pub listed: Arc<AtomicU64>,
}

/// Jobs that are created and end during the warm-up.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Start, in ms since 1970.
    from: f64,
    /// Time between jobs, in ms.
    spacing: f64,
    jobs: usize,
}

impl Ended {
    pub fn within(time: Duration, jobs: usize) -> Self {
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
    pub fn newest(&self) -> usize {
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
        if let Some(share) = number.parse::<usize>().unwrap_or(0).checked_rem(self.shares) {
            let _ = write!(text, ",\"shareIdentifier\":\"share-{share}\"");
        }
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
