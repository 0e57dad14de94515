//! Answers to questions about single jobs, from the ledger.

use crate::web::{Cursor, Demand, JobPage, JobQuery, JobView, Span, WhyView};
use trainspotter_core::engine::Engine;
use trainspotter_core::jobs::{Job, Ledger, Phase};
use trainspotter_core::model::{JobId, JobStatus, QueueName, ShareName, Timestamp};

/// Answers a question. A reader that has gone away is no loss.
pub(super) fn answer(engine: &Engine, query: JobQuery, now: Timestamp) {
    let ledger = engine.ledger();
    match query {
        JobQuery::One { id, reply } => {
            let why = || engine.why(&id, now).map(WhyView::from);
            let time_limit_at = engine.time_limit_at(&id);
            let story = engine.story(&id, now);
            let shown = |job| JobView { why: why(), story, time_limit_at, ..view(job, true) };
            let _ = reply.send(ledger.job(&id).map(shown));
        }
        JobQuery::List { queue, share, state, after, limit, reply } => {
            let filter = Filter { queue, share, state };
            let page = page(ledger, &filter, after.as_ref(), limit);
            let _ = reply.send(JobPage { jobs: with_whys(page.jobs, engine, now), ..page });
        }
    }
}

/// Says of those jobs that wait why they do.
fn with_whys(mut jobs: Vec<JobView>, engine: &Engine, now: Timestamp) -> Vec<JobView> {
    let mut waiting: Vec<&mut JobView> = jobs.iter_mut().filter(|job| job.status.is_waiting()).collect();
    if !waiting.is_empty() {
        let whys = engine.whys(waiting.iter().map(|job| &job.id), now);
        waiting.iter_mut().zip(whys).for_each(|(job, why)| job.why = why.map(WhyView::from));
    }
    jobs
}

struct Filter {
    queue: Option<QueueName>,
    share: Option<ShareName>,
    state: Option<JobStatus>,
}

impl Filter {
    fn accepts(&self, job: &Job) -> bool {
        let share = job.share().map_or("", ShareName::as_str);
        self.queue.as_ref().is_none_or(|queue| job.queue() == queue)
            && self.share.as_ref().is_none_or(|wanted| wanted.as_str() == share)
            && self.state.as_ref().is_none_or(|state| job.status() == state)
    }
}

/// The jobs after a place in the order of creation, and then of id.
fn page(ledger: &Ledger, filter: &Filter, after: Option<&Cursor>, limit: usize) -> JobPage {
    let place = |job: &Job| Cursor { created_at: job.latest.created_at, id: job.latest.id.clone() };
    let mut places: Vec<Cursor> = ledger
        .jobs()
        .filter(|job| filter.accepts(job))
        .map(place)
        .filter(|place| after.is_none_or(|after| place > after))
        .collect();
    let full = places.len() > limit;
    if full {
        places.select_nth_unstable(limit);
        places.truncate(limit);
    }
    places.sort_unstable();
    let next = if full { places.last().cloned() } else { None };
    let found = |id: &JobId| ledger.job(id).map(|job| view(job, false));
    JobPage { jobs: places.iter().filter_map(|place| found(&place.id)).collect(), next }
}

fn view(job: &Job, with_spans: bool) -> JobView {
    let latest = &job.latest;
    let spans = job.timeline.spans();
    let first_wait = spans.first().filter(|span| span.phase == Phase::Waiting);
    JobView {
        id: latest.id.clone(),
        name: latest.name.clone(),
        queue: latest.queue.clone(),
        share: latest.share.clone(),
        status: latest.status.clone(),
        status_reason: latest.status_reason.clone(),
        priority: job.details.as_ref().and_then(|details| details.priority),
        created_at: latest.created_at,
        scheduled_at: latest.scheduled_at,
        started_at: latest.started_at,
        stopped_at: latest.stopped_at,
        wait_seconds: first_wait.map(|span| {
            let until = span.to.map_or(job.seen_at, |to| to.latest);
            until.seconds_since(span.from.latest)
        }),
        attempts: spans.last().map_or(0, |span| span.attempt),
        preemptions: job.details.as_ref().map_or(0, |details| details.preemptions),
        retries_left: job.details.as_ref().and_then(|details| details.retries_left()),
        preemptions_left: job.details.as_ref().and_then(|details| details.preemptions_left()),
        attempt_timeout_seconds: job.details.as_ref().and_then(|details| Some(details.attempt_timeout?.as_secs_f64())),
        time_limit_at: None,
        gpus: job.gpus(),
        demand: latest
            .demand
            .iter()
            .map(|capacity| Demand { unit: capacity.unit.clone(), quantity: capacity.quantity })
            .collect(),
        owner: job.owner().map(str::to_owned),
        training_job: latest.training_job.clone(),
        story: Vec::new(),
        why: None,
        spans: if with_spans { spans.iter().map(span_view).collect() } else { Vec::new() },
    }
}

fn span_view(span: &trainspotter_core::jobs::Span) -> Span {
    Span {
        phase: span.phase.as_str(),
        attempt: span.attempt,
        from: span.from.latest,
        to: span.to.map(|to| to.latest),
        from_uncertain_seconds: span.from.uncertain_seconds(),
        to_uncertain_seconds: span.to.map(trainspotter_core::jobs::Moment::uncertain_seconds),
    }
}
