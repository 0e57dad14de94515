//! Loads jobs, and the time up to which the lists of their queues are complete. `keyed_rows.rs` saves both.

use rusqlite::Connection;
use rusqlite::Row;
use rusqlite::params;

use crate::store::StoreError;
use crate::store::unreadable_rows;
use crate::store::unreadable_rows::Judged;
use trainspotter_core::jobs::is_readable;
use trainspotter_core::model::JobId;
use trainspotter_core::model::SavedJob;
use trainspotter_core::model::SavedQueue;

/// At most `limit` jobs after an id, or the first ones. Also returns the id to continue after; `None` at the end.
pub(super) fn page(
    connection: &Connection,
    after: Option<&JobId>,
    limit: usize,
) -> Result<(Vec<SavedJob>, Option<JobId>), StoreError> {
    let mut statement = connection.prepare_cached("SELECT id, body FROM job WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![after.map_or("", JobId::as_str), limit])?;
    let (mut jobs, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        // Unreadable rows were moved aside before, or are skipped.
        match job(row) {
            Ok(job) => {
                last = Some(job.id.clone());
                jobs.push(job);
            }
            Err(StoreError::Value(_)) => last = row.get::<_, String>(0).ok().map(Into::into).or(last),
            Err(error) => return Err(error),
        }
    }
    Ok((jobs, last.filter(|last| Some(last) != after)))
}

/// The unreadable jobs.
pub(super) fn bad(connection: &Connection) -> Result<Judged<()>, StoreError> {
    let mut judged = unreadable_rows::judge(connection, "job", "SELECT id, body FROM job", |row| {
        let job = job(row)?;
        if is_readable(&job) { Ok(()) } else { Err(StoreError::Value("it is not a job".to_owned())) }
    })?;
    judged.good.clear();
    Ok(judged)
}

fn job(row: &Row<'_>) -> Result<SavedJob, StoreError> {
    Ok(SavedJob { id: row.get::<_, String>(0)?.into(), body: row.get(1)? })
}

/// All queues, by name.
pub(super) fn load_queues(connection: &Connection) -> Result<Judged<SavedQueue>, StoreError> {
    unreadable_rows::judge(connection, "queue", "SELECT name, body FROM queue ORDER BY name", |row| {
        Ok(SavedQueue { name: row.get::<_, String>(0)?.into(), body: row.get(1)? })
    })
}
