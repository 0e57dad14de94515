//! A seeded synthetic workload: what the demo shows when nobody brings a trace.

use std::time::Duration;

use crate::model::Timestamp;
use crate::scheduler::Setup;
use crate::scheduler::Submission;

/// Queues and the jobs that will be submitted to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The queues.
    pub setup: Setup,
    /// The jobs, in the order of submission.
    pub submissions: Vec<Submission>,
}

/// `length` of work from `start` on, the same for equal seeds.
pub fn synthetic(_seed: u64, _start: Timestamp, _length: Duration) -> Workload {
    Workload { setup: Setup::default(), submissions: Vec::new() }
}
