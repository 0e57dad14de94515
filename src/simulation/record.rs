//! The record of a run, for the checks: received messages, pages shown, and silences.

use serde_json::Value;

/// One alert in a received message.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) at: f64,
    pub(super) topic: String,
    pub(super) rule: String,
    /// The alert and its start time.
    pub(super) episode: String,
    pub(super) is_resolved: bool,
    pub(super) because: String,
    /// Whether the sender got no response.
    pub(super) is_answer_lost: bool,
}

/// The contents of a process's pages.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) at: f64,
    pub(super) port: u16,
    pub(super) is_ready: bool,
    /// Whether this replica leads and can write the log, or is the only one.
    pub(super) leads: bool,
    /// Whether it believes to lead, but cannot write the log, or has not committed what it shows.
    pub(super) is_cut_off: bool,
    /// A page without a response although the process was ready.
    pub(super) refused: Option<String>,
    pub(super) jobs: Vec<Value>,
    pub(super) shares: Value,
    pub(super) waterfall: Value,
    pub(super) metrics: String,
}

/// A silence that the service has confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silenced {
    pub(super) from: f64,
    pub(super) to: f64,
}
