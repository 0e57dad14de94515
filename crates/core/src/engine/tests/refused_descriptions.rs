//! Jobs that AWS never describes: they cost neither other jobs, nor the source, nor the counting.

use super::*;
use crate::model::{Questions, QueueName, Undescribed};

/// Seconds between polls.
const EVERY: i64 = 30;

fn waiting(number: usize) -> JobSeen {
    JobSeen::new(format!("job-{number:03}"), "prod", JobStatus::Runnable, second(10))
}

fn is_refused(id: &JobId) -> bool {
    id.as_str() < "job-600"
}

/// One poll that lists these jobs, answers what is asked and refuses the rest.
fn poll(engine: &mut Engine, jobs: &[JobSeen], at: i64) -> Questions {
    let queue: QueueName = "prod".into();
    engine.observe(vec![
        answer(at, jobs.to_vec()),
        Observation::InFlightListed { queue: queue.clone(), since: second(at) },
        Observation::WaitingListed { queue, since: second(at) },
        polled(second(at)),
    ]);
    let questions = engine.questions(second(at));
    for id in &questions.jobs {
        let known = jobs.iter().find(|job| job.id == *id);
        engine.observe(vec![match known.filter(|_| !is_refused(id)) {
            Some(job) => answer(at, vec![described(job.clone())]),
            None => Observation::Undescribed {
                item: Undescribed::Job(id.clone()),
                at: second(at),
                is_own: true,
                error: "DescribeServiceJob: ClientException: no".to_owned(),
            },
        }]);
    }
    engine.observe(vec![Observation::Answered { source: Source::Descriptions, queue: None, at: second(at) }]);
    questions
}

#[test]
fn jobs_that_are_always_refused_take_no_places_of_others_and_are_asked_for_less_and_less() {
    let mut engine = engine(Saved::default());
    engine.observe(vec![topology(), known()]);
    let jobs: Vec<JobSeen> = (0..700).map(waiting).collect();
    let mut asked = 0;
    for round in 1..=120 {
        let questions = poll(&mut engine, &jobs, round * EVERY);
        asked += questions.jobs.iter().filter(|id| is_refused(id)).count();
        engine.tick(second(round * EVERY));
    }
    let undescribed = jobs.iter().filter(|job| engine.job(&job.id).unwrap().details.is_none()).count();
    assert_eq!(undescribed, 600, "the others are described");
    assert!((600..=7 * 600).contains(&asked), "{asked} requests in an hour");
    let output = engine.tick(second(121 * EVERY));
    let health = output.frame.sources.iter().find(|health| health.source == Source::Descriptions).unwrap();
    assert_eq!(health.error, None, "the source does not fail");
    let note = health.note.as_deref().unwrap();
    assert!(
        note.starts_with("AWS does not describe 600 jobs (job-000, ") && note.contains("ClientException: no"),
        "{note}"
    );
}

#[test]
fn a_refused_job_that_leaves_the_lists_holds_back_no_counting_and_is_gone_after_a_day() {
    let mut engine = engine(Saved::default());
    engine.observe(vec![topology(), known()]);
    let jobs: Vec<JobSeen> = [0, 650].map(waiting).to_vec();
    let (left, kept) = (jobs[0].id.clone(), jobs[1].clone());
    poll(&mut engine, &jobs, EVERY);
    let mut at = EVERY;
    while at < 4_000 {
        at += EVERY;
        poll(&mut engine, std::slice::from_ref(&kept), at);
        let output = engine.tick(second(at));
        let behind = second(at).since(output.counted_until);
        assert!(behind <= LISTS_MAY_LAG + Duration::from_secs(1), "{behind:?} behind at {at} s");
        let health = output.frame.sources.iter().find(|health| health.source == Source::Descriptions).unwrap();
        assert_eq!(health.error, None, "at {at} s");
    }
    assert!(engine.job(&left).unwrap().timeline.current().is_some());
    at += 86_400;
    poll(&mut engine, std::slice::from_ref(&kept), at);
    let note = |output: Output| output.frame.sources.into_iter().find_map(|health| health.note);
    engine.tick(second(at));
    assert_eq!(engine.job(&left).unwrap().timeline.current(), None, "it is gone");
    assert_eq!(note(engine.tick(second(at + 1))), None);
    assert!(engine.job(&kept.id).unwrap().timeline.current().is_some());
}

#[test]
fn the_listed_end_of_a_refused_job_is_counted_after_one_more_request() {
    let mut engine = engine(Saved::default());
    engine.observe(vec![topology(), known()]);
    let mut jobs: Vec<JobSeen> = [0, 1, 650].map(waiting).to_vec();
    poll(&mut engine, &jobs, EVERY);
    engine.tick(second(EVERY));
    let ends_at = 10 * EVERY;
    for (job, status) in jobs.iter_mut().zip([JobStatus::Failed, JobStatus::Succeeded]) {
        job.status = status;
        (job.training_job, job.stopped_at) = (Some("t-1".into()), Some(second(ends_at - 5)));
    }
    let questions = poll(&mut engine, &jobs, ends_at);
    let ended = jobs.iter().take(2).map(|job| &job.id);
    assert!(ended.clone().all(|id| questions.jobs.contains(id)), "what happened is asked once more: {questions:?}");
    for at in [ends_at + EVERY, ends_at + 2 * EVERY] {
        let questions = poll(&mut engine, &jobs, at);
        assert!(ended.clone().all(|id| !questions.jobs.contains(id)), "at {at} s");
        let output = engine.tick(second(at));
        let behind = second(at).since(output.counted_until);
        assert!(behind <= LISTS_MAY_LAG + Duration::from_secs(1), "{behind:?} behind at {at} s");
    }
    let output = engine.tick(second(ends_at + 2 * EVERY));
    assert_eq!(value(&output, "job.ended", "failed"), Some(1.0));
    assert_eq!(value(&output, "job.ended", "succeeded"), Some(1.0));
    for id in ended {
        assert!(engine.job(id).is_some_and(|job| job.timeline.current().is_none()), "{id}");
    }
}

#[test]
fn beside_many_jobs_that_may_be_refused_one_is_requested_that_was_described_before() {
    let mut engine = engine(Saved::default());
    engine.observe(vec![topology(), known()]);
    let mut jobs: Vec<JobSeen> = [650, 651].map(waiting).to_vec();
    poll(&mut engine, &jobs, EVERY);
    engine.tick(second(EVERY));
    let is_control = |id: &JobId| !is_refused(id);
    let controls = |questions: Questions| questions.jobs.iter().filter(|id| is_control(id)).count();
    assert_eq!(controls(poll(&mut engine, &jobs, EVERY + 5)), 0, "nothing is asked");
    jobs.extend([0, 1].map(waiting));
    assert_eq!(controls(poll(&mut engine, &jobs, EVERY + 10)), 0, "two say little");
    jobs.extend([2, 3, 4].map(waiting));
    let questions = poll(&mut engine, &jobs, EVERY + 15);
    assert_eq!(questions.jobs.len(), 4, "{questions:?}");
    assert_eq!(controls(questions), 1);
    let questions = engine.questions(second(EVERY + 16));
    jobs.push(waiting(5));
    engine.observe(vec![answer(EVERY + 17, jobs.clone())]);
    assert_eq!(controls(engine.questions(second(EVERY + 17))), 0, "one says little");
    let failed = Observation::Failed {
        source: Source::Descriptions,
        queue: None,
        at: second(EVERY + 18),
        error: "DescribeServiceJob: ClientException: no (and 3 more)".to_owned(),
    };
    engine.observe(vec![failed]);
    assert_eq!(controls(engine.questions(second(EVERY + 18))), 1, "the last poll refused everything");
    assert_eq!(questions.refused, [Source::Descriptions].into(), "they are refused, and asked for later");
}
