//! Going on with the jobs that an earlier run has saved, without a second copy of all of them.

use crate::service::{COUNTED_UNTIL, OPEN_SINCE};
use crate::store::{self, StoreError, StoreHandle};
use trainspotter_core::engine::{Engine, Saved};

/// Jobs that are read at once.
const PAGE: usize = 2_000;

/// What an engine goes on from, but for jobs.
pub(super) fn without_jobs(saved: store::Saved) -> Saved {
    let mark = |name: &str| saved.watermarks.get(name).copied();
    let (counted_until, open_since) = (mark(COUNTED_UNTIL), mark(OPEN_SINCE));
    Saved {
        alerts: saved.alerts,
        series: saved.series,
        jobs: Vec::new(),
        queues: saved.queues,
        events: saved.events,
        forecast: saved.forecast,
        ticked_at: saved.committed_at,
        counted_until,
        open_since,
    }
}

/// The engine, with all jobs that are kept, which is logged.
pub(super) async fn jobs(engine: Engine, store: &StoreHandle) -> Result<Engine, StoreError> {
    let engine = pages(engine, store).await?;
    let restored = engine.ledger().len();
    if restored > 0 {
        tracing::info!(jobs = restored, "goes on with the jobs that an earlier run has saved");
    }
    Ok(engine)
}

/// The engine, with all jobs that are kept.
pub(super) async fn pages(mut engine: Engine, store: &StoreHandle) -> Result<Engine, StoreError> {
    let mut after = None;
    loop {
        let (jobs, last) = store.jobs_after(after, PAGE).await?;
        engine.restore(jobs);
        after = last;
        if after.is_none() {
            return Ok(engine);
        }
    }
}
