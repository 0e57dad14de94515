//! The threads on which stores are called, for SQLite blocks. They are few, however many stores there are: each has memory of its own, and a store has
//! nothing to do for nearly all of its time.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::store::StoreError;

/// Stores that are called at once, at most.
const MAX_THREADS: usize = 4;

type Work = Box<dyn FnOnce() + Send>;

/// Where work for the threads goes, once one has started.
static WORK: OnceLock<mpsc::Sender<Work>> = OnceLock::new();

/// Runs something on one of the threads. It is run to its end, even if nobody waits for that.
///
/// # Errors
/// The system has no thread left, or it ended by a defect.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    let (reply, answer) = oneshot::channel();
    let work = Box::new(move || {
        // Who went away does not want to know.
        let _ = reply.send(work());
    });
    sender()?.send(work).map_err(|_| StoreError::Closed)?;
    answer.await.map_err(|_| StoreError::Closed)
}

/// Starts the threads, if nobody has.
pub(super) fn sender() -> Result<&'static mpsc::Sender<Work>, StoreError> {
    if let Some(sender) = WORK.get() {
        return Ok(sender);
    }
    let (sender, receiver) = mpsc::channel();
    let receiver = Arc::new(Mutex::new(receiver));
    for number in 0..MAX_THREADS {
        let receiver = Arc::clone(&receiver);
        let started = std::thread::Builder::new().name("store".to_owned()).spawn(move || serve(&receiver));
        match started {
            Ok(_) => {}
            Err(error) if number == 0 => {
                return Err(StoreError::Sqlite(format!("the stores' threads cannot be started: {error}")));
            }
            Err(error) => tracing::warn!(%error, threads = number, "stores have fewer threads than they may"),
        }
    }
    // Threads of whoever was later end with their sender.
    Ok(WORK.get_or_init(|| sender))
}

fn serve(work: &Mutex<mpsc::Receiver<Work>>) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = next else { return };
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("something that a store was to do ended by a defect; the others go on");
        }
    }
}
