//! Wastes: GPU-hours without benefit, and what can be done about each.

use crate::report::contents::Waste;

/// Number of wastes shown.
const SHOWN: usize = 3;

/// Minimum GPU-hours of a waste.
const MIN_GPU_HOURS: f64 = 0.05;

/// A kind of waste: name, the hourly columns it sums, description, and advice.
pub(super) struct WasteKind {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
    words: &'static str,
    advice: &'static str,
}

/// All kinds.
pub(super) const KINDS: [WasteKind; 7] = [
    WasteKind {
        name: "no_demand",
        columns: &["unallocated_no_demand_gpu_seconds"],
        words: "GPUs without demand",
        advice: "lower the limit of the service environment, or move work to these hours",
    },
    WasteKind {
        name: "quota_bound",
        columns: &["unallocated_quota_bound_gpu_seconds"],
        words: "GPUs unused because of quotas and limits while jobs waited",
        advice: "let shares lend and borrow, or move quota to the shares that wait",
    },
    WasteKind {
        name: "shape_does_not_fit",
        columns: &["unallocated_shape_does_not_fit_gpu_seconds"],
        words: "GPUs free in a shape that fits no waiting job",
        advice: "submit smaller jobs beside the large ones, or let smaller ones go first",
    },
    WasteKind {
        name: "running_idle",
        columns: &["running_idle_gpu_seconds"],
        words: "GPUs held by running jobs on idle hosts",
        advice: "the rule GpusIdleWhileRunning names their queues; end them, or fix their input pipelines",
    },
    WasteKind {
        name: "starting",
        columns: &["scheduled_gpu_seconds", "starting_gpu_seconds"],
        words: "GPUs held during capacity search and while data and images were downloaded",
        advice: "use warm pools, smaller images, or FastFile input",
    },
    WasteKind {
        name: "preempted",
        columns: &["lost_preempted_gpu_seconds"],
        words: "work lost to preemption",
        advice: "save checkpoints more often, or submit within the share's own quota",
    },
    WasteKind {
        name: "failed",
        columns: &["lost_failed_gpu_seconds"],
        words: "work of attempts that failed",
        advice: "see who can fix the failures below; try a short run before a long one",
    },
];

/// The largest wastes, largest first. `of` returns the GPU-hours and dollars of a kind.
pub(super) fn largest(of: impl Fn(&WasteKind) -> (f64, Option<f64>)) -> Vec<Waste> {
    let mut wastes: Vec<Waste> = KINDS
        .iter()
        .map(|kind| {
            let (gpu_hours, dollars) = of(kind);
            let (name, words, advice) = (kind.name.to_owned(), kind.words.to_owned(), kind.advice.to_owned());
            Waste { name, words, advice, gpu_hours, dollars }
        })
        .filter(|waste| waste.gpu_hours >= MIN_GPU_HOURS)
        .collect();
    wastes.sort_by(|a, b| b.gpu_hours.total_cmp(&a.gpu_hours));
    wastes.truncate(SHOWN);
    wastes
}
