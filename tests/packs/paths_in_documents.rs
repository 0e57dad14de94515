//! Paths in documents for contributors exist, and deprecated fields of the API are in the changelog.

use serde_json::Value;

use crate::read_sources::root;
use trainspotter::web::openapi_document;

/// Folders that a path in a document may be relative to.
const BEGINNINGS: [&str; 5] = ["", "src/", "crates/core/src/", "crates/", "docs/"];

/// Extensions of files that documents name.
const ENDINGS: [&str; 9] = [".rs", ".md", ".yaml", ".toml", ".mjs", ".js", ".json", ".py", ".sql"];

#[test]
fn every_path_that_contributors_are_shown_leads_somewhere() {
    let mut count = 0;
    for document in ["docs/ARCHITECTURE.md", "CONTRIBUTING.md", "docs/BUILD.md", "tests/data/README.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        // Texts in backticks.
        for path in text.split('`').skip(1).step_by(2).filter_map(path) {
            count += 1;
            assert!(exists(&path), "{document} names {path}, which is not there");
        }
    }
    assert!(count > 50, "only {count} paths were found");
}

/// API users learn about deprecations from the changelog.
#[test]
fn every_deprecated_field_of_the_api_is_in_the_changelog() {
    let document: Value = serde_json::from_str(openapi_document()).unwrap();
    let changelog = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let entries: Vec<String> =
        changelog.split("\n- ").map(|entry| entry.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let fields = schemas.iter().flat_map(|(schema, body)| {
        let fields = body["properties"].as_object().into_iter().flatten();
        fields.map(move |(name, field)| (schema, name, field))
    });
    let deprecated: Vec<_> = fields.filter(|(_, _, field)| field["deprecated"] == true).collect();
    assert!(!deprecated.is_empty());
    for (schema, name, _) in deprecated {
        let is_named =
            entries.iter().any(|entry| entry.contains(&format!("`{name}`")) && entry.contains("goes in the release"));
        assert!(is_named, "CHANGELOG.md does not say that `{name}` of {schema} goes");
    }
}

/// The path in a text of a document; `None` if it is not one, or contains a placeholder.
fn path(words: &str) -> Option<String> {
    let path = words.split("::").next().unwrap_or_default();
    let is_plain = path.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-./".contains(c));
    let names_a_file = ENDINGS.iter().any(|ending| path.ends_with(ending));
    let names_a_module = !path.contains('.') && path.contains('/');
    (is_plain && !path.starts_with('/') && (names_a_file || names_a_module)).then(|| match path.strip_prefix("core/") {
        Some(rest) => format!("crates/core/src/{rest}"),
        None => path.to_owned(),
    })
}

fn exists(path: &str) -> bool {
    let beside = ["tests/data", "."].iter().any(|folder| root().join(folder).join(path).exists());
    beside || BEGINNINGS.iter().any(|beginning| root().join(format!("{beginning}{path}")).exists())
}
