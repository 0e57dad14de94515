//! An objective over first waits, for reports; the rules that it becomes are in `objective`.

use crate::metrics::catalogue::Label;
use crate::model::matches_glob;

/// The target fraction of first waits, in some queues and shares, within a bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Name of its alert.
    pub name: String,
    /// Bound of a good wait, in seconds.
    pub within_seconds: f64,
    /// Target fraction of good waits.
    pub target: f64,
    /// Labels and the globs that their values must match.
    pub(super) filters: Vec<(Label, String)>,
}

impl Objective {
    /// An objective over all queues and shares.
    pub fn over_all(name: impl Into<String>, within_seconds: f64, target: f64) -> Self {
        Self { name: name.into(), within_seconds, target, filters: Vec::new() }
    }

    /// Whether it covers a queue and share.
    pub fn is_about(&self, queue: &str, share: &str) -> bool {
        self.filters.iter().all(|(label, glob)| match *label {
            "queue" => matches_glob(glob, queue),
            "share" => matches_glob(glob, share),
            _ => false,
        })
    }
}
