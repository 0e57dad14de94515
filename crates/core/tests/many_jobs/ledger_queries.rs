//! Lists and searches of jobs find what a full scan finds, and examine few jobs.

use std::time::Duration;

use proptest::prelude::*;

use crate::{STATES, described, job, second};
use trainspotter_core::jobs::{EXAMINED_AT_MOST, Filter, Job, Ledger, Wanted};
use trainspotter_core::model::{JobId, JobSeen, JobStatus, Timestamp};

fn ids(jobs: &[&Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.latest.id.clone()).collect()
}

/// All pages of a list, with this page size.
fn pages(ledger: &Ledger, filter: &Filter, limit: usize, newest_first: bool) -> Vec<JobId> {
    let (mut seen, mut after): (Vec<JobId>, Option<(Timestamp, JobId)>) = (Vec::new(), None);
    loop {
        let after_one = after.as_ref().map(|(at, id)| (*at, id));
        let found = ledger.find(Wanted { after: after_one, newest_first, ..Wanted::of(filter, limit) });
        assert!(found.jobs.len() <= limit);
        seen.extend(ids(&found.jobs));
        let Some(last) = found.next else { return seen };
        after = Some((last.latest.created_at, last.latest.id.clone()));
    }
}

fn filters() -> impl Strategy<Value = Filter> {
    let text = |options: &'static [&'static str]| prop::option::of(prop::sample::select(options));
    let state = prop::option::of(prop::sample::select(&STATES[..]));
    let id = text(&["", "0", "a", "ff", "9e37-1", "zz"]);
    let name = text(&["", "train", "train-", "train-large", "train-3", "é", "none"]);
    let unit = text(&["ml.p5.48xlarge", "ml.p4d.24xlarge"]);
    let of = (text(&["research", "prod", "none"]), text(&["", "vision", "none"]), state, id, name);
    (of, text(&["", "ada", "none"]), unit, prop::bool::weighted(0.2)).prop_map(
        |((queue, share, state, id, name), owner, unit, waiting)| Filter {
            queue: queue.map(Into::into),
            share: share.map(Into::into),
            state,
            id: id.map(str::to_owned),
            name: name.map(str::to_owned),
            owner: owner.map(str::to_owned),
            unit: unit.map(Into::into),
            waiting,
        },
    )
}

/// Whether a job matches, according to the documentation.
fn passes(filter: &Filter, job: &Job) -> bool {
    let is = |wanted: Option<&str>, value: &str| wanted.is_none_or(|wanted| wanted == value);
    let begins = |wanted: Option<&str>, value: &str| wanted.is_none_or(|wanted| value.starts_with(wanted));
    is(filter.queue.as_ref().map(|queue| queue.as_str()), job.queue().as_str())
        && is(filter.share.as_ref().map(|share| share.as_str()), job.share().map_or("", |share| share.as_str()))
        && filter.state.as_ref().is_none_or(|state| state == job.status())
        && begins(filter.id.as_deref(), job.latest.id.as_str())
        && begins(filter.name.as_deref(), &job.latest.name)
        && is(filter.owner.as_deref(), job.owner().unwrap_or_default())
        && filter.unit.as_ref().is_none_or(|unit| job.latest.demand.iter().any(|capacity| capacity.unit == *unit))
        && (!filter.waiting || job.status().is_waiting())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_are_what_a_scan_of_everything_finds(
        steps in prop::collection::vec((0..60_usize, 0..5_usize, any::<bool>()), 1..200),
        filter in filters(),
        limit in 1..9_usize,
    ) {
        let mut ledger = Ledger::default();
        for (at, (number, state, is_described)) in steps.into_iter().enumerate() {
            let at = 100 + at as i64;
            let seen = job(number, STATES[state].clone(), at);
            ledger.observe(if is_described { described(number, seen) } else { seen }, second(at));
            // A week: jobs that ended earlier are known by id only.
            if at % 64 == 0 {
                ledger.forget(second(at) + Duration::from_secs(7 * 24 * 3_600 - 20));
            }
        }
        let mut expected: Vec<&Job> = ledger.jobs().filter(|job| passes(&filter, job)).collect();
        expected.sort_by_key(|job| (job.latest.created_at, job.latest.id.clone()));
        let mut waiting: Vec<&Job> = expected.iter().copied().filter(|job| job.waiting_since().is_some()).collect();
        waiting.sort_by_key(|job| (job.waiting_since(), job.latest.id.clone()));
        waiting.truncate(limit);
        prop_assert_eq!(ids(&ledger.waiting_longest(&filter, limit)), ids(&waiting));
        let mut found = pages(&ledger, &filter, limit, false);
        let mut newest = pages(&ledger, &filter, limit, true);
        newest.reverse();
        prop_assert_eq!(&newest, &found, "the same jobs the other way round");
        let in_order: Vec<Timestamp> = found.iter().map(|id| ledger.job(id).unwrap().latest.created_at).collect();
        prop_assert!(in_order.is_sorted());
        found.sort_by_key(|id| (ledger.job(id).unwrap().latest.created_at, id.clone()));
        prop_assert_eq!(found, ids(&expected));
    }
}

#[test]
fn a_page_with_few_matches_ends_early_with_a_cursor() {
    let mut ledger = Ledger::default();
    let many = EXAMINED_AT_MOST * 2;
    for number in 0..many {
        ledger.observe(job(number, JobStatus::Runnable, 0), second(many as i64));
    }
    let nobody = Filter { owner: Some("nobody".to_owned()), ..Filter::default() };
    assert_eq!(pages(&ledger, &nobody, 10, false), [] as [JobId; 0]);
    let last = Filter { name: Some("last".to_owned()), ..Filter::default() };
    ledger.observe(JobSeen { name: "last".into(), ..job(many + 9_999, JobStatus::Runnable, 0) }, second(many as i64));
    assert_eq!(ledger.waiting_longest(&last, 10).len(), 1, "few jobs are found wherever they stand");
    // So many names have this prefix that all jobs are scanned, and all of those come late.
    for number in many..many + 4_000 {
        let late = JobSeen { name: format!("late-{number}").into(), ..job(number, JobStatus::Runnable, 0) };
        ledger.observe(late, second(many as i64));
    }
    let filter = Filter { name: Some("late-".to_owned()), ..Filter::default() };
    let found = ledger.list(&filter, None, 500);
    assert!(found.jobs.is_empty() && found.next.is_some(), "{} jobs", found.jobs.len());
    assert_eq!(pages(&ledger, &filter, 500, true).len(), 4_000);
    assert_eq!(pages(&ledger, &filter, 500, false).len(), 4_000);
}

#[test]
fn people_mean_an_id_a_name_a_beginning_or_an_owner() {
    let mut ledger = Ledger::default();
    for number in 0..20 {
        ledger.observe(described(number, job(number, JobStatus::Runnable, 0)), second(100));
    }
    let meant = |words: &str| ids(&ledger.meant(words, 5));
    let one = job(7, JobStatus::Runnable, 0);
    let only = vec![one.id.clone()];
    assert_eq!(meant(one.id.as_str()), only);
    assert_eq!(meant(&one.id.as_str()[..5]), only);
    assert_eq!(meant("écoute-0"), only);
    // An exact name takes precedence over longer ones.
    assert_eq!(meant("train-4").len(), 1);
    assert_eq!(meant("train-").len(), 5, "no more than asked for");
    assert_eq!(meant("grace").len(), 5);
    for nothing in ["", "nobody", "zzz"] {
        assert_eq!(meant(nothing), [] as [JobId; 0], "{nothing}");
    }
}

#[test]
fn a_job_that_vanished_is_not_listed_as_waiting() {
    let mut ledger = Ledger::default();
    let gone = job(1, JobStatus::Runnable, 0);
    ledger.observe(gone.clone(), second(10));
    ledger.observe_gone(&gone.id, second(20));
    let in_state = |state| Filter { state: Some(state), ..Filter::default() };
    assert_eq!(pages(&ledger, &in_state(JobStatus::Runnable), 10, false), [] as [JobId; 0]);
    assert_eq!(pages(&ledger, &in_state(JobStatus::Failed), 10, false), [gone.id]);
}
