//! The estimate of a job as shown to users: an interval with its basis, or why there is none.

use crate::forecast::calibration::{Interval, MIN_TRUTHS, Quality, Rough};
use crate::forecast::simulate::NeverBecause;
use crate::model::{Timestamp, format};
use crate::scheduler::WaitReason;

/// Minimum ended attempts to estimate run times.
pub const MIN_ENDED: u64 = 5;

/// The start of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Outlook {
    /// There is an estimate.
    Expected(Box<Estimate>),
    /// There is no estimate.
    Unknown(Unknown),
}

/// The dispatch of a job as an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Time of the estimate.
    pub made_at: Timestamp,
    /// One in ten such jobs starts before; `None` beyond the horizon.
    pub p10: Option<Timestamp>,
    /// Half of such jobs start before.
    pub p50: Option<Timestamp>,
    /// Nine in ten such jobs start before.
    pub p90: Option<Timestamp>,
    /// Whether the job is behind those that were simulated, so that its start is extrapolated.
    pub beyond_front: bool,
    /// Why the interval is unreliable; `None` if it is not.
    pub rough: Option<Rough>,
    /// Basis of the estimate, in a sentence.
    pub rests_on: String,
    /// What would change it, in a sentence.
    pub would_change: String,
    /// Accuracy of such estimates; `None` while too few were shown.
    pub quality: Option<Quality>,
    /// Number of resolved estimates that correct this one.
    pub truths: usize,
}

/// Why there is no estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The job can never start with the current setup.
    Never(NeverBecause),
    /// Too few attempts have ended to estimate run times.
    FewEnded(u64),
    /// Too few resolved estimates to calibrate intervals.
    FewTruths(usize),
    /// The job is behind those that a forecast includes.
    TooFarBack,
    /// No estimate was made yet.
    NotMade,
}

impl Unknown {
    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never(_) => "never",
            Self::FewEnded(_) | Self::FewTruths(_) => "too_little_history",
            Self::TooFarBack => "too_far_back",
            Self::NotMade => "not_made_yet",
        }
    }

    /// Text for users.
    pub fn sentence(self) -> String {
        match self {
            Self::Never(because) => because.sentence(),
            Self::FewEnded(ended) => format!(
                "Too little history: {ended} attempts have ended so far; estimates of run times need {MIN_ENDED}."
            ),
            Self::FewTruths(truths) => format!(
                "Too little history: {truths} {} been verified so far; estimates are shown once {MIN_TRUTHS} have, \
                 with how often they were right.",
                if truths == 1 { "estimate has" } else { "estimates have" }
            ),
            Self::TooFarBack => {
                "No estimate: it is too far back in its share; the forecast simulates fewer jobs.".to_owned()
            }
            Self::NotMade => "No estimate yet; it follows after one of the next polls.".to_owned(),
        }
    }
}

impl NeverBecause {
    /// Text for users.
    pub fn sentence(self) -> String {
        let text = match self {
            Self::TooLarge(Some(0)) => "It never starts: its queue and share have no instances of the requested type.",
            Self::TooLarge(Some(most)) => {
                let instances = if most == 1 { "instance" } else { "instances" };
                return format!(
                    "It never starts: its queue and share allow a job at most {most} {instances} of its type, and \
                     it requests more."
                );
            }
            Self::TooLarge(None) => "It never starts: it requests more than its queue or share can ever use.",
            Self::Disabled => "It does not start: the service environment of its queue is disabled.",
            Self::Behind => {
                "No estimate: a job ahead of it in its share can never start, and blocks it until that job is \
                 cancelled."
            }
            Self::NoPlace => {
                "It does not start: its queue or share does not exist, or does not accept jobs of this kind."
            }
            Self::UnknownSize => "No estimate: the number and type of the instances it requests are unknown.",
            Self::NoInstances => "No estimate: AWS has no instances for it now, and gives no time when it will.",
        };
        text.to_owned()
    }
}

impl Estimate {
    /// Converts an interval to times of day.
    pub fn at(now: Timestamp, interval: Interval, horizon: f64) -> [Option<Timestamp>; 3] {
        [interval.low, interval.middle, interval.high].map(|seconds| {
            let known = std::time::Duration::try_from_secs_f64(seconds).ok().filter(|_| seconds < horizon);
            known.map(|after| now + after)
        })
    }
}

/// What is ahead of a job, for the basis of its estimate.
#[derive(Clone, Debug, Default)]
pub struct Ahead {
    /// Waiting jobs of its share that are ahead.
    pub waiting: usize,
    /// Jobs that hold instances it may use.
    pub holding: usize,
    /// Typical run times of some of these jobs, where known.
    pub usual: Vec<f64>,
}

impl Ahead {
    /// Formats the basis of an estimate.
    pub fn sentence(mut self, runs: usize, beyond_front: bool) -> String {
        let jobs = |count: usize| if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") };
        let hold = if self.holding == 1 { "holds" } else { "hold" };
        let go = if self.waiting == 1 { "goes" } else { "go" };
        let mut text = match (self.waiting, self.holding) {
            (0, 0) => "Nothing is ahead of it".to_owned(),
            (0, holding) => format!("{} {hold} the capacity it waits for", jobs(holding)),
            (waiting, 0) => format!("{} {go} first", jobs(waiting)),
            (waiting, holding) => {
                format!("{} {go} first and {} {hold} the capacity they wait for", jobs(waiting), jobs(holding))
            }
        };
        self.usual.sort_by(f64::total_cmp);
        if let Some(middle) = self.usual.get(self.usual.len() / 2).copied() {
            let like = self.usual.iter().filter(|usual| (middle / 2.0..=middle * 2.0).contains(*usual)).count();
            let about = format::duration(rounded(middle));
            text += &match self.usual.len() {
                1 => format!("; such a job typically runs for about {about}"),
                all => format!("; {like} of {all} of them typically run for about {about}"),
            };
        }
        text += &format!(". Based on {runs} simulations of the queue from now on");
        text += if beyond_front {
            ", but the job is behind those that were simulated: its start is extrapolated from their rate."
        } else {
            "."
        };
        text
    }
}

/// Rounds to about two digits.
fn rounded(seconds: f64) -> f64 {
    let grain = match seconds {
        s if s < 120.0 => 1.0,
        s if s < 7200.0 => 60.0,
        s if s < 86_400.0 => 600.0,
        _ => 3600.0,
    };
    (seconds / grain).round() * grain
}

/// What would change the start of a job, in a sentence.
pub fn would_change(reason: Option<WaitReason>, priority: i32) -> String {
    let own_share = "a higher quota of its share, or jobs of its share that end early";
    let what = match reason {
        Some(WaitReason::ShareLimit) => own_share,
        Some(WaitReason::BorrowLimit) => {
            "a higher borrow limit or quota of its share, or jobs of its share that end early"
        }
        Some(WaitReason::Claim) => "an earlier return of lent capacity, when jobs of the borrowing shares end early",
        Some(WaitReason::Full | WaitReason::NoInstances) => {
            "more instances in its environment, or running jobs that end early"
        }
        Some(WaitReason::Reserved) => "a lower compute reservation of the queue, or more instances",
        Some(WaitReason::Order) => "fewer or shorter jobs ahead of it",
        Some(WaitReason::Disabled | WaitReason::NotExamined | WaitReason::Misfit) | None => {
            "jobs ahead of it that end early, or more capacity"
        }
    };
    format!("Earlier with {what}, or with a priority above {priority}; later if jobs of higher priority are submitted.")
}
