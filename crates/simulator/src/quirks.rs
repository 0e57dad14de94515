//! Switches between two behaviours where AWS's is undocumented, set in the scenario or on the command line. A service
//! must be correct with both.

use std::time::Duration;

use trainspotter_core::model::parse_duration;
use trainspotter_core::scheduler;
use trainspotter_core::scheduler::AfterRequeue;
use trainspotter_core::scheduler::DisabledQueue;

/// State of all switches. The defaults are the more likely behaviours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Switches that affect the jobs themselves.
    pub scheduler: scheduler::Quirks,
    pub(super) started_at: StartedAt,
    pub(super) created_at_filters: CreatedAtFilters,
    pub(super) list_order: ListOrder,
    /// Maximum age of a repeated job queue snapshot; zero computes a new one for each request.
    pub(super) snapshot_age: Duration,
}

/// `startedAt` of a job before it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StartedAt {
    /// The member is left out.
    #[default]
    Absent,
    /// It is 0, that is, in 1970.
    Zero,
}

/// Whether `AFTER_CREATED_AT` and `BEFORE_CREATED_AT` include jobs created at exactly that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CreatedAtFilters {
    /// Excluded.
    #[default]
    Exclusive,
    /// Included.
    Inclusive,
}

/// Order of a list by status. AWS documents newest first for filtered lists only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ListOrder {
    /// Like filtered lists.
    #[default]
    NewestFirst,
    /// In queue order.
    OldestFirst,
}

/// Names of the switches, and their possible values.
const SWITCHES: [(&str, &str); 6] = [
    ("after_requeue", "cleared or kept"),
    ("disabled_queue", "drains or holds"),
    ("started_at_before_start", "absent or zero"),
    ("created_at_filters", "exclusive or inclusive"),
    ("list_order", "newest_first or oldest_first"),
    ("snapshot_age", "a duration such as 2m"),
];

impl Quirks {
    /// Sets one switch.
    ///
    /// # Errors
    /// The switch does not exist, or the value is invalid; the message lists the possible ones.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, value) {
            ("after_requeue", "cleared") => self.scheduler.after_requeue = AfterRequeue::Cleared,
            ("after_requeue", "kept") => self.scheduler.after_requeue = AfterRequeue::Kept,
            ("disabled_queue", "drains") => self.scheduler.disabled_queue = DisabledQueue::Drains,
            ("disabled_queue", "holds") => self.scheduler.disabled_queue = DisabledQueue::Holds,
            ("started_at_before_start", "absent") => self.started_at = StartedAt::Absent,
            ("started_at_before_start", "zero") => self.started_at = StartedAt::Zero,
            ("created_at_filters", "exclusive") => self.created_at_filters = CreatedAtFilters::Exclusive,
            ("created_at_filters", "inclusive") => self.created_at_filters = CreatedAtFilters::Inclusive,
            ("list_order", "newest_first") => self.list_order = ListOrder::NewestFirst,
            ("list_order", "oldest_first") => self.list_order = ListOrder::OldestFirst,
            ("snapshot_age", age) => {
                self.snapshot_age = parse_duration(age).map_err(|_| "is a duration such as 2m".to_owned())?;
            }
            (name, _) => return Err(cannot_be(name)),
        }
        Ok(())
    }
}

/// The message for an invalid switch.
fn cannot_be(name: &str) -> String {
    match SWITCHES.iter().find(|(known, _)| *known == name) {
        Some((_, values)) => format!("is {values}"),
        None => format!("is no quirk; there are {}", SWITCHES.map(|(known, _)| known).join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_has_both_settings_and_is_shown() {
        let document = include_str!("../README.md");
        for (name, values) in SWITCHES {
            assert!(document.contains(&format!("`{name}`")), "{name} is not in README.md");
            let mut quirks = Quirks::default();
            let error = quirks.set(name, "neither").unwrap_err();
            assert_eq!((error.as_str(), &quirks), (format!("is {values}").as_str(), &Quirks::default()));
            for value in values.split(" or ").filter(|_| name != "snapshot_age") {
                quirks.set(name, value).unwrap();
                assert_eq!(quirks == Quirks::default(), values.starts_with(value), "{name} {value}");
            }
        }
        let mut quirks = Quirks::default();
        quirks.set("snapshot_age", "1m 30s").unwrap();
        assert_eq!(quirks.snapshot_age, Duration::from_secs(90));
        assert!(quirks.set("snapshots", "1m").unwrap_err().contains("there are after_requeue, disabled_queue"));
    }
}
