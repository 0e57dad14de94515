//! Objectives, such as "95 % of jobs start within 30 minutes", as rules over how fast the error budget is spent.
//!
//! Each objective becomes one rule per window of the multiwindow, multi-burn-rate method (Google, The Site Reliability
//! Workbook, chapter 5): the long window says that much was spent, the short one that it is still being spent.

use std::time::Duration;

use crate::metrics::catalogue::{DURATION_BOUNDS, Label, Metric};
use crate::model::units;
use crate::rules::rule::{Aggregation, Clause, Condition, Fold};

/// How fast a budget is spent, and over how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Added to the alert's name.
    pub(super) name: &'static str,
    long: Duration,
    short: Duration,
    /// So many times as fast as would spend the budget in 30 days.
    factor: f64,
    /// The severity of its alerts unless the rule sets one.
    pub(super) severity: &'static str,
}

const HOUR: Duration = Duration::from_secs(3_600);

/// 2 % of a month's budget within an hour, 5 % within six, 10 % within three days.
pub(super) const WINDOWS: [Window; 3] = [
    Window { name: "1h", long: HOUR, short: Duration::from_secs(300), factor: 14.4, severity: "page" },
    Window {
        name: "6h",
        long: Duration::from_secs(6 * 3_600),
        short: Duration::from_secs(1_800),
        factor: 6.0,
        severity: "page",
    },
    Window {
        name: "3d",
        long: Duration::from_secs(72 * 3_600),
        short: Duration::from_secs(6 * 3_600),
        factor: 1.0,
        severity: "warning",
    },
];

/// The index of the bucket that ends at `within`; what the metric counts can be judged at these bounds only.
pub(super) fn bound(within: Duration) -> Result<usize, String> {
    let found = DURATION_BOUNDS.iter().position(|bound| *bound == within.as_secs_f64());
    let bounds = || DURATION_BOUNDS.iter().map(|bound| units::duration(*bound));
    found.ok_or_else(|| {
        format!("waits are counted up to {}; take one of these", bounds().collect::<Vec<_>>().join(", "))
    })
}

impl Window {
    /// The two conditions of this window; `None` if even a share of 100 % would not spend `budget` so fast.
    pub(super) fn clauses(
        self,
        metric: &'static Metric,
        bound: usize,
        budget: f64,
        filters: &[(Label, String)],
    ) -> Option<Vec<Clause>> {
        let threshold = self.factor * budget;
        let clause = |over| Clause {
            metric,
            take: Aggregation::FractionAbove(bound, over),
            fold: Fold::Max,
            filters: filters.to_vec(),
            condition: Condition::Above { threshold, recover: threshold },
        };
        (threshold < 1.0).then(|| vec![clause(self.long), clause(self.short)])
    }
}
