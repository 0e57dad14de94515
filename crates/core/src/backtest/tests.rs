//! One instance, two jobs: the second waits for the first, and the rules fire as expected.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Capacity, Policy, ServiceEnvironment};
use crate::rules::parse_rules;
use crate::scheduler::{Delays, Plan, PlannedOutcome, QueueSetup, Terms};

const TYPE: &str = "ml.p5.48xlarge";
const MINUTE: Duration = Duration::from_secs(60);

const RULES: &str = "rules:
  - { alert: Wait, metric: queue.wait.oldest, by: [queue], above: 30m, for: 5m, annotations: { summary: x } }
  - { alert: Never, metric: queue.wait.oldest, by: [queue], above: 5h, annotations: { summary: x } }
  - { alert: Idle, metric: job.gpu.utilisation, by: [name], below: 10%, for: 10m, annotations: { summary: x } }
";

fn submission(name: &str, minutes: u32, utilisation: f64) -> Submission {
    Submission {
        at: Timestamp::default(),
        name: name.to_owned(),
        queue: "prod".into(),
        share: None,
        priority: 0,
        demand: vec![Capacity::new(TYPE, 1.0)],
        tags: BTreeMap::new(),
        plan: Plan::Runs { duration: MINUTE * minutes, outcome: PlannedOutcome::Succeeds },
        terms: Terms::default(),
        utilisation,
    }
}

fn backtest(from: u32) -> Report {
    let queue = QueueSetup {
        name: "prod".into(),
        enabled: true,
        priority: 1,
        policy: Policy::Fifo,
        environment: "gpus".to_owned(),
        time_limits: Vec::new(),
    };
    let limits = vec![Capacity::new(TYPE, 1.0)];
    let environment = ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits };
    let setup =
        Setup { environments: vec![environment], queues: vec![queue], delays: Delays::NONE, ..Setup::default() };
    Backtest {
        setup,
        submissions: vec![submission("busy", 120, 0.9), submission("idle", 60, 0.0)],
        seed: 1,
        begin: Timestamp::default(),
        from: Timestamp::default() + MINUTE * from,
        to: Timestamp::default() + MINUTE * 170,
        every: MINUTE,
    }
    .run(parse_rules("a.yaml", RULES).unwrap(), |_| {})
}

fn minutes(at: Timestamp) -> f64 {
    at.seconds_since(Timestamp::default()) / 60.0
}

#[test]
fn what_rules_would_have_notified_of_is_found_with_its_times() {
    let report = backtest(0);
    let [wait] = &report.episodes["Wait"][..] else { panic!("{report:?}") };
    assert_eq!((minutes(wait.fired_at), wait.ended_at.map(minutes)), (36.0, Some(120.0)));
    assert!(report.episodes["Never"].is_empty());
    let [idle] = &report.episodes["Idle"][..] else { panic!("{report:?}") };
    assert_eq!((idle.labels["name"].as_str(), idle.ended_at), ("idle", None), "it still fires at the end");
    assert_eq!(report.timeline("Wait", 17), [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
}

#[test]
fn what_ended_before_is_left_out() {
    let report = backtest(122);
    assert!(report.episodes["Wait"].is_empty() && report.episodes["Idle"].len() == 1, "{report:?}");
}
