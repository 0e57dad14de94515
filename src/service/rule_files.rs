//! Reads and validates rules from files, folders and buckets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::blocking;
use crate::config::{Config, RulesBucket, RulesPlace};
use crate::objects::{BucketAccess, Rights, Setting, StorageError, Texts};
use trainspotter_clock::Clock;
use trainspotter_core::rules::{Rule, parse_rules};

/// Maximum number of files in a rule set.
const MAX_FILES: usize = 1_000;

/// Maximum file size; larger files are refused unread.
const MAX_BYTES: u64 = 1 << 20;

/// The setting that bucket errors refer to.
const SETTING: Setting = Setting { place: "rules", region: "rules[].region", rights: Rights::Read };

/// Rule texts by file path or object address.
pub(super) type RuleTexts = BTreeMap<PathBuf, String>;

/// Why rules cannot be loaded; the text says what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// The file system refuses to open, list or read a path.
    #[error("cannot read {}: {problem}{}", path.display(), glob_hint(path, *is_missing))]
    Unreadable {
        /// A file or folder.
        path: PathBuf,
        /// Error of the file system.
        problem: String,
        /// Whether nothing exists at the path.
        is_missing: bool,
    },
    /// Not a regular file.
    #[error("{} is {kind}, not a rule file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead, with an article.
        kind: &'static str,
    },
    /// A file above `MAX_BYTES`.
    #[error("{} is larger than {MAX_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    /// More than `MAX_FILES` in one set of rules.
    #[error("more than {MAX_FILES} files")]
    TooManyFiles,
    /// A folder without a file of the wanted kind.
    #[error("{} contains no rule files: *.yaml or *.yml, tests *.test.yaml", .0.display())]
    EmptyFolder(PathBuf),
    /// A bucket that cannot be opened, or an object that cannot be read.
    #[error("{0}")]
    Bucket(String),
    /// Files without a single rule.
    #[error("there are no rules in {}", .0.join(", "))]
    NoRules(Vec<String>),
    /// All errors of all files, each with its line.
    #[error("{}", .0.join("\n\n"))]
    Invalid(Vec<String>),
}

fn glob_hint(path: &Path, is_missing: bool) -> &'static str {
    if is_missing && path.to_string_lossy().contains(['*', '?', '[']) {
        "; globs are not supported: name the folder, and all its *.yaml and *.yml files are read"
    } else {
        ""
    }
}

/// The configured rule locations; can be read repeatedly.
#[derive(Debug)]
pub struct RuleSources {
    sources: Vec<RuleSource>,
    clock: Clock,
}

#[derive(Debug)]
enum RuleSource {
    Path(PathBuf),
    Bucket(Box<InBucket>),
}

/// Rules in a bucket.
#[derive(Debug)]
struct InBucket {
    of: RulesBucket,
    /// The bucket client, after the first request.
    opened: Option<Texts>,
    /// Result of the last request.
    last: Result<RuleTexts, RulesError>,
}

impl RuleSources {
    /// The sources of a configuration. Reads nothing yet.
    pub fn of(config: &Config, clock: Clock) -> Self {
        let source = |place: &RulesPlace| match place {
            RulesPlace::Path(path) => RuleSource::Path(path.clone()),
            RulesPlace::Bucket(of) => RuleSource::Bucket(Box::new(InBucket::of(of, config))),
        };
        Self { sources: config.rules.iter().map(source).collect(), clock }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Reads and validates all rules; rule names must be unique across files.
    ///
    /// # Errors
    /// All errors of all files.
    pub async fn load(&mut self) -> Result<Vec<Rule>, RulesError> {
        parsed(&self.texts(true).await?)
    }

    /// Errors per location, by index: it does not exist, cannot be read, or has no rules.
    pub async fn problems(&mut self) -> Vec<(usize, RulesError)> {
        let mut found = Vec::new();
        for (index, source) in self.sources.iter_mut().enumerate() {
            let problem = match source {
                RuleSource::Path(path) => path_problem(path),
                RuleSource::Bucket(bucket) => {
                    bucket.read(self.clock).await;
                    bucket.last.as_ref().err().cloned()
                }
            };
            found.extend(problem.map(|problem| (index, problem)));
        }
        found
    }

    /// Reads all texts; buckets are queried only if `with_buckets`, and otherwise their last result is used.
    pub(super) async fn texts(&mut self, with_buckets: bool) -> Result<RuleTexts, RulesError> {
        let (mut paths, mut found) = (Vec::new(), RuleTexts::new());
        for source in &mut self.sources {
            match source {
                RuleSource::Path(path) => paths.push(path.clone()),
                RuleSource::Bucket(bucket) => {
                    if with_buckets || bucket.opened.is_none() {
                        bucket.read(self.clock).await;
                    }
                    found.extend(bucket.last.clone()?);
                }
            }
        }
        // File reads block.
        match blocking::run(move || texts_of(&paths)).await {
            Ok(of_files) => found.extend(of_files?),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
        Ok(found)
    }
}

impl InBucket {
    fn of(bucket: &RulesBucket, config: &Config) -> Self {
        let RulesBucket { region, endpoint, role, .. } = bucket;
        let access = BucketAccess { region: region.as_deref(), endpoint: endpoint.as_deref(), role: role.as_deref() };
        let access = access.or_target_defaults(config);
        let (region, endpoint) = (access.region.map(str::to_owned), access.endpoint.map(str::to_owned));
        let of = RulesBucket { region, endpoint, ..bucket.clone() };
        Self { of, opened: None, last: Ok(RuleTexts::new()) }
    }

    async fn read(&mut self, clock: Clock) {
        self.last = match self.opened(clock).await {
            Ok(()) => self.found().await.map_err(|error| RulesError::Bucket(error.to_string())),
            Err(error) => Err(error),
        };
    }

    async fn opened(&mut self, clock: Clock) -> Result<(), RulesError> {
        if self.opened.is_none() {
            let RulesBucket { bucket, region, endpoint, role, .. } = &self.of;
            let access =
                BucketAccess { region: region.as_deref(), endpoint: endpoint.as_deref(), role: role.as_deref() };
            let opened = Texts::open(bucket, access, SETTING, clock).await;
            self.opened = Some(opened.map_err(|error| RulesError::Bucket(format!("s3://{bucket}: {error}")))?);
        }
        Ok(())
    }

    async fn found(&mut self) -> Result<RuleTexts, StorageError> {
        let RulesBucket { bucket, name, .. } = &self.of;
        let Some(texts) = &mut self.opened else { return Ok(RuleTexts::new()) };
        let address = format!("s3://{bucket}/{name}");
        if is_rule_file(name.rsplit('/').next().unwrap_or_default()) {
            return Ok([(PathBuf::from(address), texts.one(name).await?)].into());
        }
        let found = texts.folder(name, is_rule_file).await?;
        if found.is_empty() {
            return Err(StorageError::lasting(format!("{address} contains no rule files: *.yaml or *.yml")));
        }
        Ok(found.into_iter().map(|(address, text)| (PathBuf::from(address), text)).collect())
    }
}

/// Reads and validates the rule files of a list of files and folders; rule names must be unique across files.
///
/// # Errors
/// All errors of all files.
pub fn load_rules(paths: &[PathBuf]) -> Result<Vec<Rule>, RulesError> {
    parsed(&texts_of(paths)?)
}

/// What is wrong with a configured path: it does not exist, or is a folder without rules.
fn path_problem(path: &Path) -> Option<RulesError> {
    match files_of(&[path.to_path_buf()], is_rule_file) {
        Ok(files) => files.iter().find_map(|file| regular(file).err()),
        Err(problem) => Some(problem),
    }
}

/// Whether a file name is that of a rule file.
pub fn is_rule_file(name: &str) -> bool {
    has_ending(name, &[".yaml", ".yml"]) && !is_test_file(name)
}

/// Whether a file name is that of a rule test file.
pub fn is_test_file(name: &str) -> bool {
    has_ending(name, &[".test.yaml", ".test.yml"])
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    !name.starts_with('.') && endings.iter().any(|ending| name.ends_with(ending))
}

/// Reads a rule file or rule test file. Only regular files are read: a device or pipe would block forever.
///
/// # Errors
/// It is not a regular file, cannot be read, or is too large.
pub fn read_file(path: &Path) -> Result<String, RulesError> {
    regular(path)?;
    let mut text = String::new();
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| cannot_read(path, &error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(RulesError::TooLarge(path.to_owned()));
    }
    Ok(text)
}

fn regular(path: &Path) -> Result<(), RulesError> {
    let found = std::fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
    if found.is_file() {
        return Ok(());
    }
    let kind = if found.is_dir() { "a folder" } else { "a pipe, a socket or a device" };
    Err(RulesError::NotAFile { path: path.to_owned(), kind })
}

/// Expands a list of paths: files as they are, folders to the files whose name is `wanted`, sorted by name.
///
/// # Errors
/// A folder cannot be read or has no such file; too many files.
pub fn files_of(paths: &[PathBuf], wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, RulesError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|error| cannot_read(path, &error))?;
        let mut inside: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        inside.retain(|file| wanted(&file.file_name().unwrap_or_default().to_string_lossy()));
        if inside.is_empty() {
            return Err(RulesError::EmptyFolder(path.clone()));
        }
        inside.sort();
        files.extend(inside);
    }
    if files.len() > MAX_FILES {
        return Err(RulesError::TooManyFiles);
    }
    Ok(files)
}

fn texts_of(paths: &[PathBuf]) -> Result<RuleTexts, RulesError> {
    let files = files_of(paths, is_rule_file)?;
    files.into_iter().map(|file| read_file(&file).map(|text| (file, text))).collect()
}

pub(super) fn parsed(texts: &RuleTexts) -> Result<Vec<Rule>, RulesError> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut problems = Vec::new();
    for (file, text) in texts {
        match parse_rules(&file.display().to_string(), text) {
            Ok(parsed) => {
                for rule in parsed {
                    if !names.insert(rule.name().to_owned()) {
                        let name = rule.name();
                        problems.push(format!("{}: another file has a rule named {name} too", file.display()));
                    }
                    rules.push(rule);
                }
            }
            Err(more) => problems.push(more.to_string()),
        }
    }
    if problems.is_empty() && rules.is_empty() && !texts.is_empty() {
        let files: Vec<String> = texts.keys().map(|file| file.display().to_string()).collect();
        return Err(RulesError::NoRules(files));
    }
    if problems.is_empty() { Ok(rules) } else { Err(RulesError::Invalid(problems)) }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> RulesError {
    let is_missing = error.kind() == std::io::ErrorKind::NotFound;
    RulesError::Unreadable { path: path.to_owned(), problem: error.to_string(), is_missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> String {
        format!("rules: [{{ alert: {name}, metric: gpu.capacity, above: 1, annotations: {{ summary: x }} }}]\n")
    }

    #[test]
    fn a_file_without_rules_is_a_mistake_and_a_special_file_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let loaded = || load_rules(&[folder.path().to_path_buf()]).map(|rules| rules.len());
        assert!(loaded().unwrap_err().to_string().contains("contains no rule files"));
        std::fs::write(at("my.test.yaml"), "not rules").unwrap();
        std::fs::write(at("readme.md"), "not rules").unwrap();
        assert!(loaded().unwrap_err().to_string().contains("contains no rule files"));
        std::fs::write(at("empty.yaml"), "rules: []\n").unwrap();
        assert!(loaded().unwrap_err().to_string().contains("there are no rules in"));
        std::fs::write(at("my.yml"), rule("A")).unwrap();
        assert_eq!(loaded(), Ok(1));

        assert!(std::process::Command::new("mkfifo").arg(at("pipe.yaml")).status().unwrap().success());
        assert!(loaded().unwrap_err().to_string().contains("pipe.yaml is a pipe, a socket or a device"));
        std::fs::remove_file(at("pipe.yaml")).unwrap();
        std::fs::create_dir(at("folder.yaml")).unwrap();
        assert!(loaded().unwrap_err().to_string().contains("folder.yaml is a folder"));
        std::fs::remove_dir(at("folder.yaml")).unwrap();
        // Symbolic links: to themselves, to each other, to their own folder, and dangling.
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(at(to), at(name)).unwrap();
        for (links, says) in [
            (&[("self.yaml", "self.yaml")][..], "cannot read"),
            (&[("b.yaml", "a.yaml"), ("a.yaml", "b.yaml")], "cannot read"),
            (&[(".", "here.yaml")], "is a folder"),
            (&[("nothing", "nothing.yaml")], "cannot read"),
        ] {
            links.iter().for_each(|(to, name)| link(to, name));
            assert!(loaded().unwrap_err().to_string().contains(says), "{links:?}: {:?}", loaded());
            links.iter().for_each(|(_, name)| std::fs::remove_file(at(name)).unwrap());
        }
        link(".", "here");
        link("my.yml", "linked");
        assert_eq!(loaded(), Ok(1), "folders in folders are not looked into");
        std::fs::write(at("latin.yaml"), b"rules: [] # \xe9").unwrap();
        assert!(loaded().unwrap_err().to_string().contains("latin.yaml"));
        std::fs::remove_file(at("latin.yaml")).unwrap();
        std::fs::write(at("large.yaml"), vec![b'#'; 2 << 20]).unwrap();
        assert!(loaded().unwrap_err().to_string().contains("is larger than"));
        std::fs::remove_file(at("large.yaml")).unwrap();
        assert_eq!(loaded(), Ok(1), "it goes on");
        assert_eq!(path_problem(folder.path()), None);
        assert!(path_problem(Path::new("/nowhere")).unwrap().to_string().contains("cannot read /nowhere"));
        for glob in ["*.yaml", "rules-?.yml", "[a-c].yaml"] {
            assert!(path_problem(&at(glob)).unwrap().to_string().contains("globs are not supported"), "{glob}");
        }
        assert!(path_problem(Path::new("/dev/zero")).unwrap().to_string().contains("a device"));
    }
}
