//! The ledger compared with the truth: random histories of jobs (retries, capacity failures, preemptions), polled at
//! random times with pages that are lost, duplicated, late and out of order.
//!
//! Every event in the ledger must have happened at its time: exactly where AWS gives the time, and within the stated
//! interval where only polls show it. States that lasted longer than the longest gap between polls must not be
//! missing. `TRAINSPOTTER_SEEDS=N` runs N worlds; `TRAINSPOTTER_SEED=N` runs one.

use crate::support;

use std::collections::BTreeMap;
use std::time::Duration;

use trainspotter_core::jobs::{self, Ledger, Span};
use trainspotter_core::model::{JobSeen, Timestamp};
use trainspotter_core::scheduler::{self, Job, Scheduler};

use support::random_worlds::{Dice, described, second, world};

const SEEDS: u64 = 2_000;
const HOURS: u64 = 5;

/// Polls one world until all its jobs have ended or time is up; returns the longest gap between polls that arrived.
fn live(seed: u64) -> (Scheduler, Ledger, Duration) {
    let mut dice = Dice::of(seed);
    let mut scheduler = world(seed, &mut dice);
    let mut ledger = Ledger::default();
    let mut past: Vec<(Timestamp, Vec<JobSeen>)> = Vec::new();
    let (mut now, mut arrived, mut longest) = (Timestamp::default(), Timestamp::default(), Duration::ZERO);
    while now < second(HOURS * 3_600) {
        now = now + Duration::from_secs(15 + dice.roll(60));
        scheduler.advance(now);
        let known_to_have_ended =
            |job: &&Job| ledger.job(&job.id).is_some_and(|known| known.timeline.current().is_none());
        let mut page: Vec<JobSeen> =
            scheduler.jobs().filter(|job| !known_to_have_ended(job)).map(Job::listed).collect();
        past.push((now, page.clone()));
        if dice.one_in(10) {
            continue;
        }
        shuffle(&mut page, &mut dice);
        let doubled = usize::from(dice.one_in(8)) + 1;
        for seen in std::iter::repeat_n(page, doubled).flatten() {
            ledger.observe(seen, now);
        }
        if dice.one_in(8) {
            // A delayed response.
            let (at, late) = past[usize::try_from(dice.roll(past.len() as u64)).unwrap()].clone();
            late.into_iter().for_each(|seen| drop(ledger.observe(seen, at)));
        }
        let wanted: Vec<_> = ledger
            .jobs()
            .filter(|job| job.wants_description_since.is_some())
            .map(|job| job.latest.id.clone())
            .collect();
        for job in wanted.iter().filter_map(|id| scheduler.job(id)) {
            ledger.observe(described(job), now);
        }
        longest = longest.max(now.since(arrived));
        arrived = now;
        ledger.jobs().for_each(|job| partition(job, seed));
    }
    (scheduler, ledger, longest)
}

fn shuffle<T>(items: &mut [T], dice: &mut Dice) {
    for last in (1..items.len()).rev() {
        items.swap(last, usize::try_from(dice.roll(last as u64 + 1)).unwrap());
    }
}

/// Spans partition the life of a job, and their times increase.
fn partition(job: &jobs::Job, seed: u64) {
    let spans = job.timeline.spans();
    let reported = || format!("seed {seed}: {spans:#?}");
    assert_eq!(spans[0].from.latest, job.latest.created_at, "{}", reported());
    for pair in spans.windows(2) {
        assert_eq!(pair[0].to, Some(pair[1].from), "{}", reported());
    }
    for span in spans.iter() {
        assert!(span.from.earliest <= span.from.latest, "{}", reported());
        assert!(span.to.is_none_or(|to| to.latest >= span.from.latest), "{}", reported());
    }
}

fn phase_of(phase: scheduler::Phase) -> jobs::Phase {
    match phase {
        scheduler::Phase::Waiting => jobs::Phase::Waiting,
        scheduler::Phase::Scheduled => jobs::Phase::Scheduled,
        scheduler::Phase::Starting => jobs::Phase::Starting,
        scheduler::Phase::Running => jobs::Phase::Running,
    }
}

/// All errors in the ledger's state of one job.
fn mistakes(truth: &Job, known: &jobs::Job, longest: Duration) -> Vec<String> {
    let mut found = Vec::new();
    let spans = known.timeline.spans();
    let of_phase = |span: &Span| {
        let phase = span.phase;
        truth.spans.iter().filter(move |true_span| phase_of(true_span.phase) == phase)
    };
    for span in spans.iter() {
        let from = span.from;
        if !of_phase(span).any(|true_span| from.earliest <= true_span.from && true_span.from <= from.latest) {
            let kind = if from.is_exact() { "exact" } else { "inexact" };
            found.push(format!("{} {kind} from is wrong", span.phase));
        }
    }
    for true_span in &truth.spans {
        let Some(to) = true_span.to else { continue };
        let lasted = to.since(true_span.from);
        let phase = phase_of(true_span.phase);
        let overlaps = |span: &&Span| {
            span.phase == phase && span.from.earliest < to && span.to.is_none_or(|to| to.latest > true_span.from)
        };
        if lasted > longest && !spans.iter().any(|span| overlaps(&span)) {
            found.push(format!("{phase} is missing"));
        }
    }
    if truth.status.is_ended() {
        if known.timeline.current().is_some() || known.latest.status != truth.status {
            found.push("its end is not known".to_owned());
        } else if spans.last().and_then(|span| span.to).map(|to| to.latest) != truth.stopped_at {
            found.push("its end is another".to_owned());
        }
    }
    if let Some(dispatched) = truth.first_scheduled_at {
        // A state that starts and ends between two polls leaves no trace where AWS clears its times.
        let again = truth.spans.iter().skip(1).find(|span| span.phase == scheduler::Phase::Waiting);
        let was_seen = again.is_none_or(|again| again.from.since(dispatched) > longest);
        let elsewhere = |to: jobs::Moment| dispatched < to.earliest || to.latest < dispatched;
        if was_seen && spans.first().and_then(|span| span.to).is_some_and(elsewhere) {
            found.push("its first wait ended at another time".to_owned());
        }
    }
    found
}

#[test]
fn the_ledgers_timelines_match_the_truth() {
    let number = |name: &str| std::env::var(name).ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds =
        number("TRAINSPOTTER_SEED").map_or(0..number("TRAINSPOTTER_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (mut jobs, mut requeued, mut exact) = (0, 0, 0);
    let mut wrong: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for seed in seeds.clone() {
        let (scheduler, ledger, longest) = live(seed);
        for truth in scheduler.jobs() {
            let known = ledger.job(&truth.id).unwrap();
            jobs += 1;
            requeued +=
                u64::from(truth.spans.iter().filter(|span| span.phase == scheduler::Phase::Waiting).count() > 1);
            exact += known.timeline.spans().iter().filter(|span| span.from.is_exact()).count();
            for mistake in mistakes(truth, known, longest) {
                if seeds.end - seeds.start == 1 {
                    eprintln!("{mistake}\n{:#?}\n{:#?}", truth.spans, known.timeline.spans());
                }
                wrong.entry(mistake).or_insert((0, seed)).0 += 1;
            }
        }
    }
    eprintln!("{jobs} jobs, {requeued} of them requeued, {exact} exact boundaries");
    let wrong: Vec<String> =
        wrong.iter().map(|(what, (count, seed))| format!("{count} x {what}, first with seed {seed}")).collect();
    assert_eq!(wrong, [""; 0]);
    assert!(seeds.end - seeds.start < SEEDS || requeued * 4 > jobs, "too few were requeued to show anything");
}
