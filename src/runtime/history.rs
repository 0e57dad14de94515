//! Questions about the past, one after the other, beside the store: reading many frames takes long, and ticks must not wait for it.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::store::Frames;
use crate::store::StoreError;
use crate::web::HistoryQuery;

/// Answers until `stop`. A question that cannot be answered is dropped, which its reader is told.
pub(super) async fn answer(store: PathBuf, mut questions: mpsc::Receiver<HistoryQuery>, stop: CancellationToken) {
    loop {
        let question = tokio::select! {
            () = stop.cancelled() => return,
            question = questions.recv() => question,
        };
        let Some(question) = question else { return stop.cancelled().await };
        let store = store.clone();
        let reading = tokio::task::spawn_blocking(move || read(&store, question));
        if let Ok(Err(error)) = reading.await {
            tracing::warn!(%error, "history cannot be read");
        }
    }
}

fn read(store: &std::path::Path, question: HistoryQuery) -> Result<(), StoreError> {
    let HistoryQuery { from, to, step, mut view, reply } = question;
    Frames::open(store)?.each(from, to, Some(step), |frame| view.take(&frame))?;
    // A reader that went away does not want the answer.
    let _ = reply.send(view);
    Ok(())
}
