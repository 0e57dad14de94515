//! Answers queries about single jobs from the ledger.

use std::collections::BTreeMap;

use crate::web::{
    Cursor, Demand, JobMatches, JobPage, JobQuery, JobView, JobWithContext, MAX_JOB_MATCHES, Span, StartView, WhyView,
};
use trainspotter_core::engine::Engine;
use trainspotter_core::jobs::{Job, Phase, Wanted};
use trainspotter_core::metrics::catalogue;
use trainspotter_core::model::Timestamp;

/// Answers a query. The answer is dropped if the client is gone.
pub(super) fn answer(engine: &mut Engine, query: JobQuery, now: Timestamp) {
    if let JobQuery::Present { asked, reply } = query {
        let state = engine.check_asked(&asked).map(|()| engine.forecast_state(now, Some(&asked)).map(Box::new));
        let _ = reply.send(state);
    } else if let JobQuery::LimitHit { limit, times } = query {
        engine.counting().add(&catalogue::LIMIT_HITS, [("limit", limit.into())], times);
    } else {
        answer_of_ledger(engine, query, now);
    }
}

fn answer_of_ledger(engine: &Engine, query: JobQuery, now: Timestamp) {
    let ledger = engine.ledger();
    match query {
        JobQuery::Present { .. } | JobQuery::LimitHit { .. } => {}
        JobQuery::Outlook { initial, starts, reply } => {
            let _ = reply.send(engine.outlook_of_asked(&initial, &starts));
        }
        JobQuery::One { words, reply } => {
            let meant = ledger.meant(&words, MAX_JOB_MATCHES + 1);
            let shown = |job: &Job| {
                let why = engine.why(&job.latest.id, now);
                JobView {
                    story: engine.story(&job.latest.id, why.as_ref(), now),
                    why: why.map(WhyView::from),
                    time_limit_at: engine.time_limit_at(&job.latest.id),
                    start: engine.outlook(&job.latest.id).map(|outlook| StartView::of(outlook, now)),
                    ..view(job, true, now)
                }
            };
            let _ = reply.send(match meant[..] {
                [] => JobMatches::None,
                [job] => JobMatches::One(Box::new(shown(job))),
                _ => {
                    let jobs = meant.iter().take(MAX_JOB_MATCHES).map(|job| view(job, false, now)).collect();
                    JobMatches::Several(jobs, meant.len() > MAX_JOB_MATCHES)
                }
            });
        }
        JobQuery::Past { reply } => {
            let _ = reply.send((engine.forecast_rows(), engine.prices().clone()));
        }
        JobQuery::Rules { reply } => {
            let _ = reply.send(engine.rules().to_vec());
        }
        JobQuery::PastValues { alert, reply } => {
            let _ = reply.send(engine.past_values(&alert));
        }
        JobQuery::Context { id, reply } => {
            let why = engine.why(&id, now);
            let around = engine.job(&id).zip(engine.job_context(&id, why.as_ref(), now)).map(|(job, context)| {
                let queue_arn = engine.queue_arn(job.queue()).map(str::to_owned);
                Box::new(JobWithContext { queue_arn, training_job: job.latest.training_job.clone(), context })
            });
            let _ = reply.send(around);
        }
        JobQuery::WaitingLongest { filter, reason, limit, reply } => {
            let found = engine.find_waiting_longest(Wanted::of(&filter, limit), reason, now);
            let jobs = found.into_iter().map(|job| view(job, false, now)).collect();
            let _ = reply.send(JobPage { jobs: with_wait_reasons(jobs, engine, now), ..JobPage::default() });
        }
        JobQuery::List { filter, reason, newest_first, after, limit, reply } => {
            let after = after.as_ref().map(|after| (after.created_at, &after.id));
            let wanted = Wanted { after, newest_first, ..Wanted::of(&filter, limit) };
            let found = engine.find_jobs(wanted, reason, now);
            let next = found.next.map(|job| Cursor { created_at: job.latest.created_at, id: job.latest.id.clone() });
            let jobs = found.jobs.into_iter().map(|job| view(job, false, now)).collect();
            let undescribed = if reason.is_none() { ledger.undescribed_ends(&filter) } else { 0 };
            let jobs = with_wait_reasons(jobs, engine, now);
            let _ = reply.send(JobPage { jobs, next, undescribed, ..JobPage::default() });
        }
    }
}

/// Adds the wait explanation to each waiting job.
fn with_wait_reasons(mut jobs: Vec<JobView>, engine: &Engine, now: Timestamp) -> Vec<JobView> {
    let mut waiting: Vec<&mut JobView> = jobs.iter_mut().filter(|job| job.status.is_waiting()).collect();
    if !waiting.is_empty() {
        let whys = engine.whys(waiting.iter().map(|job| &job.id), now);
        waiting.iter_mut().zip(whys).for_each(|(job, why)| job.why = why.map(WhyView::from));
    }
    jobs
}

fn view(job: &Job, with_spans: bool, now: Timestamp) -> JobView {
    let latest = &job.latest;
    let spans = job.timeline.spans();
    JobView {
        id: latest.id.clone(),
        name: latest.name.to_string(),
        account: None,
        region: None,
        queue: latest.queue.clone(),
        share: latest.share.clone(),
        state: job.status().clone(),
        status: job.status().clone(),
        status_reason: latest.status_reason.as_deref().map(str::to_owned),
        priority: job.details.as_ref().and_then(|details| details.priority),
        created_at: latest.created_at,
        scheduled_at: latest.scheduled_at,
        started_at: latest.started_at,
        stopped_at: latest.stopped_at,
        wait_seconds: job.first_wait().map(|span| {
            let until = span.to.map_or(job.seen_at, |to| to.latest);
            until.seconds_since(span.from.latest)
        }),
        waiting_seconds: job.waiting_since().map(|since| now.seconds_since(since)),
        attempts: job.attempts(),
        preemptions: job.details.as_ref().map(|details| details.preemptions),
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
        tags: job.details.as_ref().map(|details| details.tags.clone()).unwrap_or_default(),
        training_job: latest.training_job.clone(),
        story: Vec::new(),
        why: None,
        start: None,
        start_by: job.details.as_ref().and_then(|details| details.start_by),
        spans: if with_spans { spans.iter().map(|span| span_view(job, span)).collect() } else { Vec::new() },
    }
}

fn span_view(job: &Job, span: &trainspotter_core::jobs::Span) -> Span {
    let is_over = span.phase == Phase::Waiting && span.to.is_some();
    let waited = if is_over { job.waited_before(span.attempt) } else { BTreeMap::new() };
    Span {
        waited_seconds: waited.into_iter().map(|(reason, seconds)| (reason.to_owned(), seconds)).collect(),
        phase: span.phase.as_str(),
        attempt: span.attempt,
        from: span.from.latest,
        to: span.to.map(|to| to.latest),
        from_uncertain_seconds: span.from.uncertain_seconds(),
        to_uncertain_seconds: span.to.map(trainspotter_core::jobs::Moment::uncertain_seconds),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trainspotter_core::engine::{Saved, cadence};
    use trainspotter_core::model::{JobDetails, JobSeen, JobStatus, Observation};

    use super::*;

    #[test]
    fn how_often_a_job_was_preempted_is_not_known_before_it_is_described() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let every = Duration::from_secs(30);
        let mut engine = Engine::new(Vec::new(), cadence(every * 30, every), Saved::default(), now);
        let seen = |details: Option<JobDetails>| JobSeen {
            name: "train".into(),
            details: details.map(Box::new),
            ..JobSeen::new("a", "prod", JobStatus::Runnable, now)
        };
        for (details, expected) in [
            (None, None),
            (Some(JobDetails::default()), Some(0)),
            (Some(JobDetails { preemptions: 3, ..JobDetails::default() }), Some(3)),
        ] {
            engine.observe(vec![Observation::Jobs { at: now, answered_at: now, jobs: vec![seen(details)] }]);
            assert_eq!(view(engine.ledger().job(&"a".into()).unwrap(), false, now).preemptions, expected);
        }
    }
}
