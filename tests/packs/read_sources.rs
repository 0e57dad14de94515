//! Source files of all crates, for tests of the code structure.

use std::fs;
use std::path::{Path, PathBuf};

/// One source file of a crate.
pub struct File {
    /// Folder of its crate.
    pub of: &'static str,
    /// Its module within the crate.
    pub module: String,
    pub path: PathBuf,
    pub text: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file of every crate, except roots that only declare modules.
pub fn files() -> Vec<File> {
    let mut found = Vec::new();
    for of in [".", "crates/core", "crates/clock", "crates/otlp", "crates/simulator"] {
        let src = root().join(of).join("src");
        let mut folders = vec![src.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let inside = path.strip_prefix(&src).unwrap().with_extension("");
                    let module = inside.iter().next().unwrap().to_str().unwrap().to_owned();
                    if module != "main" && (module != "lib" || of == "crates/clock") {
                        let text = fs::read_to_string(&path).unwrap();
                        found.push(File { of, module, path, text });
                    }
                }
            }
        }
    }
    assert!(found.len() > 10, "found only {} files", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The text without comments, so that prose may name other modules, and without code that is compiled for tests only,
/// which may use anything: test files, a test module at the end of a file, and lines with such an attribute.
pub fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let before = std::iter::once("").chain(code.lines());
    let is_code =
        |(before, line): &(&str, &str)| before.trim() != "#[cfg(test)]" && !line.trim_start().starts_with("//");
    before.zip(code.lines()).filter(is_code).map(|(_, line)| line).collect::<Vec<_>>().join("\n")
}
