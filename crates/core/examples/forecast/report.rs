//! The text and tables of `docs/FORECAST.md`.

use std::collections::BTreeMap;
use std::io::{Result, Write};

use crate::replay::Tested;

/// Shares with fewer tested estimates are not judged alone.
const FEW: usize = 50;

pub type Case = (String, &'static str, Vec<Tested>);

const FIRST: &str = "# How good forecasts are

When a job starts, `GET /api/v1/jobs/{id}`, `trainspotter explain`, `trainspotter when` and the job's page say as an interval. It is made so that one in
ten such jobs starts before its low end (P10), half before its middle (P50), and nine in ten before its high end (P90). A start is the dispatch of the
job, with which its wait ends.
";

const HEAD: &str = "## How an estimate is made

1. For how long jobs hold their instances is learnt from attempts that ended: Kaplan-Meier curves of attempts of the same name (without numbers,
   dates and hashes) and size, of the owner, of the share and size, of the share, of the queue and of all. Each level counts as much as it has attempts that
   lasted longer than the job has so far, against 8 of the next level. Time limits of jobs cap it.
2. The scheduler model is run forward from the present 100 times: each run draws what running jobs have left and what waiting jobs will take, and lets jobs
   come as they came on one of the last seven days from this hour on. Preemption, lending and priorities are those of the model.
3. The quantiles of the runs are corrected by what came true lately (split conformal prediction), of the same share where there are 30 truths, otherwise
   of the queue or of all. What is corrected is by how many times its own spread, in logarithms, an interval missed. A truth counts half after 100 hours,
   and estimates of one forecast, which miss together, count as the root of their number. Misses move the levels outwards until one in ten misses at each
   end (adaptive conformal inference); that a job waits beyond its high end is counted at once and not when it starts, since in a growing backlog the
   truths that come first are those of short waits. Nothing is shown before 10 estimates have come true.

## Asking

- `GET /api/v1/jobs/{id}` has it as `start`: the interval, what it rests on, what would change it, how often such intervals were right; or `outlook`
  says why there is none: `never` (it cannot start as things are set up), `too_little_history`, `too_far_back` or `not_made_yet`.
- `rough` says that too little has come true so far to rely on the interval (fewer than 100 truths, or those of less than six hours), or that
  fewer than 70 % of such intervals were right.
- `trainspotter when --queue Q --share S --instances 4 --type ml.p5.48xlarge --priority 10`, and `GET /api/v1/when` with the same parameters, ask for a
  job that is not submitted yet. One that can never start is answered at once, with what the queue has.
- `forecast.coverage` and `forecast.error` say by queue and share how good estimates were. `job.start.estimate` and `job.start.late` are for
  [rules](RULES.md).
- What is learnt, and estimates whose truth is not known yet, are kept in the state file and its log.

## What if

`trainspotter what-if` replays the past as it was and then with changes, and shows waits by share, use of the capacity, preemptions, what they lost
and what that costs. The past is what a service has kept (`--config FILE`, `--recorded STATEFILE`: the latest 10,000 jobs), a trace (`--trace FILE`), or what
the service at `--url` has kept, as does the page `/what-if`. Where it was recorded when jobs started, the replay of what was is compared with that: by so
much what is said of a change may be off. Up to 20,000 jobs are replayed five times, with jobs a little longer or shorter: near a limit that decides which
job goes first. What is shown is the median, and a p95 may be off by one and a half times as much as the replay that differs most from it, since five
replays do not show all that may be. More jobs are replayed once, and the answer says that this is not known then. `--rank` tries single changes, replayed
as often, orders them by hours of waiting saved per instance, and names the cheapest that halves the p95 of each share (`halves_p95_of` in JSON); with
`--url` it asks the service for the changes (`GET /api/v1/what-if/candidates`) and tries them one request each, all on the past of that moment (`past`),
which the service replays once as it was.

## How this is measured

This page is made by `cargo run --release -p trainspotter-core --example forecast > docs/FORECAST.md`, on all cores; `TRAINSPOTTER_TRACES` names the folder
with the traces, and `--example forecast -- mine.csv` tests another trace alone. Each workload is run through the scheduler with each kind of policy:
what was submitted first (40 %) is only learnt from, the next 20 % calibrates, and the rest is tested. 120 times, evenly over the submissions and a minute
after one, a forecast of all waiting jobs is made from what was known then, with 30 runs instead of 100. Of each waiting job the first estimate is tested,
and one more each time its wait has doubled, as the service keeps them.

Coverage is the part of truths within [P10, P90]: 80 % is right. The error is the median of how far P50 was off. *Mean of a day* takes the mean wait of the
share in the last 24 hours, less what the job has waited; *plan by limits* is what a scheduler says that plans with requested time limits (30 minutes times
a power of two, at least half as much again as the job takes). The width is the median width of the interval over the median width of one that is cut from
the waits of the share in the last 24 hours, and stretched where those do not reach, so that it covers as much.

Of a trace at most the first 10,000 jobs are run, on so many instances that none would have to wait for 90 % of the time. The record by the minute is taken apart into jobs:
what runs or waits more than a minute before was submitted, what is less has ended. Seeded work differs by its seed in everything: shares, bursts, rhythm,
load, and how unevenly long jobs run (the spread is the standard deviation of the logarithm of runtimes).
";

pub fn head(out: &mut impl Write, results: &[Case]) -> Result<()> {
    writeln!(out, "{FIRST}")?;
    if let Some(all) = coverage(estimates(results)) {
        let cases: Vec<f64> = results.iter().filter_map(|(.., tested)| coverage(tested.iter())).collect();
        let (least, most) = cases.iter().fold((1.0_f64, 0.0_f64), |(a, b), one| (a.min(*one), b.max(*one)));
        let (all, most) = (percent(all), percent(most));
        writeln!(
            out,
            "Measured on the workloads below, {all} of intervals held the truth and not 80 %; by workload and policy {:.1} to {most}.\n",
            least * 100.0
        )?;
    }
    writeln!(out, "{HEAD}")
}

pub fn tables(out: &mut impl Write, results: &[Case]) -> Result<()> {
    writeln!(out, "## Results\n")?;
    writeln!(
        out,
        "| workload | policy | estimates | coverage | in shares | error | mean of a day | plan by limits | width |"
    )?;
    writeln!(out, "|---|---|---:|---:|---:|---:|---:|---:|---:|")?;
    for case in results {
        row(out, (&case.0, case.1), std::slice::from_ref(case))?;
    }
    row(out, ("all", "all"), results)?;
    writeln!(
        out,
        "\n*In shares* is the lowest and highest coverage of shares with at least {FEW} tested estimates, each of one workload and policy. Targets: coverage of 78 to 82 % in all and of 70 to 90 % in
each share; an error of at most half of both others'. Estimates of one backlog miss together: a row of a few hundred estimates is of a handful of backlogs.\n"
    )?;
    misses(out, results)
}

fn row(out: &mut impl Write, (workload, policy): (&str, &str), cases: &[Case]) -> Result<()> {
    let shares = of_shares(cases);
    let tested: Vec<&Tested> = estimates(cases).collect();
    let (least, most) = shares.values().fold((1.0_f64, 0.0_f64), |(a, b), one| (a.min(*one), b.max(*one)));
    let in_shares = if shares.is_empty() { "-".to_owned() } else { format!("{} to {}", percent(least), percent(most)) };
    let error = |off: fn(&Tested) -> f64| seconds(median(tested.iter().copied().map(off)));
    writeln!(
        out,
        "| {workload} | {policy} | {} | {} | {in_shares} | {} | {} | {} | {} |",
        tested.len(),
        coverage(tested.iter().copied()).map_or("-".to_owned(), percent),
        error(|one| (one.middle - one.actual).abs()),
        error(|one| (one.mean_of_day - one.actual).abs()),
        error(|one| (one.plan - one.actual).abs()),
        width(&tested).map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
    )
}

fn misses(out: &mut impl Write, results: &[Case]) -> Result<()> {
    writeln!(out, "### Targets that are missed\n")?;
    let mut missed = 0;
    let cases = results.iter().map(|case| (case.0.as_str(), case.1, std::slice::from_ref(case)));
    for (workload, policy, cases) in cases.chain([("all", "all policies", results)]) {
        let tested: Vec<&Tested> = estimates(cases).collect();
        let Some(whole) = coverage(tested.iter().copied()) else {
            missed += 1;
            writeln!(out, "- {workload}, {policy}: no estimate was tested.")?;
            continue;
        };
        if !(0.78..=0.82).contains(&whole) {
            missed += 1;
            writeln!(out, "- {workload}, {policy}: coverage is {}.", percent(whole))?;
        }
        // Shares of several cases are named with each of them.
        let off = of_shares(cases).into_iter().filter(|(_, one)| cases.len() == 1 && !(0.7..=0.9).contains(one));
        let off: Vec<String> = off.map(|((.., share), one)| format!("`{share}` {}", percent(one))).collect();
        if !off.is_empty() {
            missed += 1;
            writeln!(out, "- {workload}, {policy}: coverage in shares is {}.", off.join(", "))?;
        }
        let error = |off: fn(&Tested) -> f64| median(tested.iter().copied().map(off)).unwrap_or(0.0);
        let own = error(|one| (one.middle - one.actual).abs());
        let of_day = error(|one| (one.mean_of_day - one.actual).abs());
        let plan = error(|one| (one.plan - one.actual).abs());
        for (name, other) in [("the mean of a day", of_day), ("a plan by limits", plan)] {
            if own > other / 2.0 {
                missed += 1;
                writeln!(out, "- {workload}, {policy}: the error is {:.2} of that of {name}.", own / other.max(1.0))?;
            }
        }
    }
    if missed == 0 {
        writeln!(out, "None.")?;
    }
    writeln!(out)
}

fn estimates(cases: &[Case]) -> impl Iterator<Item = &Tested> {
    cases.iter().flat_map(|(.., tested)| tested)
}

/// The coverage of each share of a workload under a policy. Workloads have shares of the same name that are not the same.
fn of_shares(cases: &[Case]) -> BTreeMap<(&str, &str, &str), f64> {
    let mut shares: BTreeMap<(&str, &str, &str), Vec<&Tested>> = BTreeMap::new();
    for (workload, policy, tested) in cases {
        for one in tested {
            shares.entry((workload, policy, one.share.as_str())).or_default().push(one);
        }
    }
    let enough = shares.into_iter().filter(|(_, tested)| tested.len() >= FEW);
    enough.filter_map(|(share, tested)| Some((share, coverage(tested.into_iter())?))).collect()
}

fn coverage<'a>(tested: impl Iterator<Item = &'a Tested>) -> Option<f64> {
    let held: Vec<bool> = tested.map(|one| one.low <= one.actual && one.actual <= one.high + 0.001).collect();
    (!held.is_empty()).then(|| held.iter().filter(|held| **held).count() as f64 / held.len() as f64)
}

/// The median width against that of an interval of past waits that covers as much.
fn width(tested: &[&Tested]) -> Option<f64> {
    let wanted = coverage(tested.iter().copied())?;
    // From the middle of past waits to all of them, and then beyond them.
    let within = (1..=100).map(|part| (f64::from(part) / 100.0, 1.0));
    let beyond = (1..=MAX_STRETCHES).map(|step| (1.0, STRETCH.powi(step)));
    let naive = |(part, stretch): (f64, f64)| {
        let ends: Vec<(f64, f64, f64)> = tested.iter().map(|one| naive_interval(one, part, stretch)).collect();
        let held = ends.iter().filter(|(low, high, actual)| low <= actual && actual <= high).count();
        (held as f64 / ends.len() as f64, median(ends.iter().map(|(low, high, _)| high - low)))
    };
    let (_, width) = within.chain(beyond).map(naive).find(|(held, _)| *held >= wanted)?;
    let own = median(tested.iter().map(|one| one.high - one.low))?;
    width.filter(|width| *width > 0.0).map(|width| own / width)
}

/// The middle part of past waits, stretched, less what the job has waited, with what came true.
fn naive_interval(one: &Tested, part: f64, stretch: f64) -> (f64, f64, f64) {
    let quantile = |level: f64| {
        let last = one.waits.len().saturating_sub(1);
        one.waits.get((last as f64 * level).round() as usize).copied().unwrap_or(0.0)
    };
    let low = (quantile(0.5 - part / 2.0) / stretch - one.age).max(0.0);
    // Where nothing waited in a day, a minute is what is stretched.
    let high = (quantile(0.5 + part / 2.0).max(60.0) * stretch - one.age).max(0.0);
    (low, high, one.actual)
}

/// By this a naive interval grows at each step once it holds all past waits, and how often at most.
const STRETCH: f64 = 1.25;
const MAX_STRETCHES: i32 = 60;

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

fn seconds(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 600.0 => format!("{seconds:.0} s"),
        Some(seconds) => format!("{:.0} min", seconds / 60.0),
    }
}
