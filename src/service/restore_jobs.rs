//! Restores saved jobs in pages, without a second copy of all of them in memory.

use crate::service::{COUNTED_UNTIL, OPEN_SINCE};
use crate::store::{self, StoreError, StoreHandle};
use trainspotter_core::engine::{Engine, Saved};

/// Jobs read per page.
const PAGE: usize = 2_000;

/// The saved state of an engine, without jobs.
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

/// Restores all saved jobs into the engine, and logs their number.
pub(super) async fn jobs(engine: Engine, store: &StoreHandle) -> Result<Engine, StoreError> {
    let engine = pages(engine, store).await?;
    let restored = engine.ledger().len();
    if restored > 0 {
        tracing::info!(jobs = restored, "restored the jobs from the state file");
    }
    Ok(engine)
}

/// Restores all saved jobs into the engine.
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
