//! Rejects responses with status 200 that lack required members: an error body, an empty body, or a proxy's page.
//! The SDK would parse them as an empty list, and all jobs would seem to be gone.

use std::error::Error;
use std::fmt;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use serde_json::{Map, Value};

/// Members of which a response must have at least one, by operation; if an operation has several rows, all must
/// hold. Non-JSON operations are checked at their call, and pages of jobs in their parser.
const REQUIRED: [(&str, &[&str]); 14] = [
    ("DescribeJobQueues", &["jobQueues"]),
    ("DescribeSchedulingPolicies", &["schedulingPolicies"]),
    ("DescribeServiceEnvironments", &["serviceEnvironments"]),
    ("DescribeServiceJob", &["jobId"]),
    ("DescribeServiceJob", &["jobQueue"]),
    ("DescribeServiceJob", &["status"]),
    ("DescribeTrainingJob", &["TrainingJobName"]),
    ("DescribeTrainingJob", &["TrainingJobStatus"]),
    ("GetJobQueueSnapshot", &["frontOfQueue", "frontOfQuotaShares", "queueUtilization"]),
    ("GetServiceQuota", &["Quota"]),
    ("ListQuotaShares", &["quotaShares"]),
    ("ListTrainingJobs", &["TrainingJobSummaries"]),
    ("ListTrainingPlans", &["TrainingPlanSummaries"]),
    ("DeleteMessageBatch", &["Successful", "Failed"]),
];

/// Member that marks an error body in every JSON protocol.
const ERROR_TYPE: &str = "__type";

/// A response with status 200 that is not a valid answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incomplete {
    /// The body is an error.
    Error { code: String, message: String },
    /// A required member is missing.
    Member(String),
    /// The body is not in the API's format.
    Foreign { begins: String },
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error { code, message } => write!(f, "{code}: {message}"),
            Self::Member(name) => write!(f, "the response lacks the required {name}"),
            Self::Foreign { begins } => write!(f, "the response is not AWS's; it begins with {begins:?}"),
        }
    }
}

impl Error for Incomplete {}

/// SDK interceptor that checks each response before the SDK parses it.
#[derive(Debug)]
pub(crate) struct Completeness;

impl Intercept for Completeness {
    fn name(&self) -> &'static str {
        "Completeness"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let operation = cfg.load::<Metadata>().map_or("", Metadata::name);
        match response.body().bytes().filter(|_| response.status().is_success()) {
            Some(body) => check(operation, body).map_err(Into::into),
            None => Ok(()),
        }
    }
}

/// Checks that the body of a response with status 200 has the required members.
fn check(operation: &str, body: &[u8]) -> Result<(), Incomplete> {
    let mut required = REQUIRED.iter().filter(|(name, _)| *name == operation).map(|(_, any)| *any).peekable();
    if required.peek().is_none() && operation != "ReceiveMessage" {
        return Ok(());
    }
    let members: Map<String, Value> = match body {
        [] => Map::new(),
        body => serde_json::from_slice(body).map_err(|_| foreign(body))?,
    };
    let has = |name: &&str| members.get(*name).is_some_and(|value| !value.is_null());
    let Some(missing) = required.find(|any| !any.iter().any(has)) else {
        return error(&members).filter(|_| operation == "ReceiveMessage").map_or(Ok(()), Err);
    };
    Err(error(&members).unwrap_or_else(|| Incomplete::Member(missing.join(" or "))))
}

/// The error contained in a body, if any.
fn error(members: &Map<String, Value>) -> Option<Incomplete> {
    let text = |names: &[&str]| names.iter().find_map(|name| members.get(*name)?.as_str()).map(str::to_owned);
    let code = text(&[ERROR_TYPE, "code", "Code"]);
    let message = text(&["message", "Message", "errorMessage"]);
    // Codes may have a namespace prefix.
    let code = code.as_deref().map(|code| code.rsplit('#').next().unwrap_or(code).to_owned());
    match (code, message) {
        (None, None) => None,
        (code, message) => Some(Incomplete::Error {
            code: code.unwrap_or_else(|| "an error without a code".to_owned()),
            message: message.unwrap_or_else(|| "no message".to_owned()),
        }),
    }
}

/// Describes the beginning of a body that is not AWS's.
pub(crate) fn foreign(body: &[u8]) -> Incomplete {
    const SHOWN: usize = 40;
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN)]);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect();
    Incomplete::Foreign { begins: text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_or_nothing_at_all_is_no_answer_of_any_operation() {
        for (operation, _) in REQUIRED {
            for (body, expected) in [
                ("", "the response lacks"),
                ("{}", "the response lacks"),
                (r#"{"message": "sorry"}"#, "an error without a code: sorry"),
                (r#"{"__type": "com.amazon#ServerException", "message": "sorry"}"#, "ServerException: sorry"),
                ("<html><body>Sign in</body></html>", "not AWS's; it begins with \"<html><body>Sign in"),
                ("[]", "not AWS's"),
            ] {
                let why = check(operation, body.as_bytes()).unwrap_err().to_string();
                assert!(why.contains(expected), "{operation} {body}: {why}");
            }
        }
    }

    #[test]
    fn what_has_its_members_is_complete_and_null_is_none() {
        assert_eq!(check("DescribeJobQueues", br#"{"jobQueues": []}"#), Ok(()));
        let null = check("DescribeJobQueues", br#"{"jobQueues": null}"#);
        assert_eq!(null, Err(Incomplete::Member("jobQueues".to_owned())));
        assert_eq!(check("GetJobQueueSnapshot", br#"{"queueUtilization": {}}"#), Ok(()));
        let job = check("DescribeServiceJob", br#"{"jobId": "a", "jobQueue": "q"}"#);
        assert_eq!(job, Err(Incomplete::Member("status".to_owned())));
        // SQS omits an empty list.
        assert_eq!(check("ReceiveMessage", b"{}"), Ok(()));
        assert!(check("ReceiveMessage", br#"{"__type": "QueueDoesNotExist", "message": "no"}"#).is_err());
        assert_eq!(check("PutMetricData", b"anything"), Ok(()));
    }
}
