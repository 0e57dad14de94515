//! Operator actions over the API: messages to the owner of outbox and silences, and common parts of their requests.

use axum::Extension;
use tokio::sync::{mpsc, oneshot};

use crate::notify::silence::Silence;
use crate::web::access::Caller;
use crate::web::error::ApiError;
use crate::web::outbox::{NotificationPage, OutboxFilter};
use crate::web::test_notifications::{TestRequest, TestResult};

/// Result of an operation.
pub type Outcome<T> = Result<T, Refusal>;

/// Reply channel.
pub type Reply<T> = oneshot::Sender<Outcome<T>>;

/// A lookup or an action. If `reply` is dropped the response is 503: try again later.
#[derive(Debug)]
pub enum Operation {
    /// All stored silences, including expired ones.
    ListSilences {
        /// Reply channel.
        reply: Reply<Vec<Silence>>,
    },
    /// Adds a silence. With id 0 it gets a new id; with another id it is refused if that is taken.
    AddSilence {
        /// The silence, with its author.
        silence: Silence,
        /// Whether to accept it although no alert of the current rules can match.
        allow_unmatched: bool,
        /// Reply channel.
        reply: Reply<Silence>,
    },
    /// Ends a silence now.
    EndSilence {
        /// Id of the silence.
        id: i64,
        /// Name of the token.
        author: String,
        /// Reply channel.
        reply: Reply<Silence>,
    },
    /// Notifications, in the order of creation.
    ListOutbox {
        /// Filter.
        filter: OutboxFilter,
        /// Reply channel.
        reply: Reply<NotificationPage>,
    },
    /// Changes notifications that are pending or dead; the reply is their number.
    ChangeOutbox {
        /// The change.
        change: Change,
        /// Only those of this receiver.
        receiver: Option<String>,
        /// Only those whose id has one of these prefixes; empty for all.
        ids: Vec<String>,
        /// Name of the token.
        author: String,
        /// Reply channel.
        reply: Reply<usize>,
    },
    /// Sends sample notifications.
    Test {
        /// Samples and receiver.
        test: TestRequest,
        /// Name of the token.
        author: String,
        /// Reply channel.
        reply: Reply<Vec<TestResult>>,
    },
}

/// A change of notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Retry now, including dead ones.
    Retry,
    /// Give up.
    Drop,
}

/// Why an operation was refused, in a sentence without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not found.
    NotFound(String),
    /// Not possible in the current state.
    Conflict(String),
    /// Invalid.
    Invalid(String),
    /// Temporarily unavailable.
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

/// Sends an operation and waits for its result; the request timeout bounds both. The outer error means there was no
/// reply.
pub(super) async fn asked<T>(
    operations: &mpsc::Sender<Operation>,
    operation: impl FnOnce(Reply<T>) -> Operation,
) -> Result<Outcome<T>, Refusal> {
    let no_answer = || Refusal::Unavailable("the service cannot accept this operation now; try again".to_owned());
    let (reply, answer) = oneshot::channel();
    operations.send(operation(reply)).await.map_err(|_| no_answer())?;
    answer.await.map_err(|_| no_answer())
}

/// Name of the caller. Only valid behind `access::operators_only`.
pub(super) fn author(caller: &Extension<Caller>) -> Result<String, ApiError> {
    match &caller.0 {
        Caller::Operator(name) => Ok(name.to_string()),
        Caller::Reader(_) | Caller::Anonymous { .. } => Err(ApiError::token_needed()),
    }
}
