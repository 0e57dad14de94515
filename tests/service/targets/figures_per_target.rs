//! Totals of each account and region: equal to its own truth, and consistent with the conservation laws in every
//! tick.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use trainspotter_core::metrics::{Distribution, Frame, Value as Figure};

use super::{Cloud, PLACES, Running, files};
use crate::support::read_frames::ticks;
use serde_json::Value;

/// On a busy machine all jobs may have ended after fewer.
const LEAST_TICKS: usize = 11;

fn succeeded(rows: &Value) -> u64 {
    rows.as_array().unwrap().iter().map(|row| row["jobs"]["succeeded"].as_u64().unwrap_or_default()).sum()
}

/// Conservation laws of an account and region as displayed: the parts of a queue's capacity sum to it, and each wait
/// is in one bucket.
async fn obeys_the_laws(running: &Running, account: &str, region: &str) {
    let place = format!("account={account}&region={region}");
    for row in running.api(&format!("/api/v1/waterfall?{place}")).await.as_array().unwrap() {
        assert_eq!((&row["account"], &row["region"]), (&json!(account), &json!(region)));
        let parts: f64 = row["parts"].as_object().unwrap().values().map(|part| part.as_f64().unwrap()).sum();
        if let Some(capacity) = row["capacity_gpus"].as_f64() {
            assert!((parts - capacity).abs() < 1e-6, "{row}");
        }
    }
    // A single response is one tick of each target.
    let text = running.get("/metrics").await.1;
    let sum = |name: &str, more: &str| -> f64 {
        let of = text.lines().filter(|line| {
            line.starts_with(&format!("{name}{{"))
                && line.contains(&format!("account=\"{account}\""))
                && line.contains(&format!("region=\"{region}\""))
                && line.contains(more)
        });
        of.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    let waits = sum("trainspotter_queue_wait_seconds_count", "");
    let buckets = sum("trainspotter_queue_wait_seconds_bucket", "le=\"+Inf\"");
    assert!((waits - buckets).abs() < 0.5, "{waits} waits, {buckets} in buckets");
    let (capacity, parts) = (sum("trainspotter_gpu_capacity_gpus", ""), sum("trainspotter_gpu_part_gpus", ""));
    assert!((capacity - parts).abs() < 1e-6, "{capacity} GPUs, {parts} in parts");
}

/// Values of a metric, summed by queue if it has that label, over the series with a label value.
fn by_queue(frame: &Frame, name: &str, only: Option<(&str, &str)>) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for sample in frame.samples.iter().filter(|sample| sample.metric.name == name) {
        let is_meant = only.is_none_or(|(label, value)| sample.labels.get(label).is_some_and(|is| **is == *value));
        if let (true, Figure::Gauge(value) | Figure::Counter(value)) = (is_meant, &sample.value) {
            let queue = sample.labels.get("queue").map(ToString::to_string).unwrap_or_default();
            *sums.entry(queue).or_insert(0.0) += value;
        }
    }
    sums
}

/// Conservation laws in every stored tick of a target.
fn obey_the_laws_in_every_tick(file: &Path) {
    let ticks = ticks(file);
    assert!(ticks.len() >= LEAST_TICKS, "{file:?}: {}", ticks.len());
    let mut ended = 0.0;
    for frame in &ticks {
        let at = frame.at;
        let are_equal = |name: &str, one: BTreeMap<String, f64>, other: BTreeMap<String, f64>| {
            let is_close = |(queue, sum): (&String, &f64)| (other[queue] - sum).abs() < 1e-6;
            assert!(one.len() == other.len() && one.iter().all(is_close), "{file:?} {at} {name}: {one:?} {other:?}");
        };
        are_equal("parts", by_queue(frame, "gpu.capacity", None), by_queue(frame, "gpu.part", None));
        let unallocated = by_queue(frame, "gpu.part", Some(("part", "unallocated")));
        are_equal("causes", by_queue(frame, "gpu.unallocated", None), unallocated);
        are_equal("loans", by_queue(frame, "share.borrowed", None), by_queue(frame, "share.lent", None));
        for sample in &frame.samples {
            if let Figure::Distribution(Distribution { buckets, count, .. }) = &sample.value {
                assert_eq!(buckets.iter().sum::<u64>(), *count, "{file:?} {at} {}", sample.metric.name);
            }
        }
        let jobs: f64 = by_queue(frame, "queue.jobs", None).values().sum();
        let tracked: f64 = by_queue(frame, "ledger.jobs", None).values().sum();
        assert!(jobs <= tracked, "{file:?} {at}: {jobs} jobs in states, {tracked} tracked");
        let ended_now: f64 = by_queue(frame, "job.ended", None).values().sum();
        assert!(ended_now >= ended, "{file:?} {at}: {ended_now} have ended, and {ended} before");
        ended = ended_now;
    }
    assert!(ended > 0.0, "{file:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_and_region_matches_its_own_truth() {
    let cloud = Cloud::start().await;
    let running = Running::start(cloud.config(cloud.targets()), &cloud).await;
    for (account, region, count) in PLACES {
        running
            .until("every job of an account and region has ended", || async {
                for (account, region, _) in PLACES {
                    obeys_the_laws(&running, account, region).await;
                }
                let path = format!("/api/v1/queues?account={account}&region={region}");
                succeeded(&running.api(&path).await) == count as u64
            })
            .await;
        let place = format!("account={account}&region={region}");
        let queues = running.api(&format!("/api/v1/queues?{place}")).await;
        let truth = cloud.truth(account, region).await;
        assert_eq!(queues[0]["jobs"], truth["queues"][0]["jobs"]);
        assert!(queues.as_array().unwrap().iter().all(|row| row["account"] == account && row["region"] == region));
        let waits = running.api(&format!("/api/v1/waits?{place}")).await;
        assert_eq!(waits[0]["count"], truth["waits"][0]["count"], "{waits} {truth}");
        assert!(
            (waits[0]["mean_seconds"].as_f64().unwrap() - truth["waits"][0]["mean_seconds"].as_f64().unwrap()).abs()
                < 1.0
        );
        let jobs = running.api(&format!("/api/v1/jobs?limit=500&{place}")).await;
        assert_eq!(jobs["jobs"].as_array().unwrap().len(), count);
        // Ends are counted once no list can lag behind them.
        running
            .until("the ends of an account and region are counted", || async {
                let text = running.get("/metrics").await.1;
                text.lines().any(|line| {
                    line.starts_with("trainspotter_job_ended_total{")
                        && line.contains("\"succeeded\"")
                        && line.contains(&format!("account=\"{account}\""))
                        && line.contains(&format!("region=\"{region}\""))
                        && line.ends_with(&format!(" {count}"))
                })
            })
            .await;
    }
    // All jobs, page by page, each once.
    let (mut ids, mut after) = (std::collections::BTreeSet::new(), String::new());
    loop {
        let page = running.api(&format!("/api/v1/jobs?limit=7{after}")).await;
        for job in page["jobs"].as_array().unwrap() {
            assert!(ids.insert(job["id"].as_str().unwrap().to_owned()), "{job} twice");
        }
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(ids.len(), PLACES.iter().map(|(_, _, count)| count).sum::<usize>());
    let names = ["state.210987654321+eu-west-1.db", "state.210987654321+us-east-1.db", "state.us-east-1.db"];
    assert_eq!(files(cloud.folder.path()), names);
    running
        .until("enough ticks are stored", || async {
            names.iter().all(|name| ticks(&cloud.folder.path().join(name)).len() >= LEAST_TICKS)
        })
        .await;
    running.stop().await;
    for name in names {
        obey_the_laws_in_every_tick(&cloud.folder.path().join(name));
    }
}
