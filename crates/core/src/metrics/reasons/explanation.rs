//! A reason told to the person whose job it is: what is, the numbers, where the job stands, and what to do.

use crate::metrics::reasons::{Evidence, Reason, Why};
use crate::metrics::words::spoken;

impl Why {
    /// A few sentences, one a line: the reason with its numbers, the place in the order, how the wait divided, and what
    /// to do next.
    pub fn story(&self) -> Vec<String> {
        let mut lines = vec![self.reason.told(&self.evidence)];
        let queue = match self.queue_bounds {
            (first, last) if first == last => format!(", number {first} in the queue"),
            (first, last) => format!(", and between number {first} and {last} in the queue"),
        };
        lines.push(match self.position_in_share {
            1 => format!("It is the first of its share{queue}."),
            place => format!(
                "It is number {place} of its share{queue}; the jobs before it there ask for {} GPUs.",
                self.gpus_ahead
            ),
        });
        if !self.waited.is_empty() {
            let mut parts: Vec<_> = self.waited.iter().collect();
            parts.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
            let parts: Vec<_> =
                parts.into_iter().map(|(reason, seconds)| format!("{} {}", spoken(*seconds), reason.words())).collect();
            lines.push(format!("Since it is watched it has waited: {}.", parts.join(", ")));
        }
        lines.push(format!("Next: {}", self.reason.next_step()));
        lines
    }
}

impl Reason {
    /// A few words, to follow a duration.
    pub fn words(self) -> &'static str {
        match self {
            Self::Misconfigured => "misconfigured",
            Self::Disabled => "with the queue or share disabled",
            Self::ExceedsShare => "for more than the share can ever get",
            Self::ShareAtLimit => "with the share at its limit",
            Self::BorrowLimit => "at the share's borrow limit",
            Self::Reclaiming => "for lent capacity to come back",
            Self::NoCapacity => "for AWS to find instances",
            Self::CapacityInUse => "with all capacity in use",
            Self::Reserved => "for capacity that is kept for other shares",
            Self::Behind => "behind other jobs",
            Self::Evaluating => "for the scheduler",
        }
    }

    /// The reason with its numbers, as a sentence.
    pub(in crate::metrics) fn told(self, evidence: &Evidence) -> String {
        let Evidence { needs, .. } = evidence;
        let unit =
            evidence.unit.as_ref().map_or("instances", |unit| if unit.is_any() { "instances" } else { unit.as_str() });
        let number = |number: Option<f64>| number.map_or_else(|| "no limit".to_owned(), |number| number.to_string());
        let uses = number(evidence.share_uses.or(Some(0.0)));
        let quota = number(evidence.share_quota);
        match self {
            Self::Misconfigured => {
                "AWS says that the job or its queue is misconfigured; its words are in the status reason.".to_owned()
            }
            Self::Disabled => "The queue, its service environment or the share is disabled.".to_owned(),
            Self::ExceedsShare => format!(
                "It asks for {needs} {unit}; its share has {quota}, may use at most {}, and the service environment allows {}.",
                number(evidence.share_most),
                number(evidence.capacity)
            ),
            Self::ShareAtLimit => format!(
                "It asks for {needs} {unit}; its share uses {uses} of {quota}, and other shares have {} to lend.",
                number(evidence.lendable)
            ),
            Self::BorrowLimit => format!(
                "It asks for {needs} {unit}; its share uses {uses} and, with what it may borrow, may use at most {}.",
                number(evidence.share_most)
            ),
            Self::Reclaiming => format!(
                "It asks for {needs} {unit} of its share's own: {uses} of {quota} are in use, but others have borrowed \
                 the rest but for {}.",
                number(evidence.lendable)
            ),
            Self::NoCapacity => format!("It asks for {needs} {unit}, and AWS cannot provide them now."),
            Self::CapacityInUse => format!(
                "It asks for {needs} {unit}; of the {} that the service environment allows, {} are free.",
                number(evidence.capacity),
                number(evidence.free)
            ),
            Self::Reserved => format!(
                "It asks for {needs} {unit}; {} are free, but the policy's compute reservation keeps {} for share \
                 identifiers that have no jobs.",
                number(evidence.free),
                number(evidence.reserved)
            ),
            Self::Behind => format!("It asks for {needs} {unit}, which would fit, but other jobs go first."),
            Self::Evaluating => format!("It asks for {needs} {unit}, and nothing is known to be in the way."),
        }
    }

    /// What its owner or an operator can do.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::Misconfigured => "read the status reason, mend the job or the queue, and submit it again.",
            Self::Disabled => "enable what is disabled, or submit the job to another queue.",
            Self::ExceedsShare => "ask for fewer instances, or raise the share's quota or borrow limit.",
            Self::ShareAtLimit => "wait for the share's own jobs to end, or raise its quota.",
            Self::BorrowLimit => "wait for the share's own jobs to end, or raise its borrow limit.",
            Self::Reclaiming => "nothing: the scheduler preempts borrowers; look at preemptions if it takes long.",
            Self::NoCapacity => "try another instance type or region, or reserve capacity with a training plan.",
            Self::CapacityInUse => "wait for jobs to end, or raise the service environment's limit.",
            Self::Reserved => "wait for jobs to end, or lower the compute reservation of the scheduling policy.",
            Self::Behind => "wait, raise the job's priority, or ask for fewer instances.",
            Self::Evaluating => "nothing: it should start within moments; if it does not, look at the source ages.",
        }
    }
}
