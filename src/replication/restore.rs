//! Restores a state from the log: the newest valid snapshot, or an older one if that is damaged. The records after
//! it are applied as usual.

use std::path::PathBuf;
use std::time::Duration;

use crate::objects::Storage;
use crate::replication::LogError;
use crate::replication::damaged_snapshots::DamagedCopies;
use crate::replication::object_names;
use crate::replication::record;
use crate::replication::snapshot;
use crate::replication::time_limit::within;
use crate::store::Position;
use crate::store::Store;
use crate::store::StoreError;

/// Contents of a log, without reading it completely.
#[derive(Debug)]
pub(super) struct Contents {
    /// Snapshots, newest first.
    copies: Vec<(u64, String)>,
    /// The first stored record.
    first: Option<u64>,
}

impl Contents {
    /// Lists the contents.
    pub(super) async fn of<S: Storage>(storage: &S, patience: Duration) -> Result<Self, LogError> {
        let copies = within(patience, storage.list(object_names::SNAPSHOTS, "")).await?;
        let mut copies: Vec<_> = copies.iter().filter_map(|name| object_names::snapshot_of(name)).collect();
        copies.reverse();
        let records = within(patience, storage.list(object_names::RECORDS, "")).await?;
        let odd = records.iter().find(|name| object_names::record_number(name).is_none());
        if let (Some(name), true) = (odd, records.iter().all(|name| object_names::record_number(name).is_none())) {
            let problem =
                "it is not a record of Trainspotter: give `store.log` a prefix that nothing else uses".to_owned();
            return Err(LogError::Unreadable { name: name.clone(), problem });
        }
        let first = records.iter().find_map(|name| object_names::record_number(name));
        Ok(Self { copies, first })
    }

    /// Whether the log does not exist yet. A snapshot without a record stems from an attempt that did not get
    /// further.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.copies.iter().all(|(number, _)| *number == 0)
    }

    /// The oldest stored record.
    pub(super) fn first_record(&self) -> Option<u64> {
        self.first
    }

    /// The last record included in a snapshot.
    pub(super) fn newest_copy(&self) -> u64 {
        self.copies.first().map_or(0, |(number, _)| *number)
    }
}

/// A restored state.
#[derive(Debug)]
pub(super) struct Restored {
    /// Its position in the log.
    pub(super) position: Position,
    /// Newer snapshots that could not be used.
    pub(super) damaged: Option<DamagedCopies>,
}

/// Restores the store from the newest snapshot that the log continues from. A damaged snapshot is passed over if an
/// older one, or the beginning of the log, and all records after it are there.
pub(super) async fn restore<S: Storage>(
    storage: &S,
    store: &mut Store,
    writer: &str,
    patience: Duration,
) -> Result<Restored, LogError> {
    let contents = Contents::of(storage, patience).await?;
    let position = |number, digest: &str| Position {
        number,
        digest: digest.as_bytes().to_vec(),
        writer: writer.to_owned(),
        is_ahead: false,
    };
    let mut damaged: Option<DamagedCopies> = None;
    for (number, digest) in &contents.copies {
        if !goes_on(storage, *number, digest, patience).await?
            || !reaches(storage, *number, damaged.as_ref(), patience).await?
        {
            continue;
        }
        let name = object_names::snapshot(*number, digest);
        let Some(bytes) = within(patience * snapshot::LARGE, storage.get(&name)).await? else { continue };
        match apply(store, &name, (*number, digest), &bytes) {
            Ok(()) => {
                let position = position(*number, digest);
                store.write_position(&position).map_err(LogError::store)?;
                return Ok(Restored { position, damaged });
            }
            Err(error @ LogError::Unreadable { .. }) => {
                tracing::error!(%error, "a snapshot in the replication log is corrupt; trying an older one");
                match &mut damaged {
                    Some(damaged) => damaged.names.push(name),
                    None => damaged = Some(DamagedCopies { names: vec![name], until: *number, error }),
                }
            }
            Err(error) => return Err(error),
        }
    }
    if contents.first.is_some_and(|first| first > 1) || !reaches(storage, 0, damaged.as_ref(), patience).await? {
        let name = object_names::record(1);
        let problem = "it is missing, and so is a later snapshot, so the log is incomplete: restore the missing objects from \
                       older versions, or set another prefix in `store.log`, where a new log begins with the state file \
                       of the first replica that starts"
            .to_owned();
        return Err(damaged.map_or(LogError::Unreadable { name, problem }, |damaged| damaged.error));
    }
    // A log that began with a state cannot be restored without it.
    if let Some(damaged) = &damaged
        && !goes_on(storage, 0, "", patience).await?
    {
        return Err(damaged.error.clone());
    }
    store.replace(None).map_err(LogError::store)?;
    let position = position(0, "");
    store.write_position(&position).map_err(LogError::store)?;
    Ok(Restored { position, damaged })
}

/// Whether all records from this one to the newest damaged snapshot are there. Without a damaged snapshot they need
/// not be looked for: the log ends where the next record is missing.
async fn reaches<S: Storage>(
    storage: &S,
    number: u64,
    damaged: Option<&DamagedCopies>,
    patience: Duration,
) -> Result<bool, LogError> {
    let until = damaged.map_or(number, |damaged| damaged.until);
    let mut last = number;
    while last < until {
        let listed = within(patience, storage.list(object_names::RECORDS, &object_names::record(last))).await?;
        let before = last;
        for found in listed.iter().filter_map(|name| object_names::record_number(name)) {
            if found != last + 1 {
                return Ok(last >= until);
            }
            last = found;
        }
        if last == before {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the record after a snapshot, if there is one, follows it.
async fn goes_on<S: Storage>(storage: &S, number: u64, digest: &str, patience: Duration) -> Result<bool, LogError> {
    let name = object_names::record(number + 1);
    match within(patience, storage.get(&name)).await? {
        Some(bytes) => {
            let (header, _) = record::decode(&name, &bytes, number + 1, Store::schema_version())?;
            Ok(header.before == digest)
        }
        None => Ok(number > 0),
    }
}

/// Replaces the store by a snapshot of this record.
fn apply(store: &mut Store, name: &str, of: (u64, &str), bytes: &[u8]) -> Result<(), LogError> {
    let folder = Folder::new()?;
    let copy = folder.copy();
    snapshot::unsqueeze(name, bytes, &copy)?;
    if !snapshot::is_of(&copy, bytes, of).map_err(|error| unusable(name, error))? {
        let problem = "its content does not match its name".to_owned();
        return Err(LogError::Unreadable { name: name.to_owned(), problem });
    }
    store.replace(Some(&copy)).map_err(|error| unusable(name, error))
}

/// Whether a snapshot is damaged, or of a newer version, or this machine fails.
fn unusable(name: &str, error: StoreError) -> LogError {
    match error {
        StoreError::FromTheFuture { found, known } => LogError::Newer {
            name: name.to_owned(),
            found: format!("tables of version {found}"),
            known: format!("version {known}"),
        },
        StoreError::Corrupt(_)
        | StoreError::NotOurs
        | StoreError::Foreign
        | StoreError::Value(_)
        | StoreError::Sqlite(_) => {
            let problem = format!("it is truncated, corrupt or not a snapshot: {error}");
            LogError::Unreadable { name: name.to_owned(), problem }
        }
        StoreError::At { error, .. } => unusable(name, *error),
        StoreError::Unwritable(_)
        | StoreError::Replaced(_)
        | StoreError::Overwritten(_)
        | StoreError::InUse
        | StoreError::NotLeading
        | StoreError::Closed => LogError::store(error),
    }
}

/// A temporary folder, removed on drop.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Self, LogError> {
        let name = format!("trainspotter-{}-{}", std::process::id(), unique());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| LogError::Local(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }

    /// Path of a state's copy in it.
    pub(super) fn copy(&self) -> PathBuf {
        self.0.join("copy.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static MADE: AtomicU64 = AtomicU64::new(0);
    MADE.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests;
