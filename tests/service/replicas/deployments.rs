//! Deployments as ECS does them, several in a row while alerts begin and end: new tasks first, then SIGTERM to all
//! old ones at once. Nothing is sent twice, nothing is missing, and figures are published all the time.
//!
//! `TRAINSPOTTER_SEED=N` selects other moments, `TRAINSPOTTER_DEPLOYMENTS=N` more or fewer of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{PATIENCE, POLL, RECORDED_JOBS, Replica, TURN, World, is_one_line, verify};
use super::{BUSY, number};
use crate::support::hook::Received;

/// Shares with a job each, which runs and pauses in turn.
const SHARES: u64 = 6;

/// Turns of each share.
const TURNS: u64 = 40;

/// Running tasks of the service.
const TASKS: usize = 2;

/// Notifications during each deployment, at least.
const DURING: usize = 3;

/// Maximum time between the two ends of a hand-over on a busy machine. One second if nothing else runs.
const HAND_OVER: i64 = 5;

/// In each share one job after another. Some share begins or ends a turn every other second.
fn jobs_in_turn() -> String {
    let job = |share: u64, turn: u64| {
        let start = 5 + share * TURN * 2 / SHARES + turn * TURN * 2;
        format!("j{share}-{turn},share-{share},8,{},{start},{}\n", start - 2, start + TURN)
    };
    let jobs = (0..SHARES).flat_map(|share| (0..TURNS).map(move |turn| job(share, turn)));
    RECORDED_JOBS.to_owned() + &jobs.collect::<String>()
}

/// A replica with an alert per share.
async fn replica(world: &World, name: &str) -> Replica {
    let text = "rules: [{ alert: Runs, metric: queue.jobs, where: { state: running }, by: [queue, share], above: 0, no_data: ok,
        annotations: { summary: runs } }]";
    let rules = world.file("per-share.yaml", text);
    world.replica_with(name, |settings| settings["rules"] = json!([rules]), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_in_a_row_lose_and_double_nothing_and_leave_no_gap() {
    let (seed, deployments) = (number("TRAINSPOTTER_SEED", 1), number("TRAINSPOTTER_DEPLOYMENTS", 4));
    eprintln!("seed {seed}, {deployments} deployments");
    let mut dice = seed;
    let mut roll = |below: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % below
    };
    let world = World::with_trace(&jobs_in_turn()).await;
    let leader = replica(&world, "0-0").await;
    leader.leads().await;
    let other = replica(&world, "0-1").await;
    other.follows().await;
    let mut old = vec![leader, other];
    world.hook.until(|received| !received.is_empty()).await;
    for deployment in 1..=deployments {
        let before = world.hook.until(|_| true).await.len();
        let mut new = Vec::new();
        for task in 0..TASKS {
            new.push(replica(&world, &format!("{deployment}-{task}")).await);
        }
        for replica in &new {
            replica.follows().await;
        }
        // Alerts begin and end, and any moment of a poll.
        world.hook.until(|received| received.len() >= before + DURING).await;
        tokio::time::sleep(Duration::from_millis(roll(5_000))).await;
        old.iter().for_each(|replica| replica.signal("-TERM"));
        for replica in &mut old {
            let ended = tokio::time::timeout(PATIENCE, replica.process.wait()).await.unwrap().unwrap();
            assert!(ended.success(), "{ended}");
        }
        one_leads(&new).await;
        old = new;
    }
    // Each share twice more.
    let more = world.hook.until(|_| true).await.len() + 4 * usize::try_from(SHARES).unwrap();
    let received = world.hook.until(|received| received.len() >= more).await;
    verify_each_share(&received);
    let records = world.records().await;
    is_one_line(&records);
    assert!(verify_hand_overs(&records) >= deployments, "each deployment hands over");
    let gap = world.sink.longest_gap();
    eprintln!("{} notifications; longest time without figures: {gap:?}", received.len());
    assert!(gap < POLL + BUSY, "figures are missing for {gap:?}");
}

/// Waits until one of these replicas leads.
async fn one_leads(replicas: &[Replica]) {
    let leading = async {
        loop {
            for replica in replicas {
                if replica.health().await.is_some_and(|health| health["replica"]["leads"] == true) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, leading).await.is_ok(), "nobody leads");
}

/// Of each share every turn is heard, from start to end, once.
fn verify_each_share(received: &Received) {
    let mut by_share: BTreeMap<&str, Received> = BTreeMap::new();
    for one in received {
        by_share.entry(one.1["labels"]["share"].as_str().unwrap()).or_default().push(one.clone());
    }
    assert_eq!(by_share.len(), usize::try_from(SHARES).unwrap(), "{:?}", by_share.keys());
    for (share, received) in by_share {
        verify(&received, false);
        let starts = received.iter().filter(|(status, ..)| status == "firing");
        let starts: Vec<jiff::Timestamp> =
            starts.map(|(_, alert, _)| alert["startsAt"].as_str().unwrap().parse().unwrap()).collect();
        // The first one may have begun before anybody watched.
        for pair in starts.windows(2).skip(1) {
            let apart = (pair[1] - pair[0]).total(jiff::Unit::Second).unwrap();
            let usual = Duration::from_secs(TURN * 2).as_secs_f64();
            // A turn that nobody heard of would double it, and one that was split would halve it.
            let late = (POLL + BUSY).as_secs_f64();
            assert!((apart - usual).abs() < late, "{share}: {apart} s apart: {starts:?}");
        }
    }
}

/// Hand-overs, each followed at once by a new leader.
fn verify_hand_overs(records: &[Value]) -> u64 {
    let at = |record: &Value| record["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let mut count = 0;
    for pair in records.windows(2).filter(|pair| pair[0]["purpose"] == "hand_over") {
        assert_eq!(pair[1]["purpose"], "take_over");
        let gap = at(&pair[1]) - at(&pair[0]);
        assert!(gap.get_seconds() < HAND_OVER, "{gap}");
        count += 1;
    }
    count
}
