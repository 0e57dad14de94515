//! Who hears of an alert, and when: matchers on labels and recurring mute windows. PURE.

use std::collections::BTreeMap;

use crate::config::Mute;
use crate::evaluate::Alert;
use crate::evaluate::matches_glob;
use crate::model::Timestamp;

/// Whether labels satisfy every matcher: a label name and a glob over its value. An absent label counts as empty.
pub fn matches(matchers: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    matchers.iter().all(|(label, glob)| matches_glob(glob, labels.get(label).map_or("", String::as_str)))
}

/// Whether a receiver with these matchers is told of an alert.
pub(crate) fn takes(matchers: &BTreeMap<String, String>, alert: &Alert) -> bool {
    matches(matchers, &alert.labels)
}

/// The name of a window in which `now` lies, if any.
pub(crate) fn muted_by(windows: &[Mute], now: Timestamp) -> Option<String> {
    windows.iter().find(|window| window.covers(now)).map(|window| format!("the mute window {window}"))
}
