//! Validates the targets: names, and that no two are the same.

use std::collections::BTreeMap;

use crate::config::aws_names::{check_queue_url, partition_of};
use crate::config::check::{Check, unknown_type};
use crate::config::file;
use crate::config::{Reserved, Target};
use trainspotter_core::model::{InstanceType, Place, accelerators_of, is_of_queue_name};

/// Maximum targets per service.
pub const MAX_TARGETS: usize = 200;

/// Maximum characters of a target's name.
const MAX_NAME: usize = 64;

/// Length of an external id, as allowed by STS.
const EXTERNAL_ID: std::ops::RangeInclusive<usize> = 2..=1_224;

impl Check<'_> {
    pub(super) fn targets(&mut self, targets: &[file::Target]) -> Vec<Target> {
        if targets.is_empty() {
            self.problem("targets", "no targets; at least one with a region is required");
        }
        if targets.len() > MAX_TARGETS {
            let message = format!("{} targets exceed the limit of {MAX_TARGETS} per service", targets.len());
            self.problem(&format!("targets[{MAX_TARGETS}]"), message);
        }
        let checked: Vec<Target> =
            targets.iter().enumerate().map(|(index, target)| self.target(index, target)).collect();
        for (index, target) in checked.iter().enumerate() {
            let earlier = checked.iter().take(index).enumerate();
            for (other, before) in earlier {
                if let Some(message) = same(before, target, other) {
                    let is_named = targets.get(index).is_some_and(|target| target.name.is_some());
                    let key =
                        if is_named && before.name.eq_ignore_ascii_case(&target.name) { "name" } else { "region" };
                    self.problem(&format!("targets[{index}].{key}"), message);
                    break;
                }
            }
        }
        checked
    }

    fn target(&mut self, index: usize, target: &file::Target) -> Target {
        let at = |key: &str| format!("targets[{index}].{key}");
        let region = self.filled(&at("region"), &target.region);
        self.refuse(&at("region"), partition_of(&region).map(|_| ()));
        let role = self.role(&at("role"), target.role.as_deref(), Some(&region));
        let external_id = target.external_id.as_ref().map(|id| self.filled(&at("external_id"), id));
        if let Some(id) = &external_id {
            self.refuse(&at("external_id"), check_external_id(id));
            if role.is_none() {
                self.problem(&at("external_id"), "has no effect without a `role`");
            }
        }
        let name = match &target.name {
            Some(name) => {
                let name = self.filled(&at("name"), name);
                self.refuse(&at("name"), check_name(&name));
                name
            }
            None => usual_name(&region, role.as_deref()),
        };
        let endpoint = self.endpoint_of_aws(&at("endpoint"), target.endpoint.as_deref());
        let events = target.events.as_ref().map(|events| self.filled(&at("events"), events));
        if let Some(url) = events.as_ref().and_then(|events| self.outgoing(&at("events"), events)) {
            self.refuse(&at("events"), check_queue_url(&url, &region));
        }
        let queues = self.queues(&at("queues"), &target.queues);
        self.quotas(&at("quotas"), &target.quotas);
        if target.calls_per_second.is_some_and(|calls| !(0.1..=100.0).contains(&calls)) {
            self.problem(&at("calls_per_second"), "must be between 0.1 and 100");
        }
        let file::Reserved { training_plans, warm_pools } = target.reserved;
        let reserved = Reserved { training_plans, warm_pools };
        let (quotas, calls_per_second) = (target.quotas.clone(), target.calls_per_second);
        Target { name, region, role, external_id, endpoint, queues, events, reserved, quotas, calls_per_second }
    }

    fn queues(&mut self, path: &str, globs: &[String]) -> Vec<String> {
        if globs.is_empty() {
            self.problem(path, "no queue can match; leave `queues` out to include all");
        }
        let queues = self.filled_all(path, globs);
        self.distinct(path, &queues);
        for (number, glob) in queues.iter().enumerate() {
            let odd = glob.chars().find(|letter| !is_of_queue_name(*letter));
            if odd.is_some() || glob.is_empty() || glob.len() > 128 {
                let message = format!(
                    "`{glob}` matches no queue: names have 1 to 128 letters, digits, - and _; globs also * and ?"
                );
                self.problem(&format!("{path}[{number}]"), message);
            }
        }
        queues
    }

    fn quotas(&mut self, path: &str, quotas: &BTreeMap<String, String>) {
        for (instance_type, code) in quotas {
            let path = format!("{path}[{instance_type}]");
            if accelerators_of(&InstanceType::from(instance_type.as_str())).is_none() {
                self.problem(&path, unknown_type(instance_type));
            }
            let digits = code.strip_prefix("L-").unwrap_or_default();
            if digits.len() != 8 || !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
                self.problem(&path, "not a quota code; write it as in Service Quotas, like L-0123ABCD");
            }
        }
    }
}

/// Default name of a target.
pub fn usual_name(region: &str, role: Option<&str>) -> String {
    match role.and_then(Place::account_of) {
        Some(account) => format!("{account}/{region}"),
        None => region.to_owned(),
    }
}

/// Why two targets cannot both be watched; `other` is the index of the first.
fn same(before: &Target, target: &Target, other: usize) -> Option<String> {
    let account = |target: &Target| target.role.as_deref().and_then(Place::account_of).map(str::to_owned);
    let is_same =
        before.region == target.region && before.endpoint == target.endpoint && account(before) == account(target);
    if is_same {
        return Some(format!(
            "has the same account and region as targets[{other}]: list all queues there, because metrics are distinguished \
             only by account and region"
        ));
    }
    // State files are named after targets, and some file systems ignore case.
    let is_named_alike = before.name.eq_ignore_ascii_case(&target.name);
    is_named_alike
        .then(|| format!("targets[{other}] has the same name, `{}`: set a different `name` for each", before.name))
}

fn check_name(name: &str) -> Result<(), String> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    let parts_are_names = name.split('/').all(|part| part.starts_with(|first: char| first.is_ascii_alphanumeric()));
    if let Some(taken) = name.split('/').find(|part| ["records", "snapshots", "replicas"].contains(part)) {
        return Err(format!("`{name}` would conflict with the log, which uses the folder name `{taken}`"));
    }
    if name.chars().all(is_letter) && parts_are_names && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(format!(
        "`{name}` is not a valid name: 1 to {MAX_NAME} letters, digits and any of -_./, starting with a letter or digit, also after each /"
    ))
}

fn check_external_id(id: &str) -> Result<(), String> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@:/-".contains(letter);
    if EXTERNAL_ID.contains(&id.len()) && id.chars().all(is_letter) {
        return Ok(());
    }
    Err("is not an external id: use 2 to 1224 letters, digits and any of _+=,.@:/-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_letters_that_files_and_keys_can_have() {
        for good in ["us-east-1", "111122223333/us-east-1", "Research_2", "a.b"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(MAX_NAME + 1);
        for bad in ["", "/a", "a/", "a//b", "../a", ".a", "-a", "a b", "ä", "a/../b", "a/records", "replicas", &long] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_without_a_name_is_called_by_its_account_and_region() {
        assert_eq!(usual_name("eu-west-1", None), "eu-west-1");
        assert_eq!(usual_name("eu-west-1", Some("arn:aws:iam::111122223333:role/Reader")), "111122223333/eu-west-1");
    }

    #[test]
    fn an_external_id_is_what_sts_takes() {
        assert_eq!(check_external_id("trainspotter-7"), Ok(()));
        for bad in ["", "a", "a b", "a*"] {
            assert!(check_external_id(bad).is_err(), "{bad}");
        }
    }
}
