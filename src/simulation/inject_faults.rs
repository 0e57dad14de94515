//! Events of a run: AWS faults, clock steps, changed rules, silences.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::aws;
use super::network::{ask, post};
use super::record::Silenced;
use super::scenario::{Fault, FaultKind};
use super::world::{self, Shared};

/// The rule that the checks evaluate on the truth themselves.
pub(super) const WAITS: &str = "Waits";

const RULES: &str = r#"rules:
  - alert: Waits
    metric: queue.jobs
    by: [queue]
    where: { state: runnable }
    fold: sum
    above: 0
    for: 1m
    labels: { severity: page }
    annotations: { summary: "{{ value }} jobs wait" }
  - alert: Ended
    metric: job.ended
    increase: 5m
    by: [queue]
    fold: sum
    above: 1
    labels: { severity: info }
    annotations: { summary: "{{ value }} jobs ended" }
"#;

const ANOTHER: &str = r#"  - alert: Another
    metric: queue.jobs
    by: [queue]
    where: { state: running }
    fold: sum
    above: 100
    annotations: { summary: "never" }
"#;

fn rules_file(world: &Shared) -> PathBuf {
    world.lock().unwrap().folder.path().join("rules.yaml")
}

/// Writes the initial rules.
pub(super) fn write_rules(world: &Shared) {
    std::fs::write(rules_file(world), RULES).unwrap();
}

/// Starts and ends a fault at its times.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other faults are asked for where they have an effect")]
pub(super) async fn begin_fault(world: Shared, fault: Fault) {
    tokio::time::sleep(Duration::from_secs(fault.at)).await;
    tracing::debug!(fault = fault.kind.as_str(), "begins");
    let aws = world.lock().unwrap().aws.clone();
    match fault.kind {
        kind if kind.is_of_aws() => {
            let (status, text) = ask(aws, post("/_sim/faults", &aws::arrangement(&fault))).await;
            assert_eq!(status, 200, "{text}");
        }
        FaultKind::ClockStep => {
            world::step(fault.replica, fault.by);
            tokio::time::sleep(Duration::from_secs(fault.lasts)).await;
            world::step(fault.replica, -fault.by);
        }
        FaultKind::RulesChanged => std::fs::write(rules_file(&world), format!("{RULES}{ANOTHER}")).unwrap(),
        FaultKind::RulesBroken => {
            let file = rules_file(&world);
            let before = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, "rules: [{ alert: ").unwrap();
            tokio::time::sleep(Duration::from_secs(fault.lasts)).await;
            std::fs::write(&file, before).unwrap();
        }
        FaultKind::Silence => silence(&world, fault.lasts).await,
        _ => {}
    }
}

/// Silences the rule about waits, as soon as a replica accepts it.
async fn silence(world: &Shared, lasts: u64) {
    let wanted =
        json!({ "matchers": [format!("alertname={WAITS}")], "duration_seconds": lasts, "comment": "simulated" });
    for _ in 0..60 {
        let pages = world.lock().unwrap().pages.clone();
        for page in pages {
            let asked = world.lock().unwrap().passed();
            let (status, _) = ask(page.router, post("/api/v1/silences", &wanted)).await;
            if status == 201 {
                // It begins when the service receives the request, which waits for the disk.
                let mut world = world.lock().unwrap();
                let from = world.passed();
                world.silenced.push(Silenced { from, to: asked + lasts as f64 });
                return;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
