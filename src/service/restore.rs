//! Going on with the jobs that an earlier run has saved, without a second copy of all of them.

use crate::store::{StoreError, StoreHandle};
use trainspotter_core::engine::Engine;

/// Jobs that are read at once.
const PAGE: usize = 2_000;

/// The engine, with all jobs that are kept.
pub(super) async fn jobs(mut engine: Engine, store: &StoreHandle) -> Result<Engine, StoreError> {
    let mut after = None;
    loop {
        let (jobs, last) = store.jobs_after(after, PAGE).await?;
        engine.restore(jobs);
        after = last;
        if after.is_none() {
            break;
        }
    }
    let restored = engine.ledger().len();
    if restored > 0 {
        tracing::info!(jobs = restored, "goes on with the jobs that an earlier run has saved");
    }
    Ok(engine)
}
