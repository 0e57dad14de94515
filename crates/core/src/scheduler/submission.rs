//! What people submit, and what will become of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Capacity;
use crate::model::QueueName;
use crate::model::ShareName;
use crate::model::Timestamp;

/// A job that someone submits.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// When.
    pub at: Timestamp,
    /// The job's name; need not be unique.
    pub name: String,
    /// Where to.
    pub queue: QueueName,
    /// The quota share or share identifier; `None` exactly for FIFO queues.
    pub share: Option<ShareName>,
    /// Higher goes first within a share.
    pub priority: i32,
    /// Instances per type, held from dispatch to end. Fractions round up.
    pub demand: Vec<Capacity>,
    /// Tags, such as `owner`.
    pub tags: BTreeMap<String, String>,
    /// What will happen to it.
    pub plan: Plan,
    /// Retries, timeouts and the like.
    pub terms: Terms,
    /// The mean fraction of each GPU in use while the job runs, 0 to 1.
    pub utilisation: f64,
}

/// How a job wants to be treated when things go wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// What happens after an attempt has failed (`retryStrategy`).
    pub retry: RetryStrategy,
    /// The longest that one attempt may run (`timeoutConfig`); `None` is for ever. An attempt that ran out of time is
    /// not tried again.
    pub attempt_timeout: Option<Duration>,
    /// How often the job goes back to the queue after a preemption; the next one ends it. `None` is for ever, 0 ends it
    /// at the first.
    pub preemption_retries: Option<u32>,
    /// The first so many dispatches find no instances at the provider: part of the job's fate.
    pub capacity_failures: u32,
}

/// When a failed attempt is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryStrategy {
    /// How often the job may become RUNNABLE, 1 to 10, not counting preemptions and lack of instances.
    pub attempts: u32,
    /// The first rule that matches decides; if none does, the attempt is tried again.
    pub rules: Vec<ExitRule>,
}

/// One of `evaluateOnExit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitRule {
    /// The status reason; a `*` at the end stands for whatever follows.
    pub on_status_reason: String,
    /// What to do then.
    pub action: ExitAction,
}

/// What to do about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitAction {
    /// Try again, if attempts are left.
    Retry,
    /// Fail.
    Exit,
}

impl Default for RetryStrategy {
    fn default() -> Self {
        Self { attempts: 1, rules: Vec::new() }
    }
}

impl RetryStrategy {
    /// Whether a job whose `made`th attempt failed with this reason may try again.
    pub fn allows(&self, made: usize, status_reason: &str) -> bool {
        let rule = self.rules.iter().find(|rule| rule.matches(status_reason));
        made < self.attempts as usize && rule.is_none_or(|rule| rule.action == ExitAction::Retry)
    }
}

impl ExitRule {
    fn matches(&self, status_reason: &str) -> bool {
        match self.on_status_reason.strip_suffix('*') {
            Some(prefix) => status_reason.starts_with(prefix),
            None => status_reason == self.on_status_reason,
        }
    }
}

/// The fate of a job, known only to the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Waits until it is dispatched, then runs. A preempted job begins again from nothing, and so does one that is tried
    /// again.
    Runs {
        /// How long one attempt stays RUNNING.
        duration: Duration,
        /// How it ends.
        outcome: PlannedOutcome,
    },
    /// The same, with a fate for each attempt: the first for the first, and so on; further ones fare as the last.
    /// Preempted attempts do not count.
    Attempts(Vec<PlannedAttempt>),
    /// Waits until it is dispatched; then SageMaker refuses it with this status reason. It fails without an attempt and is not
    /// tried again.
    Refused(String),
    /// Happens exactly as recorded, whatever the capacity.
    Recorded {
        /// When it starts to run; `None` is never.
        start: Option<Timestamp>,
        /// When it ends; `None` is never. A job that ends without a start was cancelled while it waited.
        end: Option<Timestamp>,
        /// How it ends, if it started.
        outcome: PlannedOutcome,
    },
}

/// The fate of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedAttempt {
    /// How long it stays RUNNING.
    pub duration: Duration,
    /// How it ends.
    pub outcome: PlannedOutcome,
}

/// How an attempt ends if nobody interferes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedOutcome {
    /// Well.
    Succeeds,
    /// Badly, with this status reason.
    Fails(String),
}

impl Plan {
    /// Waits and never starts.
    pub const NEVER: Self = Self::Recorded { start: None, end: None, outcome: PlannedOutcome::Succeeds };

    /// How the attempt ends that comes after `made` others, if nobody interferes.
    pub fn outcome(&self, made: usize) -> &PlannedOutcome {
        match self {
            Self::Runs { outcome, .. } | Self::Recorded { outcome, .. } => outcome,
            Self::Refused(_) => &PlannedOutcome::Succeeds,
            Self::Attempts(attempts) => {
                attempts.get(made).or(attempts.last()).map_or(&PlannedOutcome::Succeeds, |attempt| &attempt.outcome)
            }
        }
    }

    /// How long that attempt runs; `None` if a record tells when it ends.
    pub fn duration(&self, made: usize) -> Option<Duration> {
        match self {
            Self::Runs { duration, .. } => Some(*duration),
            Self::Attempts(attempts) => {
                Some(attempts.get(made).or(attempts.last()).map_or(Duration::ZERO, |attempt| attempt.duration))
            }
            Self::Refused(_) | Self::Recorded { .. } => None,
        }
    }

    /// Whether it follows a record instead of the queue.
    pub fn is_recorded(&self) -> bool {
        match self {
            Self::Recorded { .. } => true,
            Self::Runs { .. } | Self::Attempts(_) | Self::Refused(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides_and_none_means_again() {
        let rule = |pattern: &str, action| ExitRule { on_status_reason: pattern.to_owned(), action };
        let rules = vec![
            rule("Received status from SageMaker: Internal*", ExitAction::Retry),
            rule("exact", ExitAction::Exit),
            rule("Received*", ExitAction::Exit),
        ];
        let table = [
            ("Received status from SageMaker: InternalServerError: try again", true),
            ("Received status from SageMaker: AlgorithmError", false),
            ("exact", false),
            ("exactly", true),
            ("something else", true),
        ];
        let strategy = RetryStrategy { attempts: 3, rules };
        for (reason, expected) in table {
            assert_eq!(strategy.allows(2, reason), expected, "{reason}");
            assert!(!strategy.allows(3, reason), "no attempts are left");
        }
        assert!(!RetryStrategy::default().allows(1, "anything"));
        let all = RetryStrategy { attempts: 2, rules: vec![rule("*", ExitAction::Exit)] };
        assert!(!all.allows(1, "anything"));
    }
}
