//! Explains a job to its owner: waits, attempts, end and what to do.

use crate::jobs::{Job, Phase, Span};
use crate::metrics::reasons::Why;
use crate::metrics::{Inputs, host_utilisation};
use crate::model::JobStatus;
use crate::model::format::{amount, counted, duration};

/// A few sentences, one per line; `why` is the reason it waits, if it does.
pub(super) fn of(job: &Job, why: Option<&Why>, inputs: &Inputs<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    match (job.timeline.current(), why) {
        (Some(span), _) if job.has_left() => lines.push(left(job, &span)),
        (Some(span), Some(why)) if span.phase == Phase::Waiting => lines.extend(why.story()),
        (Some(span), _) => lines.extend(now(job, &span, inputs)),
        (None, _) => lines.extend(end(job, inputs)),
    }
    // The line with the next step stays last.
    let next = lines.pop_if(|line| line.starts_with("Next: "));
    lines.extend(waits(job));
    let preemptions = job.details.as_ref().map_or(0, |details| details.preemptions);
    match preemptions {
        0 => {}
        1 => lines.push("It was preempted once.".to_owned()),
        more => lines.push(format!("It was preempted {more} times.")),
    }
    lines.extend(next);
    lines
}

/// A job that ended or left its state by the lists, and is not described yet.
fn left(job: &Job, span: &Span) -> String {
    let state = job.status();
    if state.is_ended() {
        let how = if *state == JobStatus::Succeeded { "succeeded" } else { "failed" };
        return format!("It has {how}, according to AWS Batch's job list; details follow with its description.");
    }
    let (phase, from) = (span.phase, span.from.latest);
    format!(
        "It was {phase} since {from}, but AWS Batch no longer lists it in that state. Its current state is unknown \
         until it is described."
    )
}

fn now(job: &Job, span: &Span, inputs: &Inputs<'_>) -> Vec<String> {
    let since = duration(inputs.now.seconds_since(span.from.latest));
    let from = span.from.latest;
    let on =
        job.gpus().filter(|gpus| *gpus > 0.0).map(|gpus| format!(" on {}", amount(gpus, "GPU"))).unwrap_or_default();
    match span.phase {
        Phase::Waiting => vec![format!("It has waited {since}; its queue is not watched, so the reason is unknown.")],
        Phase::Scheduled => {
            vec![format!("It was dispatched {since} ago, at {from}, and SageMaker is looking for its instances.")]
        }
        Phase::Starting => {
            vec![format!("It has its instances; for {since}, since {from}, data and image are being downloaded.")]
        }
        Phase::Running => {
            let mut lines = vec![format!("It has run {since}{on}, since {from}.")];
            if let Some((_, busy)) = host_utilisation::mean(host_utilisation::reporting(job, inputs)) {
                lines.push(format!("Its GPUs are {:.0} % busy.", busy * 100.0));
            }
            lines
        }
    }
}

fn end(job: &Job, inputs: &Inputs<'_>) -> Vec<String> {
    let spans = job.timeline.spans();
    let last = spans.last();
    let ended_at = last.and_then(|span| span.to).map_or(job.seen_at, |to| to.latest);
    let ago = duration(inputs.now.seconds_since(ended_at));
    let ran = last.filter(|span| span.phase == Phase::Running).and_then(Span::seconds);
    let after = match (ran, last.map(|span| span.phase)) {
        (Some(seconds), _) => format!(", after it had run {}", duration(seconds)),
        (None, Some(Phase::Waiting)) => ", before it was dispatched".to_owned(),
        (None, _) => ", before it ran".to_owned(),
    };
    if *job.status() == JobStatus::Succeeded {
        return vec![format!("It succeeded {ago} ago, at {ended_at}{after}.")];
    }
    let failure = job.failure();
    vec![
        format!("It failed {ago} ago, at {ended_at}{after}: {}.", failure.words()),
        format!("Next: {}", failure.next_step()),
    ]
}

/// Completed waits: how long each lasted until dispatch or end.
fn waits(job: &Job) -> Option<String> {
    let spans = job.timeline.spans();
    if job.attempts().is_none() {
        let dispatched = spans.iter().rfind(|span| span.phase == Phase::Scheduled)?;
        let after = duration(dispatched.from.latest.seconds_since(job.latest.created_at));
        return Some(format!(
            "Its latest known attempt was dispatched {after} after it was submitted; whether others preceded it is not known."
        ));
    }
    let over = spans.iter().filter(|span| span.phase == Phase::Waiting);
    let over: Vec<f64> = over.filter_map(Span::seconds).collect();
    match over.as_slice() {
        [] => None,
        [one] if spans.len() > 1 => Some(format!("It waited {} before it was dispatched.", duration(*one))),
        [one] => Some(format!("It waited {}.", duration(*one))),
        all => {
            let each: Vec<String> = all.iter().map(|seconds| duration(*seconds)).collect();
            let times = counted(all.len() as u64, "time");
            Some(format!("It waited {times}, {} in total: {}.", duration(all.iter().sum()), each.join(", ")))
        }
    }
}
