//! A world with many waiting jobs that do not change.
//!
//! `TRAINSPOTTER_JOBS=20000` runs with more of them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{PATIENCE, Replica, World};
use crate::support::aws_proxy::{AboutJobs, AwsProxy, SNAPSHOT};

/// Waiting jobs. All of them fit into the pages that a poll lists at once.
const JOBS: usize = 1_500;

/// Other jobs, which run.
const RUNNING: usize = 20;

/// Shares, as many as a queue can have.
const SHARES: usize = 20;

/// The highest budget that a configuration may have.
const CALLS_PER_SECOND: u64 = 100;

/// Polls without a new description, after which jobs are described again only because of their place in the queue.
pub(super) const QUIET_POLLS: usize = 3;

pub(super) fn jobs() -> usize {
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

pub(super) async fn world() -> (World, AwsProxy) {
    let mut world = World::with_trace(&trace()).await;
    let proxy = AwsProxy::start(&world.endpoint).await;
    world.endpoint.clone_from(&proxy.endpoint);
    (world, proxy)
}

/// A replica with its own access key, whose figures carry the same name. `disk` is its folder.
pub(super) async fn replica(world: &World, key: &str, disk: &str) -> Replica {
    let settings = |settings: &mut Value| {
        settings["publish"]["otlp"][0]["headers"] = json!({ "x-replica": key });
        settings["poll"]["calls_per_second"] = json!(CALLS_PER_SECOND);
    };
    let environment = [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", "simulated")];
    world.replica_with(disk, settings, &environment).await
}

/// Waits until every job has been described, and for some polls more.
pub(super) async fn until_all_are_described(proxy: &AwsProxy) {
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
