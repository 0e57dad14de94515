//! `archive:` and `tags:`: location of the long-term archive, and the job tags kept in it.

use std::path::Path;
use std::time::Duration;

use crate::config::aws_names::partition_of;
use crate::config::check::Check;
use crate::config::file::{ArchiveForm, ArchiveKeys};
use crate::config::object_place::ObjectPlace;
use crate::config::reports::REPORT_KEYS;

/// Default delay after the end of a day before its files are written.
const GRACE: Duration = Duration::from_secs(3_600);

/// Maximum job tags beside the owner's.
const MAX_TAGS: usize = 20;

/// Location of the long-term archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The location.
    pub place: ObjectPlace,
    /// Region of the bucket; by default the first target's.
    pub region: Option<String>,
    /// Overrides the endpoint; by default the first target's, if any.
    pub endpoint: Option<String>,
    /// A role to assume for the bucket.
    pub role: Option<String>,
    /// Delay after the end of a day before its files are written.
    pub grace: Duration,
}

impl Archive {
    /// Whether it is in a bucket, which costs money.
    pub fn is_in_a_bucket(&self) -> bool {
        matches!(self.place, ObjectPlace::Bucket { .. })
    }

    /// An archive at a location, with defaults.
    pub fn at(place: ObjectPlace) -> Self {
        Self { place, region: None, endpoint: None, role: None, grace: GRACE }
    }
}

impl Check<'_> {
    pub(super) fn archive(&mut self, form: Option<&ArchiveForm>, folder: &Path) -> Option<Archive> {
        let (at, keys) = match form? {
            ArchiveForm::Place(to) => ("archive", ArchiveKeys { to: to.clone(), ..ArchiveKeys::default() }),
            ArchiveForm::More(keys) => ("archive.to", keys.clone()),
        };
        let place = self.archive_place(at, &keys.to, folder);
        let region = keys.region.as_ref().map(|region| self.filled("archive.region", region));
        if let Some(region) = &region {
            self.refuse("archive.region", partition_of(region).map(|_| ()));
        }
        let role = self.role("archive.role", keys.role.as_deref(), region.as_deref());
        let endpoint = self.endpoint_of_aws("archive.endpoint", keys.endpoint.as_deref());
        if matches!(place, Some(ObjectPlace::Folder(_))) {
            let of_s3 = [("region", region.is_some()), ("endpoint", endpoint.is_some()), ("role", role.is_some())];
            for (key, _) in of_s3.iter().filter(|(_, is_given)| *is_given) {
                self.problem(&format!("archive.{key}"), "does not apply to a folder");
            }
        }
        let grace = keys.grace.map_or(GRACE, |grace| grace.0);
        self.at_least("archive.grace", grace, Duration::from_secs(60));
        self.at_most("archive.grace", grace, Duration::from_secs(86_400));
        Some(Archive { place: place?, region, endpoint, role, grace })
    }

    fn archive_place(&mut self, at: &str, text: &str, folder: &Path) -> Option<ObjectPlace> {
        let text = self.filled(at, text);
        if text.is_empty() {
            self.problem(at, "a location is required: `s3://bucket/prefix` or a folder");
            return None;
        }
        if !text.contains("://") {
            return Some(ObjectPlace::Folder(folder.join(text)));
        }
        match ObjectPlace::parse(&text, "an archive") {
            Ok(place) => Some(place),
            Err(message) => {
                self.problem(at, message);
                None
            }
        }
    }

    pub(super) fn tags(&mut self, tags: &[String]) -> Vec<String> {
        if tags.len() > MAX_TAGS {
            self.problem("tags", format!("must be {MAX_TAGS} tags at most"));
        }
        self.distinct("tags", tags);
        for (index, tag) in tags.iter().enumerate() {
            let at = format!("tags[{index}]");
            if tag == "owner" {
                self.problem(&at, "the owner's tag is always kept");
            } else if REPORT_KEYS.contains(&tag.as_str()) {
                self.problem(&at, format!("`{tag}` is a report key with another meaning: rename the tag"));
            } else if tag.is_empty() || tag.chars().count() > 128 || tag.contains(',') || tag.trim() != tag {
                self.problem(&at, "not a tag that reports can group by: 1 to 128 characters, without commas or leading and trailing spaces");
            }
        }
        tags.to_vec()
    }
}
