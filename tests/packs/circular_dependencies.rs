//! Detects circular dependencies between files: no file may depend on itself through other files, so that each can be
//! read on its own.
//!
//! A file depends on another if it names something that the other defines; a re-exported name counts as its defining
//! file's. Names defined in a module's own file are shared by the files in its folder and do not count. Method calls
//! and tests are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::read_sources::{File, code_of, files, root};

#[test]
fn no_files_use_one_another_in_a_circle() {
    let document = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let excused = excused(&document);
    let found = circles(&files());
    let unexcused: Vec<_> = found.iter().filter(|circle| !excused.contains(&named(circle))).collect();
    assert!(
        unexcused.is_empty(),
        "move what they share to the file that it belongs to, or give the reason in docs/ARCHITECTURE.md:\n{}",
        unexcused.iter().map(|circle| circle.to_string()).collect::<String>()
    );
    let found: BTreeSet<_> = found.iter().map(named).collect();
    let stale: Vec<_> = excused.difference(&found).collect();
    assert!(stale.is_empty(), "docs/ARCHITECTURE.md gives reasons for circles that are no more: {stale:?}");
}

#[test]
fn circles_are_found_through_re_exports_and_groups_and_not_where_there_are_none() {
    let file = |path: &str, text: &str| File {
        of: "crates/core",
        module: "a".to_owned(),
        path: root().join("crates/core/src").join(path),
        text: text.to_owned(),
    };
    let found = |files: &[File]| circles(files).iter().map(named).collect::<Vec<_>>();
    let of = |names: &[&str]| names.iter().map(|name| format!("crates/core/src/{name}")).collect::<BTreeSet<_>>();

    let parent = || file("a.rs", "mod b;\nmod c;\npub use b::B;\npub(crate) use self::c::{C, D as E};");
    let direct = [parent(), file("a/b.rs", "use super::c::C;\nstruct B(C);"), file("a/c.rs", "use crate::a::b::B;")];
    assert_eq!(found(&direct), [of(&["a/b.rs", "a/c.rs"])]);
    let by_the_parent = [parent(), file("a/b.rs", "struct B(crate::a::E);"), file("a/c.rs", "use super::{B, X};")];
    assert_eq!(found(&by_the_parent), [of(&["a/b.rs", "a/c.rs"])]);
    let one_way = [parent(), file("a/b.rs", "use super::c::C;\nstruct B(C);"), file("a/c.rs", "struct C;")];
    assert!(found(&one_way).is_empty());

    let of_tests = "// use super::c::C;\nstruct B;\n#[cfg(test)]\nmod tests {\nuse super::super::c::C;";
    let not_back = [parent(), file("a/b.rs", of_tests), file("a/c.rs", "use super::b::B;")];
    assert!(found(&not_back).is_empty());
    let with_the_parent =
        [file("a.rs", "mod b;\npub struct A(b::B);"), file("a/b.rs", "use super::A;\nstruct B(fn(A));")];
    assert!(found(&with_the_parent).is_empty());
    let over_three = [
        file("a.rs", "mod b;\nmod c;\nmod d;"),
        file("a/b.rs", "fn b() { super::c::c() }"),
        file("a/c.rs", "use super::d::{self, other as another};\nfn c() { d::d() }"),
        file("a/d.rs", "use crate::a::{b::{b, X}, other};"),
    ];
    assert_eq!(found(&over_three), [of(&["a/b.rs", "a/c.rs", "a/d.rs"])]);
}

/// Files that depend on each other, with the names.
struct Circle(BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>);

impl std::fmt::Display for Circle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "- circle of {}", self.0.keys().map(|path| shown(path)).collect::<Vec<_>>().join(", "))?;
        for (path, uses) in &self.0 {
            for (used, names) in uses {
                writeln!(
                    f,
                    "    {} uses {} of {}",
                    shown(path),
                    Vec::from_iter(names.clone()).join(", "),
                    shown(used)
                )?;
            }
        }
        Ok(())
    }
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}

fn named(circle: &Circle) -> BTreeSet<String> {
    circle.0.keys().map(|path| shown(path)).collect()
}

/// Circles with a documented reason: rows of the table under "Accepted dependency cycles", with the files in code
/// marks.
fn excused(document: &str) -> BTreeSet<BTreeSet<String>> {
    let Some((_, section)) = document.split_once("## Accepted dependency cycles\n") else { return BTreeSet::new() };
    let rows = section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let (names, reason) = row.trim_matches(['|', ' ']).split_once('|').unwrap();
        assert!(reason.trim().len() > 20, "{row} gives no reason");
        names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    })
    .collect()
}

/// Strongly connected files of one module.
fn circles(files: &[File]) -> Vec<Circle> {
    let mut of_modules: BTreeMap<(&str, &str), Vec<&File>> = BTreeMap::new();
    for file in files.iter().filter(|file| !is_of_tests(&file.path)) {
        // The simulator is one module: its files are siblings.
        let module = if file.of == "crates/simulator" { "" } else { file.module.as_str() };
        of_modules.entry((file.of, module)).or_default().push(file);
    }
    of_modules.into_values().flat_map(|files| circles_of(&Module::of(&files))).collect()
}

fn is_of_tests(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().contains("tests"))
        || path.ends_with("aws/scripted_endpoint.rs")
}

fn circles_of(module: &Module) -> Vec<Circle> {
    let uses: BTreeMap<_, _> = module.0.keys().map(|path| (path, module.used_by(path))).collect();
    let reached = |from: &Names| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            next.extend(uses[at].keys().filter(|used| seen.insert((*used).clone())));
        }
        seen
    };
    let reach: BTreeMap<_, _> = module.0.keys().map(|path| (path, reached(path))).collect();
    let groups: BTreeSet<Vec<&Names>> = reach
        .iter()
        .filter(|(path, reached)| reached.contains(**path))
        .map(|(path, reached)| reached.iter().filter(|other| reach[other].contains(*path)).collect())
        .collect();
    let with_uses = |group: Vec<&Names>| {
        let inside = |at: &Names| {
            let uses = uses[at].iter().filter(|(used, _)| group.contains(used));
            uses.map(|(used, names)| (module.0[used].path.clone(), names.clone())).collect()
        };
        Circle(group.iter().map(|at| (module.0[*at].path.clone(), inside(at))).collect())
    };
    groups.into_iter().map(with_uses).collect()
}

/// A path of modules, or of a name in one.
type Names = Vec<String>;

/// The files of one module, by their path in the crate.
struct Module(BTreeMap<Names, Source>);

struct Source {
    path: PathBuf,
    /// Names that the file imports.
    imports: BTreeMap<String, Import>,
    /// Its code without imports.
    code: String,
}

struct Import {
    /// From the root of the crate.
    path: Names,
    is_public: bool,
}

impl Module {
    fn of(files: &[&File]) -> Self {
        let places: BTreeMap<Names, &File> = files.iter().map(|file| (place_of(file), *file)).collect();
        let read = |(place, file): (&Names, &&File)| {
            let (imports, code) = imports_of(place, &code_of(&file.text), &|path| places.contains_key(path));
            (place.clone(), Source { path: file.path.clone(), imports, code })
        };
        Self(places.iter().map(read).collect())
    }

    /// The file that defines a path from the crate root, if it is in this module, and the name.
    fn definer(&self, path: &[String]) -> Option<(Names, String)> {
        let depth = (1..=path.len()).rev().find(|depth| self.0.contains_key(&path[..*depth]))?;
        let (place, rest) = path.split_at(depth);
        let name = rest.first()?;
        match self.0[place].imports.get(name) {
            // A module imported by name, or a re-export.
            Some(import) if import.path != path => {
                let further: Names = import.path.iter().chain(&rest[1..]).cloned().collect();
                self.definer(&further)
            }
            _ => Some((place.to_vec(), name.clone())),
        }
    }

    /// The files that a file depends on, with the names it uses.
    fn used_by(&self, place: &Names) -> BTreeMap<Names, BTreeSet<String>> {
        let source = &self.0[place];
        let is_named = |name: &str| words(&source.code).any(|(_, word)| word == name);
        let imported = source.imports.iter().filter(|(name, import)| !import.is_public || is_named(name));
        let mut paths: Vec<Names> = imported.map(|(_, import)| import.path.clone()).collect();
        for path in paths_in(&source.code) {
            let first = &path[0];
            paths.extend(match source.imports.get(first) {
                Some(import) => Some(import.path.iter().chain(&path[1..]).cloned().collect()),
                None => absolute(place, &path, &|path| self.0.contains_key(path)),
            });
        }
        let mut used: BTreeMap<Names, BTreeSet<String>> = BTreeMap::new();
        for (definer, name) in paths.iter().filter_map(|path| self.definer(path)) {
            if !place.starts_with(&definer) {
                used.entry(definer).or_default().insert(name);
            }
        }
        used
    }
}

/// Module path of a file: `src/a/b.rs` is `a::b`.
fn place_of(file: &File) -> Names {
    let inside = file.path.strip_prefix(root().join(file.of).join("src")).unwrap().with_extension("");
    inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect()
}

/// A path in a file as a path from the crate root. `None` for other crates and the standard library.
fn absolute(place: &Names, path: &[String], is_file: &dyn Fn(&Names) -> bool) -> Option<Names> {
    let from = |depth: usize, rest: &[String]| Some(place[..depth].iter().chain(rest).cloned().collect());
    let supers = path.iter().take_while(|part| *part == "super").count();
    match path[0].as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => from(place.len(), &path[1..]),
        "super" => from(place.len().checked_sub(supers)?, &path[supers..]),
        child => {
            let child: Names = place.iter().cloned().chain([child.to_owned()]).collect();
            if is_file(&child) { from(place.len(), path) } else { None }
        }
    }
}

/// The imports of a file, and its code without them.
fn imports_of(place: &Names, code: &str, is_file: &dyn Fn(&Names) -> bool) -> (BTreeMap<String, Import>, String) {
    let (mut imports, mut rest) = (BTreeMap::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let visible = line.trim_start();
        let (is_public, body) = match visible.strip_prefix("pub") {
            Some(public) => (true, public.trim_start_matches(|c| c != ' ').trim_start()),
            None => (false, visible),
        };
        let Some(first) = body.strip_prefix("use ") else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = first.to_owned();
        while !tree.contains(';') {
            tree.push_str(lines.next().unwrap_or(";"));
        }
        for (path, name) in leaves(tree.split(';').next().unwrap()) {
            if let Some(path) = absolute(place, &path, is_file) {
                imports.insert(name, Import { path, is_public });
            }
        }
    }
    (imports, rest)
}

/// The paths of a `use`, with the name of each.
fn leaves(tree: &str) -> Vec<(Names, String)> {
    let tree = tree.trim();
    let Some((prefix, group)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
        let mut path: Names = path.split("::").map(|part| part.trim().to_owned()).collect();
        if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
            path.pop();
        }
        let name = alias.map_or_else(|| path.last().unwrap().clone(), |alias| alias.trim().to_owned());
        return vec![(path, name)];
    };
    let group = group.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut parts) = (0_usize, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| leaves(&format!("{prefix}{}", part.trim()))).collect()
}

/// The words of code, with their end positions.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.split(move |c| !is_of_word(c)).filter(|word| !word.is_empty()).map(move |word| {
        let start = word.as_ptr() as usize - code.as_ptr() as usize;
        (start + word.len(), word)
    })
}

/// Every `a::b::c` in code.
fn paths_in(code: &str) -> Vec<Names> {
    let (mut paths, mut goes_on): (Vec<Names>, bool) = (Vec::new(), false);
    for (end, word) in words(code) {
        let follows = code[end..].starts_with("::");
        if goes_on {
            paths.last_mut().unwrap().push(word.to_owned());
        } else if follows {
            paths.push(vec![word.to_owned()]);
        }
        // `a::<T>` ends a path.
        goes_on = follows && code[end + 2..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    }
    paths
}
