//! Submitted jobs and their planned course.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Capacity;
use crate::model::QueueName;
use crate::model::ShareName;
use crate::model::Timestamp;

/// A job to submit.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// Time of submission.
    pub at: Timestamp,
    /// The job's name; need not be unique.
    pub name: String,
    /// Queue.
    pub queue: QueueName,
    /// The quota share or share identifier; `None` exactly for FIFO queues.
    pub share: Option<ShareName>,
    /// Higher goes first within a share.
    pub priority: i32,
    /// Instances per type, held from dispatch to end. Fractions round up.
    pub demand: Vec<Capacity>,
    /// Tags, such as `owner`.
    pub tags: BTreeMap<String, String>,
    /// Its planned course.
    pub plan: Plan,
    /// Retries, timeouts and the like.
    pub terms: Terms,
    /// Mean utilisation of each GPU while the job runs, 0 to 1.
    pub utilisation: f64,
}

/// Retries and timeouts of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// When a failed attempt is retried (`retryStrategy`).
    pub retry: RetryStrategy,
    /// Maximum run time of one attempt (`timeoutConfig`); `None` means unlimited. An attempt that timed out is not
    /// retried.
    pub attempt_timeout: Option<Duration>,
    /// How often the job is requeued after a preemption; the next one ends it. `None` means unlimited, 0 ends it at
    /// the first.
    pub preemption_retries: Option<u32>,
    /// Number of first dispatches that find no instances at the provider: part of the plan.
    pub capacity_failures: u32,
}

/// When a failed attempt is retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryStrategy {
    /// Maximum attempts, 1 to 10, not counting preemptions and lack of instances.
    pub attempts: u32,
    /// The first matching rule decides; if none matches, the attempt is retried.
    pub rules: Vec<ExitRule>,
}

/// One entry of `evaluateOnExit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitRule {
    /// The status reason; a trailing `*` matches any suffix.
    pub on_status_reason: String,
    /// Action on a match.
    pub action: ExitAction,
}

/// Action for a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitAction {
    /// Retry, if attempts are left.
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
    /// Whether a job may retry after `attempts_made` attempts, the last of which failed with this reason.
    pub fn allows(&self, attempts_made: usize, status_reason: &str) -> bool {
        let rule = self.rules.iter().find(|rule| rule.matches(status_reason));
        attempts_made < self.attempts as usize && rule.is_none_or(|rule| rule.action == ExitAction::Retry)
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

/// Planned course of a job, known only to the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Waits for its dispatch, then runs. A preempted or retried job starts over.
    Runs {
        /// How long one attempt stays RUNNING.
        duration: Duration,
        /// How it ends.
        outcome: PlannedOutcome,
    },
    /// As `Runs`, with a plan per attempt; the last one applies to all further attempts. Preempted attempts do not
    /// count.
    Attempts(Vec<PlannedAttempt>),
    /// Waits for its dispatch; then SageMaker rejects it with this status reason. It fails without an attempt and is
    /// not retried.
    Refused(String),
    /// Happens exactly as recorded, whatever the capacity.
    Recorded {
        /// Start of the run; `None` means never.
        start: Option<Timestamp>,
        /// End; `None` means never. A job that ends without a start was cancelled while waiting.
        end: Option<Timestamp>,
        /// How it ends, if it started.
        outcome: PlannedOutcome,
    },
}

/// Plan of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedAttempt {
    /// How long it stays RUNNING.
    pub duration: Duration,
    /// How it ends.
    pub outcome: PlannedOutcome,
}

/// How an attempt ends unless something else ends it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedOutcome {
    /// It succeeds.
    Succeeds,
    /// It fails, with this status reason.
    Fails(String),
}

impl Plan {
    /// Waits and never starts.
    pub const NEVER: Self = Self::Recorded { start: None, end: None, outcome: PlannedOutcome::Succeeds };

    /// Planned outcome of the attempt after `attempts_before` others.
    pub fn outcome(&self, attempts_before: usize) -> &PlannedOutcome {
        match self {
            Self::Runs { outcome, .. } | Self::Recorded { outcome, .. } => outcome,
            Self::Refused(_) => &PlannedOutcome::Succeeds,
            Self::Attempts(attempts) => attempts
                .get(attempts_before)
                .or(attempts.last())
                .map_or(&PlannedOutcome::Succeeds, |attempt| &attempt.outcome),
        }
    }

    /// Planned run time of that attempt; `None` if a record determines its end.
    pub fn duration(&self, attempts_before: usize) -> Option<Duration> {
        match self {
            Self::Runs { duration, .. } => Some(*duration),
            Self::Attempts(attempts) => Some(
                attempts.get(attempts_before).or(attempts.last()).map_or(Duration::ZERO, |attempt| attempt.duration),
            ),
            Self::Refused(_) | Self::Recorded { .. } => None,
        }
    }

    /// Whether it follows a record rather than the queue.
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
