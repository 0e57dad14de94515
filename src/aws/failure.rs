//! What went wrong with a call, in words for people.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The operation, and why.
    pub(crate) text: String,
    /// Whether AWS found fault with the request, so that to repeat it is of no use.
    pub(crate) is_refusal: bool,
}

impl Failure {
    pub(crate) fn new<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let is_throttle = error.code().is_some_and(|code| code.contains("Thrott") || code.contains("TooMany"));
        let is_refusal = status.is_some_and(|status| (400..500).contains(&status) && status != 429) && !is_throttle;
        Self { text: describe(operation, error), is_refusal }
    }
}

/// The operation that failed, and why: AWS's own code and message if it answered, the chain of causes if it did not.
pub(crate) fn describe<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let why = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => match error.raw_response() {
            // Not in AWS's form: a proxy, or a throttle without a body.
            Some(response) if !response.status().is_success() => format!("HTTP {}", response.status().as_u16()),
            Some(_) | None => causes(error),
        },
    };
    let hint = if why.contains("UnknownIssuer") { " (are the CA roots complete? install ca-certificates)" } else { "" };
    format!("{operation}: {why}{hint}")
}

/// Whether AWS says that what was asked for does not exist. Batch has no error of its own for that: it sends a general
/// `ClientException` and says so in its message. SageMaker does the same with `ValidationException`.
pub(crate) fn is_not_found<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let by_code = error.code().is_some_and(|code| code.contains("NotFound"));
    let by_message = || {
        let message = error.message().unwrap_or_default().to_lowercase();
        ["does not exist", "doesn't exist", "not found", "could not be found"].iter().any(|text| message.contains(text))
    };
    let is_refusal = matches!(error.code(), Some("ClientException" | "ValidationException"));
    by_code || (is_refusal && by_message())
}

/// An error and what it came from, outermost first, without repetitions.
fn causes(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;
    use aws_smithy_types::error::ErrorMetadata;

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

    fn error(status: u16, code: &str, message: &str) -> SdkError<Modelled, HttpResponse> {
        let mut meta = ErrorMetadata::builder();
        if !code.is_empty() {
            meta = meta.code(code).message(message);
        }
        let response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::empty());
        SdkError::service_error(Modelled(meta.build()), response)
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_refused() {
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
            assert_eq!(Failure::new("Op", &error).is_refusal, refusal, "{code}: {message}");
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
}
