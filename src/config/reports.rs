//! `reports:`: scheduled reports, and the keys that reports can group by.

use crate::config::Receiver;
use crate::config::check::Check;
use crate::config::file::{self, Every};

/// Maximum keys of a report that are named in an error.
const MAX_KEYS_NAMED: usize = 30;

/// Maximum grouping keys of a report: it has a row per combination of values.
pub const MAX_REPORT_KEYS: usize = 4;

/// Grouping keys of a report, besides tags.
pub const REPORT_KEYS: [&str; 6] = ["queue", "share", "owner", "account", "region", "instance_type"];

/// A scheduled report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledReport {
    /// Its interval.
    pub every: Every,
    /// Name of its receiver.
    pub to: String,
    /// Grouping keys.
    pub by: Vec<String>,
}

impl Check<'_> {
    pub(super) fn reports(
        &mut self,
        reports: &[file::Report],
        tags: &[String],
        receivers: &[Receiver],
    ) -> Vec<ScheduledReport> {
        let mut checked: Vec<ScheduledReport> = Vec::new();
        for (index, report) in reports.iter().enumerate() {
            let at = |key: &str| format!("reports[{index}].{key}");
            if !receivers.iter().any(|receiver| receiver.name == report.to) {
                self.problem(&at("to"), format!("there is no receiver `{}`", report.to));
            }
            self.distinct(&at("by"), &report.by);
            if report.by.len() > MAX_REPORT_KEYS {
                self.problem(&at("by"), format!("must be {MAX_REPORT_KEYS} keys at most"));
            }
            for (number, key) in report.by.iter().enumerate() {
                self.refuse(&at(&format!("by[{number}]")), check_report_key(key, tags));
            }
            let report = ScheduledReport { every: report.every, to: report.to.clone(), by: report.by.clone() };
            if checked.contains(&report) {
                self.problem(&format!("reports[{index}]"), "is a duplicate, and would be sent only once");
            }
            checked.push(report);
        }
        checked
    }
}

/// Checks a grouping key of a report.
///
/// # Errors
/// The key is unknown; the text lists the possible ones.
pub fn check_report_key(key: &str, tags: &[String]) -> Result<(), String> {
    if REPORT_KEYS.contains(&key) || tags.iter().any(|tag| tag == key) {
        return Ok(());
    }
    let all = REPORT_KEYS.iter().copied().chain(tags.iter().map(String::as_str));
    let known = all.take(MAX_KEYS_NAMED).collect::<Vec<_>>().join(", ");
    let more = (REPORT_KEYS.len() + tags.len()).saturating_sub(MAX_KEYS_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(format!(
        "unknown key `{key}`; known keys are {known}{more}. To use another job tag, add it to `tags` in the configuration"
    ))
}
