//! Reads days of the archive, from the files of all targets. An unreadable file is skipped.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::archive::{ArchiveError, Row, decode, layout};
use crate::objects::{Storage, StorageError};
use crate::store::ArchiveTable;
use trainspotter_core::model::Timestamp;

/// Maximum files in one folder. There is one per day and target: the maximum number of targets write a third of it
/// in ten years.
const MAX_FILES: usize = 2_000_000;

/// Maximum unreadable files listed; further ones are counted.
const MAX_NAMED: usize = 20;

/// The files of a table by day.
pub type Days = BTreeMap<Timestamp, Vec<String>>;

/// Result of reading.
#[derive(Clone, Debug, Default)]
pub struct ArchivedDays {
    /// Number of files read.
    pub files: u64,
    /// Whether the table has files of any day.
    pub has_days: bool,
    /// Unreadable files, with reasons.
    pub unreadable: Vec<String>,
    /// Number of further unreadable files.
    pub more_unreadable: u64,
}

/// The days for which a table has files.
///
/// # Errors
/// The bucket or folder cannot be read at all.
pub async fn days<S: Storage>(storage: &S, table: ArchiveTable) -> Result<Days, ArchiveError> {
    let mut days = Days::new();
    for name in names(storage, &layout::root(table)).await? {
        let Some(day) = layout::day_in(&name) else { continue };
        // A folder lists subfolders, a bucket the files below them.
        let files = if name.ends_with(".parquet") { vec![name] } else { names(storage, &name).await? };
        days.entry(day).or_default().extend(files.into_iter().filter(|file| file.ends_with(".parquet")));
    }
    Ok(days)
}

/// All names in a folder. Each page must continue after the previous one: a store that repeats names would be
/// listed forever.
async fn names<S: Storage>(storage: &S, folder: &str) -> Result<Vec<String>, ArchiveError> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let after = all.last().map_or("", String::as_str);
        let page = storage.list(folder, after).await?;
        if page.is_empty() {
            return Ok(all);
        }
        if page.iter().any(|name| name.as_str() <= after) {
            let problem = format!(
                "the listing of {folder} returned a name before {after}, so the endpoint is not S3: check \
                 `archive.endpoint`"
            );
            return Err(StorageError::lasting(problem).into());
        }
        all.extend(page);
        if all.len() > MAX_FILES {
            return Err(StorageError::lasting(format!("{folder} holds more than {MAX_FILES} files")).into());
        }
    }
}

/// Passes every row of a period to `take`, day by day.
///
/// # Errors
/// The bucket or folder cannot be read at all.
pub async fn read_days<R: Row, S: Storage>(
    storage: &S,
    from: Timestamp,
    to: Timestamp,
    mut take: impl FnMut(R),
) -> Result<ArchivedDays, ArchiveError> {
    let is_in = |day: &Timestamp| *day + Duration::from_secs(86_400) > from && *day < to;
    let days = days(storage, R::TABLE).await?;
    let mut read = ArchivedDays { has_days: !days.is_empty(), ..ArchivedDays::default() };
    for name in days.iter().filter(|(day, _)| is_in(day)).flat_map(|(_, files)| files) {
        // It may have been deleted meanwhile.
        let Some(bytes) = storage.get(name).await? else { continue };
        let is_meant = |row: &R| (from..to).contains(&row.at());
        match decode::<R>(name, bytes, |row| {
            if is_meant(&row) {
                take(row)
            }
        }) {
            Ok(()) => read.files += 1,
            Err(error) if read.unreadable.len() < MAX_NAMED => read.unreadable.push(error.to_string()),
            Err(_) => read.more_unreadable += 1,
        }
    }
    Ok(read)
}
