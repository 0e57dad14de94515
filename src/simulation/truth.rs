//! The truth: the state of each job at every moment, as the AWS simulator reports it at the end.

use serde_json::Value;

use super::world::seconds;

/// A job and its true history.
#[derive(Clone, Debug)]
pub(super) struct TrueJob {
    pub(super) id: String,
    pub(super) share: String,
    pub(super) created: f64,
    /// Its states, each with its beginning.
    states: Vec<(f64, State)>,
    pub(super) first_wait: Option<f64>,
    pub(super) first_scheduled: Option<f64>,
    pub(super) preemptions: u64,
    pub(super) capacity_failures: u64,
    pub(super) is_ended: bool,
    pub(super) ended: Option<f64>,
    pub(super) has_failed: bool,
    /// Number of further dispatches.
    pub(super) requeues: u64,
    pub(super) runs: u64,
}

/// State of a job, as far as the simulator distinguishes states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Scheduled,
    Starting,
    Running,
    Succeeded,
    Failed,
}

impl State {
    /// Converts a state of AWS Batch.
    pub(super) fn of(state: &str) -> Option<Self> {
        Some(match state.to_lowercase().as_str() {
            "submitted" | "pending" | "runnable" | "waiting" => Self::Waiting,
            "scheduled" => Self::Scheduled,
            "starting" => Self::Starting,
            "running" => Self::Running,
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            _ => return None,
        })
    }
}

impl TrueJob {
    pub(super) fn of(job: &Value) -> Self {
        let spans = job["spans"].as_array().cloned().unwrap_or_default();
        let state = |span: &Value| {
            let state = State::of(span["phase"].as_str().unwrap_or_default());
            Some((seconds(&span["from"])?, state?))
        };
        let mut states: Vec<(f64, State)> = spans.iter().filter_map(state).collect();
        let status = State::of(job["status"].as_str().unwrap_or_default());
        let is_ended = matches!(status, Some(State::Succeeded | State::Failed));
        let ended = seconds(&job["stopped_at"]).or_else(|| seconds(&spans.last()?["to"]));
        states.extend(ended.filter(|_| is_ended).zip(status));
        let count = |phase: &str, least: u64| {
            let of = |span: &&Value| span["phase"] == phase && span["attempt"].as_u64() >= Some(least);
            spans.iter().filter(of).count() as u64
        };
        Self {
            id: job["id"].as_str().unwrap_or_default().to_owned(),
            share: job["share"].as_str().unwrap_or_default().to_owned(),
            created: seconds(&job["created_at"]).unwrap_or_default(),
            states,
            first_wait: job["first_wait_seconds"].as_f64(),
            first_scheduled: seconds(&job["first_scheduled_at"]),
            preemptions: job["preemptions"].as_u64().unwrap_or_default(),
            capacity_failures: job["capacity_failures"].as_u64().unwrap_or_default(),
            is_ended,
            ended: ended.filter(|_| is_ended),
            has_failed: status == Some(State::Failed),
            requeues: count("scheduled", 2),
            runs: count("running", 1),
        }
    }

    /// All states of a job between two moments.
    pub(super) fn states_between(&self, from: f64, to: f64) -> Vec<State> {
        let until = |index: usize| self.states.get(index + 1).map_or(f64::INFINITY, |(at, _)| *at);
        let spans = self.states.iter().enumerate();
        spans.filter(|(index, (at, _))| *at <= to && until(*index) >= from).map(|(_, (_, state))| *state).collect()
    }
}

/// Whether any job waited at each moment between two, and whether at any.
pub(super) fn waited(jobs: &[TrueJob], from: f64, to: f64) -> (bool, bool) {
    let mut changes: Vec<f64> = jobs.iter().flat_map(|job| job.states.iter().map(|(at, _)| *at)).collect();
    changes.retain(|at| (from..=to).contains(at));
    changes.push(from);
    changes.push(to);
    let waits = |at: f64| {
        let state = |job: &&TrueJob| job.states.iter().rfind(|(since, _)| *since <= at).map(|(_, state)| *state);
        jobs.iter().any(|job| state(&job) == Some(State::Waiting))
    };
    // Both sides of each change.
    let moments = changes.iter().flat_map(|at| [at - 0.001, *at]).filter(|at| (from..=to).contains(at));
    let waits: Vec<bool> = moments.map(waits).collect();
    (waits.iter().all(|waits| *waits), waits.iter().any(|waits| *waits))
}
