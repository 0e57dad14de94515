//! Where a command works: on the local state file, or in a running service over its API.

use crate::cli::Failure;
use crate::cli::remote::{Client, Remote};

/// Arguments for either.
#[derive(Debug, clap::Args)]
pub(super) struct LocalOrRemoteArguments {
    /// Open the state file of this configuration directly, also next to a running service: a file, env:NAME for the
    /// content of an environment variable, or s3://bucket/object.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "token_file"])]
    config: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Where a command works.
pub(super) enum LocalOrRemote {
    /// On the state file of this configuration.
    Config(String),
    /// In this service.
    Service(Client),
}

impl LocalOrRemoteArguments {
    pub(super) fn choose(self) -> Result<LocalOrRemote, Failure> {
        match self.config {
            Some(config) => Ok(LocalOrRemote::Config(config)),
            None if self.remote.is_named() => Ok(LocalOrRemote::Service(self.remote.connect()?)),
            None => Err(Failure::usage(
                "say where: --url URL (or TRAINSPOTTER_URL) for a running service, or --config FILE for the state file of this machine",
            )),
        }
    }
}
