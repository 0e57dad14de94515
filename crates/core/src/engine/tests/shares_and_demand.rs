//! Figures of shares and queues: demand, refused jobs, and reserved capacity.

use super::Engine;
use crate::engine::tests::fixture::{TYPE, engine, job, minute, observations};
use crate::forecast::Hypothetical;
use crate::metrics::{Sample, Value};
use crate::model::{
    Capacity, JobSeen, JobStatus, Observation, Policy, Queue, QuotaShare, Reserved, ReservedKind, Sharing,
};

#[test]
fn all_shares_are_listed_and_demand_is_zero_when_nothing_waits() {
    let mut engine = engine();
    let demand = |engine: &mut Engine, minutes| {
        let frame = engine.tick(minute(minutes)).frame;
        let shares: Vec<_> = frame.shares.iter().map(|row| (row.share.to_string(), row.used, row.weight)).collect();
        let expected = [("HIGHPRI", 0.0, 1.0), ("LOWPRI", 0.0, 4.0), ("MIDPRI", 0.0, 2.0)];
        assert_eq!(shares, expected.map(|(share, used, weight)| (share.to_owned(), used, Some(weight))));
        let samples = frame.samples.iter().filter(|sample| sample.metric.name == "queue.demand");
        samples.map(|sample| sample.value.clone()).collect::<Vec<_>>()
    };
    engine.observe(observations(minute(20), vec![job("a", JobStatus::Runnable, None, None)]));
    assert_eq!(demand(&mut engine, 20), [Value::Gauge(8.0)]);
    let other = JobSeen {
        demand: vec![Capacity::new("ml.g5.xlarge", 1.0)].into(),
        ..job("b", JobStatus::Runnable, None, None)
    };
    engine.observe(observations(minute(30), vec![job("a", JobStatus::Failed, None, Some(30)), other]));
    assert_eq!(demand(&mut engine, 30), [Value::Gauge(1.0), Value::Gauge(0.0)]);
}

#[test]
fn a_job_for_a_disabled_queue_or_share_is_refused() {
    let asked = Hypothetical {
        queue: "prod".into(),
        share: Some("LOWPRI".into()),
        priority: 0,
        demand: vec![Capacity::new(TYPE, 1.0)].into(),
        name: "train".into(),
        owner: None,
    };
    let said = |change: &dyn Fn(&mut Queue)| {
        let mut engine = engine();
        let mut observations = observations(minute(1), Vec::new());
        if let Some(Observation::Topology { queues, .. }) = observations.first_mut() {
            change(&mut queues[0]);
        }
        engine.observe(observations);
        engine.check_asked(&asked)
    };
    assert_eq!(said(&|_| {}), Ok(()));
    assert_eq!(said(&|queue| queue.enabled = false), Err("queue prod is disabled: it accepts no new jobs".to_owned()));
    let quota = |enabled: bool| QuotaShare {
        name: "LOWPRI".into(),
        enabled,
        limits: vec![Capacity::new("NUM_INSTANCES", 4.0)],
        sharing: Sharing::Reserve,
        in_share_preemption: false,
    };
    assert_eq!(said(&|queue| queue.policy = Policy::QuotaShares(vec![quota(true)])), Ok(()));
    assert_eq!(
        said(&|queue| queue.policy = Policy::QuotaShares(vec![quota(false)])),
        Err("share LOWPRI of queue prod is disabled: it accepts no new jobs".to_owned())
    );
}

#[test]
fn a_training_plan_that_ends_between_two_reads_is_no_longer_reserved() {
    let mut engine = engine();
    let reserved = |name: &str, ends_at| Reserved {
        kind: ReservedKind::TrainingPlan,
        name: name.to_owned(),
        unit: "ml.p5.48xlarge".into(),
        total: Some(2.0),
        in_use: Some(1.0),
        idle: Some(1.0),
        ends_at,
    };
    let all = vec![reserved("ends", Some(minute(10))), reserved("later", Some(minute(99))), reserved("open", None)];
    engine.observe(observations(minute(1), vec![]));
    engine.observe(vec![Observation::Reserved { at: minute(1), all }]);
    for (at, expected) in [(9, 3), (10, 2), (11, 2)] {
        assert_eq!(engine.tick(minute(at)).frame.reserved.len(), expected, "at minute {at}");
    }
}

#[test]
fn the_largest_demand_is_that_of_known_sizes_and_absent_without_any() {
    let largest = |jobs: Vec<JobSeen>| {
        let mut engine = engine();
        engine.observe(observations(minute(20), jobs));
        let samples = engine.tick(minute(20)).frame.samples;
        let of_share = |sample: &&Sample| {
            sample.metric.name == "queue.demand.largest"
                && sample.labels.get("share").is_some_and(|share| **share == *"LOWPRI")
        };
        samples.iter().find(of_share).map(|sample| sample.value.clone())
    };
    let sized = |id: &str| job(id, JobStatus::Runnable, None, None);
    let unsized_job = |id: &str| JobSeen { demand: vec![].into(), ..sized(id) };
    let running = job("r", JobStatus::Running, Some(15), None);
    assert_eq!(largest(vec![running]), Some(Value::Gauge(0.0)), "nothing waits");
    assert_eq!(largest(vec![sized("a")]), Some(Value::Gauge(8.0)));
    assert_eq!(largest(vec![sized("a"), unsized_job("b")]), Some(Value::Gauge(8.0)));
    assert_eq!(largest(vec![unsized_job("b")]), None);
}
