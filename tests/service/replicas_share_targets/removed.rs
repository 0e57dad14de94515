//! A target that is removed from the configuration of replicas: its alerts end once, by a replica that no longer
//! watches it, and not while another one does.

use std::path::PathBuf;

use super::*;
use support::hook::Hook;

const KEPT: &str = REGIONS[0];
const REMOVED: &str = REGIONS[1];

/// Replicas with a rule that fires for each target.
struct Alerting {
    world: World,
    hook: Hook,
    rules: PathBuf,
}

impl Alerting {
    async fn start() -> Self {
        let (world, hook) = (World::start().await, hook().await);
        let rules = world.folder.path().join("rules.yaml");
        std::fs::write(&rules, "rules: [{ alert: Jobs, metric: queue.jobs, above: 0, annotations: { summary: x } }]")
            .unwrap();
        Self { world, hook, rules }
    }

    /// A replica with the first targets of all, on a new disk as on ECS.
    async fn replica(&self, name: &str, targets: usize) -> Replica {
        self.world.replica_with(name, |settings| few(settings, targets, true, &self.hook.url, &self.rules)).await
    }

    /// Two replicas that watch both targets, whose alerts fire.
    async fn with_two_replicas() -> (Self, [Replica; 2]) {
        let alerting = Self::start().await;
        let replicas = [alerting.replica("first", 2).await, alerting.replica("second", 2).await];
        alerting.until_sent("firing", KEPT, 1).await;
        alerting.until_sent("firing", REMOVED, 1).await;
        alerting.world.until_all_are_led(&[&replicas[0], &replicas[1]]).await;
        alerting.until_noted(2).await;
        (alerting, replicas)
    }

    async fn until_sent(&self, status: &str, region: &str, count: usize) {
        self.hook.until(|received| sent(received, status, region) >= count).await;
    }

    /// Waits until so many targets are noted beside the logs.
    async fn until_noted(&self, count: usize) {
        let folder = self.world.log().join("targets");
        let waiting = async {
            while std::fs::read_dir(&folder).map_or(0, Iterator::count) != count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the targets of now are noted, and no others");
    }

    /// Numbers of messages: beginnings and ends of the removed target, and of the other one.
    async fn all_sent(&self) -> [usize; 4] {
        let received = self.hook.until(|_| true).await;
        let count = |status, region| sent(&received, status, region);
        [count("firing", REMOVED), count("resolved", REMOVED), count("firing", KEPT), count("resolved", KEPT)]
    }
}

fn sent(received: &Received, status: &str, region: &str) -> usize {
    received.iter().filter(|(of, alert, _)| of == status && alert["labels"]["region"] == region).count()
}

/// Stops a replica. Every line of its log names the target that it is about; only signals concern them all.
async fn stopped(mut replica: Replica) {
    replica.signal("-TERM");
    assert!(replica.process.wait().await.unwrap().success());
    while let Some(line) = replica.reported.recv().await {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["span"]["target"].is_string() || line["target"] == "trainspotter::service::signals", "{line}");
    }
}

/// Waits until one of these leads the removed target. Returns its position, and its id in the log.
async fn until_led_by_one_of(replicas: &[&Replica]) -> (usize, String) {
    let waiting = async {
        loop {
            for (position, replica) in replicas.iter().enumerate() {
                let health = replica.health().await;
                if let Some((.., leader)) = leaders(&health).find(|(target, leads, _)| target == REMOVED && *leads) {
                    return (position, leader.as_str().unwrap().split('-').next().unwrap().to_owned());
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("one leads the target")
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_a_target_that_is_removed_while_all_replicas_are_down_end_once() {
    let (alerting, [first, second]) = Alerting::with_two_replicas().await;
    stopped(second).await;
    stopped(first).await;
    let (third, fourth) = (alerting.replica("third", 1).await, alerting.replica("fourth", 1).await);
    alerting.until_sent("resolved", REMOVED, 1).await;
    alerting.until_noted(1).await;
    alerting.world.until_all_are_led(&[&third, &fourth]).await;
    stopped(third).await;
    stopped(fourth).await;
    assert_eq!(alerting.all_sent().await, [1, 1, 1, 0]);
    is_one_line(&alerting.world.log().join(REMOVED).join("records"));
}

/// A rolling deployment: two old replicas still watch the target when two new ones no longer do.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_still_watches_a_removed_target_leads_it_and_nothing_ends_before_it_stops() {
    let (alerting, old) = Alerting::with_two_replicas().await;
    let new = [alerting.replica("third", 1).await, alerting.replica("fourth", 1).await];
    for replica in &new {
        replica.until_ready().await;
    }
    let records = alerting.world.log().join(REMOVED).join("records");
    let (position, _) = until_led_by_one_of(&[&old[0], &old[1]]).await;
    let mut led = is_one_line(&records);
    let [first, second] = old;
    let (leader, other) = if position == 0 { (first, second) } else { (second, first) };
    stopped(leader).await;
    led.insert(until_led_by_one_of(&[&other]).await.1);
    assert_eq!(is_one_line(&records), led, "nobody else has led it");
    assert_eq!(alerting.all_sent().await, [1, 0, 1, 0]);

    stopped(other).await;
    alerting.until_sent("resolved", REMOVED, 1).await;
    alerting.until_noted(1).await;
    for replica in new {
        stopped(replica).await;
    }
    assert_eq!(alerting.all_sent().await, [1, 1, 1, 0]);
    is_one_line(&records);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_target_is_forgotten_even_if_its_receiver_was_removed_too() {
    let (alerting, [first, second]) = Alerting::with_two_replicas().await;
    stopped(second).await;
    stopped(first).await;
    let third = alerting.world.replica_with("third", |settings| {
        few(settings, 1, true, &alerting.hook.url, &alerting.rules);
        settings["receivers"] = json!([]);
    });
    let third = third.await;
    alerting.until_noted(1).await;
    stopped(third).await;
    assert_eq!(alerting.all_sent().await, [1, 0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_a_renamed_target_end_once_and_begin_anew_under_its_new_name() {
    let (alerting, [first, second]) = Alerting::with_two_replicas().await;
    let before = first.ids_of_alerts().await;
    stopped(second).await;
    stopped(first).await;
    let third = alerting.world.replica_with("third", |settings| {
        few(settings, 2, true, &alerting.hook.url, &alerting.rules);
        settings["targets"][1]["name"] = json!("renamed");
    });
    let third = third.await;
    alerting.until_sent("resolved", REMOVED, 1).await;
    alerting.until_sent("firing", REMOVED, 2).await;
    third.until_it_leads(2).await;
    alerting.until_noted(2).await;
    let after = third.ids_of_alerts().await;
    assert_eq!((after.len(), after.iter().filter(|id| before.contains(id)).count()), (2, 1), "{before:?} {after:?}");
    stopped(third).await;
    assert_eq!(alerting.all_sent().await, [2, 1, 1, 0]);
}
