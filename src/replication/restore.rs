//! Restores a state from the log: the newest valid snapshot. The records after it are applied as usual.

use std::path::PathBuf;
use std::time::Duration;

use crate::objects::Storage;
use crate::replication::LogError;
use crate::replication::append::within;
use crate::replication::object_names;
use crate::replication::record;
use crate::replication::snapshot;
use crate::store::Position;
use crate::store::Store;

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
            let problem = "it is no record of Trainspotter: give `store.log` a prefix of its own".to_owned();
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

/// Restores the store from the newest snapshot that the log continues from. Returns its position.
pub(super) async fn restore<S: Storage>(
    storage: &S,
    store: &mut Store,
    writer: &str,
    patience: Duration,
) -> Result<Position, LogError> {
    let contents = Contents::of(storage, patience).await?;
    let position = |number, digest: &str| Position {
        number,
        digest: digest.as_bytes().to_vec(),
        writer: writer.to_owned(),
        is_ahead: false,
    };
    for (number, digest) in &contents.copies {
        if !goes_on(storage, *number, digest, patience).await? {
            continue;
        }
        let name = object_names::snapshot(*number, digest);
        let Some(bytes) = within(patience * snapshot::LARGE, storage.get(&name)).await? else { continue };
        take_in(store, &name, &bytes)?;
        let position = position(*number, digest);
        store.write_position(&position).map_err(LogError::store)?;
        return Ok(position);
    }
    if contents.first.is_some_and(|first| first > 1) {
        let name = object_names::record(1);
        let problem = "it is not there, and neither is a copy of the state after it: the log is not whole".to_owned();
        return Err(LogError::Unreadable { name, problem });
    }
    store.replace(None).map_err(LogError::store)?;
    let position = position(0, "");
    store.write_position(&position).map_err(LogError::store)?;
    Ok(position)
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

fn take_in(store: &mut Store, name: &str, bytes: &[u8]) -> Result<(), LogError> {
    let folder = Folder::new()?;
    let copy = folder.copy();
    snapshot::unsqueeze(name, bytes, &copy)?;
    store.replace(Some(&copy)).map_err(|error| {
        let problem = format!("the copy of the state cannot be used: {error}");
        LogError::Unreadable { name: name.to_owned(), problem }
    })
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
