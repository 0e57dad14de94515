//! Why the state is not stored as configured, and where it is kept meanwhile.

use std::fmt;

/// The part that fails to store the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StateTrouble {
    /// The state file.
    File {
        /// What is wrong with it.
        error: String,
        /// Whether the replication log accepts the state.
        is_in_log: bool,
    },
    /// The replication log.
    Log {
        /// What is wrong with it.
        error: String,
        /// Whether commits succeed, so that the replica's own file has the state.
        is_in_file: bool,
    },
    /// The last commit, for another reason.
    Commit(String),
}

impl StateTrouble {
    /// The trouble, if any. `of_file`, `of_log` and `of_commit` are the errors of each; `has_log` is whether there are replicas.
    pub(super) fn of(
        of_file: Option<String>,
        of_log: Option<String>,
        of_commit: Option<String>,
        has_log: bool,
    ) -> Option<Self> {
        let (is_in_file, is_in_log) = (of_commit.is_none(), has_log && of_log.is_none());
        let of_file = of_file.map(|error| Self::File { error, is_in_log });
        let of_log = of_log.map(|error| Self::Log { error, is_in_file });
        of_file.or(of_log).or_else(|| of_commit.map(Self::Commit))
    }

    /// Where the state is kept meanwhile, for the log.
    fn effect(&self) -> &'static str {
        match self {
            Self::File { is_in_log: false, .. } => {
                "cannot use the state file; state is kept in memory only, and alerts continue. A restart loses \
                 recent changes"
            }
            Self::File { is_in_log: true, .. } => {
                "cannot use the state file; state is kept in memory and in the replication log, and alerts continue"
            }
            Self::Log { is_in_file: true, .. } => {
                "cannot write the replication log; state is kept in this replica's file only, and alerts continue"
            }
            Self::Log { is_in_file: false, .. } => {
                "the replication log does not respond, and another replica may lead: changes wait in memory, and \
                 nothing is sent until it responds"
            }
            Self::Commit(_) => {
                "cannot commit the last tick; it is kept in memory, and its notifications wait for the next \
                 successful commit"
            }
        }
    }

    /// Logs a change of the trouble.
    pub(super) fn log_change(before: Option<&Self>, now: Option<&Self>) {
        match (before, now) {
            (before, Some(now)) if before != Some(now) => tracing::error!(error = %now, "{}", now.effect()),
            (Some(Self::File { is_in_log: false, .. }), None) => {
                tracing::info!("the state file works again and is up to date")
            }
            (Some(Self::File { is_in_log: true, .. }), None) => {
                tracing::info!("the state file works again and is up to date");
            }
            (Some(Self::Log { .. }), None) => tracing::info!("the replication log works again and is up to date"),
            (Some(Self::Commit(_)), None) => tracing::info!("commits succeed again"),
            (_, None | Some(_)) => {}
        }
    }
}

impl fmt::Display for StateTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { error, .. } | Self::Commit(error) => f.write_str(error),
            Self::Log { error, .. } => write!(f, "the replication log failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_where_the_state_is_kept_meanwhile() {
        let error = |is_so: bool| is_so.then(|| "broken".to_owned());
        let effect = |file, log, commit, has_log| {
            StateTrouble::of(error(file), error(log), error(commit), has_log).map(|trouble| trouble.effect())
        };
        assert_eq!(effect(false, false, false, true), None);
        assert!(effect(true, false, false, false).unwrap().contains("in memory only"));
        assert!(effect(true, false, false, true).unwrap().contains("in memory and in the replication log"));
        assert!(effect(true, true, false, true).unwrap().contains("in memory only"));
        assert!(effect(false, true, false, true).unwrap().contains("in this replica's file only"));
        assert!(effect(false, true, true, true).unwrap().contains("nothing is sent"));
        assert!(effect(false, false, true, true).unwrap().contains("cannot commit the last tick"));
        let of_log = StateTrouble::of(None, error(true), None, true).unwrap();
        assert_eq!(of_log.to_string(), "the replication log failed: broken");
    }
}
