//! Explains to its owner why a job waits: reason, numbers, queue position, and what to do.

use crate::metrics::reasons::queue_position::MAX_COUNTED_AHEAD;
use crate::metrics::reasons::{Evidence, QueuePosition, Reason, Why};
use crate::model::format::{amount, duration};

impl Why {
    /// A few sentences, one per line: the reason with its numbers, the queue position, the wait by reason, and the
    /// next step.
    pub fn story(&self) -> Vec<String> {
        let mut lines = vec![self.reason.explain(&self.evidence)];
        lines.extend(self.position.map(|position| position.in_words(self.has_shares)));
        if !self.waited.is_empty() {
            let mut parts: Vec<_> = self.waited.iter().collect();
            parts.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
            let parts: Vec<_> = parts
                .into_iter()
                .map(|(reason, seconds)| format!("{} {}", duration(*seconds), reason.words()))
                .collect();
            lines.push(format!("Waited so far, by reason: {}.", parts.join(", ")));
        }
        lines.push(format!("Next: {}", self.reason.next_step_with(&self.evidence)));
        lines
    }
}

impl QueuePosition {
    fn in_words(self, has_shares: bool) -> String {
        let Self { in_share, queue_bounds: (first, last), gpus_ahead, .. } = self;
        let gpus = gpus_ahead.map(|gpus| amount(gpus, "GPU"));
        if !has_shares {
            return match (first, last, gpus) {
                (1, 1, _) => "It is the first in the queue.".to_owned(),
                (2, 2, Some(gpus)) => format!("It is number 2 in the queue; the job before it requests {gpus}."),
                (position, last, Some(gpus)) if position == last => {
                    format!("It is number {position} in the queue; the jobs before it request {gpus}.")
                }
                (first, last, None) => {
                    format!(
                        "More than {MAX_COUNTED_AHEAD} jobs are before it: it is {} in the queue.",
                        between(first, last)
                    )
                }
                (first, last, Some(_)) => format!("It is {} in the queue.", between(first, last)),
            };
        }
        let and = if first == last { "" } else { "and " };
        let queue = format!(", {and}{} in the queue", between(first, last));
        match (in_share, gpus) {
            (Some(1), _) => format!("It is the first of its share{queue}."),
            (Some(2), Some(gpus)) => {
                format!("It is number 2 of its share{queue}; the job before it there requests {gpus}.")
            }
            (Some(position), Some(gpus)) => {
                format!("It is number {position} of its share{queue}; the jobs before it there request {gpus}.")
            }
            _ => format!("More than {MAX_COUNTED_AHEAD} jobs of its share are before it{queue}."),
        }
    }
}

fn between(first: usize, last: usize) -> String {
    if first == last { format!("number {first}") } else { format!("between number {first} and {last}") }
}

impl Reason {
    /// A short phrase that follows a duration.
    pub fn words(self) -> &'static str {
        match self {
            Self::Misconfigured => "misconfigured",
            Self::Disabled => "with the queue or share disabled",
            Self::ExceedsShare => "with a request larger than the share can ever use",
            Self::ShareAtLimit => "with the share at its limit",
            Self::BorrowLimit => "at the share's borrow limit",
            Self::Reclaiming => "for lent capacity to come back",
            Self::NoCapacity => "for AWS to find instances",
            Self::CapacityInUse => "with all capacity in use",
            Self::Reserved => "for capacity that is reserved for other shares",
            Self::Behind => "behind other jobs",
            Self::Evaluating => "for the scheduler",
        }
    }

    /// The reason with its numbers, in a sentence.
    pub(in crate::metrics) fn explain(self, evidence: &Evidence) -> String {
        let unit =
            evidence.unit.as_ref().map_or("instances", |unit| if unit.is_any() { "instances" } else { unit.as_str() });
        let asks = match evidence.needs {
            Some(1.0) if unit == "instances" => "It requests 1 instance".to_owned(),
            Some(needs) => format!("It requests {needs} {unit}"),
            None => "Its request is unknown".to_owned(),
        };
        let number = |number: Option<f64>| number.map_or_else(|| "no limit".to_owned(), |number| number.to_string());
        let uses = number(evidence.share_uses.or(Some(0.0)));
        let quota = number(evidence.share_quota);
        match self {
            Self::Misconfigured => {
                "AWS reports that the job or its queue is misconfigured; see the status reason.".to_owned()
            }
            Self::Disabled => "The queue, its service environment or the share is disabled.".to_owned(),
            Self::ExceedsShare => {
                let most = |quota: f64| match evidence.share_most {
                    Some(most) if most > quota => format!(" and may use at most {most}"),
                    Some(_) => " and may not borrow".to_owned(),
                    None => " and may borrow without a limit".to_owned(),
                };
                let share = evidence.share_quota.map(|quota| format!("its share has {quota}{}", most(quota)));
                let environment =
                    evidence.capacity.map(|capacity| format!("the service environment allows {capacity}"));
                let limits: Vec<String> = share.into_iter().chain(environment).collect();
                let limits =
                    if limits.is_empty() { "AWS reports that it never fits".to_owned() } else { limits.join(", and ") };
                format!("{asks}; {limits}.")
            }
            Self::ShareAtLimit => format!(
                "{asks}; its share uses {uses} of {quota}, and other shares have {} to lend.",
                number(evidence.lendable)
            ),
            Self::BorrowLimit => format!(
                "{asks}; its share uses {uses} and, including borrowed instances, may use at most {}.",
                number(evidence.share_most)
            ),
            Self::Reclaiming => format!(
                "{asks} of its share's own quota: {uses} of {quota} are in use, and other shares have borrowed the \
                 rest except {}.",
                number(evidence.lendable)
            ),
            Self::NoCapacity => format!("{asks}, and AWS cannot provide them now."),
            Self::CapacityInUse => format!(
                "{asks}; of the {} that the service environment allows, {} are free.",
                number(evidence.capacity),
                number(evidence.free)
            ),
            Self::Reserved => format!(
                "{asks}; {} are free, but the policy's compute reservation keeps {} for share \
                 identifiers that have no jobs.",
                number(evidence.free),
                number(evidence.reserved)
            ),
            Self::Behind if evidence.needs.is_none() => format!("{asks}; other jobs go first."),
            Self::Behind => format!("{asks}, which would fit, but other jobs go first."),
            Self::Evaluating => format!("{asks}, and no obstacle is known."),
        }
    }

    /// What the owner or an operator can do, given the numbers: a share that already borrows also waits for unused
    /// capacity of others.
    fn next_step_with(self, evidence: &Evidence) -> &'static str {
        let may_borrow = match (evidence.share_quota, evidence.share_most) {
            (Some(quota), Some(most)) => most > quota,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if self == Self::ShareAtLimit && may_borrow {
            return "wait for the share's own jobs to end or for other shares to lend instances, or raise its quota.";
        }
        self.next_step()
    }

    /// What the owner or an operator can do.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Misconfigured => "read the status reason, fix the job or the queue, and submit it again.",
            Self::Disabled => "enable what is disabled, or submit the job to another queue.",
            Self::ExceedsShare => "ask for fewer instances, or raise the share's quota or borrow limit.",
            Self::ShareAtLimit => "wait for the share's own jobs to end, or raise its quota.",
            Self::BorrowLimit => "wait for the share's own jobs to end, or raise its borrow limit.",
            Self::Reclaiming => "nothing: the scheduler preempts borrowers; check preemptions if it takes long.",
            Self::NoCapacity => "try another instance type or region, or reserve capacity with a training plan.",
            Self::CapacityInUse => "wait for jobs to end, or raise the service environment's limit.",
            Self::Reserved => "wait for jobs to end, or lower the compute reservation of the scheduling policy.",
            Self::Behind => "wait, raise the job's priority, or ask for fewer instances.",
            Self::Evaluating => "nothing: it should start within moments; if it does not, check the source ages.",
        }
    }
}
