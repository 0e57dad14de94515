//! What an operator does over the API: as messages to whoever owns the outbox and the silences, and what every such request has in common.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use crate::notify::silence::Silence;
use crate::web::access::Caller;
use crate::web::error::ApiError;
use crate::web::outbox::{NotificationPage, OutboxFilter};
use crate::web::request_limits::MAX_BODY;
use crate::web::test_notifications::{TestRequest, TestResult};

/// What an operation comes to.
pub type Outcome<T> = Result<T, Refusal>;

/// Where the answer goes.
pub type Reply<T> = oneshot::Sender<Outcome<T>>;

/// Something to look up or to do. Dropping `reply` unanswered makes the answer 503: try again later.
#[derive(Debug)]
pub enum Operation {
    /// All silences that are kept, also those that are over.
    ListSilences {
        /// Where the answer goes.
        reply: Reply<Vec<Silence>>,
    },
    /// Begins a silence; with an id of 0 it gets one, with another it is refused where that is taken.
    AddSilence {
        /// The silence, with its author.
        silence: Silence,
        /// Whether it is taken though no alert of the present rules can match.
        allow_unmatched: bool,
        /// Where the answer goes.
        reply: Reply<Silence>,
    },
    /// Ends a silence now.
    EndSilence {
        /// Which one.
        id: i64,
        /// The name of the token.
        author: String,
        /// Where the answer goes.
        reply: Reply<Silence>,
    },
    /// Notifications, in the order in which they were written.
    ListOutbox {
        /// Which ones.
        filter: OutboxFilter,
        /// Where the answer goes.
        reply: Reply<NotificationPage>,
    },
    /// Changes notifications that wait, or were given up; the answer is how many.
    ChangeOutbox {
        /// What is done with them.
        change: Change,
        /// Those of one receiver.
        receiver: Option<String>,
        /// Those whose ids begin so; empty for all.
        ids: Vec<String>,
        /// The name of the token.
        author: String,
        /// Where the answer goes.
        reply: Reply<usize>,
    },
    /// Sends samples.
    Test {
        /// What to whom.
        test: TestRequest,
        /// The name of the token.
        author: String,
        /// Where the answer goes.
        reply: Reply<Vec<TestResult>>,
    },
}

/// What is done with notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Tried again now, also those that were given up.
    Retry,
    /// Given up.
    Drop,
}

/// Why an operation was not done, in a sentence without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thing.
    NotFound(String),
    /// It cannot be done to what is there.
    Conflict(String),
    /// It makes no sense.
    Invalid(String),
    /// Not now.
    Unavailable(String),
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound(message) => Self::not_found(message),
            Refusal::Conflict(message) => Self::conflict(message),
            Refusal::Invalid(message) => Self::invalid(message),
            Refusal::Unavailable(message) => Self::unavailable("unavailable", message),
        }
    }
}

/// Sends an operation and waits for its outcome; the guard's timeout bounds both. The outer refusal is that there is no answer.
pub(super) async fn asked<T>(
    operations: &mpsc::Sender<Operation>,
    operation: impl FnOnce(Reply<T>) -> Operation,
) -> Result<Outcome<T>, Refusal> {
    let no_answer = || Refusal::Unavailable("the service does not take this now; try again".to_owned());
    let (reply, answer) = oneshot::channel();
    operations.send(operation(reply)).await.map_err(|_| no_answer())?;
    answer.await.map_err(|_| no_answer())
}

/// Who acts. Only behind `access::operators_only`.
pub(super) fn author(caller: &Extension<Caller>) -> Result<String, ApiError> {
    match &caller.0 {
        Caller::Operator(name) => Ok(name.to_string()),
        Caller::Reader(_) | Caller::Anonymous { .. } => Err(ApiError::token_needed()),
    }
}

/// The body of a request that acts: JSON, as no form of another site can send it.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
        if !kind.trim().eq_ignore_ascii_case("application/json") {
            return Err(ApiError::not_json());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::too_large(MAX_BODY)
            } else {
                ApiError::bad_request("the body did not arrive as a whole")
            }
        })?;
        parse(&bytes).map(Self)
    }
}

/// Nothing at all is an empty object.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = if bytes.iter().all(u8::is_ascii_whitespace) { b"{}" } else { bytes };
    let wrong = |error: serde_json::Error| ApiError::bad_request(format!("the body is no JSON: {error}"));
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(wrong)?;
    if !value.is_object() {
        return Err(ApiError::invalid("the body must be a JSON object"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { String::new() } else { format!("{path}: ") };
        ApiError::invalid(format!("{at}{}", error.inner()))
    })
}
