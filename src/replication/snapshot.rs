//! Snapshots of the state in the log, so that records need not be kept forever.

use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::Digest as _;
use sha2::Sha256;

use crate::objects::MAX_OBJECT_BYTES;
use crate::objects::Storage;
use crate::replication::LogError;
use crate::replication::object_names;
use crate::replication::record::hex;
use crate::replication::time_limit::within;
use crate::store::Store;
use crate::store::StoreError;

/// Number of records between snapshots.
pub(super) const RECORDS_PER_SNAPSHOT: u64 = 500;

/// Number of records kept before the newest snapshot: about two days. A replica that was paused for longer starts
/// from a snapshot.
pub(super) const RECORDS_KEPT: u64 = 20_000;

/// Factor for the timeout of a snapshot's request: snapshots are large.
pub(super) const LARGE: u32 = 20;

/// Number of snapshots kept.
const SNAPSHOTS_KEPT: usize = 2;

/// Maximum decompressed size of a snapshot; a larger one counts as broken.
const MAX_SNAPSHOT_BYTES: u64 = 8 << 30;

/// A copy of the state, ready to be written.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The last record in it.
    number: u64,
    /// The digest of that record.
    digest: String,
    bytes: Vec<u8>,
}

/// Compresses a copy of a state file; `None` if it contains changes that are not in the log. It blocks, for seconds if
/// the state is large.
pub(super) fn prepare(copy: &Path) -> Result<Option<Prepared>, LogError> {
    let position = Store::open_as_is(copy).and_then(|store| store.position()).map_err(LogError::store)?;
    let Some(position) = position.filter(|position| !position.is_ahead) else { return Ok(None) };
    let digest = String::from_utf8_lossy(&position.digest).into_owned();
    Ok(Some(Prepared { number: position.number, digest, bytes: squeezed(copy, MAX_OBJECT_BYTES)? }))
}

/// Whether a decompressed snapshot is the state after the record in its name, or the one that the log begins with.
pub(super) fn is_of(copy: &Path, bytes: &[u8], (number, digest): (u64, &str)) -> Result<bool, StoreError> {
    if number == 0 {
        return Ok(hex(&Sha256::digest(bytes)) == digest);
    }
    let position = Store::open_as_is(copy)?.position()?;
    Ok(position.is_some_and(|position| position.number == number && position.digest == digest.as_bytes()))
}

/// Writes a snapshot to the log, and removes the records and snapshots that it replaces, and the `damaged` ones.
/// `patience` is the timeout of a small request. Returns the number of the last record that it contains.
pub(super) async fn write<S: Storage>(
    storage: &S,
    copy: Prepared,
    damaged: &[String],
    patience: Duration,
) -> Result<u64, LogError> {
    let Prepared { number, digest, bytes } = copy;
    within(patience * LARGE, storage.create(&object_names::snapshot(number, &digest), bytes)).await?;
    prune(storage, number, damaged, patience).await?;
    Ok(number)
}

/// Writes the snapshot that a log begins with. Returns its digest.
pub(super) async fn write_first<S: Storage>(storage: &S, copy: &Path, patience: Duration) -> Result<String, LogError> {
    let bytes = squeezed(copy, MAX_OBJECT_BYTES)?;
    let digest = hex(&Sha256::digest(&bytes));
    within(patience * LARGE, storage.create(&object_names::snapshot(0, &digest), bytes)).await?;
    Ok(digest)
}

/// Decompresses a snapshot to a file.
pub(super) fn unsqueeze(name: &str, bytes: &[u8], to: &Path) -> Result<(), LogError> {
    let broken = |problem: String| LogError::Unreadable { name: name.to_owned(), problem };
    let mut file = std::fs::File::create(to).map_err(|error| LogError::Local(error.to_string()))?;
    let mut decoder = GzDecoder::new(bytes).take(MAX_SNAPSHOT_BYTES);
    let of_the_bytes = [ErrorKind::InvalidInput, ErrorKind::InvalidData, ErrorKind::UnexpectedEof];
    std::io::copy(&mut decoder, &mut file).map_err(|error| {
        if of_the_bytes.contains(&error.kind()) {
            broken(format!("it is truncated, corrupt or not a snapshot: {error}"))
        } else {
            LogError::Local(format!("{}: {error}", to.display()))
        }
    })?;
    file.sync_all().map_err(|error| LogError::Local(error.to_string()))
}

/// Compresses a snapshot. One too large to be read back is refused: nothing may be removed for it.
fn squeezed(copy: &Path, at_most: usize) -> Result<Vec<u8>, LogError> {
    let local = |error: std::io::Error| LogError::Local(error.to_string());
    let mut file = std::fs::File::open(copy).map_err(local)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::copy(&mut file, &mut encoder).map_err(local)?;
    encoder.flush().map_err(local)?;
    let bytes = encoder.finish().map_err(local)?;
    if bytes.len() > at_most {
        let size = bytes.len();
        return Err(LogError::Local(format!(
            "the snapshot has {size} bytes, more than the maximum of {at_most}: older snapshots and records are kept"
        )));
    }
    Ok(bytes)
}

/// Removes old records and snapshots. Snapshots known to be damaged do not count as kept.
async fn prune<S: Storage>(storage: &S, number: u64, damaged: &[String], patience: Duration) -> Result<(), LogError> {
    let mut copies = within(patience, storage.list(object_names::SNAPSHOTS, "")).await?;
    copies.retain(|name| object_names::snapshot_of(name).is_some());
    let kept = copies.iter().rev().filter(|name| !damaged.contains(name)).nth(SNAPSHOTS_KEPT - 1).cloned();
    for name in copies.iter().filter(|name| kept.as_ref().is_some_and(|kept| *name < kept)) {
        within(patience, storage.delete(name)).await?;
    }
    // Records after the oldest snapshot are needed to start from it.
    let oldest = kept.and_then(|name| object_names::snapshot_of(&name)).map_or(0, |(number, _)| number);
    let last = oldest.min(number.saturating_sub(RECORDS_KEPT));
    for name in within(patience, storage.list(object_names::RECORDS, "")).await? {
        if object_names::record_number(&name).is_some_and(|number| number <= last) {
            within(patience, storage.delete(&name)).await?;
        }
    }
    Ok(())
}

#[test]
fn a_copy_that_could_not_be_read_again_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    std::fs::write(&copy, "what a state is").unwrap();
    let bytes = squeezed(&copy, 1_000).unwrap().len();
    assert!(squeezed(&copy, bytes).is_ok());
    assert!(squeezed(&copy, bytes - 1).unwrap_err().to_string().contains("older snapshots and records are kept"));
}
