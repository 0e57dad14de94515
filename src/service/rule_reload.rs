//! Rule files: read at the start, and looked at again while the service runs.
//!
//! New rules take effect when two looks in a row see the same texts, so that a file that is being written changes nothing. A
//! mistake anywhere leaves the rules as they were, visibly: what is evaluated is always a whole set that was read without
//! one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use trainspotter_core::rules::{Rule, parse_rules};

/// Wall time between two looks at the rule files.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Files of one set of rules at most.
const MAX_FILES: usize = 1_000;

/// Larger files are refused before they are read.
const MAX_BYTES: u64 = 1 << 20;

/// What a change of the files comes to: new rules, or every mistake in them.
pub(super) type News = Result<Vec<Rule>, String>;

/// Reads and checks every rule file of a list of files and folders; names are unique over all of them.
///
/// # Errors
/// Every mistake in any of them.
pub fn load_rules(paths: &[PathBuf]) -> Result<Vec<Rule>, String> {
    parsed(&texts(paths)?)
}

/// What is wrong with one of the paths that a configuration names: it is not there, or a folder without rules.
pub fn path_problem(path: &Path) -> Option<String> {
    match files_of(&[path.to_path_buf()], is_rule_file) {
        Ok(files) => files.iter().find_map(|file| regular(file).err()),
        Err(message) => Some(message),
    }
}

/// Whether a file of a folder is one of rules, by its name.
pub fn is_rule_file(name: &str) -> bool {
    has_ending(name, &[".yaml", ".yml"]) && !is_test_file(name)
}

/// Whether a file of a folder is one of tests of rules, by its name.
pub fn is_test_file(name: &str) -> bool {
    has_ending(name, &[".test.yaml", ".test.yml"])
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    !name.starts_with('.') && endings.iter().any(|ending| name.ends_with(ending))
}

/// Reads a file of rules or of their tests. What never ends, or waits for a writer, would stop whoever looks at it.
///
/// # Errors
/// It is no file, cannot be read, or is too large.
pub fn read_file(path: &Path) -> Result<String, String> {
    regular(path)?;
    let mut text = String::new();
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| cannot_read(path, &error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("{} is larger than {MAX_BYTES} bytes", path.display()));
    }
    Ok(text)
}

fn regular(path: &Path) -> Result<(), String> {
    let found = std::fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
    if found.is_file() {
        return Ok(());
    }
    let kind = if found.is_dir() { "a folder" } else { "a pipe, a socket or a device" };
    Err(format!("{} is {kind}, where a file of rules is needed", path.display()))
}

/// Files as they are; of folders those in them whose name is wanted, by name.
///
/// # Errors
/// A folder that cannot be read, or holds none; too many files.
pub fn files_of(paths: &[PathBuf], wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, String> {
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
            return Err(format!("{} holds no file of that kind: *.yaml or *.yml, tests *.test.yaml", path.display()));
        }
        inside.sort();
        files.extend(inside);
    }
    if files.len() > MAX_FILES {
        return Err(format!("more than {MAX_FILES} files"));
    }
    Ok(files)
}

/// Looks at the files until `stop`, and sends what changed.
pub(super) async fn follow(paths: Vec<PathBuf>, news: mpsc::Sender<News>, stop: CancellationToken) {
    let mut watch = Watch::new(paths);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        // Reading files blocks; the watch comes back with what it found.
        let look = move || {
            let found = watch.look();
            (watch, found)
        };
        let Ok((back, found)) = tokio::task::spawn_blocking(look).await else { return };
        watch = back;
        if let Some(found) = found
            && news.send(found).await.is_err()
        {
            return;
        }
    }
}

type Texts = BTreeMap<PathBuf, String>;

/// What was seen of the files.
#[derive(Debug)]
struct Watch {
    paths: Vec<PathBuf>,
    /// What the rules, or the mistakes last reported, come from.
    known: Result<Texts, String>,
    /// What the last look saw.
    seen: Result<Texts, String>,
}

impl Watch {
    fn new(paths: Vec<PathBuf>) -> Self {
        let known = texts(&paths);
        Self { paths, seen: known.clone(), known }
    }

    /// What changed, once two looks in a row agree on it.
    fn look(&mut self) -> Option<News> {
        let seen = texts(&self.paths);
        let before = std::mem::replace(&mut self.seen, seen);
        if self.seen != before || self.seen == self.known {
            return None;
        }
        self.known.clone_from(&self.seen);
        Some(self.seen.clone().and_then(|texts| parsed(&texts)))
    }
}

fn texts(paths: &[PathBuf]) -> Result<Texts, String> {
    let files = files_of(paths, is_rule_file)?;
    files.into_iter().map(|file| read_file(&file).map(|text| (file, text))).collect()
}

fn parsed(texts: &Texts) -> Result<Vec<Rule>, String> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut problems = Vec::new();
    for (file, text) in texts {
        match parse_rules(&file.display().to_string(), text) {
            Ok(parsed) => {
                for rule in parsed {
                    if !names.insert(rule.name().to_owned()) {
                        let name = rule.name();
                        problems.push(format!("{}: a rule of another file is called {name} too", file.display()));
                    }
                    rules.push(rule);
                }
            }
            Err(more) => problems.push(more.to_string()),
        }
    }
    if problems.is_empty() && rules.is_empty() && !texts.is_empty() {
        let files: Vec<String> = texts.keys().map(|file| file.display().to_string()).collect();
        return Err(format!("there are no rules in {}", files.join(", ")));
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems.join("\n\n")) }
}

fn cannot_read(path: &Path, error: &std::io::Error) -> String {
    let shown = path.display().to_string();
    let hint = if shown.contains(['*', '?', '[']) && error.kind() == std::io::ErrorKind::NotFound {
        "; this is no glob: name the folder, of which all *.yaml and *.yml are read"
    } else {
        ""
    };
    format!("cannot read {shown}: {error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> String {
        format!("rules: [{{ alert: {name}, metric: gpu.capacity, above: 1, annotations: {{ summary: x }} }}]\n")
    }

    fn names(news: Option<News>) -> Option<Result<Vec<String>, String>> {
        news.map(|news| news.map(|rules| rules.iter().map(|rule| rule.name().to_owned()).collect()))
    }

    #[test]
    fn a_change_counts_once_it_stands_still_and_a_mistake_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, rule("A")).unwrap();
        let mut watch = Watch::new(vec![folder.path().to_path_buf()]);
        assert_eq!(names(watch.look()), None, "nothing changed");

        std::fs::write(&file, "rules: [{ alert: ").unwrap();
        assert_eq!(names(watch.look()), None, "half a file");
        std::fs::write(&file, rule("B")).unwrap();
        assert_eq!(names(watch.look()), None, "it may still be half a file");
        assert_eq!(names(watch.look()), Some(Ok(vec!["B".to_owned()])));
        assert_eq!(names(watch.look()), None, "once");

        std::fs::write(folder.path().join("b.yaml"), rule("B")).unwrap();
        assert_eq!(names(watch.look()), None);
        let reported = names(watch.look()).unwrap().unwrap_err();
        assert!(reported.contains("b.yaml: a rule of another file is called B too"), "{reported}");
        std::fs::write(folder.path().join("b.test.yaml"), "not rules").unwrap();
        std::fs::remove_file(folder.path().join("b.yaml")).unwrap();
        assert_eq!(names(watch.look()), None);
        assert_eq!(names(watch.look()), Some(Ok(vec!["B".to_owned()])), "corrected, and tests are no rules");
    }

    #[test]
    fn what_holds_no_rules_is_a_mistake_and_what_is_no_file_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let loaded = || load_rules(&[folder.path().to_path_buf()]).map(|rules| rules.len());
        assert!(loaded().unwrap_err().contains("holds no file of that kind"));
        std::fs::write(at("my.test.yaml"), "not rules").unwrap();
        std::fs::write(at("readme.md"), "not rules").unwrap();
        assert!(loaded().unwrap_err().contains("holds no file of that kind"));
        std::fs::write(at("empty.yaml"), "rules: []\n").unwrap();
        assert!(loaded().unwrap_err().contains("there are no rules in"));
        std::fs::write(at("my.yml"), rule("A")).unwrap();
        assert_eq!(loaded(), Ok(1));

        assert!(std::process::Command::new("mkfifo").arg(at("pipe.yaml")).status().unwrap().success());
        assert!(loaded().unwrap_err().contains("pipe.yaml is a pipe, a socket or a device"));
        let mut watch = Watch::new(vec![folder.path().to_path_buf()]);
        std::fs::remove_file(at("pipe.yaml")).unwrap();
        std::fs::create_dir(at("folder.yaml")).unwrap();
        assert!(loaded().unwrap_err().contains("folder.yaml is a folder"));
        std::fs::remove_dir(at("folder.yaml")).unwrap();
        std::fs::write(at("large.yaml"), vec![b'#'; 2 << 20]).unwrap();
        assert!(loaded().unwrap_err().contains("is larger than"));
        std::fs::remove_file(at("large.yaml")).unwrap();
        assert_eq!(names(watch.look()), None);
        assert_eq!(names(watch.look()), Some(Ok(vec!["A".to_owned()])), "it goes on");
        assert_eq!(path_problem(folder.path()), None);
        assert!(path_problem(Path::new("/nowhere")).unwrap().contains("cannot read /nowhere"));
        for glob in ["*.yaml", "rules-?.yml", "[a-c].yaml"] {
            assert!(path_problem(&at(glob)).unwrap().contains("no glob: name the folder"), "{glob}");
        }
        assert!(path_problem(Path::new("/dev/zero")).unwrap().contains("a device"));
    }

    #[test]
    fn a_file_that_is_gone_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, rule("A")).unwrap();
        let mut watch = Watch::new(vec![file.clone()]);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(names(watch.look()), None);
        assert!(names(watch.look()).unwrap().unwrap_err().contains("cannot read"));
    }
}
