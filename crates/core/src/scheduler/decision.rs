//! A policy's decision for a queue, one step at a time.

use crate::scheduler::Blocked;
use crate::scheduler::job_entry::Preemption;

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Dispatch this job; then decide again.
    Start(usize),
    /// Stop these jobs to free their capacity; then decide again. In-share preemption promises the capacity to a job.
    Preempt(Vec<usize>, Preemption, Option<usize>),
    /// Nothing fits.
    Wait,
}

/// Why a job can never be dispatched under the current setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The limit that it exceeds.
    pub blocked: Blocked,
    /// Status reason in AWS's wording.
    pub reason: &'static str,
}
