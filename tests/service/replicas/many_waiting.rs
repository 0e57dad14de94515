//! Many waiting jobs that do not change: how little a tick writes to the log, and that a replica that starts or takes
//! over asks AWS only for lists.
//!
//! `TRAINSPOTTER_JOBS=20000` runs with more of them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::world::{PATIENCE, Replica, World};
use crate::support::aws_proxy::{AboutJobs, AwsProxy, DESCRIBE, LIST, SNAPSHOT};

/// Waiting jobs. All of them fit into the pages that a poll lists at once.
const JOBS: usize = 1_500;

/// Other jobs, which run.
const RUNNING: usize = 20;

/// Shares, as many as a queue can have.
const SHARES: usize = 20;

/// Jobs per page of a list.
const JOBS_PER_PAGE: usize = 100;

/// The highest budget that a configuration may have.
const CALLS_PER_SECOND: u64 = 100;

/// Polls without a new description, after which jobs are described again only because of their place in the queue.
const QUIET_POLLS: usize = 3;

/// Maximum bytes of the changes of a tick in which little happened: with the tables of queues and shares, which are
/// written every half minute, and without. Measured: 5.7 KB and 4.6 KB; the figures have 3.4 KB, counters 1 KB.
const FEW_KILOBYTES: u64 = 8_000;
const WITHOUT_TABLES: u64 = 6_000;

/// Ticks that are measured.
const TICKS: usize = 8;

fn jobs() -> usize {
    std::env::var("TRAINSPOTTER_JOBS").map_or(JOBS, |text| text.parse().unwrap())
}

/// Jobs that wait for ever, and some that run for ever.
fn trace() -> String {
    let job = |number: usize| {
        let start = if number < RUNNING { "30" } else { "" };
        format!("pretrain-{number},share-{},8,{},{start},\n", number % SHARES, number % 20)
    };
    "job_id,share,num_gpu,submit_s,start_s,end_s\n".to_owned() + &(0..jobs() + RUNNING).map(job).collect::<String>()
}

async fn world() -> (World, AwsProxy) {
    let mut world = World::with_trace(&trace()).await;
    let proxy = AwsProxy::start(&world.endpoint).await;
    world.endpoint.clone_from(&proxy.endpoint);
    (world, proxy)
}

/// A replica with its own access key, whose figures carry the same name. `disk` is its folder.
async fn replica(world: &World, key: &str, disk: &str) -> Replica {
    let settings = |settings: &mut Value| {
        settings["publish"]["otlp"][0]["headers"] = json!({ "x-replica": key });
        settings["poll"]["calls_per_second"] = json!(CALLS_PER_SECOND);
    };
    let environment = [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", "simulated")];
    world.replica_with(disk, settings, &environment).await
}

/// Waits until every job has been described, and for some polls more.
async fn until_all_are_described(proxy: &AwsProxy) {
    let described =
        |requests: &[AboutJobs]| requests.iter().filter_map(|it| it.job.clone()).collect::<BTreeSet<_>>().len();
    let waiting = async {
        let mut snapshots = 0;
        loop {
            let requests = proxy.about_jobs();
            let snapshots_now = requests.iter().filter(|it| it.path == SNAPSHOT).count();
            if described(&requests) < jobs() + RUNNING {
                snapshots = snapshots_now;
            } else if snapshots_now >= snapshots + QUIET_POLLS {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Half of the budget of calls at least is for descriptions.
    let patience = PATIENCE + Duration::from_secs(u64::try_from(jobs()).unwrap() * 2 / CALLS_PER_SECOND);
    assert!(tokio::time::timeout(patience, waiting).await.is_ok(), "{} described", described(&proxy.about_jobs()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_tick_is_a_few_kilobytes_in_the_log() {
    let (world, proxy) = world().await;
    let leader = replica(&world, "first", "first").await;
    leader.leads().await;
    until_all_are_described(&proxy).await;
    let before = world.records().await.len();
    let sizes = async || -> Vec<u64> {
        let records = world.records().await;
        let after = records.iter().skip(before).map(|record| record["bytes"].as_u64().unwrap());
        after.filter(|bytes| *bytes > 0).collect()
    };
    let waiting = async {
        while sizes().await.len() < TICKS {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "ticks are written");
    let sizes = sizes().await;
    eprintln!("bytes of the records of {} ticks: {sizes:?}", sizes.len());
    assert!(sizes.iter().all(|bytes| *bytes <= FEW_KILOBYTES), "{sizes:?}");
    let without_tables = sizes.iter().filter(|bytes| **bytes <= WITHOUT_TABLES).count();
    assert!(without_tables * 2 > sizes.len(), "most ticks write no tables: {sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_or_takes_over_describes_no_job_again_and_has_figures_after_its_lists() {
    let (world, proxy) = world().await;
    let mut first = replica(&world, "first", "disk").await;
    first.leads().await;
    until_all_are_described(&proxy).await;

    // The same disk again.
    first.signal("-TERM");
    assert!(first.process.wait().await.unwrap().success());
    let mut again = replica(&world, "again", "disk").await;
    has_figures_after_its_lists(&world, &proxy, "again").await;

    // A new task, with an empty disk, after one that died.
    again.process.kill().await.unwrap();
    let mut new = replica(&world, "new", "new-disk").await;
    has_figures_after_its_lists(&world, &proxy, "new").await;

    // A follower.
    let follower = replica(&world, "follower", "other-disk").await;
    follower.follows().await;
    new.process.kill().await.unwrap();
    has_figures_after_its_lists(&world, &proxy, "follower").await;
    drop(follower);
}

/// Waits until a replica leads and publishes. Until then it has listed jobs once and described none, and afterwards it
/// describes only a few again, because of their place in the queue.
async fn has_figures_after_its_lists(world: &World, proxy: &AwsProxy, key: &str) {
    world.sink.until_published_by(key).await;
    let published = world.sink.first_published_by(key).unwrap();
    let count = |path: &str, until: Option<Instant>| {
        let requests = proxy.about_jobs().into_iter().filter(|it| it.key == key && it.path == path);
        requests.filter(|it| until.is_none_or(|until| it.at <= until)).count()
    };
    let [lists, descriptions, snapshots] = [LIST, DESCRIBE, SNAPSHOT].map(|path| count(path, Some(published)));
    eprintln!("{key}: {lists} lists, {descriptions} descriptions, {snapshots} snapshots until the first figures");
    assert_eq!(descriptions, 0, "{key}");
    // SUBMITTED, PENDING, SCHEDULED, STARTING, RUNNING and arrivals are a page each.
    let pages = jobs().div_ceil(JOBS_PER_PAGE);
    assert!((pages..=pages + 6).contains(&lists), "{key} lists once: {lists} pages for {pages}");
    assert!(snapshots <= 1, "{key} has figures after its first poll");

    let waiting = async {
        while count(SNAPSHOT, None) < snapshots + QUIET_POLLS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{key} polls");
    let again = count(DESCRIBE, None);
    assert!(again < jobs() / 3, "{key} has described {again} jobs again");
}
