//! Latency of the API for 50 viewers of pages over a million tracked jobs, through HTTP: `cargo bench --bench viewers`.
//!
//! The service is a separate process, as shipped, with the rules of the repository, over a fake Batch server in this
//! process: all jobs wait, in 50 shares. Each viewer does what a page in a browser does (`src/web/assets`): every 2 s
//! it asks for `/api/v1/tick`, and after a new tick for all that its page shows, at once, compressed and with the
//! ETag of what it has. Every minute it opens another page, of which it has nothing yet. Latency is measured from the
//! request to the last byte of the response, and the delay of a tick until the first viewer sees it.
//!
//! The arguments `JOBS VIEWERS` set other numbers. `TRAINSPOTTER_WARM_UP` and `TRAINSPOTTER_MEASURED` set other durations
//! in seconds.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

#[path = "support/fake_batch.rs"]
mod fake_batch;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT_ENCODING, ETAG, IF_NONE_MATCH};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use fake_batch::{ARRIVALS, Ended, Failed, World, now, serve, start, values};

const JOBS: usize = 1_000_000;
const VIEWERS: usize = 50;
const SHARES: usize = 50;
/// Calls per second that the service may make, so that it has listed all jobs soon.
const CALLS: f64 = 100.0;
/// Time between two requests for the tick, as pages have it for ticks of up to 12 s; for longer ticks theirs is longer.
const ASKS_EVERY: Duration = Duration::from_secs(2);
/// Requests for the tick until a viewer opens another page.
const STAYS: usize = 30;
/// Latency up to which a response counts as prompt.
const PROMPT: Duration = Duration::from_millis(100);
/// Recorded metrics of a queue's page and of a job's.
const OF_A_QUEUE: &str = "queue.wait.oldest,queue.wait:p50,queue.wait:p95,queue.wait.estimate,queue.waiting,gpu.part,gpu.unallocated,\
    share.quota,share.used,share.borrowed,share.lent,job.preemptions,job.failures,gpu.utilisation,queue.demand";
const OF_A_WAIT: &str = "queue.waiting,share.quota,share.used,share.borrowed,share.lent,gpu.unallocated";

/// What viewers saw: latencies and number of `304` by kind of request, bytes of bodies, ticks by their times.
#[derive(Debug, Default)]
struct Seen {
    latencies: BTreeMap<&'static str, Vec<Duration>>,
    unchanged: BTreeMap<&'static str, usize>,
    bytes: usize,
    ticks: BTreeMap<String, Instant>,
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (all, viewers) = (numbers.first().copied().unwrap_or(JOBS), numbers.get(1).copied().unwrap_or(VIEWERS));
    let seconds = |name: &str, otherwise: u64| {
        let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
        Duration::from_secs(given.unwrap_or(otherwise))
    };
    let (warm_up, measured) = (seconds("TRAINSPOTTER_WARM_UP", 420), seconds("TRAINSPOTTER_MEASURED", 300));
    // Only waiting jobs: of ended ones a service keeps no more than its limit.
    let (spacing, ended) = (1_000.0 / ARRIVALS, Ended::within(warm_up, 0));
    let began = now() - all as f64 * spacing;
    let world =
        World { account: 111_111_110_000, began, spacing, jobs: all, shares: SHARES, ended, listed: Arc::default() };
    let endpoint = serve(world.clone()).await?;
    let folder = tempfile::tempdir()?;
    let target = json!({ "name": "t", "region": "us-east-1", "endpoint": endpoint });
    let (mut service, base) = start(folder.path(), &[target], CALLS).await?;
    tokio::time::sleep(warm_up).await;
    let tracked = health(&base, &["succeeded", "runnable"]).await?;
    let (seen, client) = (Arc::<Mutex<Seen>>::default(), Client::new());
    let mut watching = JoinSet::new();
    let until = Instant::now() + measured;
    for viewer in 0..viewers {
        let (seen, client, base, world) = (Arc::clone(&seen), client.clone(), base.clone(), world.clone());
        watching.spawn(async move { watch((viewer, viewers), &client, &base, &world, &seen, until).await });
    }
    while let Some(ended) = watching.join_next().await {
        ended??;
    }
    let every = tick(&base).await?["tick_every_seconds"].as_f64().unwrap_or(0.0);
    service.kill().await?;
    let seen = std::mem::take(&mut *seen.lock().await);
    report(&seen, &tracked, viewers, measured, every)?;
    Ok(())
}

async fn tick(base: &str) -> Result<Value, Failed> {
    Ok(reqwest::get(format!("{base}/api/v1/tick")).await?.json().await?)
}

/// Number of jobs by state, as the service reports them.
async fn health(base: &str, states: &[&str]) -> Result<String, Failed> {
    let queues: Value = reqwest::get(format!("{base}/api/v1/queues")).await?.json().await?;
    let metrics = reqwest::get(format!("{base}/metrics")).await?.text().await?;
    let kept: f64 = values(&metrics, "trainspotter_ledger_jobs").sum();
    let of = |state: &&str| format!("{} {state}", queues[0]["jobs"][*state]);
    Ok(format!("{}, {kept} kept in full", states.iter().map(of).collect::<Vec<_>>().join(", ")))
}

/// One viewer: opens pages, and asks as each does in a browser.
async fn watch(
    (viewer, viewers): (usize, usize),
    client: &Client,
    base: &str,
    world: &World,
    seen: &Mutex<Seen>,
    until: Instant,
) -> Result<(), Failed> {
    tokio::time::sleep(ASKS_EVERY.mul_f64(viewer as f64 / viewers as f64)).await;
    for opened in viewer.. {
        let requests = page(opened, world);
        let mut tags: BTreeMap<String, String> = BTreeMap::new();
        let mut drawn = String::new();
        for _ in 0..STAYS {
            if Instant::now() >= until {
                return Ok(());
            }
            let next = tokio::time::sleep(ASKS_EVERY);
            let answer = ask(client, base, "tick", "tick".to_owned(), &mut tags, seen).await?;
            let at = answer.and_then(|answer| serde_json::from_slice::<Value>(&answer).ok());
            let at = at.and_then(|tick| tick["ticked_at"].as_str().map(str::to_owned));
            if let Some(at) = at.filter(|at| *at != drawn) {
                seen.lock().await.ticks.entry(at.clone()).or_insert_with(Instant::now);
                let drawn_before = std::mem::replace(&mut drawn, at);
                let mut asked = JoinSet::new();
                // History is asked for again after a 200th of its range, which is longer than a viewer stays.
                let is_due = |kind: &str| drawn_before.is_empty() || !matches!(kind, "histories" | "alerts/past");
                for (kind, path) in requests.iter().filter(|(kind, _)| is_due(kind)).cloned() {
                    let tag = tags.get(&path).cloned();
                    asked.spawn(one(client.clone(), base.to_owned(), kind, path, tag));
                }
                while let Some(answer) = asked.join_next().await {
                    note(answer??, &mut tags, seen).await;
                }
            }
            next.await;
        }
    }
    Ok(())
}

/// What a page asks for after a tick: as in its script. Each number is another page.
fn page(number: usize, world: &World) -> Vec<(&'static str, String)> {
    let share = format!("share-{}", number % SHARES);
    // Neither so new that no poll has listed it, nor so old that it leaves the queue meanwhile.
    let waiting = world.newest().saturating_sub(world.jobs / 4 + (number * 7_919) % (world.jobs / 2));
    let id = format!("5b6f1d3e-5c0a-4b7e-9d1f-{waiting:012}");
    let figures = |names: &[&'static str]| names.iter().map(|name| (*name, (*name).to_owned())).collect::<Vec<_>>();
    let of_queue =
        ["queues", "waterfall", "shares", "reasons", "loans", "waits", "estimates", "setup", "failures", "alerts"];
    let filter = match number / 6 % 6 {
        0 => format!("owner=ada&state=RUNNABLE&sort=waiting&share={share}"),
        1 => format!("name=pretrain-{}", number % 100),
        2 => "id=5b6f1d3e&state=RUNNING".to_owned(),
        3 => "reason=capacity_in_use&sort=waiting".to_owned(),
        4 => "queue=q&state=SUCCEEDED".to_owned(),
        _ => "sort=newest".to_owned(),
    };
    let past = |of: &str| format!("histories?metrics={OF_A_QUEUE}&from=-6h&fold=max&queue=q{of}");
    match number % 6 {
        0 => {
            let mut all =
                figures(&["queues", "waterfall", "alerts", "reasons", "estimates", "failures", "reserved", "setup"]);
            all.push(("jobs", "jobs?sort=waiting&limit=10".to_owned()));
            all
        }
        1 => [figures(&["queues", "shares"]), vec![("jobs", format!("jobs?{filter}&limit=50"))]].concat(),
        2 => {
            let own = [("job", format!("jobs/{id}")), ("context", format!("jobs/{id}/context"))];
            let past = ("histories", format!("histories?metrics={OF_A_WAIT}&queue=q&share={share}&from=-1h"));
            [own.to_vec(), figures(&["estimates"]), vec![past]].concat()
        }
        3 => {
            let jobs = ("jobs", "jobs?queue=q&sort=waiting&limit=10".to_owned());
            let past = [("histories", past("")), ("alerts/past", "alerts/past?from=-6h".to_owned()), jobs];
            [figures(&of_queue), past.to_vec()].concat()
        }
        4 => {
            let jobs = ("jobs", format!("jobs?queue=q&share={share}&sort=waiting&limit=10"));
            [figures(&of_queue), vec![("histories", past(&format!("&share={share}"))), jobs]].concat()
        }
        _ => figures(&["health", "service", "alerts"]),
    }
}

/// A response: kind and path of the request, its latency, and its tag and body unless nothing has changed.
struct Answered {
    kind: &'static str,
    path: String,
    took: Duration,
    tag: Option<String>,
    body: Option<Vec<u8>>,
}

async fn one(
    client: Client,
    base: String,
    kind: &'static str,
    path: String,
    tag: Option<String>,
) -> Result<Answered, Failed> {
    let encoding = if kind == "tick" { "identity" } else { "gzip" };
    let asked = client.get(format!("{base}/api/v1/{path}")).header(ACCEPT_ENCODING, encoding);
    let asked = tag.iter().fold(asked, |asked, tag| asked.header(IF_NONE_MATCH, tag));
    let began = Instant::now();
    let response = asked.send().await?;
    let status = response.status();
    let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    let body = response.bytes().await?;
    let took = began.elapsed();
    if !(status.is_success() || status == StatusCode::NOT_MODIFIED) {
        return Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&body)).into());
    }
    Ok(Answered { kind, path, took, tag, body: Some(body.to_vec()).filter(|_| status.is_success()) })
}

async fn ask(
    client: &Client,
    base: &str,
    kind: &'static str,
    path: String,
    tags: &mut BTreeMap<String, String>,
    seen: &Mutex<Seen>,
) -> Result<Option<Vec<u8>>, Failed> {
    let tag = tags.get(&path).cloned();
    let mut answer = one(client.clone(), base.to_owned(), kind, path, tag).await?;
    let body = answer.body.take();
    note(Answered { body: body.clone(), ..answer }, tags, seen).await;
    Ok(body)
}

async fn note(answer: Answered, tags: &mut BTreeMap<String, String>, seen: &Mutex<Seen>) {
    let mut seen = seen.lock().await;
    seen.latencies.entry(answer.kind).or_default().push(answer.took);
    if answer.body.is_none() {
        *seen.unchanged.entry(answer.kind).or_default() += 1;
    }
    seen.bytes += answer.body.map_or(0, |body| body.len());
    if let Some(tag) = answer.tag {
        tags.insert(answer.path, tag);
    }
}

fn report(seen: &Seen, tracked: &str, viewers: usize, measured: Duration, every: f64) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{tracked}; {viewers} viewers for {} s\n", measured.as_secs())?;
    writeln!(out, "| request | answers | unchanged | p50, ms | p99, ms | longest, ms | within 100 ms |")?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|")?;
    let all: Vec<Duration> = seen.latencies.values().flatten().copied().collect();
    let rows =
        seen.latencies.iter().map(|(kind, of)| (*kind, of.clone(), seen.unchanged.get(kind).copied().unwrap_or(0)));
    for (kind, mut of, unchanged) in rows.chain([("all", all, seen.unchanged.values().sum())]) {
        of.sort_unstable();
        let millis = |part: usize| {
            of.get((of.len() * part / 100).min(of.len().saturating_sub(1))).map_or(0.0, |took| took.as_secs_f64() * 1e3)
        };
        let prompt = of.iter().filter(|took| **took <= PROMPT).count() as f64 / of.len() as f64;
        let [p50, p99, most] = [50, 99, 100].map(millis);
        let count = of.len();
        writeln!(
            out,
            "| {kind} | {count} | {unchanged} | {p50:.1} | {p99:.1} | {most:.1} | {:.2} % |",
            prompt * 100.0
        )?;
    }
    let times: Vec<Instant> = seen.ticks.values().copied().collect();
    let apart = times.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).fold(0.0, f64::max);
    let late = (apart - every).max(0.0);
    writeln!(
        out,
        "\n{} ticks, every {every} s: the latest came {late:.2} s late ({:.1} % of the interval); {:.0} KB a second to all viewers",
        times.len(),
        late / every * 100.0,
        seen.bytes as f64 / measured.as_secs_f64() / 1e3,
    )
}
