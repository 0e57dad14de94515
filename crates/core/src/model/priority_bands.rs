//! Priority bands: names for ranges of job priorities, so that waits are reported by priority without a series per
//! number.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Jobs with a priority below all bands, or an unknown one.
const OTHER: &str = "other";

/// Named ranges of `schedulingPriority`, each from its lowest priority up to the next band. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriorityBands {
    by_lowest: BTreeMap<i32, Arc<str>>,
    other: Option<Arc<str>>,
}

impl PriorityBands {
    /// Bands by name, each with its lowest priority. If two have the same one, the last wins.
    pub fn new<'a>(bands: impl IntoIterator<Item = (&'a str, i32)>) -> Self {
        let by_lowest: BTreeMap<i32, Arc<str>> =
            bands.into_iter().map(|(name, lowest)| (lowest, name.into())).collect();
        let other = (!by_lowest.is_empty()).then(|| OTHER.into());
        Self { by_lowest, other }
    }

    /// The band of a priority, `other` outside all bands; `None` without bands.
    pub fn of(&self, priority: Option<i32>) -> Option<&Arc<str>> {
        let band = priority.and_then(|priority| self.by_lowest.range(..=priority).next_back());
        band.map(|(_, name)| name).or(self.other.as_ref())
    }

    /// All bands, lowest first, then `other`; empty without bands.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_lowest.values().chain(&self.other)
    }

    /// Whether there are any.
    pub fn are_set(&self) -> bool {
        self.other.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_reaches_from_its_lowest_priority_to_below_the_next() {
        let bands = PriorityBands::new([("urgent", 1_000), ("batch", 10), ("normal", 100)]);
        let of = |priority| bands.of(priority).map(|name| &**name);
        assert_eq!(
            [9, 10, 99, 100, 999, 1_000, 9_999].map(|priority| of(Some(priority)).unwrap()),
            ["other", "batch", "batch", "normal", "normal", "urgent", "urgent"]
        );
        assert_eq!(of(None), Some("other"));
        assert_eq!(bands.names().map(|name| &**name).collect::<Vec<_>>(), ["batch", "normal", "urgent", "other"]);

        let none = PriorityBands::default();
        assert!(!none.are_set() && none.of(Some(1)).is_none() && none.names().next().is_none());
    }
}
