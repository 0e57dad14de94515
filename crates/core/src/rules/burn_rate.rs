//! Objectives such as "95 % of jobs start within 30 minutes", as rules over the burn rate of the error budget.
//!
//! Each objective becomes one rule per window of the multiwindow, multi-burn-rate method (Google, The Site
//! Reliability Workbook, chapter 5): the long window shows that much was spent, the short one that spending
//! continues.

use std::time::Duration;

use crate::metrics::catalogue::{DURATION_BOUNDS, Label, Metric};
use crate::model::format;
use crate::rules::rule::{Aggregation, Clause, Condition, Fold};

/// A burn rate and its windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Suffix of the alert's name.
    pub(super) name: &'static str,
    long: Duration,
    short: Duration,
    /// Multiple of the rate that spends the budget in 30 days.
    factor: f64,
    /// Default severity of its alerts.
    pub(super) severity: &'static str,
}

const HOUR: Duration = Duration::from_secs(3_600);

/// 2 % of a month's budget within one hour, 5 % within six hours, 10 % within three days.
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

/// The index of the bucket that ends at `within`; a metric can only be judged at its bucket bounds.
pub(super) fn bound(within: Duration) -> Result<usize, String> {
    let found = DURATION_BOUNDS.iter().position(|bound| *bound == within.as_secs_f64());
    let bounds = || DURATION_BOUNDS.iter().map(|bound| format::duration(*bound));
    found.ok_or_else(|| format!("must be a bucket bound of the metric: {}", bounds().collect::<Vec<_>>().join(", ")))
}

impl Window {
    /// The two conditions of this window; `None` if not even a fraction of 100 % would spend `budget` that fast.
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
