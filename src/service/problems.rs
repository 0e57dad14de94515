//! Current problems other than AWS sources and the state file, for probes and pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::publish::Report;

/// Maximum locations of rule errors shown.
const MAX_PLACES: usize = 3;

/// The current problems.
#[derive(Debug, Default)]
pub(super) struct Problems {
    rules: Option<String>,
    archive: Option<String>,
    clock: Option<String>,
    queues: Option<String>,
    sinks: BTreeMap<Arc<str>, String>,
}

impl Problems {
    /// Sets or clears the reason why the rule files are not in effect.
    pub(super) fn set_rules(&mut self, mistakes: Option<&str>) {
        self.rules = mistakes.map(summary_line);
    }

    /// Sets or clears the archive error.
    pub(super) fn set_archive(&mut self, trouble: Option<String>) {
        self.archive = trouble;
    }

    /// Sets or clears a clock problem that cannot be corrected.
    pub(super) fn set_clock(&mut self, problem: Option<String>) {
        self.clock = problem;
    }

    /// Sets or clears the reason why not all queues are watched in time.
    pub(super) fn set_queues(&mut self, problem: Option<String>) {
        self.queues = problem;
    }

    /// Records whether a sink accepted the figures.
    pub(super) fn published(&mut self, report: &Report) {
        match &report.error {
            Some(error) => _ = self.sinks.insert(Arc::clone(&report.sink), error.to_string()),
            None => _ = self.sinks.remove(&report.sink),
        }
    }

    /// All problems, one line each.
    pub(super) fn all(&self) -> Vec<String> {
        let rules = self
            .rules
            .iter()
            .map(|rules| format!("rule files: they have errors; the previous rules stay in effect: {rules}"));
        let archive = self.archive.iter().map(|error| format!("archive: {error}"));
        let sinks = self.sinks.iter().map(|(sink, error)| format!("sink {sink}: {error}"));
        rules.chain(archive).chain(self.clock.clone()).chain(self.queues.clone()).chain(sinks).collect()
    }
}

/// Summarizes an error text with carets in one line: the first error and the locations.
pub fn summary_line(mistakes: &str) -> String {
    let mut lines = mistakes.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let places: Vec<&str> = lines.filter_map(|line| line.strip_prefix("--> ")).take(MAX_PLACES).collect();
    if places.is_empty() { first.to_owned() } else { format!("{first} ({})", places.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::SinkError;
    use trainspotter_core::rules::parse_rules;

    #[test]
    fn what_goes_wrong_is_named_until_it_is_over() {
        let mut problems = Problems::default();
        let mistakes = parse_rules("rules/a.yaml", "rules:\n  - { alertt: A }\n").unwrap_err().to_string();
        problems.set_rules(Some(&mistakes));
        let report = |error| Report { sink: "otlp".into(), error, ..Report::default() };
        problems.published(&report(Some(SinkError::Rejected { dropped: 1, reason: "no".to_owned() })));
        let all = problems.all();
        let [rules, sink] = all.as_slice() else { panic!("{all:#?}") };
        assert!(rules.contains("is missing") && rules.contains("(rules/a.yaml:2:"), "{rules}");
        assert!(sink.starts_with("sink otlp: "), "{sink}");

        problems.set_rules(None);
        problems.published(&report(None));
        assert_eq!(problems.all(), Vec::<String>::new());
    }
}
