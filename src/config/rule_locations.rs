//! Locations of rules: local files and folders, and buckets.

use std::path::{Path, PathBuf};

use crate::config::aws_names::partition_of;
use crate::config::check::Check;
use crate::config::file::{RulesForm, RulesKeys};
use crate::config::object_place::ObjectPlace;

/// A location of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RulesPlace {
    /// A file, or a folder of files.
    Path(PathBuf),
    /// Objects in a bucket.
    Bucket(RulesBucket),
}

/// Rules in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulesBucket {
    /// The bucket.
    pub bucket: String,
    /// Name of the object, or prefix of all objects.
    pub name: String,
    /// Region of the bucket; by default the first target's.
    pub region: Option<String>,
    /// Overrides the endpoint; by default the first target's, if any.
    pub endpoint: Option<String>,
    /// A role to assume for the bucket.
    pub role: Option<String>,
}

impl Check<'_> {
    pub(super) fn rules(&mut self, rules: &[RulesForm], folder: &Path) -> Vec<RulesPlace> {
        let mut given: Vec<String> = Vec::new();
        let mut places = Vec::new();
        for (index, form) in rules.iter().enumerate() {
            let at = format!("rules[{index}]");
            let (text, place) = match form {
                RulesForm::Place(text) => {
                    let text = self.filled(&at, text);
                    let place = self.rules_place(&at, &text, folder);
                    (text, place)
                }
                RulesForm::More(keys) => self.rules_bucket(&at, keys),
            };
            given.push(text);
            places.extend(place);
        }
        self.distinct("rules", &given);
        places
    }

    fn rules_place(&mut self, at: &str, text: &str, folder: &Path) -> Option<RulesPlace> {
        if text.is_empty() {
            self.problem(at, "a path is required");
            return None;
        }
        if !text.contains("://") {
            return Some(RulesPlace::Path(folder.join(text)));
        }
        match ObjectPlace::parse(text, "rules") {
            Ok(ObjectPlace::Folder(path)) => Some(RulesPlace::Path(path)),
            Ok(ObjectPlace::Bucket { bucket, prefix: name }) => {
                let (region, endpoint, role) = (None, None, None);
                Some(RulesPlace::Bucket(RulesBucket { bucket, name, region, endpoint, role }))
            }
            Err(message) => {
                self.problem(at, message);
                None
            }
        }
    }

    fn rules_bucket(&mut self, at: &str, keys: &RulesKeys) -> (String, Option<RulesPlace>) {
        let key = |key: &str| format!("{at}.{key}");
        let text = self.filled(&key("from"), &keys.from);
        let region = keys.region.as_ref().map(|region| self.filled(&key("region"), region));
        if let Some(region) = &region {
            self.refuse(&key("region"), partition_of(region).map(|_| ()));
        }
        let role = self.role(&key("role"), keys.role.as_deref(), region.as_deref());
        let endpoint = self.endpoint_of_aws(&key("endpoint"), keys.endpoint.as_deref());
        let place = match ObjectPlace::parse(&text, "rules") {
            Ok(ObjectPlace::Bucket { bucket, prefix: name }) => {
                Some(RulesPlace::Bucket(RulesBucket { bucket, name, region, endpoint, role }))
            }
            Ok(ObjectPlace::Folder(_)) => {
                self.problem(&key("from"), "is not a bucket: write only the path, as `rules: [/alerts]`");
                None
            }
            Err(message) => {
                self.problem(&key("from"), message);
                None
            }
        };
        (text, place)
    }
}
