//! What a follower serves: figures and jobs as the leader wrote them to the log.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::config::Config;
use crate::replication::Replicas;
use crate::service::{job_queries, restore_jobs};
use crate::store::{StoreError, latest_with_tables};
use crate::web::JobQuery;
use trainspotter_core::engine::{Engine, cadence};
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::{Observation, Timestamp};
use trainspotter_core::rules::Rule;

/// Minimum wall time between two loads of all jobs.
const MIN_PAUSE: Duration = Duration::from_secs(2);

/// Loading jobs takes at most one part in this many of the time, however many jobs there are.
const LOAD_TIME_DIVISOR: u32 = 10;

/// A replica whose records stay behind what it has shown for so long shows them: its log lost the later ones.
const STAYS_BEHIND: Duration = Duration::from_secs(600);

/// The last record of the log whose state this replica has shown. If it goes back to earlier records, to apply them again, nothing
/// older is shown.
#[derive(Clone, Debug)]
pub(super) struct Farthest {
    number: u64,
    behind_since: Option<Instant>,
}

impl Farthest {
    pub(super) fn of(number: u64) -> Self {
        Self { number, behind_since: None }
    }

    /// Whether the state at a record can be shown. It is then the last one shown.
    pub(super) fn is_reached_by(&mut self, number: u64) -> bool {
        let is_reached =
            number >= self.number || self.behind_since.get_or_insert_with(Instant::now).elapsed() >= STAYS_BEHIND;
        if is_reached {
            *self = Self::of(number);
        }
        is_reached
    }
}

/// The newest frame of a file, with its tables; `None` if there is none.
pub(super) async fn latest(file: PathBuf) -> Result<Option<Frame>, StoreError> {
    blocking::run(move || latest_with_tables(&file)).await.map_err(|_| StoreError::Closed)?
}

/// The jobs of the log, as last loaded.
struct LoadedJobs {
    engine: Engine,
    /// Time of the frame they were loaded with.
    at: Timestamp,
    /// Last log record that was applied when they were loaded.
    record: u64,
    read: Instant,
    /// Minimum time until they are reloaded.
    pause: Duration,
}

/// Answers job queries from the log until `stop`. Jobs are loaded on demand, and reloaded when the log has
/// advanced, but not while old records are applied again. If loading fails, the jobs loaded before are used; without
/// any, the query is dropped.
pub(super) async fn answer(
    mut queries: mpsc::Receiver<JobQuery>,
    config: &Config,
    rules: &[Rule],
    (replicas, mut farthest): (&Replicas, Farthest),
    stop: CancellationToken,
) {
    let mut known: Option<LoadedJobs> = None;
    while let Some(Some(query)) = stop.run_until_cancelled(queries.recv()).await {
        let record = replicas.status.borrow().number;
        let is_old = |known: &LoadedJobs| known.record != record && known.read.elapsed() >= known.pause;
        if farthest.is_reached_by(record) && known.as_ref().is_none_or(is_old) {
            match read(config, rules, replicas, record).await {
                // A lower number: old records are applied again, and some of what was read may be of an earlier time.
                Ok(read) => known = read.filter(|_| replicas.status.borrow().number >= record).or(known),
                Err(error) => tracing::warn!(
                    %error,
                    "cannot read the jobs from the replicated state; pages may show older jobs"
                ),
            }
        }
        if let Some(LoadedJobs { engine, at, .. }) = &mut known {
            job_queries::answer(engine, query, *at);
        }
    }
}

/// Loads all jobs known to the log; `None` before its first frame.
async fn read(
    config: &Config,
    rules: &[Rule],
    replicas: &Replicas,
    record: u64,
) -> Result<Option<LoadedJobs>, StoreError> {
    let began = Instant::now();
    let Some(frame) = latest(config.store.clone()).await? else { return Ok(None) };
    let saved = restore_jobs::without_jobs(replicas.store.load().await?);
    let at = frame.at;
    let cadence = cadence(config.poll.reconcile_every, config.poll.every);
    let engine = Engine::new(rules.to_vec(), cadence, saved, at)
        .priced(config.prices.clone())
        .showing(config.shares.clone())
        .banded(config.priority_bands.clone());
    let mut engine = restore_jobs::pages(engine, &replicas.store).await?;
    engine.observe(vec![
        Observation::Topology { at, queues: frame.topology },
        Observation::Reserved { at, all: frame.reserved },
    ]);
    let pause = (began.elapsed() * LOAD_TIME_DIVISOR).max(MIN_PAUSE);
    Ok(Some(LoadedJobs { engine, at, record, read: Instant::now(), pause }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_older_than_what_was_shown_is_shown_unless_the_log_stays_behind() {
        let mut farthest = Farthest::of(7);
        let mut shows = |number| farthest.is_reached_by(number);
        assert!(!shows(6) && shows(7) && shows(9) && !shows(8));
        tokio::time::advance(STAYS_BEHIND / 2).await;
        assert!(!shows(8) && shows(9) && !shows(3), "it has caught up, and goes back again");
        tokio::time::advance(STAYS_BEHIND - Duration::from_secs(1)).await;
        assert!(!shows(4));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(shows(4) && shows(5) && !shows(4));
    }
}
