//! Lists and searches find what a look at every job finds, in the documented order.

use proptest::prelude::*;

use super::*;
use crate::model::{Capacity, JobDetails};

fn second(seconds: usize) -> Timestamp {
    Timestamp::from_millis(i64::try_from(seconds).unwrap() * 1_000)
}

const QUEUES: [&str; 2] = ["prod", "test"];
const SHARES: [Option<&str>; 3] = [None, Some("text"), Some("vision")];
const STATES: [JobStatus; 5] =
    [JobStatus::Runnable, JobStatus::Submitted, JobStatus::Running, JobStatus::Scheduled, JobStatus::Succeeded];
const NAMES: [&str; 4] = ["a", "a-1", "ab", "b"];
const OWNERS: [&str; 3] = ["", "ann", "bob"];
const UNITS: [&str; 2] = ["ml.p5.48xlarge", "ml.g5.xlarge"];

/// A number that decides all fields of a job, by its remainders.
fn job(number: usize, choice: usize) -> JobSeen {
    let pick = |of: usize, all: usize| choice / of % all;
    let status = STATES[pick(6, 5)].clone();
    let at = second(number);
    let began = (status.is_in_flight() || status.is_ended()).then_some(at);
    let owner = OWNERS[pick(120, 3)];
    let details = JobDetails { owner: (!owner.is_empty()).then(|| owner.into()), ..JobDetails::default() };
    JobSeen {
        name: NAMES[pick(30, 4)].into(),
        share: SHARES[pick(2, 3)].map(Into::into),
        scheduled_at: began,
        started_at: began,
        stopped_at: status.is_ended().then_some(at),
        demand: vec![Capacity::new(UNITS[pick(360, 2)], 1.0)].into(),
        details: Some(Box::new(details)),
        // Ids do not sort by age.
        ..JobSeen::new(format!("{}-{number}", ["x", "y"][number % 2]).as_str(), QUEUES[pick(1, 2)], status, at)
    }
}

fn filter(choice: usize) -> Filter {
    // Zero leaves the filter out.
    let pick = |of: usize, all: usize| (choice / of % (all + 1)).checked_sub(1);
    let text = |texts: &[&str], index: usize| texts[index].to_owned();
    Filter {
        queue: pick(1, 2).map(|index| QUEUES[index].into()),
        share: pick(3, 3).map(|index| SHARES[index].unwrap_or_default().into()),
        state: pick(12, 5).map(|index| STATES[index].clone()),
        id: pick(72, 3).map(|index| text(&["x-", "y-1", "z"], index)),
        name: pick(288, 3).map(|index| text(&["a", "ab", "c"], index)),
        owner: pick(1_152, 3).map(|index| text(&OWNERS, index)),
        unit: pick(4_608, 2).map(|index| UNITS[index].into()),
        waiting: (choice / 13_824).is_multiple_of(3),
    }
}

/// The meaning of a filter, from its documentation.
fn is_meant(filter: &Filter, seen: &JobSeen) -> bool {
    let share = seen.share.as_ref().map_or("", ShareName::as_str);
    let owner = seen.details.as_ref().and_then(|details| details.owner.as_deref()).unwrap_or_default();
    let waits = matches!(seen.status, JobStatus::Runnable | JobStatus::Submitted);
    filter.queue.as_ref().is_none_or(|queue| seen.queue == *queue)
        && filter.share.as_ref().is_none_or(|wanted| wanted.as_str() == share)
        && filter.state.as_ref().is_none_or(|state| seen.status == *state)
        && filter.id.as_ref().is_none_or(|prefix| seen.id.as_str().starts_with(prefix.as_str()))
        && filter.name.as_ref().is_none_or(|prefix| seen.name.starts_with(prefix.as_str()))
        && filter.owner.as_ref().is_none_or(|wanted| wanted == owner)
        && filter.unit.as_ref().is_none_or(|unit| seen.demand.iter().any(|capacity| capacity.unit == *unit))
        && (!filter.waiting || waits)
}

fn world(choices: &[usize]) -> (Ledger, Vec<JobSeen>) {
    let jobs: Vec<JobSeen> = choices.iter().enumerate().map(|(number, choice)| job(number, *choice)).collect();
    let mut ledger = Ledger::default();
    for seen in &jobs {
        ledger.observe(seen.clone(), second(choices.len()));
    }
    (ledger, jobs)
}

fn ids<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> Vec<&'a str> {
    jobs.into_iter().map(|job| job.latest.id.as_str()).collect()
}

/// All pages of a query, one after the other.
fn pages<'a>(ledger: &'a Ledger, wanted: Wanted<'_>) -> Vec<&'a str> {
    let (mut all, mut after) = (Vec::new(), None);
    for _ in 0..1_000 {
        let found = ledger.find(Wanted { after, ..wanted });
        assert!(found.jobs.len() <= wanted.limit);
        all.extend(ids(found.jobs));
        let Some(next) = found.next else { return all };
        after = Some((next.latest.created_at, &next.latest.id));
    }
    panic!("the list has no end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn pages_have_every_job_of_a_filter_once_and_in_order(
        choices in prop::collection::vec(0_usize..720, 0..40),
        filters in prop::collection::vec(0_usize..41_472, 12),
        limit in 1_usize..7,
        examine in 1_usize..12,
        newest_first: bool,
    ) {
        let (ledger, jobs) = world(&choices);
        for filter in filters.into_iter().map(filter).chain([Filter::default()]) {
            let mut expected: Vec<&JobSeen> = jobs.iter().filter(|seen| is_meant(&filter, seen)).collect();
            if newest_first {
                expected.reverse();
            }
            let expected: Vec<&str> = expected.into_iter().map(|seen| seen.id.as_str()).collect();
            let wanted = Wanted { newest_first, examine, ..Wanted::of(&filter, limit) };
            prop_assert_eq!(pages(&ledger, wanted), expected.clone(), "{:?}", filter);
            // A page as long as the rest of the list is the last one.
            let whole = ledger.find(Wanted { newest_first, ..Wanted::of(&filter, expected.len().max(1)) });
            prop_assert!(whole.next.is_none());
            prop_assert_eq!(ids(whole.jobs), expected);
        }
    }

    #[test]
    fn those_that_wait_longest_are_found_whatever_the_filter(
        choices in prop::collection::vec(0_usize..720, 0..40),
        filters in prop::collection::vec(0_usize..41_472, 12),
        limit in 1_usize..50,
    ) {
        let (ledger, jobs) = world(&choices);
        for filter in filters.into_iter().map(filter).chain([Filter::default()]) {
            let waits = |seen: &&JobSeen| matches!(seen.status, JobStatus::Runnable | JobStatus::Submitted);
            let expected = jobs.iter().filter(waits).filter(|seen| is_meant(&filter, seen));
            let expected: Vec<&str> = expected.take(limit).map(|seen| seen.id.as_str()).collect();
            prop_assert_eq!(ids(ledger.waiting_longest(&filter, limit)), expected, "{:?}", filter);
        }
    }
}

#[test]
fn words_mean_an_id_before_a_name_before_a_prefix_before_an_owner() {
    let named = |id: &str, name: &str, owner: &str, at: usize| {
        let details = JobDetails { owner: Some(owner.into()), ..JobDetails::default() };
        JobSeen {
            name: name.into(),
            details: Some(Box::new(details)),
            ..JobSeen::new(id, "prod", JobStatus::Runnable, second(at))
        }
    };
    let mut ledger = Ledger::default();
    for (at, (id, name, owner)) in [
        ("one", "train", "ann"),
        ("two", "train", "ann"),
        ("three", "trainer", "bob"),
        ("train-4", "other", "bob"),
        ("five", "one", "train"),
    ]
    .into_iter()
    .enumerate()
    {
        ledger.observe(named(id, name, owner, at), second(9));
    }
    for (words, at_most, expected) in [
        ("one", 9, &["one"][..]),
        ("train", 9, &["one", "two"]),
        ("train", 1, &["one"]),
        ("train-", 9, &["train-4"]),
        ("t", 9, &["three", "train-4", "two"]),
        ("tra", 9, &["train-4"]),
        ("traine", 9, &["three"]),
        ("o", 1, &["one"]),
        ("oth", 9, &["train-4"]),
        ("bob", 9, &["train-4", "three"]),
        ("ann", 1, &["two"]),
        ("an", 9, &[]),
        ("", 9, &[]),
    ] {
        let mut found = ids(ledger.meant(words, at_most));
        if words == "train" {
            // Jobs of one name are in the order of their keys.
            found.sort_unstable();
            assert!(at_most > 1 || found.len() == 1, "{words}");
            assert!(found.iter().all(|id| ["one", "two"].contains(id)), "{found:?}");
            continue;
        }
        assert_eq!(found, expected, "{words}");
    }
}

/// A prefix of more ids or names than are collected gives the same list by a scan.
#[test]
fn a_frequent_prefix_is_found_like_a_rare_one() {
    let (ledger, jobs) = world(&vec![0; COLLECTED_AT_MOST * 2 + 4]);
    for filter in [
        Filter { id: Some("x-".to_owned()), ..Filter::default() },
        Filter { id: Some("x-1".to_owned()), ..Filter::default() },
        Filter { name: Some("a".to_owned()), ..Filter::default() },
    ] {
        let expected: Vec<&str> =
            jobs.iter().filter(|seen| is_meant(&filter, seen)).map(|seen| seen.id.as_str()).collect();
        assert_eq!(pages(&ledger, Wanted::of(&filter, 500)), expected, "{filter:?}");
        assert_eq!(ids(ledger.waiting_longest(&filter, 5)), expected[..5], "{filter:?}");
    }
}
