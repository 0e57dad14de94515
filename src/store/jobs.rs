//! What AWS forgets of jobs: how those that were dispatched came to where they are.

use rusqlite::Connection;
use rusqlite::Transaction;
use rusqlite::params;

use crate::store::StoreError;
use crate::store::rows;
use crate::store::rows::Judged;
use trainspotter_core::model::SavedJob;

/// Replaces all jobs. Only what changed is written.
pub(super) fn save(transaction: &Transaction<'_>, jobs: &[SavedJob]) -> Result<(), StoreError> {
    let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
    transaction
        .prepare_cached("DELETE FROM job WHERE id NOT IN (SELECT value FROM json_each(?1))")?
        .execute([serde_json::to_string(&ids)?])?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO job (id, body) VALUES (?1, ?2)
         ON CONFLICT (id) DO UPDATE SET body = excluded.body WHERE body <> excluded.body",
    )?;
    for SavedJob { id, body } in jobs {
        insert.execute(params![id.as_str(), body])?;
    }
    Ok(())
}

/// All jobs, by id.
pub(super) fn load(connection: &Connection) -> Result<Judged<SavedJob>, StoreError> {
    rows::judge(connection, "job", "SELECT id, body FROM job ORDER BY id", |row| {
        Ok(SavedJob { id: row.get::<_, String>(0)?.as_str().into(), body: row.get(1)? })
    })
}
