//! Reloads the rules while the service runs.
//!
//! New rules take effect when two consecutive reads return the same texts, so that a file in the middle of a write
//! has no effect. If any file is invalid, the previous rules stay in effect and the error is shown: the evaluated
//! rules are always one complete, valid set.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::service::rule_files::{RuleSources, RuleTexts, RulesError, parsed};
use trainspotter_core::rules::Rule;

/// Wall time between reads of the rule files.
const READ_INTERVAL: Duration = Duration::from_secs(5);

/// Buckets are listed once per this many reads: list requests cost money. A changed bucket is listed again at the
/// next read.
const READS_PER_LIST: u32 = 6;

/// Result of a change: new rules, or all errors in them.
pub(super) type RulesUpdate = Result<Vec<Rule>, RulesError>;

/// Watches files and buckets until `stop`, and sends changes.
pub(super) async fn follow(sources: RuleSources, news: mpsc::Sender<RulesUpdate>, stop: CancellationToken) {
    let looking = async {
        let mut watch = Watch::new(sources).await;
        for look in 1_u32.. {
            tokio::time::sleep(READ_INTERVAL).await;
            let with_buckets = look.is_multiple_of(READS_PER_LIST) || watch.is_unsettled();
            if let Some(found) = watch.look(with_buckets).await
                && news.send(found).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = looking => {}
    }
}

/// State of the file watch.
#[derive(Debug)]
struct Watch {
    sources: RuleSources,
    /// Texts of the rules in effect, or of the errors last reported.
    known: Result<RuleTexts, RulesError>,
    /// Texts of the last read.
    seen: Result<RuleTexts, RulesError>,
}

impl Watch {
    async fn new(mut sources: RuleSources) -> Self {
        let known = sources.texts(true).await;
        Self { sources, seen: known.clone(), known }
    }

    /// Whether the last read differs from the accepted text.
    fn is_unsettled(&self) -> bool {
        self.seen != self.known
    }

    /// Reads the texts. Returns a change once two consecutive reads agree.
    async fn look(&mut self, with_buckets: bool) -> Option<RulesUpdate> {
        let seen = self.sources.texts(with_buckets).await;
        let before = std::mem::replace(&mut self.seen, seen);
        if self.seen != before || self.seen == self.known {
            return None;
        }
        self.known.clone_from(&self.seen);
        Some(self.seen.clone().and_then(|texts| parsed(&texts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use trainspotter_clock::Clock;

    fn rule(name: &str) -> String {
        format!("rules: [{{ alert: {name}, metric: gpu.capacity, above: 1, annotations: {{ summary: x }} }}]\n")
    }

    async fn watching(path: &Path) -> Watch {
        let text = format!("targets: [{{ region: us-east-1 }}]\nrules: [{:?}]\n", path.display().to_string());
        let config = crate::config::load("t.yaml", &text, Path::new("."), &|_| None).unwrap();
        Watch::new(RuleSources::of(&config, Clock::real())).await
    }

    fn names(news: Option<RulesUpdate>) -> Option<Result<Vec<String>, String>> {
        let names = |rules: Vec<Rule>| rules.iter().map(|rule| rule.name().to_owned()).collect();
        news.map(|news| news.map(names).map_err(|error| error.to_string()))
    }

    #[tokio::test]
    async fn a_change_counts_once_it_stands_still_and_a_mistake_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, rule("A")).unwrap();
        let mut watch = watching(folder.path()).await;
        assert_eq!(names(watch.look(true).await), None, "nothing changed");

        std::fs::write(&file, "rules: [{ alert: ").unwrap();
        assert_eq!(names(watch.look(true).await), None, "half a file");
        std::fs::write(&file, rule("B")).unwrap();
        assert_eq!(names(watch.look(true).await), None, "it may still be half a file");
        assert_eq!(names(watch.look(true).await), Some(Ok(vec!["B".to_owned()])));
        assert_eq!(names(watch.look(true).await), None, "once");

        std::fs::write(folder.path().join("b.yaml"), rule("B")).unwrap();
        assert_eq!(names(watch.look(true).await), None);
        let reported = names(watch.look(true).await).unwrap().unwrap_err();
        assert!(reported.contains("b.yaml: another file has a rule named B too"), "{reported}");
        std::fs::write(folder.path().join("b.test.yaml"), "not rules").unwrap();
        std::fs::remove_file(folder.path().join("b.yaml")).unwrap();
        assert_eq!(names(watch.look(true).await), None);
        assert_eq!(names(watch.look(true).await), Some(Ok(vec!["B".to_owned()])), "corrected, and tests are no rules");
    }

    #[tokio::test]
    async fn a_file_that_is_gone_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, rule("A")).unwrap();
        let mut watch = watching(&file).await;
        std::fs::remove_file(&file).unwrap();
        assert_eq!(names(watch.look(true).await), None);
        assert!(names(watch.look(true).await).unwrap().unwrap_err().contains("cannot read"));
    }
}
