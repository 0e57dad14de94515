//! Questions about the past, which are answered beside the ticks: frames and alerts that were kept.

use std::fmt;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::web::error::ApiError;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Transition;

/// A question to whoever reads what was kept. Dropping `reply` or `reader` unanswered makes the answer 503: try again later.
#[derive(Debug)]
pub enum PastQuery {
    /// How figures were.
    Frames {
        /// The first moment.
        from: Timestamp,
        /// The last one.
        to: Timestamp,
        /// At most one frame for each of these, the last.
        every: Duration,
        /// Takes what is asked for from each frame, oldest first, and answers.
        reader: Box<dyn ReadFrames>,
    },
    /// When an alert fired and how that ended, the latest first.
    Episodes {
        /// Its id.
        alert: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<Transition>>,
    },
    /// A report.
    Report {
        /// The first moment.
        from: Timestamp,
        /// The end, which is not part of it.
        to: Timestamp,
        /// What it is broken down by.
        by: Vec<String>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<serde_json::Value, InvalidReport>>,
    },
    /// What fired between two moments, the latest first.
    Alerts {
        /// The first moment.
        from: Timestamp,
        /// The last one.
        to: Timestamp,
        /// Only of this queue.
        queue: Option<String>,
        /// Only of this share, and of all shares of a queue together.
        share: Option<String>,
        /// At most so many.
        limit: u32,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<Transition>>,
    },
}

/// A report cannot be made as requested; the text says what to change in the request.
#[derive(Debug)]
pub struct InvalidReport(pub String);

/// What is made of frames.
pub trait ReadFrames: fmt::Debug + Send {
    /// Takes in the frame that comes next.
    fn take(&mut self, frame: &Frame);

    /// There are no more: answers.
    fn finish(self: Box<Self>);
}

/// Asks and waits for the answer.
pub(super) async fn ask<T>(
    past: &mpsc::Sender<PastQuery>,
    question: impl FnOnce(oneshot::Sender<T>) -> PastQuery,
) -> Result<T, ApiError> {
    let no_answer = || ApiError::unavailable("no_answer", "history cannot be read now; try again");
    let (reply, answer) = oneshot::channel();
    past.send(question(reply)).await.map_err(|_| no_answer())?;
    answer.await.map_err(|_| no_answer())
}
