//! The targets of a service, noted beside its logs: a target that is removed from the configuration while no replica
//! runs is noticed at the next start, whatever is on the replicas' disks.

use std::collections::BTreeSet;

use futures_util::stream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::objects::{Storage, StorageError};
use crate::replication::lease::Terms;
use crate::replication::time_limit::within;

/// Folder of the notes, beside the original log.
const FOLDER: &str = "targets";

/// Requests at once.
const CONCURRENT: usize = 8;

/// A target with a log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct KnownTarget {
    /// Its name.
    pub name: String,
    /// What its log says that it watches.
    pub watches: String,
    /// All targets of the service at that time, by name.
    pub with: BTreeSet<String>,
}

impl KnownTarget {
    /// The object of a target: names may contain what folders cannot list.
    fn object(name: &str) -> String {
        let digest = Sha256::digest(name);
        let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{FOLDER}/{digits}")
    }

    /// Whether this target was removed from a service that now has these targets. A service with none of the noted
    /// ones is another service at the same prefix.
    fn is_removed_from(&self, now: &[Self]) -> bool {
        let is_same_service = now.iter().any(|target| self.with.contains(&target.name));
        is_same_service && now.iter().all(|target| target.name != self.name)
    }
}

/// Notes the targets.
///
/// # Errors
/// A note cannot be written.
pub async fn note<S: Storage>(storage: &S, targets: &[KnownTarget], terms: Terms) -> Result<(), StorageError> {
    let written = stream::iter(targets.to_vec()).map(|target| async move {
        let Ok(bytes) = serde_json::to_vec(&target) else { return Ok(()) };
        within(terms.request(), storage.put(&KnownTarget::object(&target.name), bytes)).await
    });
    written.buffer_unordered(CONCURRENT).try_collect().await
}

/// Whether the original log belongs to this service: to one of its targets, or to one that was noted earlier and was
/// removed since.
///
/// # Errors
/// The notes cannot be read.
pub async fn is_own_log<S: Storage>(
    storage: &S,
    owner: &str,
    targets: &[KnownTarget],
    terms: Terms,
) -> Result<bool, StorageError> {
    let owns = |target: &KnownTarget| target.watches == owner;
    if targets.iter().any(owns) {
        return Ok(true);
    }
    let names: BTreeSet<String> = within(terms.request(), storage.list(FOLDER, "")).await?.into_iter().collect();
    Ok(read(storage, names, targets, terms).await?.iter().any(owns))
}

/// The targets that were noted earlier and were removed since. Notes of these targets that are missing are written
/// again: another replica, to which such a target is a removed one, may have removed its note.
///
/// # Errors
/// The notes cannot be read or written.
pub async fn removed<S: Storage>(
    storage: &S,
    targets: &[KnownTarget],
    terms: Terms,
) -> Result<Vec<KnownTarget>, StorageError> {
    let names: BTreeSet<String> = within(terms.request(), storage.list(FOLDER, "")).await?.into_iter().collect();
    let is_missing = |target: &&KnownTarget| !names.contains(&KnownTarget::object(&target.name));
    let missing: Vec<KnownTarget> = targets.iter().filter(is_missing).cloned().collect();
    note(storage, &missing, terms).await?;
    let own: BTreeSet<String> = targets.iter().map(|target| KnownTarget::object(&target.name)).collect();
    read(storage, names.difference(&own).cloned().collect(), targets, terms).await
}

/// The removed targets among the notes with these names.
async fn read<S: Storage>(
    storage: &S,
    names: BTreeSet<String>,
    targets: &[KnownTarget],
    terms: Terms,
) -> Result<Vec<KnownTarget>, StorageError> {
    let notes = names.into_iter().filter(|name| is_note(name));
    let read = stream::iter(notes).map(|name| async move { within(terms.request(), storage.get(&name)).await });
    let read: Vec<Option<Vec<u8>>> = read.buffered(CONCURRENT).try_collect().await?;
    let noted = read.into_iter().flatten().filter_map(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(noted.filter(|noted: &KnownTarget| noted.is_removed_from(targets)).collect())
}

/// Removes the note of a target that is no longer of interest.
///
/// # Errors
/// The note cannot be removed.
pub async fn forget<S: Storage>(storage: &S, name: &str, terms: Terms) -> Result<(), StorageError> {
    within(terms.request(), storage.delete(&KnownTarget::object(name))).await
}

/// Whether an object is a note: the log of a target that is named like the folder is there, too.
fn is_note(name: &str) -> bool {
    let digits = name.strip_prefix(FOLDER).and_then(|name| name.strip_prefix('/'));
    digits.is_some_and(|digits| digits.len() == 16 && digits.chars().all(|digit| digit.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::folder::Folder;

    fn targets(all: &[(&str, &str)]) -> Vec<KnownTarget> {
        let with: BTreeSet<String> = all.iter().map(|(name, _)| (*name).to_owned()).collect();
        let target = |(name, watches): &(&str, &str)| KnownTarget {
            name: (*name).to_owned(),
            watches: (*watches).to_owned(),
            with: with.clone(),
        };
        all.iter().map(target).collect()
    }

    #[tokio::test]
    async fn removed_targets_are_found_until_they_are_forgotten_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Folder::new(folder.path().to_owned());
        let terms = Terms::of(std::time::Duration::from_secs(45));
        let start = async |now: &[(&str, &str)]| -> Vec<String> {
            note(&storage, &targets(now), terms).await.unwrap();
            removed(&storage, &targets(now), terms).await.unwrap().into_iter().map(|target| target.name).collect()
        };
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let (one, two, three) = (("one", "us-east-1"), ("1/two", "eu-west-1"), ("targets", "eu-west-2"));
        assert!(start(&[one, two, three]).await.is_empty());
        // The log of a target named like the folder, and what cannot be read.
        storage.put("targets/records/00000000000000000001", b"{}".to_vec()).await.unwrap();
        storage.put("targets/0123456789abcdef", b"{}".to_vec()).await.unwrap();
        assert_eq!(sorted(start(&[one]).await), ["1/two", "targets"]);
        assert_eq!(start(&[one, three]).await, ["1/two"]);
        assert_eq!(sorted(start(&[one]).await), ["1/two", "targets"], "until then");
        forget(&storage, "1/two", terms).await.unwrap();
        assert_eq!(start(&[one]).await, ["targets"]);
        // With another name it is another target.
        assert_eq!(start(&[one, ("renamed", "eu-west-2")]).await, ["targets"]);
        // A service with other targets, at the same prefix by mistake.
        assert!(start(&[("other", "ap-south-1")]).await.is_empty());
    }

    #[tokio::test]
    async fn a_log_is_of_this_service_if_it_is_of_one_of_its_targets_or_of_a_removed_one() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Folder::new(folder.path().to_owned());
        let terms = Terms::of(std::time::Duration::from_secs(45));
        let is_own = async |owner: &str, now: &[KnownTarget]| is_own_log(&storage, owner, now, terms).await.unwrap();
        let now = targets(&[("two", "eu-west-1"), ("three", "eu-west-2")]);
        assert!(is_own("eu-west-1", &now).await && !is_own("us-east-1", &now).await);
        note(&storage, &targets(&[("foreign", "us-east-1")]), terms).await.unwrap();
        assert!(!is_own("us-east-1", &now).await, "a note of another service");
        note(&storage, &targets(&[("one", "us-east-1"), ("two", "eu-west-1")]), terms).await.unwrap();
        assert!(is_own("us-east-1", &now).await);
    }

    #[tokio::test]
    async fn a_replica_that_still_has_a_target_notes_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Folder::new(folder.path().to_owned());
        let terms = Terms::of(std::time::Duration::from_secs(45));
        let (old, new) = (targets(&[("one", "us-east-1"), ("two", "eu-west-1")]), targets(&[("one", "us-east-1")]));
        note(&storage, &old, terms).await.unwrap();
        forget(&storage, "two", terms).await.unwrap();
        assert!(removed(&storage, &new, terms).await.unwrap().is_empty());
        assert!(removed(&storage, &old, terms).await.unwrap().is_empty());
        assert_eq!(removed(&storage, &new, terms).await.unwrap(), old[1..]);
    }
}
