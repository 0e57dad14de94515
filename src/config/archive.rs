//! Long-term data: the archive, archived job tags, and scheduled reports.

use std::path::Path;
use std::time::Duration;

use crate::config::Receiver;
use crate::config::aws_names::partition_of;
use crate::config::check::Check;
use crate::config::file::{self, ArchiveForm, ArchiveKeys, Every};
use crate::config::object_place::ObjectPlace;

/// Default delay after the end of a day before its files are written.
const GRACE: Duration = Duration::from_secs(3_600);

/// Maximum job tags beside the owner's.
const MAX_TAGS: usize = 20;

/// Maximum grouping keys of a report: it has a row per combination of values.
pub const MAX_REPORT_KEYS: usize = 4;

/// Grouping keys of a report, besides tags.
pub const REPORT_KEYS: [&str; 6] = ["queue", "share", "owner", "account", "region", "instance_type"];

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

/// A scheduled report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledReport {
    /// Its interval.
    pub every: Every,
    /// Name of its receiver.
    pub to: String,
    /// Grouping keys.
    pub by: Vec<String>,
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

    pub(super) fn reports(
        &mut self,
        reports: &[file::Report],
        tags: &[String],
        receivers: &[Receiver],
    ) -> Vec<ScheduledReport> {
        let mut checked: Vec<ScheduledReport> = Vec::new();
        for (index, report) in reports.iter().enumerate() {
            let at = |key: &str| format!("reports[{index}].{key}");
            if !receivers.iter().any(|receiver| receiver.name == report.to) {
                self.problem(&at("to"), format!("there is no receiver `{}`", report.to));
            }
            self.distinct(&at("by"), &report.by);
            if report.by.len() > MAX_REPORT_KEYS {
                self.problem(&at("by"), format!("must be {MAX_REPORT_KEYS} keys at most"));
            }
            for (number, key) in report.by.iter().enumerate() {
                self.refuse(&at(&format!("by[{number}]")), check_report_key(key, tags));
            }
            let report = ScheduledReport { every: report.every, to: report.to.clone(), by: report.by.clone() };
            if checked.contains(&report) {
                self.problem(&format!("reports[{index}]"), "is a duplicate, and would be sent only once");
            }
            checked.push(report);
        }
        checked
    }
}

/// Checks a grouping key of a report.
///
/// # Errors
/// The key is unknown; the text lists the possible ones.
pub fn check_report_key(key: &str, tags: &[String]) -> Result<(), String> {
    if REPORT_KEYS.contains(&key) || tags.iter().any(|tag| tag == key) {
        return Ok(());
    }
    let known = REPORT_KEYS.iter().copied().chain(tags.iter().map(String::as_str)).collect::<Vec<_>>().join(", ");
    Err(format!(
        "unknown key `{key}`; known keys are {known}. To use another job tag, add it to `tags` in the configuration"
    ))
}
