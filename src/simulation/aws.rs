//! The simulated AWS of a scenario: queue, jobs, topics, and faults.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::scenario::{Fault, FaultKind, Job, Scenario, Sharing};
use trainspotter_clock::Clock;
use trainspotter_core::model::{Capacity, Policy, QuotaShare, ServiceEnvironment, WeightedShare};
use trainspotter_core::scheduler::{
    Delays, Outage, Plan, PlannedAttempt, PlannedOutcome, QueueSetup, Quirks, RetryStrategy, Setup, Submission, Terms,
};
use trainspotter_simulator::Simulation;
use trainspotter_simulator::workload::Workload;

const TYPE: &str = "ml.p5.48xlarge";
pub(super) const QUEUE: &str = "prod";
/// The topic that fails during a topic fault.
pub(super) const FAILING_TOPIC: &str = "oncall";
pub(super) const TOPICS: [&str; 2] = [FAILING_TOPIC, "team"];

/// The account of a scenario.
pub(super) fn simulation(scenario: &Scenario, clock: Clock) -> Simulation {
    let began = clock.now();
    let environment = ServiceEnvironment {
        name: "gpus".to_owned(),
        enabled: true,
        limits: vec![Capacity::new(TYPE, f64::from(scenario.instances))],
    };
    let outages = scenario.faults.iter().filter(|fault| fault.kind == FaultKind::NoInstances).map(|fault| Outage {
        unit: TYPE.into(),
        from: began + Duration::from_secs(fault.at),
        to: Some(began + Duration::from_secs(fault.at + fault.lasts)),
    });
    let setup = Setup {
        environments: vec![environment],
        queues: vec![QueueSetup::new(QUEUE, "gpus", policy(scenario))],
        outages: outages.collect(),
        delays: Delays { capacity_retry: Duration::from_secs(60), ..Delays::TYPICAL },
        quirks: Quirks::default(),
    };
    let submissions = scenario.jobs.iter().enumerate().map(|(number, job)| {
        let at = began + Duration::from_secs(job.at);
        submission(job, format!("train-{number}"), at)
    });
    let mut submissions: Vec<Submission> = submissions.collect();
    submissions.sort_by_key(|submission| submission.at);
    let simulation = Simulation::new(Workload { setup, submissions }, scenario.seed, clock);
    for topic in TOPICS {
        simulation.create_topic(topic);
    }
    simulation
}

fn policy(scenario: &Scenario) -> Policy {
    let quota = |name: &str, limit: u32| QuotaShare {
        name: name.into(),
        enabled: true,
        limits: vec![Capacity::new(TYPE, f64::from(limit))],
        sharing: trainspotter_core::model::Sharing::LendAndBorrow { borrow_limit: None },
        in_share_preemption: false,
    };
    match scenario.policy {
        Sharing::Fifo => Policy::Fifo,
        Sharing::Fair => Policy::FairShare {
            shares: ["a", "b"].map(|share| WeightedShare { share: share.into(), weight: 1.0 }).into(),
            decay: Duration::from_secs(600),
            reservation: 0,
        },
        Sharing::Quota => Policy::QuotaShares(vec![quota("a", 1), quota("b", scenario.instances - 1)]),
    }
}

fn submission(job: &Job, name: String, at: trainspotter_core::model::Timestamp) -> Submission {
    let attempts = (0..job.attempts).map(|number| PlannedAttempt {
        duration: Duration::from_secs(job.lasts),
        outcome: if number < job.failing { PlannedOutcome::Fails("exit 1".into()) } else { PlannedOutcome::Succeeds },
    });
    Submission {
        at,
        name,
        queue: QUEUE.into(),
        share: (!job.share.is_empty()).then(|| job.share.as_str().into()),
        priority: 0,
        demand: vec![Capacity::new(TYPE, f64::from(job.instances))],
        tags: BTreeMap::new(),
        plan: Plan::Attempts(attempts.collect()),
        terms: Terms {
            retry: RetryStrategy { attempts: job.attempts, ..RetryStrategy::default() },
            ..Terms::default()
        },
        utilisation: 0.9,
    }
}

/// The simulator's request for a fault that begins now.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other faults of AWS are arranged alike")]
pub(super) fn arrangement(fault: &Fault) -> Value {
    let Fault { kind, lasts, on, by, .. } = fault;
    let lasts = format!("{lasts}s");
    match kind {
        FaultKind::Slow | FaultKind::ClockSkew | FaultKind::ListLag => {
            json!({ kind.as_str(): { "operation": on, "for": lasts, "by": format!("{by}s") } })
        }
        FaultKind::FailPage => json!({ "fail_page": { "operation": "ListServiceJobs", "for": lasts, "page": 1 } }),
        FaultKind::StaleSnapshot => json!({ "stale_snapshot": { "for": lasts } }),
        FaultKind::Topic => json!({ "topic": { "name": FAILING_TOPIC, "status": 500, "count": fault.lasts / 10 + 1 } }),
        FaultKind::UnknownInstanceType => json!({ "unknown_instance_type": "ml.p9.48xlarge" }),
        other => json!({ other.as_str(): { "operation": on, "for": lasts, "probability": 0.7 } }),
    }
}
