//! An engine with one fair-share queue, jobs of it, and complete answers of AWS.

use std::time::Duration;

use super::{Engine, Saved, cadence};
use crate::model::{
    Capacity, JobDetails, JobSeen, JobStatus, Observation, Policy, Queue, ServiceEnvironment, Source, Timestamp,
    WeightedShare,
};

pub(in crate::engine) const TYPE: &str = "ml.p5.48xlarge";

pub(in crate::engine) fn minute(minutes: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(60 * minutes)
}

pub(in crate::engine) fn job(id: &str, status: JobStatus, dispatched: Option<u64>, ended: Option<u64>) -> JobSeen {
    JobSeen {
        name: format!("train-{id}").into(),
        share: Some("LOWPRI".into()),
        scheduled_at: dispatched.map(minute),
        started_at: dispatched.filter(|_| status != JobStatus::Scheduled).map(minute),
        stopped_at: ended.map(minute),
        demand: vec![Capacity::new(TYPE, 1.0)].into(),
        details: Some(Box::new(JobDetails::default())),
        ..JobSeen::new(id, "prod", status, minute(10))
    }
}

pub(in crate::engine) fn engine() -> Engine {
    let every = Duration::from_secs(30);
    Engine::new(Vec::new(), cadence(every * 30, every), Saved::default(), minute(0))
}

pub(in crate::engine) fn observations(now: Timestamp, jobs: Vec<JobSeen>) -> Vec<Observation> {
    let entry = |share: &str, weight| WeightedShare { share: share.into(), weight };
    let queue = Queue::new(
        "prod",
        Policy::FairShare {
            shares: vec![entry("HIGHPRI", 1.0), entry("LOWPRI", 4.0), entry("MIDPRI", 2.0), entry("team-*", 8.0)],
            decay: Duration::ZERO,
            reservation: 0,
        },
        Some(ServiceEnvironment {
            name: "gpus".to_owned(),
            enabled: true,
            limits: vec![Capacity::new("NUM_INSTANCES", 4.0)],
        }),
    );
    vec![
        Observation::Topology { at: now, queues: vec![queue] },
        Observation::Jobs { at: now, answered_at: now, jobs },
        Observation::Answered { source: Source::Topology, queue: None, at: now },
        Observation::Answered { source: Source::Jobs, queue: Some("prod".into()), at: now },
    ]
}
