//! Assigns state files to targets.
//!
//! `store.file` belongs to the target that used it first: what an earlier release or a single-target configuration
//! wrote stays with that target when others are added. Every other target has a file beside it, with the target's
//! name in its file name. A watermark in each file names its owner.

use std::path::{Path, PathBuf};

use crate::config::Target;
use crate::store::{latest_mark, regions_in};
use trainspotter_core::model::Place;

/// Prefix of the owner watermark; region and target name follow.
const OWNER: &str = "target ";

/// Possible locations of a target's state.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The configured file.
    pub(super) first: PathBuf,
    /// The target's own file beside it.
    pub(super) beside: PathBuf,
}

impl Files {
    pub(super) fn of(file: &Path, name: &str) -> Self {
        Self { first: file.to_owned(), beside: beside(file, name) }
    }
}

/// The state file of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StateFile {
    pub(super) path: PathBuf,
    /// Whether it is beside another target's file.
    pub(super) apart: bool,
}

/// The file of a target that was added while the service runs.
pub(super) fn apart(file: &Path, name: &str) -> StateFile {
    StateFile { path: beside(file, name), apart: true }
}

/// Name of the watermark for the owner of a file.
pub(super) fn owner_mark(place: &Place) -> String {
    format!("{OWNER}{} {}", place.region.as_deref().unwrap_or_default(), place.target)
}

/// The file of each target, in order.
pub(super) fn of_targets(file: &Path, targets: &[Target]) -> Vec<StateFile> {
    // A new file belongs to a target that is alone, unless that target already has a separate file.
    let is_alone = || matches!(targets, [target] if !beside(file, &target.name).exists());
    let owner = if file.exists() { owner_of(file, targets) } else { is_alone().then_some(0) };
    let of = |(index, target): (usize, &Target)| {
        let own = beside(file, &target.name);
        if owner == Some(index) {
            StateFile { path: file.to_owned(), apart: false }
        } else {
            StateFile { path: own, apart: true }
        }
    };
    targets.iter().enumerate().map(of).collect()
}

/// All existing state files of the targets, given the one that `store` names; that one alone if none exists.
pub fn state_files_beside(file: &Path, targets: &[Target]) -> Vec<PathBuf> {
    let files = of_targets(file, targets).into_iter().map(|found| found.path);
    let found: Vec<PathBuf> = files.filter(|path| path.exists()).collect();
    if found.is_empty() { vec![file.to_owned()] } else { found }
}

/// State files of targets that are not in the list, with the names of their targets.
pub(super) fn orphaned(file: &Path, targets: &[Target]) -> Vec<(String, PathBuf)> {
    let own: Vec<PathBuf> = of_targets(file, targets).into_iter().map(|file| file.path).collect();
    let Ok(folder) =
        std::fs::read_dir(file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    else {
        return Vec::new();
    };
    let named = |path: PathBuf| {
        // A file belongs to a target only if its name matches the target's.
        let (_, name) = marked(&path)?;
        let is_of_it = path.file_name() == file.file_name() || path.file_name() == beside(file, &name).file_name();
        (is_of_it && !own.iter().any(|own| own.file_name() == path.file_name())).then_some((name, path))
    };
    let is_of_store = |path: &PathBuf| {
        let has_stem = path
            .file_name()
            .zip(file.file_stem())
            .is_some_and(|(name, stem)| name.to_string_lossy().starts_with(&*stem.to_string_lossy()));
        has_stem && path.extension() == file.extension() && path.is_file()
    };
    let mut found: Vec<_> =
        folder.filter_map(|entry| Some(entry.ok()?.path())).filter(is_of_store).filter_map(named).collect();
    found.sort();
    found
}

/// Owner of an existing file: by its watermark or, for files of earlier releases, by the queues in it.
fn owner_of(file: &Path, targets: &[Target]) -> Option<usize> {
    let has_no_own = |target: &Target| !beside(file, &target.name).exists();
    match marked(file) {
        Some((region, name)) => {
            let named = targets.iter().position(|target| target.name == name);
            // A renamed target keeps its file.
            let renamed = || targets.iter().position(|target| target.region == region && has_no_own(target));
            named.or_else(renamed)
        }
        None => {
            let regions = regions_in(file);
            let is_of_it = |target: &Target| regions.contains(&target.region) && has_no_own(target);
            let by_queues = targets.iter().position(is_of_it);
            by_queues.or_else(|| targets.iter().position(has_no_own))
        }
    }
}

/// Region and target name from a file's watermark.
fn marked(file: &Path) -> Option<(String, String)> {
    let mark = latest_mark(file, OWNER)?;
    let (region, name) = mark.strip_prefix(OWNER)?.split_once(' ')?;
    Some((region.to_owned(), name.to_owned()))
}

/// File name of a target beside another file: `state.db` and `state.NAME.db`.
fn beside(file: &Path, name: &str) -> PathBuf {
    // Target names contain no `+`, so file names are unique.
    let name = name.replace('/', "+");
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    match file.extension() {
        Some(extension) => file.with_file_name(format!("{stem}.{name}.{}", extension.to_string_lossy())),
        None => file.with_file_name(format!("{stem}.{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Commit, Store};
    use trainspotter_core::model::Timestamp;

    fn target(region: &str, name: &str) -> Target {
        Target { name: name.to_owned(), ..Target::new(region) }
    }

    fn written(file: &Path, mark: Option<&Place>) {
        let mut store = Store::open(file, Timestamp::default()).unwrap().0;
        let watermarks = mark.map(|place| (owner_mark(place), Timestamp::default())).into_iter().collect();
        store.commit(&Commit { watermarks, ..Commit::default() }).unwrap();
    }

    fn paths(file: &Path, targets: &[Target]) -> Vec<String> {
        let name = |file: &StateFile| file.path.file_name().unwrap().to_string_lossy().into_owned();
        of_targets(file, targets).iter().map(name).collect()
    }

    #[test]
    fn one_target_has_the_file_and_several_have_one_each() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let (one, two) = (target("us-east-1", "us-east-1"), target("eu-west-1", "111122223333/eu-west-1"));
        assert_eq!(paths(&file, std::slice::from_ref(&one)), ["state.db"]);
        let both = [one, two];
        assert_eq!(paths(&file, &both), ["state.us-east-1.db", "state.111122223333+eu-west-1.db"]);
        assert_eq!(beside(Path::new("/var/state"), "a"), Path::new("/var/state.a"));
    }

    #[test]
    fn a_second_target_leaves_the_file_to_the_one_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let (one, two) = (target("us-east-1", "one"), target("eu-west-1", "two"));
        written(&file, Some(&Place::new("two", "eu-west-1")));
        assert_eq!(paths(&file, &[one.clone(), two.clone()]), ["state.one.db", "state.db"]);
        // One target is removed; the other keeps its file.
        assert_eq!(paths(&file, std::slice::from_ref(&one)), ["state.one.db"]);
        // The target is renamed.
        let renamed = target("eu-west-1", "research");
        assert_eq!(paths(&file, &[one, renamed]), ["state.one.db", "state.db"]);
    }

    #[test]
    fn files_of_targets_that_are_not_watched_are_found_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let (one, two) = (target("us-east-1", "one"), target("eu-west-1", "two"));
        written(&file, Some(&Place::new("two", "eu-west-1")));
        written(&folder.path().join("state.one.db"), Some(&Place::new("one", "us-east-1")));
        written(&folder.path().join("state.copy.db"), Some(&Place::new("gone", "us-east-1")));
        written(&folder.path().join("other.gone.db"), Some(&Place::new("gone", "us-east-1")));
        std::fs::write(folder.path().join("state.broken.db"), "nothing").unwrap();
        let names = |targets: &[Target]| -> Vec<String> {
            orphaned(&file, targets).into_iter().map(|(name, _)| name).collect()
        };
        assert!(names(&[one.clone(), two.clone()]).is_empty());
        assert_eq!(names(std::slice::from_ref(&two)), ["one"]);
        assert_eq!(names(std::slice::from_ref(&one)), ["two"]);
    }

    #[test]
    fn a_file_of_an_earlier_release_goes_to_the_first_target_that_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let (one, two) = (target("us-east-1", "one"), target("eu-west-1", "two"));
        written(&file, None);
        assert_eq!(paths(&file, std::slice::from_ref(&two)), ["state.db"]);
        assert_eq!(paths(&file, &[one, two]), ["state.db", "state.two.db"]);
    }
}
