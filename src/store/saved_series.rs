//! Counters and distributions on disk.

use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::params;

use crate::store::StoreError;
use crate::store::unreadable_rows;
use crate::store::unreadable_rows::Judged;
use trainspotter_core::model::SavedSeries;

/// Replaces all series; `before` are the stored ones, or empty if unknown. If the same series come in the same
/// order, as from tick to tick, only changed ones are written. Non-finite series are skipped; returns how many.
pub(super) fn save(
    transaction: &Connection,
    series: &[SavedSeries],
    before: &[SavedSeries],
) -> Result<u64, StoreError> {
    let same = |(a, b): (&SavedSeries, &SavedSeries)| {
        a.metric == b.metric && (Arc::ptr_eq(&a.labels, &b.labels) || a.labels == b.labels)
    };
    let all_same = !before.is_empty() && series.len() == before.len() && series.iter().zip(before).all(same);
    if !all_same {
        remove_all_but(transaction, series)?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT INTO series (metric, labels, value, buckets, sum, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (metric, labels) DO UPDATE SET
             value = excluded.value, buckets = excluded.buckets, sum = excluded.sum, count = excluded.count
         WHERE (value, buckets, sum, count) <> (excluded.value, excluded.buckets, excluded.sum, excluded.count)",
    )?;
    let mut unstorable = 0;
    for (index, one) in series.iter().enumerate() {
        if all_same && before.get(index) == Some(one) {
            continue;
        }
        // SQLite cannot store NaN, and counting on from infinity is useless.
        if !one.value.is_finite() || !one.sum.is_finite() {
            unstorable += 1;
            continue;
        }
        let SavedSeries { metric, labels, value, buckets, sum, count } = one;
        let labels = serde_json::to_string(&**labels)?;
        let buckets = serde_json::to_string(buckets)?;
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        insert.execute(params![metric, labels, value, buckets, sum, count])?;
    }
    Ok(unstorable)
}

fn remove_all_but(transaction: &Connection, series: &[SavedSeries]) -> Result<(), StoreError> {
    let key = |one: &SavedSeries| Ok(serde_json::json!([&*one.metric, serde_json::to_string(&*one.labels)?]));
    let kept = series.iter().map(key).collect::<Result<Vec<_>, StoreError>>()?;
    transaction
        .prepare_cached(
            "DELETE FROM series WHERE (metric, labels) NOT IN (
                 SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?1))",
        )?
        .execute([serde_json::to_string(&kept)?])?;
    Ok(())
}

/// All series, by metric and labels.
pub(super) fn load(connection: &Connection) -> Result<Judged<SavedSeries>, StoreError> {
    let sql = "SELECT metric, labels, value, buckets, sum, count FROM series ORDER BY metric, labels";
    unreadable_rows::judge(connection, "series", sql, |row| {
        let (value, sum): (f64, f64) = (row.get(2)?, row.get(4)?);
        if !value.is_finite() || !sum.is_finite() {
            return Err(StoreError::Value("its value is not a number".to_owned()));
        }
        Ok(SavedSeries {
            metric: row.get::<_, String>(0)?.into(),
            labels: Arc::new(serde_json::from_str(&row.get::<_, String>(1)?)?),
            value,
            buckets: serde_json::from_str(&row.get::<_, String>(3)?)?,
            sum,
            count: u64::try_from(row.get::<_, i64>(5)?).map_err(|error| StoreError::Value(error.to_string()))?,
        })
    })
}

#[cfg(test)]
impl crate::store::Store {
    /// A watermark of counting, and the value of the first series of a metric: much faster than [`Self::load`].
    pub(crate) fn counted(
        &self,
        mark: &str,
        metric: &str,
    ) -> Result<(Option<trainspotter_core::model::Timestamp>, f64), StoreError> {
        use rusqlite::OptionalExtension as _;
        let mut until = self.connection.prepare_cached("SELECT at FROM watermark WHERE name = ?1")?;
        let until = until.query_row([mark], |row| row.get(0)).optional()?;
        let mut value = self.connection.prepare_cached("SELECT value FROM series WHERE metric = ?1 LIMIT 1")?;
        let value = value.query_row([metric], |row| row.get(0)).optional()?;
        Ok((until.map(trainspotter_core::model::Timestamp::from_millis), value.unwrap_or(0.0)))
    }
}
