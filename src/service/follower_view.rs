//! What a follower serves: figures and jobs as the leader wrote them to the log.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::config::Config;
use crate::replication::Replicas;
use crate::service::{job_queries, restore};
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
/// advanced. If loading fails, the jobs loaded before are used; without any, the query is dropped.
pub(super) async fn answer(
    mut queries: mpsc::Receiver<JobQuery>,
    config: &Config,
    rules: &[Rule],
    replicas: &Replicas,
    stop: CancellationToken,
) {
    let mut known: Option<LoadedJobs> = None;
    while let Some(Some(query)) = stop.run_until_cancelled(queries.recv()).await {
        let record = replicas.status.borrow().number;
        // A lower number: records are applied again, and the jobs are those of an earlier time.
        let is_old = |known: &LoadedJobs| known.record < record && known.read.elapsed() >= known.pause;
        if known.as_ref().is_none_or(is_old) {
            match read(config, rules, replicas, record).await {
                Ok(read) => known = read.or(known),
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
    let saved = restore::without_jobs(replicas.store.load().await?);
    let at = frame.at;
    let cadence = cadence(config.poll.reconcile_every, config.poll.every);
    let engine = Engine::new(rules.to_vec(), cadence, saved, at)
        .priced(config.prices.clone())
        .showing(config.shares.clone())
        .banded(config.priority_bands.clone());
    let mut engine = restore::pages(engine, &replicas.store).await?;
    engine.observe(vec![
        Observation::Topology { at, queues: frame.topology },
        Observation::Reserved { at, all: frame.reserved },
    ]);
    let pause = (began.elapsed() * LOAD_TIME_DIVISOR).max(MIN_PAUSE);
    Ok(Some(LoadedJobs { engine, at, record, read: Instant::now(), pause }))
}
