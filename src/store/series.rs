//! Counters and distributions on disk.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::Transaction;
use rusqlite::params;

use crate::store::StoreError;
use trainspotter_core::model::SavedSeries;

/// Replaces all series; `before` are those that are there, or none if that is not known. Where the same series come in the same
/// order, as from tick to tick they do, only those that changed are written.
pub(super) fn save(
    transaction: &Transaction<'_>,
    series: &[SavedSeries],
    before: &[SavedSeries],
) -> Result<(), StoreError> {
    let same = |(a, b): (&SavedSeries, &SavedSeries)| {
        a.metric == b.metric && (Arc::ptr_eq(&a.labels, &b.labels) || a.labels == b.labels)
    };
    let all_same = !before.is_empty() && series.len() == before.len() && series.iter().zip(before).all(same);
    if !all_same {
        transaction.execute("DELETE FROM series", [])?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO series (metric, labels, value, buckets, sum, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (index, one) in series.iter().enumerate() {
        if all_same && before.get(index) == Some(one) {
            continue;
        }
        let SavedSeries { metric, labels, value, buckets, sum, count } = one;
        let labels = serde_json::to_string(&**labels)?;
        let buckets = serde_json::to_string(buckets)?;
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        insert.execute(params![metric, labels, value, buckets, sum, count])?;
    }
    Ok(())
}

/// All series, by metric and labels.
pub(super) fn load(connection: &Connection) -> Result<Vec<SavedSeries>, StoreError> {
    let mut statement =
        connection.prepare("SELECT metric, labels, value, buckets, sum, count FROM series ORDER BY metric, labels")?;
    let mut rows = statement.query([])?;
    let mut series = Vec::new();
    while let Some(row) = rows.next()? {
        series.push(SavedSeries {
            metric: row.get::<_, String>(0)?.into(),
            labels: Arc::new(serde_json::from_str(&row.get::<_, String>(1)?)?),
            value: row.get(2)?,
            buckets: serde_json::from_str(&row.get::<_, String>(3)?)?,
            sum: row.get(4)?,
            count: u64::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
        });
    }
    Ok(series)
}
