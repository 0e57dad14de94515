//! The store behind a queue of calls, for callers that must not block.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::notify::outbox::Due;
use crate::notify::outbox::NotificationId;
use crate::notify::outbox::Outbox;
use crate::notify::outbox::OutboxError;
use crate::notify::outbox::Verdict;
use crate::store::Backlog;
use crate::store::Commit;
use crate::store::Committed;
use crate::store::Fence;
use crate::store::Saved;
use crate::store::SetAside;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::thread_pool;
use trainspotter_core::model::JobId;
use trainspotter_core::model::SavedJob;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;

/// Maximum queued calls; further callers wait.
const QUEUE: usize = 64;

/// Attempts of a starting service to get the file from one that is stopping, and the pause between them.
const LOCK_ATTEMPTS: u32 = 240;
const LOCK_PAUSE: Duration = Duration::from_millis(250);

/// The attempt at which the wait is logged: a changed target of this process itself releases its file within a second.
const LOGGED_ATTEMPT: u32 = 5;

/// Condition of the state file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Why state is kept in memory only; `None` if the file works.
    pub trouble: Option<String>,
    /// Broken files moved aside since the last call.
    pub set_aside: Vec<SetAside>,
}

/// Sends the result of a call to its caller. The argument is an error after the call itself, of the log.
pub type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Performs an operation on a store, unless given an error that prevents it.
pub type Run = Box<dyn FnOnce(&mut Store, Option<StoreError>) -> Reply + Send>;

/// A call of a store.
pub struct Call {
    /// Valid only in the leadership term that began with this record; `None` for any time.
    pub term: Option<u64>,
    /// The operation.
    pub run: Run,
}

/// Serializes calls of a store without blocking the callers. Cheap to clone; the file is closed when the last clone
/// is dropped and its calls are done, or the runtime ends.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    calls: mpsc::Sender<Call>,
    /// With replicas: whether this one may send.
    fence: Option<Fence>,
    term: Option<u64>,
}

impl StoreHandle {
    /// Takes over a store. Only within a runtime.
    ///
    /// # Errors
    /// The system cannot create a thread.
    pub fn start(store: Store) -> Result<Self, StoreError> {
        let (calls, queue) = mpsc::channel(QUEUE);
        let handle = Self { calls, fence: None, term: None };
        #[cfg(test)]
        let Some((store, queue)) = crate::simulation::serve_store(store, queue) else { return Ok(handle) };
        thread_pool::start()?;
        tokio::spawn(work(store, queue).in_current_span());
        Ok(handle)
    }

    /// A handle for the store of a replica, and the receiver of its calls.
    pub fn behind(fence: Fence) -> (Self, mpsc::Receiver<Call>) {
        let (calls, queue) = mpsc::channel(QUEUE);
        (Self { calls, fence: Some(fence), term: None }, queue)
    }

    /// A handle whose calls are valid only in one leadership term.
    #[must_use]
    pub fn for_term(&self, term: u64) -> Self {
        Self { term: Some(term), ..self.clone() }
    }

    /// Opens a file exclusively, as [`Store::serve`], without blocking the caller's thread. Waits up to a minute
    /// for another service to release it, as in a rolling deployment.
    ///
    /// # Errors
    /// See [`Store::serve`]; another service still uses the file.
    pub async fn open(path: &Path, now: Timestamp) -> Result<(Self, Option<SetAside>), StoreError> {
        let mut store = Self::serve(path, now).await?;
        let set_aside = store.take_set_aside().pop();
        Ok((Self::start(store)?, set_aside))
    }

    /// Opens a file as [`StoreHandle::open`], and returns the store itself.
    ///
    /// # Errors
    /// As [`StoreHandle::open`].
    pub async fn serve(path: &Path, now: Timestamp) -> Result<Store, StoreError> {
        served(path, now).await
    }

    /// See [`Store::load`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn load(&self) -> Result<Saved, StoreError> {
        self.call(|store| store.guarded(Store::load)).await
    }

    /// See [`Store::jobs_after`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn jobs_after(
        &self,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<(Vec<SavedJob>, Option<JobId>), StoreError> {
        self.call(move |store| store.guarded(|store| store.jobs_after(after.as_ref(), limit))).await
    }

    /// See [`Store::commit`]. The caller keeps the commit for a retry.
    ///
    /// # Errors
    /// Nothing was stored.
    pub async fn commit(&self, commit: Arc<Commit>) -> Result<Committed, StoreError> {
        self.call(move |store| store.commit(&commit)).await
    }

    /// See [`Store::backlog`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn backlog(&self) -> Result<BTreeMap<String, Backlog>, StoreError> {
        self.call(|store| store.guarded(Store::backlog)).await
    }

    /// See [`Store::size_bytes`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn size_bytes(&self) -> Result<u64, StoreError> {
        self.call(|store| store.guarded(Store::size_bytes)).await
    }

    /// Condition of the file.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn condition(&self) -> Result<Condition, StoreError> {
        self.call(|store| {
            let trouble = store.trouble().map(StoreError::to_string);
            Ok(Condition { trouble, set_aside: store.take_set_aside() })
        })
        .await
    }

    /// Runs any other call. A call that has begun runs to completion even if its caller is dropped.
    ///
    /// # Errors
    /// The call's error, or [`StoreError::Closed`].
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let run = Box::new(move |store: &mut Store, prevented: Option<StoreError>| {
            let done = match prevented {
                None => call(store),
                Some(error) => Err(error),
            };
            let reply: Reply = Box::new(move |kept: Result<(), StoreError>| {
                // The result is dropped if the caller is gone.
                let _ = answer.send(kept.and(done));
            });
            reply
        });
        self.calls.send(Call { term: self.term, run }).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

/// Runs calls until all handles are dropped.
async fn work(store: Store, queue: mpsc::Receiver<Call>) {
    let mut of_store = Ok((store, queue));
    while let Ok((store, mut queue)) = of_store {
        let Some(first) = queue.recv().await else {
            // Closing a file blocks too.
            let _ = thread_pool::run(move || drop(store)).await;
            return;
        };
        of_store = thread_pool::run(move || {
            let mut store = store;
            answer(&mut store, first);
            (store, queue)
        })
        .await;
    }
}

/// Runs a call. If it panics, its transaction is rolled back and its caller gets no reply.
fn answer(store: &mut Store, call: Call) {
    if catch_unwind(AssertUnwindSafe(|| (call.run)(store, None)(Ok(())))).is_err() {
        tracing::error!(
            "a store operation panicked, which is a bug; its changes were rolled back, and the store continues"
        );
    }
}

async fn served(path: &Path, now: Timestamp) -> Result<Store, StoreError> {
    let in_use = |error: &StoreError| matches!(error, StoreError::At { error, .. } if **error == StoreError::InUse);
    for attempt in 1..=LOCK_ATTEMPTS {
        let file = path.to_owned();
        match thread_pool::run(move || Store::serve(&file, now)).await? {
            Err(error) if in_use(&error) && attempt < LOCK_ATTEMPTS => {
                if attempt == LOGGED_ATTEMPT {
                    tracing::warn!(
                        path = %path.display(),
                        "another process uses this state file; waiting until it exits"
                    );
                }
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            opened => return opened,
        }
    }
    Err(StoreError::InUse.at(path))
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("term", &self.term).finish_non_exhaustive()
    }
}

impl Outbox for StoreHandle {
    fn may_send(&self) -> bool {
        self.fence.as_ref().is_none_or(Fence::is_open)
    }

    async fn due(&self, receiver: &str, now: Timestamp, limit: usize) -> Result<Due, OutboxError> {
        let receiver = receiver.to_owned();
        self.call(move |store| store.guarded(|store| store.due(&receiver, now, limit))).await.map_err(outbox_error)
    }

    async fn due_together(&self, receiver: &str, now: Timestamp) -> Result<Due, OutboxError> {
        let receiver = receiver.to_owned();
        self.call(move |store| store.guarded(|store| store.due_together(&receiver, now))).await.map_err(outbox_error)
    }

    async fn begin(
        &self,
        first: &NotificationId,
        others: &[NotificationId],
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let (first, others) = (first.clone(), others.to_vec());
        self.call(move |store| store.begin(&first, &others, now)).await.map_err(outbox_error)
    }

    async fn firing(&self) -> Result<Vec<Alert>, OutboxError> {
        self.call(|store| store.guarded(Store::firing)).await.map_err(outbox_error)
    }

    async fn notified(&self, receiver: &str) -> Result<Vec<Alert>, OutboxError> {
        let receiver = receiver.to_owned();
        self.call(move |store| store.guarded(|store| store.notified(&receiver))).await.map_err(outbox_error)
    }

    async fn note_trouble(
        &self,
        receiver: &str,
        error: Option<&str>,
        now: Timestamp,
        others: &[String],
    ) -> Result<(), OutboxError> {
        let (receiver, error, others) = (receiver.to_owned(), error.map(str::to_owned), others.to_vec());
        self.call(move |store| store.note_trouble(&receiver, error.as_deref(), now, &others))
            .await
            .map_err(outbox_error)
    }

    async fn settle(&self, id: &NotificationId, verdict: Verdict, others: &[String]) -> Result<(), OutboxError> {
        let (id, others) = (id.clone(), others.to_vec());
        self.call(move |store| store.settle(&id, &verdict, &others)).await.map_err(outbox_error)
    }
}

fn outbox_error(error: StoreError) -> OutboxError {
    OutboxError(error.to_string())
}
