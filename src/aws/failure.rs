//! Errors of AWS calls, with texts for operators.

use std::error::Error;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::endless_listing::EndlessListing;
use crate::aws::incomplete_answers::{self, Incomplete};

/// Description of a response that is not from AWS.
const FOREIGN: &str = "the response is not AWS's";

/// Maximum characters shown of an error message from AWS or from a proxy in between.
const MAX_MESSAGE: usize = 500;

/// Whose fault a failed request about one item may be, if requests about other items succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The item's.
    Item,
    /// The item's or the source's: if it happens repeatedly to the same item, it is the item's.
    Unclear,
    /// The source's: credentials, permissions, throttling, the network.
    Source,
}

/// A failed or incomplete AWS request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The call failed. Has AWS's error code and message if there is a response, the chain of causes if not, and
    /// known advice in brackets.
    #[error("{operation}: {why}{}", advice(operation, why).map(|advice| format!(" ({advice})")).unwrap_or_default())]
    Call {
        operation: &'static str,
        why: String,
        /// Whether AWS rejected the request, so that a retry is useless.
        is_refusal: bool,
        fault: Fault,
    },
    /// The response is invalid.
    #[error("{operation}: {why}")]
    Answer { operation: &'static str, why: String },
    /// One entry of a list is invalid; the others are used.
    #[error("{operation}: {name} is unreadable: {problem}")]
    Entry { operation: &'static str, name: String, problem: String },
    /// The listing was abandoned.
    #[error(transparent)]
    EndlessListing(#[from] EndlessListing),
    /// There was no time for the rest.
    #[error("{operation}: ran out of time before all {what} were fetched")]
    OutOfTime { operation: &'static str, what: &'static str },
    /// The failure concerns one of several requested items.
    #[error("{failure}, about {what}")]
    About { failure: Box<Self>, what: String },
    /// The first of several failures.
    #[error("{first} (and {more} more)")]
    Several { first: Box<Self>, more: usize },
}

impl Failure {
    /// Creates the failure of a call from its SDK error.
    pub(crate) fn new<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let is_throttle = error.code().is_some_and(|code| code.contains("Thrott") || code.contains("TooMany"));
        let is_refusal = status.is_some_and(|status| (400..500).contains(&status) && status != 429) && !is_throttle;
        let why = match (error.code(), error.message()) {
            (Some(code), Some(message)) => code_and_message(code, message),
            (Some(code), None) => code.to_owned(),
            (None, _) => unmodelled(error, error.raw_response()),
        };
        let is_known = is_throttle || status == Some(429) || advice(operation, &why).is_some();
        let fault = match status {
            _ if is_known => Fault::Source,
            // Whatever else is rejected, AWS says so by these codes.
            Some(400..500) if matches!(error.code(), Some("ClientException" | "ValidationException")) => Fault::Item,
            Some(_) => Fault::Unclear,
            None => Fault::Source,
        };
        Self::Call { operation, why, is_refusal, fault }
    }

    /// Creates the failure of an invalid response.
    pub(crate) fn of_answer(operation: &'static str, why: impl fmt::Display) -> Self {
        Self::Answer { operation, why: why.to_string() }
    }

    /// Adds which of several items the failure concerns.
    pub(crate) fn about(self, what: &str) -> Self {
        Self::About { failure: Box::new(self), what: what.to_owned() }
    }

    /// Adds the number of failures of which this is the first.
    pub(crate) fn first_of(self, count: usize) -> Self {
        match count {
            0 | 1 => self,
            more => Self::Several { first: Box::new(self), more: more - 1 },
        }
    }

    /// Whose fault it may be, given that the request was about one item.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Call { fault, .. } => *fault,
            // The response was AWS's, and about this item.
            Self::Answer { .. } | Self::Entry { .. } => Fault::Unclear,
            Self::EndlessListing(_) | Self::OutOfTime { .. } => Fault::Source,
            Self::About { failure, .. } | Self::Several { first: failure, .. } => failure.fault(),
        }
    }

    /// Whether a retry is useless.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Call { is_refusal, .. } => *is_refusal,
            Self::EndlessListing(_) => true,
            Self::Answer { .. } | Self::Entry { .. } | Self::OutOfTime { .. } => false,
            Self::About { failure, .. } | Self::Several { first: failure, .. } => failure.is_refusal(),
        }
    }
}

fn code_and_message(code: &str, message: &str) -> String {
    // Some messages already begin with their code.
    if message.starts_with(code) { one_line(message) } else { one_line(&format!("{code}: {message}")) }
}

/// Shortens a foreign text to one line that fits the log, notifications and pages.
fn one_line(text: &str) -> String {
    let visible: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}...", words.get(..end).unwrap_or_default()),
        None => words,
    }
}

/// Describes a failure without a modelled AWS error: a proxy's response, a throttle without body, or no response.
fn unmodelled(error: &(dyn Error + 'static), response: Option<&HttpResponse>) -> String {
    if let Some(incomplete) = chain(error).find_map(|cause| cause.downcast_ref::<Incomplete>()) {
        return incomplete.to_string();
    }
    match response {
        Some(response) if !response.status().is_success() => format!("HTTP {}", response.status().as_u16()),
        Some(response) if is_object(response.body().bytes().unwrap_or_default()) => {
            one_line(&format!("the response has an unexpected format: {}", causes(error)))
        }
        // The SDK's parse error is of no use to operators.
        Some(response) => incomplete_answers::foreign(response.body().bytes().unwrap_or_default()).to_string(),
        None => one_line(&causes(error)),
    }
}

fn is_object(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body).is_ok()
}

/// Advice for credentials that could not be loaded, by the provider that failed; `why` is the SDK's text.
fn credentials_advice(why: &str) -> Option<&'static str> {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    let loads = says(&["loading credentials", "unexpected credentials error", "invalid configuration of credentials"]);
    if says(&["no credentials found in chain", "no providers in chain"]) {
        Some("no credentials were found: give the task a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID")
    } else if says(&["SSO token", "access token", "Login token"]) {
        Some(
            "the sign-in of the profile is missing or has expired: run `aws sso login`, or use a task or instance role",
        )
    } else if says(&["external process", "credential_process"]) {
        Some("the credential_process of the profile failed: run it by hand to see why")
    } else if says(&["profile file", "profile `", "invalid profile"]) {
        Some("the profile cannot be used: check AWS_PROFILE, and that the profile is complete in ~/.aws/config")
    } else if loads && says(&["(os error 2)", "No such file", "Permission denied"]) {
        Some("a file that the credentials come from cannot be read: check AWS_WEB_IDENTITY_TOKEN_FILE and the profile")
    } else if says(&["IMDS", "ECS", "EcsContainer"]) || (loads && says(&["Connect", "connect", "timed out", "timeout"]))
    {
        Some(
            "the task's or instance's role was not delivered: check that a role is attached and its endpoint is reachable; elsewhere set AWS_PROFILE or AWS_ACCESS_KEY_ID",
        )
    } else if loads || says(&["credentials provider", "credential provider"]) {
        Some("the credentials could not be loaded: check the task's role, AWS_PROFILE and AWS_ACCESS_KEY_ID")
    } else {
        None
    }
}

/// Advice for a known failure.
fn advice(operation: &str, why: &str) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    let fixed = |text: &str| Some(text.to_owned());
    if says(&["sts:AssumeRole"]) {
        fixed(
            "the role of the target must trust the identity that this service runs as, which must be allowed sts:AssumeRole",
        )
    } else if says(&["explicit deny"]) {
        fixed(
            "a policy denies this explicitly: change the policy that the message names; allowing the action is not enough",
        )
    } else if says(&["AccessDenied", "UnauthorizedOperation", "AuthorizationError", "not authorized to perform"]) {
        let action = if operation == "DeleteMessageBatch" { "DeleteMessage" } else { operation };
        let service = service_of(operation);
        Some(format!("allow {service}:{action} to the role: deploy/iam-policy.json lists all required permissions"))
    } else if says(&["RequestExpired", "RequestTimeTooSkewed", "Signature expired", "Signature not yet current"]) {
        fixed("the clock of this machine is wrong: synchronize it, for example with NTP")
    } else if says(&["ExpiredToken", "TokenRefreshRequired", "token included in the request is expired"]) {
        fixed(
            "the credentials have expired: renew them, or use a task or instance role, whose credentials renew \
             automatically",
        )
    } else if says(&["UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
        || says(&[
            "InvalidSignature",
            "IncompleteSignature",
            "MissingAuthenticationToken",
            "AuthFailure",
            "OptInRequired",
        ])
    {
        fixed("the credentials are not valid: check the access key, the account and whether the region is enabled")
    } else if let Some(advice) = credentials_advice(why) {
        fixed(advice)
    } else if says(&["UnknownIssuer"]) {
        fixed("AWS's certificate is not trusted: install ca-certificates")
    } else if says(&["dns error", "failed to lookup address", "Name or service not known"]) {
        fixed("the endpoint's name cannot be resolved: check the spelling of the region, the network and DNS")
    } else if says(&[FOREIGN]) || why.starts_with("HTTP 3") || (why.starts_with("HTTP 4") && why != "HTTP 429") {
        fixed("the response may not come from AWS: check `endpoint`, AWS_ENDPOINT_URL and the proxy")
    } else if says(&["larger than", "too large", "response is incomplete"]) {
        fixed("the response does not come from AWS: check the endpoint and the proxy")
    } else if says(&["dispatch failure", "Connect", "connect", "timeout", "timed out", "no complete response"]) {
        fixed("no connection: check the endpoint, routes, security groups, and VPC endpoints or the proxy")
    } else {
        None
    }
}

/// IAM action prefix of an operation.
fn service_of(operation: &str) -> &'static str {
    match operation {
        "DescribeTrainingJob" | "ListTrainingJobs" | "ListTrainingPlans" => "sagemaker",
        "GetMetricData" | "PutMetricData" => "cloudwatch",
        "GetServiceQuota" => "servicequotas",
        "ReceiveMessage" | "DeleteMessageBatch" | "DeleteMessage" => "sqs",
        "Publish" => "sns",
        _ => "batch",
    }
}

/// Whether the error means that the resource does not exist. Neither Batch nor SageMaker has a specific error: they
/// send `ClientException` or `ValidationException`, and only the message says which.
pub(crate) fn is_not_found<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let by_code = error.code().is_some_and(|code| code.contains("NotFound"));
    let by_message = || {
        let message = error.message().unwrap_or_default().to_lowercase();
        ["does not exist", "doesn't exist", "not found", "could not be found"].iter().any(|text| message.contains(text))
    };
    let is_refusal = matches!(error.code(), Some("ClientException" | "ValidationException"));
    by_code || (is_refusal && by_message())
}

/// The chain of causes of an error, outermost first, without repetitions.
pub(super) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in chain(error) {
        let text = match cause.downcast_ref::<ErrorMetadata>() {
            Some(meta) => {
                code_and_message(meta.code().unwrap_or("an error"), meta.message().unwrap_or("without a message"))
            }
            None => cause.to_string(),
        };
        if texts.iter().all(|shown| !shown.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let source: fn(&&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> = |error| (*error).source();
    std::iter::successors(Some(error), source)
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    #[derive(Debug)]
    struct Modelled(ErrorMetadata);

    impl std::fmt::Display for Modelled {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("modelled")
        }
    }

    impl Error for Modelled {}

    impl ProvideErrorMetadata for Modelled {
        fn meta(&self) -> &ErrorMetadata {
            &self.0
        }
    }

    fn describe(operation: &'static str, error: &SdkError<Modelled, HttpResponse>) -> String {
        Failure::new(operation, error).to_string()
    }

    fn error(status: u16, code: &str, message: &str) -> SdkError<Modelled, HttpResponse> {
        let mut meta = ErrorMetadata::builder();
        if !code.is_empty() {
            meta = meta.code(code).message(message);
        }
        let response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        SdkError::service_error(Modelled(meta.build()), response)
    }

    #[test]
    fn not_found_is_distinguished_from_refused() {
        for (status, code, message, not_found, refusal) in [
            (400, "ClientException", "Service job x does not exist", true, true),
            (400, "ClientException", "Job x could not be found.", true, true),
            (400, "ClientException", "jobId must not be empty", false, true),
            (400, "ValidationException", "Requested resource not found.", true, true),
            (400, "ResourceNotFound", "no such job", true, true),
            (403, "AccessDeniedException", "role not found", false, true),
            (500, "ServerException", "backend not found", false, false),
            (429, "TooManyRequestsException", "Rate exceeded", false, false),
            (400, "ThrottlingException", "Rate exceeded", false, false),
            (502, "", "", false, false),
        ] {
            let error = error(status, code, message);
            assert_eq!(is_not_found(&error), not_found, "{code}: {message}");
            assert_eq!(Failure::new("Op", &error).is_refusal(), refusal, "{code}: {message}");
        }
    }

    #[test]
    fn a_failure_names_the_operation_and_the_cause() {
        assert_eq!(describe("Op", &error(400, "ClientException", "no")), "Op: ClientException: no");
        assert_eq!(describe("Op", &error(502, "", "")), "Op: HTTP 502");
        let lost: SdkError<Modelled, HttpResponse> = SdkError::timeout_error("invalid certificate: UnknownIssuer");
        let text = describe("Op", &lost);
        assert!(text.contains("UnknownIssuer") && text.contains("ca-certificates"), "{text}");
    }

    #[test]
    fn a_code_is_shown_once_and_foreign_bytes_are_not_dumped() {
        let twice = error(400, "ValidationException", "ValidationException: no such thing");
        assert_eq!(describe("Op", &twice), "Op: ValidationException: no such thing");
        let page = HttpResponse::new(StatusCode::try_from(200).unwrap(), SdkBody::from("<html>\n  <body>Sign in"));
        let foreign: SdkError<Modelled, HttpResponse> =
            SdkError::response_error("unexpected type 0x3c at position 0", page);
        let advice = "the response may not come from AWS: check `endpoint`, AWS_ENDPOINT_URL and the proxy";
        let text = format!("Op: the response is not AWS's; it begins with \"<html> <body>Sign in\" ({advice})");
        assert_eq!(describe("Op", &foreign), text);
        assert_eq!(describe("Op", &error(404, "", "")), format!("Op: HTTP 404 ({advice})"));
        for (status, expected) in [(429, "Op: HTTP 429"), (503, "Op: HTTP 503")] {
            assert_eq!(describe("Op", &error(status, "", "")), expected);
        }
    }

    #[test]
    fn a_failure_of_one_of_several_keeps_its_retryability() {
        let refused = Failure::new("Op", &error(400, "ClientException", "no"));
        let of_several = refused.clone().about("ml.p5.48xlarge").first_of(3);
        assert_eq!(of_several.to_string(), "Op: ClientException: no, about ml.p5.48xlarge (and 2 more)");
        assert!(of_several.is_refusal() && refused.clone().first_of(1) == refused);
        let late = Failure::OutOfTime { operation: "Op", what: "hosts" }.first_of(2);
        assert!(
            !late.is_refusal() && late.to_string() == "Op: ran out of time before all hosts were fetched (and 1 more)",
            "{late}"
        );
    }

    #[test]
    fn foreign_text_is_shortened_to_one_line() {
        let text =
            describe("Op", &error(400, "ClientException", &format!("one\n\u{1b}[31mtwo{}", "y".repeat(100_000))));
        assert!(text.starts_with("Op: ClientException: one [31mtwoyyy") && text.ends_with("..."), "{text:.80}");
        assert!(text.chars().count() < MAX_MESSAGE + 20, "{}", text.len());
    }

    #[test]
    fn a_failure_that_someone_can_fix_has_advice() {
        for (operation, code, message, expected) in [
            ("ListServiceJobs", "AccessDeniedException", "not you", "allow batch:ListServiceJobs"),
            ("ListTrainingPlans", "AccessDeniedException", "not you", "allow sagemaker:ListTrainingPlans"),
            ("GetMetricData", "AccessDenied", "not you", "allow cloudwatch:GetMetricData"),
            ("ListServiceJobs", "AccessDenied", "x is not authorized to perform: sts:AssumeRole on y", "must trust"),
            (
                "ListServiceJobs",
                "AccessDeniedException",
                "x is not authorized to perform: batch:ListServiceJobs with an explicit deny in a service control policy",
                "allowing the action is not enough",
            ),
            ("ListServiceJobs", "ExpiredTokenException", "The security token is expired", "renew them"),
            ("ListServiceJobs", "UnrecognizedClientException", "The security token is invalid", "are not valid:"),
            ("ListServiceJobs", "InvalidSignatureException", "Signature expired: 2026", "the clock of this machine"),
        ] {
            let text = describe(operation, &error(400, code, message));
            assert!(
                text.starts_with(&format!("{operation}: {code}: {message} (")) && text.contains(expected),
                "{text}"
            );
        }
        for (cause, expected) in [
            (
                "dns error: failed to lookup address information: Name or service not known",
                "check the spelling of the region",
            ),
            ("tcp connect error: Connection refused (os error 111)", "no connection: check"),
            ("no providers in chain provided credentials", "no credentials were found"),
            (
                "no credentials found in chain. Attempted: EcsContainer: ECS provider not configured",
                "no credentials were found",
            ),
            ("an error occurred while loading credentials: failed to load the cached SSO token", "`aws sso login`"),
            ("loading an access token: the SSO token has expired and cannot be refreshed", "`aws sso login`"),
            (
                "an error occurred while loading credentials: Error retrieving credentials: external process exited \
                 with code exit status: 1. Stderr:",
                "credential_process",
            ),
            (
                "unexpected credentials error: profile file credentials provider initialization error already taken",
                "AWS_PROFILE",
            ),
            ("invalid configuration of credentials: profile `x` was not defined: no profile", "AWS_PROFILE"),
            (
                "unexpected credentials error: io error: client error (Connect): tcp connect error: Connection refused",
                "a role is attached",
            ),
            (
                "an error occurred while loading credentials: failed to load IMDS session token: request forbidden",
                "a role is attached",
            ),
            (
                "an error occurred while loading credentials: No such file or directory (os error 2)",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
            ),
            ("an error occurred while loading credentials: odd", "could not be loaded"),
            ("dispatch failure: message head is too large", "does not come from AWS"),
            ("the response is larger than 32 MiB", "does not come from AWS"),
        ] {
            let text = describe("Op", &SdkError::construction_failure(cause));
            assert!(text.contains(cause) && text.contains(expected), "{text}");
        }
        assert_eq!(describe("Op", &error(500, "ServerException", "sorry")), "Op: ServerException: sorry");
    }
}
