//! Removes unreadable entries from lists of queues, environments, policies and shares. The SDK would reject the
//! whole page; here the bad entry is removed and reported, and the others are used.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::aws::odd_numbers::token_length;
use crate::aws::rewrite_body::RewriteBody;

/// Members with 32-bit integers.
const WHOLE: [&str; 7] =
    ["borrowLimit", "computeReservation", "maxCapacity", "maxTimeSeconds", "order", "priority", "shareDecaySeconds"];
/// Members with a number, or with `NaN`, `Infinity` or `-Infinity` as a string.
const NUMBERS: [&str; 1] = ["weightFactor"];
/// Members with a list of objects.
const LISTS: [&str; 5] = [
    "capacityLimits",
    "computeEnvironmentOrder",
    "jobStateTimeLimitActions",
    "serviceEnvironmentOrder",
    "shareDistribution",
];
/// Members with an object whose members are known here.
const OBJECTS: [&str; 4] =
    ["fairsharePolicy", "preemptionConfiguration", "quotaSharePolicy", "resourceSharingConfiguration"];
/// Members with a string.
const TEXTS: [&str; 25] = [
    "action",
    "arn",
    "capacityUnit",
    "computeEnvironment",
    "idleResourceAssignmentStrategy",
    "inSharePreemption",
    "jobQueueArn",
    "jobQueueName",
    "jobQueueType",
    "name",
    "quotaShareArn",
    "quotaShareName",
    "reason",
    "schedulingPolicyArn",
    "serviceEnvironment",
    "serviceEnvironmentArn",
    "serviceEnvironmentName",
    "serviceEnvironmentType",
    "shareIdentifier",
    "state",
    "status",
    "statusReason",
    "strategy",
    "Key",
    "Value",
];

/// An entry that was removed from a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Its name, if readable.
    pub(crate) name: String,
    /// What is wrong with it.
    pub(crate) problem: String,
}

/// Removes unreadable entries from one list. Clones share the removed entries.
#[derive(Clone, Debug)]
pub(crate) struct EntryFilter {
    list: &'static str,
    /// The member that names an entry.
    name: &'static str,
    removed: Arc<Mutex<Vec<Unreadable>>>,
}

impl EntryFilter {
    pub(crate) fn new(list: &'static str, name: &'static str) -> Self {
        Self { list, name, removed: Arc::default() }
    }

    /// Returns and clears the removed entries.
    pub(crate) fn take_removed(&self) -> Vec<Unreadable> {
        std::mem::take(&mut *self.removed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The body without unreadable entries; `None` if there are none, or the format is unknown.
    fn without(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut answer: Value =
            serde_json::from_slice(body).or_else(|_| serde_json::from_slice(&in_texts(body))).ok()?;
        let entries = answer.get_mut(self.list)?.as_array_mut()?;
        let mut removed = Vec::new();
        entries.retain(|entry| {
            let Err(problem) = check_object(entry) else { return true };
            let name = entry.get(self.name).and_then(Value::as_str).unwrap_or_default().to_owned();
            removed.push(Unreadable { name, problem });
            false
        });
        if removed.is_empty() {
            return None;
        }
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).append(&mut removed);
        serde_json::to_vec(&answer).ok()
    }
}

impl RewriteBody for EntryFilter {
    fn rewrite(&self, _: &str, body: &[u8]) -> Option<Vec<u8>> {
        self.without(body)
    }
}

/// Checks the member types of an entry and its nested objects. Unknown members may have any type.
fn check_object(object: &Value) -> Result<(), String> {
    let members = object.as_object().ok_or_else(|| format!("{} is not an object", short(object)))?;
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        check_member(name, value)?;
    }
    Ok(())
}

fn check_member(name: &str, value: &Value) -> Result<(), String> {
    let known = |names: &[&str]| names.contains(&name);
    let expected = if known(&WHOLE) {
        if is_whole(value) { None } else { Some("a whole number up to 2147483647") }
    } else if known(&NUMBERS) {
        let is_number = value.is_number() || matches!(value.as_str(), Some("NaN" | "Infinity" | "-Infinity"));
        if is_number { None } else { Some("a number") }
    } else if known(&LISTS) {
        let Some(entries) = value.as_array() else { return Err(format!("{name} is {}, not a list", short(value))) };
        return entries.iter().try_for_each(check_object).map_err(|problem| format!("{name}: {problem}"));
    } else if known(&OBJECTS) {
        return check_object(value).map_err(|problem| format!("{name}: {problem}"));
    } else if known(&TEXTS) {
        if value.is_string() { None } else { Some("a text") }
    } else if name == "tags" {
        let of_texts = value.as_object().is_some_and(|tags| tags.values().all(|tag| tag.is_string() || tag.is_null()));
        if of_texts { None } else { Some("a map of texts") }
    } else {
        None
    };
    expected.map_or(Ok(()), |expected| Err(format!("{name} is {}, not {expected}", short(value))))
}

fn is_whole(value: &Value) -> bool {
    let fits = |number: i64| i32::try_from(number).is_ok();
    value.as_i64().is_some_and(fits)
        || value.as_f64().is_some_and(|number| number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX))
}

/// Converts invalid numbers (`1e400`, `NaN`, `-Infinity`) to strings, so that the other entries parse and the bad
/// one can be reported.
fn in_texts(body: &[u8]) -> Vec<u8> {
    let mut readable = Vec::with_capacity(body.len());
    let mut rest = body;
    while let [first, ..] = rest {
        let (token, after) = rest.split_at(token_length(rest));
        let is_odd = || {
            let number = std::str::from_utf8(token).ok().and_then(|token| token.parse::<f64>().ok());
            number.is_some_and(|number| !number.is_finite())
        };
        if *first != b'"' && is_odd() {
            readable.push(b'"');
            readable.extend(token);
            readable.push(b'"');
        } else {
            readable.extend(token);
        }
        rest = after;
    }
    readable
}

/// A value, shortened for an error message.
fn short(value: &Value) -> String {
    const SHOWN: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= SHOWN { text } else { format!("{}…", text.chars().take(SHOWN).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn environment(name: &str, capacity: Value) -> Value {
        json!({"serviceEnvironmentName": name, "capacityLimits": [{"maxCapacity": capacity, "capacityUnit": "ml.p5.48xlarge"}]})
    }

    #[test]
    fn only_what_cannot_be_read_is_taken_out() {
        let odd = [json!(800_000_000_000_i64), json!(1e308), json!(1.5), json!("8"), json!([]), json!(true)];
        for odd in odd {
            let readable = EntryFilter::new("serviceEnvironments", "serviceEnvironmentName");
            let body = json!({"serviceEnvironments": [environment("a", json!(4)), environment("b", odd.clone())], "nextToken": "2"});
            let left: Value = serde_json::from_slice(&readable.without(body.to_string().as_bytes()).unwrap()).unwrap();
            assert_eq!(left, json!({"serviceEnvironments": [environment("a", json!(4))], "nextToken": "2"}), "{odd}");
            let [removed] = readable.take_removed().try_into().unwrap();
            assert_eq!(removed.name, "b");
            assert!(removed.problem.starts_with("capacityLimits: maxCapacity is "), "{removed:?}");
        }
    }

    #[test]
    fn a_number_that_cannot_be_held_costs_its_own_entry_only() {
        let text = |odd: &str| {
            let entry = |name: &str, capacity: &str| {
                format!(r#"{{"serviceEnvironmentName":"{name}","capacityLimits":[{{"maxCapacity":{capacity}}}]}}"#)
            };
            let sound = entry(r#"a \" NaN: 1e400, "#, "4");
            format!(r#"{{"serviceEnvironments":[{sound},{}],"nextToken":"Infinity"}}"#, entry("b", odd))
        };
        for odd in ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1E+999"] {
            let readable = EntryFilter::new("serviceEnvironments", "serviceEnvironmentName");
            let left = readable.without(text(odd).as_bytes()).unwrap_or_else(|| panic!("{odd}: the page is refused"));
            let left: Value = serde_json::from_slice(&left).unwrap();
            let sound = json!({"serviceEnvironmentName": "a \" NaN: 1e400, ", "capacityLimits": [{"maxCapacity": 4}]});
            assert_eq!(left, json!({"serviceEnvironments": [sound], "nextToken": "Infinity"}), "{odd}");
            let [removed] = readable.take_removed().try_into().unwrap();
            assert_eq!(removed.name, "b");
            assert!(removed.problem.contains(odd), "{removed:?}");
        }
    }

    #[test]
    fn what_the_api_allows_is_left_as_it_is() {
        let entries = [
            environment("a", json!(4)),
            environment("a", json!(4.0)),
            environment("a", json!(null)),
            json!({"serviceEnvironmentName": null, "tags": {"owner": "a"}, "ofTomorrow": [1, "b"]}),
            json!({"fairsharePolicy": {"shareDistribution": [{"shareIdentifier": "a", "weightFactor": 0.1}]}}),
        ];
        for entry in entries {
            let readable = EntryFilter::new("list", "name");
            assert_eq!(readable.without(json!({"list": [entry.clone()]}).to_string().as_bytes()), None, "{entry}");
        }
        let readable = EntryFilter::new("list", "name");
        for body in ["", "<html>", "[]", r#"{"list": 3}"#, r#"{"message": "no"}"#] {
            assert_eq!(readable.without(body.as_bytes()), None, "{body}: whoever reads it says what is wrong");
        }
    }

    #[test]
    fn every_kind_of_wrong_type_is_named() {
        for (entry, problem) in [
            (json!(3), "3 is not an object"),
            (json!(null), "null is not an object"),
            (json!({"jobQueueName": 3}), "jobQueueName is 3, not a text"),
            (json!({"capacityLimits": "many"}), "capacityLimits is \"many\", not a list"),
            (json!({"capacityLimits": [null]}), "capacityLimits: null is not an object"),
            (json!({"tags": {"owner": 3}}), "tags is {\"owner\":3}, not a map of texts"),
            (
                json!({"fairsharePolicy": {"shareDistribution": [{"weightFactor": "heavy"}]}}),
                "fairsharePolicy: shareDistribution: weightFactor is \"heavy\", not a number",
            ),
        ] {
            assert_eq!(check_object(&entry), Err(problem.to_owned()), "{entry}");
        }
    }
}
