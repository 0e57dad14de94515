//! `store:`: checks the location of the state, which is a file and, with replicas, a log.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::aws_names::partition_of;
use crate::config::check::Check;
use crate::config::file::{StoreForm, StoreKeys};
use crate::config::object_place::ObjectPlace;

/// Default lease: how long a replica leads after writing a record.
const LEASE: Duration = Duration::from_secs(45);

/// Minimum lease; slow responses alone would exceed a shorter one.
const MIN_LEASE: Duration = Duration::from_secs(3);

/// Maximum lease; with a longer one, the work of a failed leader stays undone for too long.
const MAX_LEASE: Duration = Duration::from_secs(600);

/// The log of replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// Its location.
    pub log: ObjectPlace,
    /// Region of the bucket; by default the first target's.
    pub region: Option<String>,
    /// Overrides the endpoint; by default the first target's, if any.
    pub endpoint: Option<String>,
    /// A role to assume for the bucket.
    pub role: Option<String>,
    /// How long a replica leads after writing a record.
    pub lease: Duration,
}

impl Replication {
    /// Whether the log is in a bucket, which costs money.
    pub fn is_in_a_bucket(&self) -> bool {
        matches!(self.log, ObjectPlace::Bucket { .. })
    }
}

impl Check<'_> {
    pub(super) fn store(&mut self, store: &StoreForm, folder: &Path) -> (PathBuf, Option<Replication>) {
        match store {
            StoreForm::File(path) => (self.state_file("store", path, folder), None),
            StoreForm::More(keys) => {
                let file = self.state_file("store.file", &keys.file, folder);
                (file, self.replication(keys))
            }
        }
    }

    fn state_file(&mut self, at: &str, path: &str, folder: &Path) -> PathBuf {
        let path = self.filled(at, path);
        let is_log = path.starts_with("s3://") || path.starts_with("file://");
        if path.is_empty() || path.ends_with('/') && !is_log {
            self.problem(at, "a file path is required");
        } else if is_log {
            let message = format!(
                "a file path is required, and this is not a path: no state would be stored there. A log is configured in addition to the file: \
                 `store: {{ file: trainspotter.db, log: \"{path}\" }}`"
            );
            self.problem(at, message);
        } else if path.starts_with(':') || path.starts_with("file:") || path.contains("://") {
            self.problem(at, "a file path is required, and this is not a path: no state would be stored there");
        }
        folder.join(path)
    }

    fn replication(&mut self, keys: &StoreKeys) -> Option<Replication> {
        let region = keys.region.as_ref().map(|region| self.filled("store.region", region));
        if let Some(region) = &region {
            self.refuse("store.region", partition_of(region).map(|_| ()));
        }
        let role = self.role("store.role", keys.role.as_deref(), region.as_deref());
        let endpoint = self.endpoint_of_aws("store.endpoint", keys.endpoint.as_deref());
        let lease = keys.lease.map_or(LEASE, |lease| lease.0);
        if !(MIN_LEASE..=MAX_LEASE).contains(&lease) {
            self.problem("store.lease", "must be between 3s and 10m");
        }
        let Some(log) = &keys.log else {
            let others = [
                ("region", region.is_some()),
                ("endpoint", endpoint.is_some()),
                ("role", role.is_some()),
                ("lease", keys.lease.is_some()),
            ];
            for (key, _) in others.iter().filter(|(_, is_given)| *is_given) {
                self.problem(&format!("store.{key}"), "has no effect without `store.log`");
            }
            return None;
        };
        let log = self.filled("store.log", log);
        match ObjectPlace::parse(&log, "a log") {
            Ok(log) => {
                let of_s3 = [("region", region.is_some()), ("endpoint", endpoint.is_some()), ("role", role.is_some())];
                if matches!(log, ObjectPlace::Folder(_)) {
                    for (key, _) in of_s3.iter().filter(|(_, is_given)| *is_given) {
                        self.problem(&format!("store.{key}"), "does not apply to a folder");
                    }
                }
                Some(Replication { log, region, endpoint, role, lease })
            }
            Err(message) => {
                self.problem("store.log", message);
                None
            }
        }
    }
}
