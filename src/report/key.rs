//! Grouping keys of a report.

use trainspotter_core::metrics::EndedJob;

/// A grouping key for jobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Their queue.
    Queue,
    /// Their share.
    Share,
    /// Their owner.
    Owner,
    /// The account of their queue.
    Account,
    /// The region of their queue.
    Region,
    /// Their first instance type.
    InstanceType,
    /// Another tag.
    Tag(String),
}

impl Key {
    /// All keys except tags.
    pub const PLAIN: [Self; 6] =
        [Self::Queue, Self::Share, Self::Owner, Self::Account, Self::Region, Self::InstanceType];

    /// The key with a name; unknown names are tags.
    pub fn named(name: &str) -> Self {
        let plain = Self::PLAIN.into_iter().find(|key| key.as_str() == name);
        plain.unwrap_or_else(|| Self::Tag(name.to_owned()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Queue => "queue",
            Self::Share => "share",
            Self::Owner => "owner",
            Self::Account => "account",
            Self::Region => "region",
            Self::InstanceType => "instance_type",
            Self::Tag(tag) => tag,
        }
    }

    /// Value of a job; empty if it has none.
    pub(super) fn of<'a>(&self, job: &'a EndedJob) -> &'a str {
        let value = match self {
            Self::Queue => Some(&job.queue),
            Self::Share => job.share.as_ref(),
            Self::Owner => job.owner.as_ref(),
            Self::Account => job.account.as_ref(),
            Self::Region => job.region.as_ref(),
            Self::InstanceType => job.instances.keys().next(),
            Self::Tag(tag) => job.tags.get(tag),
        };
        value.map_or("", String::as_str)
    }
}
