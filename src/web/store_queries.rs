//! Queries about the past, answered outside the ticks: stored frames and alerts.

use std::fmt;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::web::error::ApiError;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Transition;

/// A query to the reader of the store. If `reply` or `reader` is dropped the response is 503: try again later.
#[derive(Debug)]
pub enum PastQuery {
    /// History of metrics.
    Frames {
        /// Start time.
        from: Timestamp,
        /// End time.
        to: Timestamp,
        /// At most one frame per interval of this length, the last.
        every: Duration,
        /// Consumes each frame, oldest first, and sends the reply.
        reader: Box<dyn ReadFrames>,
    },
    /// Firings and resolves of an alert, latest first.
    Episodes {
        /// Id of the alert.
        alert: String,
        /// Reply channel.
        reply: oneshot::Sender<Vec<Transition>>,
    },
    /// A report.
    Report {
        /// Start time.
        from: Timestamp,
        /// End time, exclusive.
        to: Timestamp,
        /// Grouping keys.
        by: Vec<String>,
        /// Reply channel; an invalid request is an error.
        reply: oneshot::Sender<Result<serde_json::Value, InvalidReport>>,
    },
    /// Alerts firing between two times, latest first.
    Alerts {
        /// Start time.
        from: Timestamp,
        /// End time.
        to: Timestamp,
        /// Only alerts of this queue.
        queue: Option<String>,
        /// Only alerts of this share, and of all shares of a queue together.
        share: Option<String>,
        /// Maximum number.
        limit: u32,
        /// Reply channel.
        reply: oneshot::Sender<Vec<Transition>>,
    },
}

/// A report cannot be made as requested; the text says what to change in the request.
#[derive(Debug)]
pub struct InvalidReport(pub String);

/// Consumer of the frames of a history query.
pub trait ReadFrames: fmt::Debug + Send {
    /// Consumes the next frame.
    fn take(&mut self, frame: &Frame);

    /// Whether the client still waits; frames are not read for one that has left.
    fn is_awaited(&self) -> bool;

    /// Called after the last frame: sends the reply.
    fn finish(self: Box<Self>);
}

/// Sends a query and waits for its reply.
pub(super) async fn ask<T>(
    past: &mpsc::Sender<PastQuery>,
    question: impl FnOnce(oneshot::Sender<T>) -> PastQuery,
) -> Result<T, ApiError> {
    let no_answer = || ApiError::unavailable("no_answer", "the history is unavailable; try again");
    let (reply, answer) = oneshot::channel();
    past.send(question(reply)).await.map_err(|_| no_answer())?;
    answer.await.map_err(|_| no_answer())
}
