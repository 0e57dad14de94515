//! What a replica that follows knows: figures and jobs as the leader has written them to the log.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::replication::Replicas;
use crate::service::{job_queries, restore};
use crate::store::{StoreError, latest_with_tables};
use crate::web::JobQuery;
use trainspotter_core::engine::{Engine, cadence};
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::{Observation, Timestamp};
use trainspotter_core::rules::Rule;

/// The least wall time between two readings of all jobs.
const MIN_PAUSE: Duration = Duration::from_secs(2);

/// Reading jobs takes this part of the time at most, however many there are.
const READING_PART: u32 = 10;

/// The newest figures of a file, with the tables beside them; `None` if there are none.
pub(super) async fn latest(file: PathBuf) -> Result<Option<Frame>, StoreError> {
    tokio::task::spawn_blocking(move || latest_with_tables(&file)).await.map_err(|_| StoreError::Closed)?
}

/// The jobs of the log, as they were read.
struct Known {
    engine: Engine,
    /// The time of the figures that they were read with.
    at: Timestamp,
    /// The record up to which the log was known.
    record: u64,
    read: Instant,
    /// For how long they are good enough.
    pause: Duration,
}

/// Answers questions about jobs from the log, until `stop`. The jobs are read when somebody asks, and again when the log has gone on.
/// What cannot be read stays unanswered.
pub(super) async fn answer(
    mut queries: mpsc::Receiver<JobQuery>,
    config: &Config,
    rules: &[Rule],
    replicas: &Replicas,
    stop: CancellationToken,
) {
    let mut known: Option<Known> = None;
    while let Some(Some(query)) = stop.run_until_cancelled(queries.recv()).await {
        let record = replicas.standing.borrow().number;
        let is_old = |known: &Known| known.record != record && known.read.elapsed() >= known.pause;
        if known.as_ref().is_none_or(is_old) {
            match read(config, rules, replicas, record).await {
                Ok(read) => known = read.or(known),
                Err(error) => tracing::warn!(%error, "the jobs of the log cannot be read"),
            }
        }
        if let Some(Known { engine, at, .. }) = &mut known {
            job_queries::answer(engine, query, *at);
        }
    }
}

/// Reads all that the log knows of jobs; `None` before its first figures.
async fn read(config: &Config, rules: &[Rule], replicas: &Replicas, record: u64) -> Result<Option<Known>, StoreError> {
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
    let pause = (began.elapsed() * READING_PART).max(MIN_PAUSE);
    Ok(Some(Known { engine, at, record, read: Instant::now(), pause }))
}
