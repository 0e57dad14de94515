//! What a policy decides for a queue, one step at a time.

use crate::scheduler::Blocked;
use crate::scheduler::queued_job::Preemption;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Dispatch this job; then ask again.
    Start(usize),
    /// Stop these jobs, so that what they hold becomes free; then ask again. In-share preemption promises it to a job.
    Preempt(Vec<usize>, Preemption, Option<usize>),
    /// Nothing fits.
    Wait,
}

/// Why a job can never be dispatched as things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What it exceeds.
    pub blocked: Blocked,
    /// AWS's words.
    pub reason: &'static str,
}
