//! Reads the configuration from a file, an environment variable or a bucket.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::Failure;
use crate::config::ObjectPlace;
use crate::objects::{BucketAccess, Rights, Setting, Texts};
use trainspotter_clock::Clock;

/// Prefix for a configuration in an environment variable, for containers without a file: `--config env:NAME`.
const FROM_ENVIRONMENT: &str = "env:";

/// Prefix for a configuration in a bucket: `--config s3://bucket/object`.
const FROM_BUCKET: &str = "s3://";

/// Maximum size of a configuration; a device would never end.
const MAX_BYTES: u64 = 1 << 20;

/// The setting that bucket errors refer to.
const SETTING: Setting = Setting { place: "--config", region: "AWS_REGION", rights: Rights::Read };

/// Attempts to read an unreachable bucket at the start, and the pause between them.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Region to ask if none is given: S3 responds with the bucket's region.
const ANY_REGION: &str = "us-east-1";

/// Location of a configuration.
pub(super) enum ConfigText {
    File(PathBuf),
    Variable(String),
    Object { texts: Box<Texts>, name: String },
}

/// Why it cannot be read, and whether to retry.
pub(super) struct Unreadable {
    pub(super) failure: Failure,
    is_lasting: bool,
}

impl ConfigText {
    /// Parses a location: a path, `env:NAME` or `s3://bucket/object`.
    pub(super) async fn of(name: &str) -> Result<Self, Failure> {
        if let Some(variable) = name.strip_prefix(FROM_ENVIRONMENT) {
            return Ok(Self::Variable(variable.to_owned()));
        }
        if !name.starts_with(FROM_BUCKET) {
            return Ok(Self::File(PathBuf::from(name)));
        }
        let usage = |problem: &str| Failure::usage(format!("--config {name}: {problem}"));
        let (bucket, object) = match ObjectPlace::parse(name, "a configuration").map_err(|problem| usage(&problem))? {
            ObjectPlace::Bucket { bucket, prefix } if !prefix.is_empty() && !name.ends_with('/') => (bucket, prefix),
            ObjectPlace::Bucket { .. } | ObjectPlace::Folder(_) => {
                return Err(usage("an object is required, as in s3://bucket/trainspotter.yaml"));
            }
        };
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.unwrap_or_else(|| ANY_REGION.to_owned());
        let endpoint = variable("AWS_ENDPOINT_URL_S3");
        let access = BucketAccess { region: Some(&region), endpoint: endpoint.as_deref(), role: None };
        let opened = Texts::open(&bucket, access, SETTING, Clock::real()).await;
        let texts = Box::new(opened.map_err(|error| Failure::failed(format!("{name}: {error}")))?);
        Ok(Self::Object { texts, name: object })
    }

    /// Reads the configuration at the start, with retries for an unreachable bucket.
    pub(super) async fn first(&mut self) -> Result<String, Failure> {
        let mut attempt = 1;
        loop {
            match self.now().await {
                Err(unreadable) if !unreadable.is_lasting && attempt < ATTEMPTS => attempt += 1,
                found => return found.map_err(|unreadable| unreadable.failure),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads the current configuration. An unchanged object is not downloaded again.
    pub(super) async fn now(&mut self) -> Result<String, Unreadable> {
        let lasting = |failure| Unreadable { failure, is_lasting: true };
        match self {
            Self::Variable(name) => variable(name)
                .ok_or_else(|| lasting(Failure::usage(format!("the environment variable {name} is not set")))),
            Self::File(path) => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || read(&path)).await;
                reading.map_err(Failure::failed).flatten().map_err(lasting)
            }
            Self::Object { texts, name } => texts.one(name).await.map_err(|error| Unreadable {
                is_lasting: error.is_lasting,
                failure: if error.is_lasting {
                    Failure::usage(format!("--config: {error}"))
                } else {
                    Failure::failed(format!("--config: {error}"))
                },
            }),
        }
    }

    /// Base folder of relative paths in it.
    pub(super) fn folder(&self) -> PathBuf {
        match self {
            Self::File(path) => path.parent().unwrap_or(Path::new(".")).to_path_buf(),
            Self::Variable(_) | Self::Object { .. } => PathBuf::from("."),
        }
    }

    /// Whether each read costs money.
    pub(super) fn costs_money(&self) -> bool {
        matches!(self, Self::Object { .. })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
