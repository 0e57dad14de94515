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
    /// ones is another service at the same prefix. A renamed target has the same log.
    fn is_removed_from(&self, now: &[Self]) -> bool {
        let is_same_service = now.iter().any(|target| self.with.contains(&target.name));
        is_same_service && now.iter().all(|target| target.name != self.name && target.watches != self.watches)
    }
}

/// Notes the targets, and returns those that were noted earlier and were removed since.
///
/// # Errors
/// The notes cannot be read or written.
pub async fn note<S: Storage>(
    storage: &S,
    targets: &[KnownTarget],
    terms: Terms,
) -> Result<Vec<KnownTarget>, StorageError> {
    let noted = all(storage, terms).await?;
    let unnoted: Vec<KnownTarget> = targets.iter().filter(|target| !noted.contains(target)).cloned().collect();
    let written = stream::iter(unnoted).map(|target| async move {
        let Ok(bytes) = serde_json::to_vec(&target) else { return Ok(()) };
        within(terms.request(), storage.put(&KnownTarget::object(&target.name), bytes)).await
    });
    written.buffer_unordered(CONCURRENT).try_collect::<()>().await?;
    Ok(noted.into_iter().filter(|noted| noted.is_removed_from(targets)).collect())
}

/// Removes the note of a target that is no longer of interest.
///
/// # Errors
/// The note cannot be removed.
pub async fn forget<S: Storage>(storage: &S, name: &str, terms: Terms) -> Result<(), StorageError> {
    within(terms.request(), storage.delete(&KnownTarget::object(name))).await
}

/// All noted targets. Objects that are no note, as in the log of a target named like the folder, are ignored.
async fn all<S: Storage>(storage: &S, terms: Terms) -> Result<Vec<KnownTarget>, StorageError> {
    let names = within(terms.request(), storage.list(FOLDER, "")).await?;
    let is_note = |name: &String| {
        let digits = name.strip_prefix(FOLDER).and_then(|name| name.strip_prefix('/'));
        digits.is_some_and(|digits| digits.len() == 16 && digits.chars().all(|digit| digit.is_ascii_hexdigit()))
    };
    let read = stream::iter(names.into_iter().filter(is_note))
        .map(|name| async move { within(terms.request(), storage.get(&name)).await });
    let read: Vec<Option<Vec<u8>>> = read.buffered(CONCURRENT).try_collect().await?;
    let noted = read.into_iter().flatten().filter_map(|bytes| serde_json::from_slice(&bytes).ok()).collect();
    Ok(noted)
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
        let removed = async |now: &[(&str, &str)]| -> Vec<String> {
            let mut names: Vec<_> =
                note(&storage, &targets(now), terms).await.unwrap().into_iter().map(|target| target.name).collect();
            names.sort();
            names
        };
        let (one, two, three) = (("one", "us-east-1"), ("1/two", "eu-west-1"), ("targets", "eu-west-2"));
        assert!(removed(&[one, two, three]).await.is_empty());
        // The log of a target named like the folder, and what cannot be read.
        storage.put("targets/records/00000000000000000001", b"{}".to_vec()).await.unwrap();
        storage.put("targets/0123456789abcdef", b"{}".to_vec()).await.unwrap();
        assert_eq!(removed(&[one]).await, ["1/two", "targets"]);
        assert_eq!(removed(&[one, three]).await, ["1/two"]);
        assert_eq!(removed(&[one]).await, ["1/two", "targets"], "until then");
        forget(&storage, "1/two", terms).await.unwrap();
        assert_eq!(removed(&[one]).await, ["targets"]);
        // A target with another name has the log of the one before.
        assert!(removed(&[one, ("renamed", "eu-west-2")]).await.is_empty());
        // A service with other targets, at the same prefix by mistake.
        assert!(removed(&[("other", "ap-south-1")]).await.is_empty());
    }
}
