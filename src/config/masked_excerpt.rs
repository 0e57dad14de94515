//! Masks excerpts of a configuration in errors. Everything that is not known to be harmless is masked: a secret can
//! be anywhere, under a mistyped key, in a comment, or in a file that is not YAML.

use std::ops::Range;

use url::Url;

use trainspotter_core::yaml::{self, Problems, Text};

/// Keys whose values are not secret, by the last key of their path.
const HARMLESS: [&str; 54] = [
    "after",
    "allow_loopback",
    "by",
    "calls_per_second",
    "channel",
    "days",
    "every",
    "from",
    "give_up_after",
    "keep",
    "listen",
    "log",
    "match",
    "megabytes",
    "most",
    "name",
    "namespace",
    "priority_bands",
    "prices",
    "protocol",
    "queues",
    "reconcile_every",
    "region",
    "repeat_interval",
    "role",
    "rules",
    "same",
    "show",
    "store",
    "targets",
    "to",
    "topic",
    "topology_every",
    "training_plans",
    "utilisation_every",
    "wait",
    "warm_pools",
    "zone",
    "receivers",
    "inhibit",
    "reserved",
    "history",
    "forecast",
    "archive",
    "grace",
    "tags",
    "reports",
    "metrics",
    "budget",
    "histograms",
    "compression",
    "repeat_unchanged",
    "cpu_share",
    "account_and_region",
];

/// Keys whose values are not secret at any depth.
const HARMLESS_BELOW: [&str; 7] = ["match", "when", "mute", "owners", "prices", "priority_bands", "quotas"];

/// Keys below which everything is secret, even under a harmless key.
const SECRET_BELOW: [&str; 5] = ["headers", "secrets", "token", "tokens", "routing_key"];

/// Keys of an API token.
const API_TOKEN: [&str; 3] = ["name", "token", "may"];

/// Keys with URLs, whose host may be shown.
const URLS: [&str; 6] = ["url", "endpoint", "events", "external_url", "traces", "logs"];

/// Path segments that are not secret.
const PUBLIC_PATHS: [&str; 9] = ["v1", "v2", "v3", "api", "metrics", "traces", "logs", "enqueue", "alerts"];

/// Maximum length of a text that may be shown.
const MAX_SHOWN: usize = 200;

/// Masks possible secrets in the excerpts and messages of problems.
pub(super) fn masked(problems: Problems, text: &str) -> Problems {
    let Some(texts) = yaml::texts(text) else {
        let (shown, hidden) = keys_alone(text);
        return problems.showing_only(&shown, &hidden);
    };
    let mut shown = punctuation(text, &texts);
    let mut hidden = Vec::new();
    for one in texts {
        let ranges = harmless(&one, text);
        if ranges.is_empty() && !one.text.is_empty() {
            hidden.push(format!("{:?}", one.text).trim_matches('"').to_owned());
            hidden.push(one.text);
        }
        shown.extend(ranges);
    }
    hidden.sort_by_key(|word| std::cmp::Reverse(word.len()));
    problems.showing_only(&shown, &hidden)
}

/// The parts of a text that may be shown: all of it, the origin of a URL, or nothing.
fn harmless(one: &Text, file: &str) -> Vec<Range<usize>> {
    let last = one.keys.last().map_or("", String::as_str);
    let below = |keys: &[&str]| one.keys.iter().any(|key| keys.contains(&key.as_str()));
    let around = one.keys.split_last().map_or(&[][..], |(_, around)| around);
    if one.is_key {
        let secret = around.iter().any(|key| SECRET_BELOW.contains(&key.as_str()) && key != "headers");
        if is_of_api_token(around) {
            return if API_TOKEN.contains(&one.text.as_str()) { vec![one.range.clone()] } else { Vec::new() };
        }
        let plain = is_plain_key(&one.text) || (below(&["prices", "quotas"]) && is_like_instance_type(&one.text));
        return if plain && !secret { vec![one.range.clone()] } else { Vec::new() };
    }
    if is_of_api_token(around) && ["name", "may"].contains(&last) && one.text.len() <= MAX_SHOWN {
        return vec![one.range.clone()];
    }
    if below(&SECRET_BELOW) || one.text.len() > MAX_SHOWN {
        return Vec::new();
    }
    if URLS.contains(&last) {
        return origin(file, &one.range);
    }
    let is_number = one.text.parse::<f64>().is_ok() || ["true", "false", "null"].contains(&one.text.as_str());
    let is_name = !one.text.contains("://") || is_of_bucket(&one.text);
    let fits = HARMLESS.contains(&last) && is_name || below(&HARMLESS_BELOW);
    let numbers = ["shares", "poll", "history", "publish", "reserved", "forecast"];
    if fits || (is_number && around.iter().any(|key| numbers.contains(&key.as_str()))) {
        vec![one.range.clone()]
    } else {
        Vec::new()
    }
}

/// Whether it is the address of a bucket or object, which cannot contain a user or query.
fn is_of_bucket(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=".contains(c);
    text.strip_prefix("s3://").is_some_and(|address| address.chars().all(is_plain))
}

/// Whether a text is directly below `api.tokens`, where `name` is not secret.
fn is_of_api_token(around: &[String]) -> bool {
    around == ["api", "tokens"]
}

/// Whether a key looks like an instance type, possibly mistyped: a family with a digit, and a short size.
fn is_like_instance_type(key: &str) -> bool {
    let bare = key.strip_prefix("ml.").unwrap_or(key);
    let Some((family, size)) = bare.split_once('.') else { return key.starts_with("ml.") && key.len() <= 32 };
    let of = |text: &str, most: usize| {
        text.len() <= most
            && text.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
    };
    of(family, 12) && of(size, 12) && family.chars().any(|letter| letter.is_ascii_digit())
}

/// Whether it is a plain key, rather than another text in a key's place.
fn is_plain_key(key: &str) -> bool {
    key.len() <= 32 && key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
}

/// Scheme and host of a URL in the file, and the public segments of its path.
fn origin(file: &str, range: &Range<usize>) -> Vec<Range<usize>> {
    let text = file.get(range.clone()).unwrap_or_default();
    let Some(at) = text.find("://").map(|at| at + 3) else { return Vec::new() };
    let rest = text.get(at..).unwrap_or_default();
    let authority = rest.find(['/', '?', '#', '"', '\'', '\\']).unwrap_or(rest.len());
    let user = rest.get(..authority).and_then(|authority| authority.rfind('@')).map_or(0, |at| at + 1);
    let mut shown = vec![range.start..range.start + at, range.start + at + user..range.start + at + authority];
    // The text before a colon could be a token rather than a scheme.
    if !["http://", "https://", "\"http://", "\"https://", "'http://", "'https://"]
        .contains(&text.get(..at).unwrap_or_default())
    {
        shown.remove(0);
    }
    let mut begin = at + authority;
    for part in text.get(begin..).unwrap_or_default().split_inclusive('/') {
        let bare = part.trim_end_matches(|letter: char| letter.is_whitespace() || "/\"'".contains(letter));
        if !(bare.is_empty() || PUBLIC_PATHS.contains(&bare)) {
            break;
        }
        shown.push(range.start + begin..range.start + begin + part.len());
        begin += part.len();
    }
    shown
}

/// Everything that is neither a key, a value nor a comment.
fn punctuation(file: &str, texts: &[Text]) -> Vec<Range<usize>> {
    let mut taken: Vec<Range<usize>> = texts.iter().map(|text| text.range.clone()).collect();
    taken.sort_by_key(|range| range.start);
    let mut shown = Vec::new();
    let mut at = 0;
    for range in taken.into_iter().chain(std::iter::once(file.len()..file.len())) {
        let between = file.get(at..range.start).unwrap_or_default();
        let letters = between.char_indices().filter(|(_, letter)| "{}[]:,-\"'|>?".contains(*letter));
        // A comment extends to the end of its line, and is masked.
        let comment = |place: usize| {
            let line = between.get(..place).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
            between.get(line..place).is_some_and(|line| line.contains('#'))
        };
        shown.extend(
            letters
                .filter(|(place, _)| !comment(*place))
                .map(|(place, letter)| at + place..at + place + letter.len_utf8()),
        );
        at = at.max(range.end);
    }
    shown
}

/// For a file that is not YAML: its keys and brackets.
fn keys_alone(file: &str) -> (Vec<Range<usize>>, Vec<String>) {
    let mut shown = Vec::new();
    let mut hidden = Vec::new();
    let mut at = 0;
    for word in file.split_inclusive(|letter: char| letter.is_whitespace() || "{}[],\"'".contains(letter)) {
        let bare = word.trim_end_matches(|letter: char| letter.is_whitespace() || "{}[],\"'".contains(letter));
        let is_key = bare.strip_suffix(':').is_some_and(is_plain_key) || bare == "-" || bare == ":";
        if is_key {
            shown.push(at..at + bare.len());
        } else if !bare.is_empty() {
            hidden.push(bare.trim_end_matches(':').to_owned());
        }
        shown.push(at + bare.len()..at + word.len());
        at += word.len();
    }
    hidden.sort_by_key(|word| std::cmp::Reverse(word.len()));
    hidden.dedup();
    (shown, hidden)
}

/// A URL as it may be shown: without user, path and query, which may be secret.
pub fn shown_url(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) if url.has_host() => {
            let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
            format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
        }
        Ok(_) | Err(_) => "a URL".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_the_host_is_shown_and_a_path_that_everybody_has() {
        let check = |url: &str, expected: &str| {
            let mut shown = String::new();
            for (at, letter) in url.char_indices() {
                let is_shown = origin(url, &(0..url.len())).iter().any(|range| range.contains(&at));
                shown.push(if is_shown { letter } else { '*' });
            }
            assert_eq!(shown, expected);
        };
        check("https://h.example/v2", "https://h.example/v2");
        check("\"https://h.example:8443/v1/metrics\"", "\"https://h.example:8443/v1/metrics\"");
        check("https://u:p@h.example/v1/key?k=v", "https://****h.example/v1/*******");
        check("s3cret://h.example", "*********h.example");
        check("s3cret", "******");
    }
}
