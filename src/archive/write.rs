//! Writes a day: all rows that the archive lacks, in one file, without duplicates.

use std::collections::HashSet;

use crate::archive::{ArchiveError, Encoder, Row, decode, layout, unpack};
use crate::objects::Storage;
use crate::store::{StoreHandle, UnarchivedRows};
use trainspotter_core::model::Timestamp;

/// Number of ticks whose rows are read from the store, and removed from it, in one batch.
const TICKS_AT_ONCE: u32 = 200;

/// Result of writing a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows added to the archive.
    pub added: u64,
    /// Whether an existing file was rewritten.
    pub was_corrected: bool,
    /// Unreadable rows; they stay in the state file.
    pub unreadable: u64,
}

/// Archives a day of a table, then removes its rows from the store. `may_write` is whether this replica is still
/// the leader.
///
/// # Errors
/// The archive or the store failed, or an existing file cannot be read. Nothing is lost, and it can be retried.
pub async fn write_day<R: Row, S: Storage>(
    storage: &S,
    store: &StoreHandle,
    day: Timestamp,
    source: &str,
    may_write: impl Fn() -> bool,
) -> Result<Written, ArchiveError> {
    let name = layout::file(R::TABLE, day, source);
    let before = storage.get(&name).await?;
    let was_there = before.is_some();
    let mut file = blocking(move || DayFile::<R>::begun(&name, before)).await?;
    let mut written = Written::default();
    let (mut ticks, mut after) = (Vec::new(), Timestamp::from_millis(i64::MIN));
    loop {
        let page = store.call(move |store| store.unarchived(R::TABLE, day, after, TICKS_AT_ONCE)).await?;
        let Some(last) = page.last() else { break };
        after = last.at;
        let (read, bad) = blocking(move || file.take(&page)).await?;
        let FileAndTicks { file: back, ticks: good } = read;
        file = back;
        ticks.extend(good);
        written.unreadable += bad;
    }
    written.added = file.added;
    if written.added > 0 {
        written.was_corrected = was_there;
        let (name, bytes) = blocking(move || file.finish()).await?;
        if !may_write() {
            return Err(ArchiveError::NotLeading);
        }
        storage.put(&name, bytes).await?;
    }
    for some in ticks.chunks(usize::try_from(TICKS_AT_ONCE).unwrap_or(usize::MAX)) {
        let some = some.to_vec();
        store.call(move |store| store.archived(R::TABLE, day, &some)).await?;
    }
    Ok(written)
}

/// Encodes or compresses beside the async tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    crate::blocking::run(work).await.map_err(|error| ArchiveError::Encoding(error.to_string()))?
}

/// The new contents of a day's file: existing rows, then new ones.
struct DayFile<R: Row> {
    name: String,
    encoder: Encoder<R>,
    known: HashSet<String>,
    added: u64,
}

struct FileAndTicks<R: Row> {
    file: DayFile<R>,
    ticks: Vec<Timestamp>,
}

impl<R: Row> DayFile<R> {
    fn begun(name: &str, before: Option<Vec<u8>>) -> Result<Self, ArchiveError> {
        let mut file = Self { name: name.to_owned(), encoder: Encoder::new()?, known: HashSet::new(), added: 0 };
        if let Some(before) = before {
            let mut failed = Ok(());
            decode::<R>(name, before, |row| {
                file.known.insert(row.key());
                if failed.is_ok() {
                    failed = file.encoder.push(row);
                }
            })?;
            failed?;
        }
        Ok(file)
    }

    /// Adds the rows of some ticks that are missing. Returns these ticks, and the number of unreadable rows.
    fn take(mut self, page: &[UnarchivedRows]) -> Result<(FileAndTicks<R>, u64), ArchiveError> {
        let (mut ticks, mut bad) = (Vec::new(), 0);
        for packed in page {
            let Ok(rows) = unpack::<R>(&packed.body) else {
                bad += packed.rows;
                continue;
            };
            for row in rows {
                if self.known.insert(row.key()) {
                    self.encoder.push(row)?;
                    self.added += 1;
                }
            }
            ticks.push(packed.at);
        }
        Ok((FileAndTicks { file: self, ticks }, bad))
    }

    fn finish(self) -> Result<(String, Vec<u8>), ArchiveError> {
        Ok((self.name, self.encoder.finish()?))
    }
}
