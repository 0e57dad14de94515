//! What an objective over first waits says, for reports; the rules that it becomes are in `objective`.

use crate::metrics::catalogue::Label;
use crate::model::matches_glob;

/// That so many of the first waits of some queues and shares are no longer than so long.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The name of its alert.
    pub name: String,
    /// How long is good, in seconds.
    pub within_seconds: f64,
    /// The part of the waits that are to be good.
    pub target: f64,
    /// Labels with globs over their values.
    pub(super) filters: Vec<(Label, String)>,
}

impl Objective {
    /// One over all queues and shares.
    pub fn over_all(name: impl Into<String>, within_seconds: f64, target: f64) -> Self {
        Self { name: name.into(), within_seconds, target, filters: Vec::new() }
    }

    /// Whether it is about a queue and share.
    pub fn is_about(&self, queue: &str, share: &str) -> bool {
        self.filters.iter().all(|(label, glob)| match *label {
            "queue" => matches_glob(glob, queue),
            "share" => matches_glob(glob, share),
            _ => false,
        })
    }
}
