//! Threads for store calls, since SQLite blocks. There are few, however many stores: each has its own memory, and a
//! store is idle most of the time. If all are blocked by an unresponsive file, more are started, so that other
//! stores continue.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::store::StoreError;

/// Initial number of threads.
const THREADS: usize = 4;

/// Maximum number of threads: with as many unresponsive files, other stores have to wait.
const MAX_THREADS: usize = 64;

/// A thread counts as blocked when a call takes longer than this.
const HELD_UP_AFTER: Duration = Duration::from_secs(1);

type Work = Box<dyn FnOnce() + Send>;

/// All threads, once the first has started.
static THREADS_OF_STORES: OnceLock<Threads> = OnceLock::new();

#[derive(Clone)]
struct Threads {
    work: mpsc::Sender<Work>,
    inbox: Arc<Mutex<mpsc::Receiver<Work>>>,
    /// When each thread began its call; `None` for an idle one.
    busy_since: Arc<Mutex<Vec<Option<Instant>>>>,
}

/// Runs a closure on one of the threads. It runs to completion even if the caller is dropped.
///
/// # Errors
/// The system cannot create a thread, or the closure panicked.
pub(super) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    #[cfg(test)]
    if crate::simulation::is_running() {
        return Ok(work());
    }
    let (reply, answer) = oneshot::channel();
    // What the closure logs has the labels of the caller's target.
    let span = tracing::Span::current();
    let work = Box::new(move || {
        // The result is dropped if the caller is gone.
        let _ = reply.send(span.in_scope(work));
    });
    let threads = started()?;
    threads.add_if_all_are_held_up();
    threads.work.send(work).map_err(|_| StoreError::Closed)?;
    answer.await.map_err(|_| StoreError::Closed)
}

/// Starts the threads, unless they are running.
///
/// # Errors
/// The system cannot create a thread.
pub(super) fn start() -> Result<(), StoreError> {
    started().map(|_| ())
}

fn started() -> Result<&'static Threads, StoreError> {
    if let Some(threads) = THREADS_OF_STORES.get() {
        return Ok(threads);
    }
    let (work, inbox) = mpsc::channel();
    let threads = Threads { work, inbox: Arc::new(Mutex::new(inbox)), busy_since: Arc::default() };
    for number in 0..THREADS {
        match threads.add() {
            Ok(()) => {}
            Err(error) if number == 0 => {
                return Err(StoreError::Sqlite(format!("cannot start the threads for state files: {error}")));
            }
            Err(error) => tracing::warn!(
                %error,
                threads = number,
                "cannot start all threads for state files; continuing with fewer"
            ),
        }
    }
    Ok(THREADS_OF_STORES.get_or_init(|| threads))
}

impl Threads {
    fn busy_since(&self) -> MutexGuard<'_, Vec<Option<Instant>>> {
        self.busy_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) -> std::io::Result<()> {
        let threads = self.clone();
        let mut busy_since = self.busy_since();
        let number = busy_since.len();
        std::thread::Builder::new().name("store".to_owned()).spawn(move || threads.serve(number))?;
        busy_since.push(None);
        Ok(())
    }

    fn add_if_all_are_held_up(&self) {
        let now = Instant::now();
        let is_held_up =
            |since: &Option<Instant>| since.is_some_and(|since| now.saturating_duration_since(since) >= HELD_UP_AFTER);
        let (threads, are_held_up) = {
            let busy_since = self.busy_since();
            (busy_since.len(), busy_since.iter().all(is_held_up))
        };
        if !are_held_up {
            return;
        }
        if threads >= MAX_THREADS {
            tracing::error!(
                threads,
                "all threads for state files are blocked and their maximum is reached: check the disk. Store \
                 operations wait"
            );
            return;
        }
        tracing::warn!(threads, "all threads for state files are blocked; starting another one. Check the disk");
        if let Err(error) = self.add() {
            tracing::warn!(%error, "cannot start another thread for state files");
        }
    }

    fn serve(&self, number: usize) {
        loop {
            let next = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(work) = next else { return };
            self.set_busy_since(number, Some(Instant::now()));
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("a store operation panicked, which is a bug; other operations continue");
            }
            self.set_busy_since(number, None);
        }
    }

    fn set_busy_since(&self, number: usize, since: Option<Instant>) {
        if let Some(own) = self.busy_since().get_mut(number) {
            *own = since;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_that_do_not_answer_hold_up_no_other_store() {
        let (release, held_up): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel::<()>()).unzip();
        let blocked: Vec<_> =
            held_up.into_iter().map(|held_up| tokio::spawn(run(move || held_up.recv().is_err()))).collect();
        let others = async {
            // Each call checks whether all threads are blocked.
            while tokio::time::timeout(Duration::from_millis(100), run(|| ())).await.is_err()
                || started().unwrap().busy_since().len() <= THREADS
            {}
        };
        tokio::time::timeout(Duration::from_secs(60), others).await.expect("other stores go on");
        drop(release);
        for one in blocked {
            one.await.unwrap().unwrap();
        }
    }
}
