//! Secrets that someone wrote into the file itself, so that no excerpt of it shows them.

use serde_json::Value;

use trainspotter_core::yaml;

/// Keys whose values are secrets as a whole.
const SECRET: [&str; 4] = ["token", "routing_key", "secrets", "headers"];

/// What is shorter is no secret, and covering it would cover half the file.
const SHORTEST: usize = 8;

/// The literal secrets in a text, longest first; none in what is no YAML at all.
pub(super) fn secrets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(document) = yaml::read::<Value>("", text) {
        collect(&document.value, false, &mut found);
    }
    found.retain(|secret| secret.len() >= SHORTEST);
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    found
}

fn collect(value: &Value, secret: bool, found: &mut Vec<String>) {
    match value {
        // A reference is no secret; what it stands for is not in the file.
        Value::String(text) if secret && !text.starts_with("${") => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, secret, found)),
        Value::Object(members) => {
            for (key, member) in members {
                if let ("url", Some(text)) = (key.as_str(), member.as_str()) {
                    found.extend(tokens(text).map(str::to_owned));
                } else {
                    collect(member, secret || SECRET.contains(&key.as_str()), found);
                }
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The parts of a URL that may hold a token: user and password, path and query.
fn tokens(url: &str) -> impl Iterator<Item = &str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let query = authority.split_once('?').map(|(_, query)| query);
    [Some(path), user, query].into_iter().flatten().filter(|part| !part.starts_with("${"))
}
