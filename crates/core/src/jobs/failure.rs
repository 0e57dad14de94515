//! Who can fix a failure, classified by AWS's status reasons.
//!
//! A status reason begins with AWS's text and continues with the job's: an algorithm's output, an exception of some
//! library. Only its beginning is classified; any other beginning is attributed to the job's own code:
//!
//! | begins with | category |
//! |---|---|
//! | `CAPACITY:`, `CapacityError` | capacity |
//! | `MISCONFIGURATION:`, `ValidationException`, `AccessDenied`, `ClientError:` (SageMaker could not use the job's inputs) | misconfiguration |
//! | `PREEMPTION_IN_PROGRESS`, `Cross-share preemption`, `In-share preemption` | preempted |
//! | `ResourceLimitExceeded`, `The account-level service limit` | account quota |
//! | `InternalServerError` | SageMaker internal |
//! | `MaxRuntimeExceeded`, `MaxWaitTimeExceeded`, `Job attempt duration exceeded timeout`, `Training job runtime exceeded` | timed out |
//!
//! The reason of a terminated job is what the person who terminated it wrote. It is AWS's only if it has an origin, or if
//! it begins as Batch's own ends do.
//!
//! The beginning may be preceded by its origin: `Received status from SageMaker:`, or
//! `Terminated by JobStateTimeLimit action due to reason:`.

use serde::{Deserialize, Serialize};

/// Who can fix a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureCategory {
    /// No instances available.
    Capacity,
    /// Preempted more often than the job allows.
    Preempted,
    /// SageMaker's own error.
    SagemakerInternal,
    /// The set-up of the job or the queue cannot work.
    Misconfiguration,
    /// Exceeded a time limit.
    TimedOut,
    /// Terminated by request.
    Terminated,
    /// The job's own code.
    UserCode,
    /// More instances of a type than the account's limit.
    AccountQuota,
}

/// Prefixes for the origin of a reason.
const SAID_BY: [&str; 7] = [
    "received status from sagemaker:",
    "terminated by jobstatetimelimit action due to reason:",
    "service job failed:",
    "failed to create training job:",
    "failed to submit training job:",
    "unable to create training job:",
    "an error occurred (resourcelimitexceeded) when calling the createtrainingjob operation:",
];

/// Beginnings of AWS's own reasons, in lower case.
const OF_AWS: [(&str, FailureCategory); 22] = [
    ("capacity:", FailureCategory::Capacity),
    ("capacityerror", FailureCategory::Capacity),
    ("insufficientcapacity", FailureCategory::Capacity),
    ("misconfiguration:", FailureCategory::Misconfiguration),
    ("validationexception", FailureCategory::Misconfiguration),
    ("validation error", FailureCategory::Misconfiguration),
    ("accessdenied", FailureCategory::Misconfiguration),
    ("clienterror:", FailureCategory::Misconfiguration),
    ("preemption_in_progress", FailureCategory::Preempted),
    ("cross-share preemption", FailureCategory::Preempted),
    ("in-share preemption", FailureCategory::Preempted),
    ("resourcelimitexceeded", FailureCategory::AccountQuota),
    ("the account-level service limit", FailureCategory::AccountQuota),
    ("account-level service limit", FailureCategory::AccountQuota),
    ("internalservererror", FailureCategory::SagemakerInternal),
    ("we encountered an internal error", FailureCategory::SagemakerInternal),
    ("maxruntimeexceeded", FailureCategory::TimedOut),
    ("maxwaittimeexceeded", FailureCategory::TimedOut),
    ("job attempt duration exceeded timeout", FailureCategory::TimedOut),
    ("training job runtime exceeded", FailureCategory::TimedOut),
    ("training job stopped", FailureCategory::Terminated),
    ("terminated by", FailureCategory::Terminated),
];

/// Beginnings with which Batch itself ends jobs. After a colon Batch writes a code without a space; people write a space.
const OF_BATCH: [&str; 6] = [
    "capacity:",
    "misconfiguration:",
    "preemption_in_progress",
    "cross-share preemption",
    "in-share preemption",
    "job attempt duration exceeded timeout",
];

/// AWS's sentence about an account limit.
const ACCOUNT_LIMIT: &str = "account-level service limit '";

impl FailureCategory {
    /// Every category.
    pub const ALL: [Self; 8] = [
        Self::Capacity,
        Self::Preempted,
        Self::SagemakerInternal,
        Self::Misconfiguration,
        Self::TimedOut,
        Self::Terminated,
        Self::UserCode,
        Self::AccountQuota,
    ];

    /// Classifies by the beginning of a status reason: see the table above. `ran` is whether the job got far enough
    /// to run its own code.
    pub fn of(status_reason: Option<&str>, terminated: bool, ran: bool) -> Self {
        let reason = status_reason.unwrap_or_default().trim_start().to_ascii_lowercase();
        let said = without_speaker(&reason);
        let has_origin = said.len() < reason.len();
        let is_of_aws = |beginning: &str| {
            let Some(rest) = said.strip_prefix(beginning) else { return false };
            let is_code = !beginning.ends_with(':') || !rest.starts_with(char::is_whitespace);
            !terminated || has_origin || (is_code && OF_BATCH.contains(&beginning))
        };
        if let Some((_, category)) = OF_AWS.iter().find(|(beginning, _)| is_of_aws(beginning)) {
            *category
        } else if !ran && said.contains(ACCOUNT_LIMIT) {
            // The text before this sentence is undocumented. A job that did not run cannot have written it itself.
            Self::AccountQuota
        } else if terminated {
            Self::Terminated
        } else {
            Self::UserCode
        }
    }

    /// The label value used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Preempted => "preempted",
            Self::SagemakerInternal => "sagemaker_internal",
            Self::Misconfiguration => "misconfiguration",
            Self::TimedOut => "timed_out",
            Self::Terminated => "terminated",
            Self::UserCode => "user_code",
            Self::AccountQuota => "account_quota",
        }
    }

    /// Description that follows "It failed: ".
    pub fn words(self) -> &'static str {
        match self {
            Self::Capacity => "AWS had no instances for it",
            Self::Preempted => "it was preempted more often than its retry strategy allows",
            Self::SagemakerInternal => "SageMaker had an internal error",
            Self::Misconfiguration => "the job or its queue is misconfigured",
            Self::TimedOut => "it reached a time limit",
            Self::Terminated => "it was terminated by a user",
            Self::UserCode => "its own code failed",
            Self::AccountQuota => "the account's limit for this instance type was reached",
        }
    }

    /// What the owner or an operator can do.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Capacity => "try another instance type or region, or reserve capacity with a training plan.",
            Self::Preempted => "allow more preemptions, save checkpoints, or submit it within the share's own quota.",
            Self::SagemakerInternal => "submit it again; a retry strategy does that automatically.",
            Self::Misconfiguration => "read the status reason, fix the job or the queue, and submit it again.",
            Self::TimedOut => "raise the time limit, or save checkpoints and continue from them.",
            Self::Terminated => "nothing, if that was intended; the status reason names the user.",
            Self::UserCode => "read the job's log; the page of its training job in the SageMaker console links to it.",
            Self::AccountQuota => {
                "request a higher limit in Service Quotas, or lower the service environment's limit to match."
            }
        }
    }
}

/// The account limit in AWS's rejection: its name, and the number of instances it allows.
pub fn account_limit(status_reason: &str) -> Option<(&str, u32)> {
    let at = status_reason.to_ascii_lowercase().find(ACCOUNT_LIMIT)?;
    let (name, rest) = status_reason.get(at + ACCOUNT_LIMIT.len()..)?.split_once('\'')?;
    let number = rest.trim_start().strip_prefix("is ")?.trim_start();
    let end = number.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(number.len());
    Some((name, number.get(..end)?.parse().ok()?))
}

fn without_speaker(reason: &str) -> &str {
    let mut said = reason;
    while let Some(rest) = SAID_BY.iter().find_map(|speaker| said.strip_prefix(speaker)) {
        said = rest.trim_start();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: &str = "The account-level service limit 'ml.p5.48xlarge for training job usage' is 10 Instances, with current \
         utilization of 8 Instances and a request delta of 4 Instances. Please use AWS Service Quotas to request an increase.";

    #[test]
    fn a_failure_is_attributed_to_those_who_can_fix_it() {
        use FailureCategory::{
            AccountQuota, Capacity, Misconfiguration, Preempted, SagemakerInternal, Terminated, TimedOut, UserCode,
        };
        let check = |reason: &str, terminated, expected| {
            assert_eq!(FailureCategory::of(Some(reason), terminated, true), expected, "{reason}");
        };
        let sagemaker = |reason: &str, expected| {
            for prefix in ["Received status from SageMaker: ", "Received status from SageMaker:"] {
                check(&format!("{prefix}{reason}"), false, expected);
            }
        };
        sagemaker("CapacityError: none left", Capacity);
        sagemaker("InternalServerError: We encountered an internal error. Please try again.", SagemakerInternal);
        sagemaker("ValidationException: no such role", Misconfiguration);
        sagemaker("ClientError: Data download failed: no S3 objects found under s3://data/train", Misconfiguration);
        sagemaker("ResourceLimitExceeded: too many", AccountQuota);
        sagemaker(LIMIT, AccountQuota);
        sagemaker("MaxRuntimeExceeded", TimedOut);
        sagemaker("Training job stopped", Terminated);
        check(LIMIT, false, AccountQuota);
        check("Job attempt duration exceeded timeout", true, TimedOut);
        check("MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE - too large", true, Misconfiguration);
        let limit = "Terminated by JobStateTimeLimit action due to reason: ";
        check(&format!("{limit}CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"), true, Capacity);
        check(&format!("{limit}MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED"), true, Misconfiguration);
        check("Cross-share preemption triggered to reclaim borrowed capacity", false, Preempted);
        check("PREEMPTION_IN_PROGRESS: In-share preemption triggered", false, Preempted);

        // Anything else comes from the job itself.
        for words in [
            "RuntimeError: NCCL timeout after 1800 s",
            "torch.distributed: operation timed out, time limit 30 min",
            "exit code 1: internal error: InternalServerError from my own service",
            "botocore: ResourceLimitExceeded when calling CreateEndpoint",
            "CapacityError raised by my allocator",
            "ClientError: An error occurred (NoSuchKey) when calling the GetObject operation",
            "ValidationException: 3 validation errors for Settings",
            "the spot instance was preempted, MISCONFIGURATION: none, AccessDenied",
            "cancelled by the user's own scheduler, terminated",
            LIMIT,
            "",
        ] {
            sagemaker(&format!("AlgorithmError: {words}"), UserCode);
            sagemaker(&format!("ExecuteUserScriptError:\nExitCode 1\n{words}"), UserCode);
        }
        for words in ["NCCL timeout", "an internal error in stage 3", "job preempted itself", "terminated worker"] {
            check(words, false, UserCode);
            check(words, true, Terminated);
        }
        check("no longer needed, it ran into a timeout", true, Terminated);
        // Whoever terminates a job writes what they like.
        for words in [
            "Capacity: the GPUs are needed elsewhere",
            "MISCONFIGURATION: wrong data set",
            "AccessDenied by the review board",
            "Validation error rate is too high",
            "InternalServerError in our own API",
            "ResourceLimitExceeded of our budget",
            "We encountered an internal error, stop it",
            "Training job runtime exceeded what we pay for",
        ] {
            check(words, true, Terminated);
        }
        check("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - none", true, Capacity);
        check("Capacity: insufficient", false, Capacity);
        check("Terminated by JobStateTimeLimit action due to reason: CAPACITY:INSUFFICIENT", true, Capacity);
        check("Received status from SageMaker: InternalServerError", true, SagemakerInternal);
    }

    #[test]
    fn before_a_job_has_run_a_limit_of_the_account_is_known_whatever_stands_before_it() {
        let rejected = format!("Request to SageMaker was rejected - {LIMIT}");
        assert_eq!(FailureCategory::of(Some(&rejected), false, false), FailureCategory::AccountQuota);
        assert_eq!(FailureCategory::of(Some(&rejected), false, true), FailureCategory::UserCode);
        assert_eq!(account_limit(&rejected), Some(("ml.p5.48xlarge for training job usage", 10)));
        assert_eq!(account_limit("the account-level service limit 'x' is many"), None);
    }
}
