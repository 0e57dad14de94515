//! `rules backtest`: a table of how often each rule would have fired, and a timeline.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::simulate::World;
use crate::cli::{Failure, load_config, print, print_json, say};
use crate::config::Receiver;
use crate::notify::routing;
use crate::store::{Frames, StoreError};
use trainspotter_clock::Clock;
use trainspotter_core::backtest::{Backtest, Episode, Replay, Report};
use trainspotter_core::metrics::single_jobs;
use trainspotter_core::model::{Timestamp, format, parse_duration};
use trainspotter_core::rules::Rule;
use trainspotter_simulator::workload::Workload;

/// Default period.
const A_WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Width of the timeline in characters.
const COLUMNS: usize = 56;
/// Fraction of progress between two progress lines if stderr is not a terminal.
const PROGRESS: f64 = 0.25;

/// Input of the backtest and its period.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    workload: World,
    /// Use the metrics recorded in this state file instead of a workload.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["World", "every"])]
    recorded: Option<PathBuf>,
    /// Also count the notifications to each receiver of this configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Ignore alerts that ended before this offset from the start of the workload.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    from: Duration,
    /// Stop at this offset. [default: a week, or the end of the recording]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    to: Option<Duration>,
    /// Time between ticks.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    every: Duration,
    /// Print JSON, including every alert.
    #[arg(long)]
    json: bool,
    /// Rule files or folders.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let rules = load_config::load_rules(&arguments.paths)?;
    let receivers = match &arguments.config {
        Some(file) => load_config::load_config(file).await?.receivers,
        None => Vec::new(),
    };
    if let Some(file) = &arguments.recorded {
        let report = replay(file, &rules, arguments)?;
        if arguments.json {
            return print_json(&as_json(&rules, &report, &receivers));
        }
        print(format_args!("Metrics from {} to {}", report.from, report.to))?;
        return show(&rules, &report, &receivers);
    }
    let chosen = arguments.workload.choose()?;
    let begin = Timestamp::default();
    let Workload { setup, submissions } = chosen.workload(Clock::starting_at(begin, 1.0))?;
    let span = arguments.to.unwrap_or(A_WEEK);
    if arguments.every.is_zero() || arguments.from >= span {
        return Err(Failure::usage("--every must be longer than 0s, and --from before --to"));
    }
    let backtest = Backtest {
        setup,
        submissions,
        seed: chosen.seed,
        begin,
        from: begin + arguments.from,
        to: begin + span,
        every: arguments.every,
    };
    let mut reported = 0.0;
    let terminal = std::io::stderr().is_terminal();
    let report = backtest.run(rules.clone(), |now| {
        let part = now.seconds_since(begin) / span.as_secs_f64();
        if terminal && part >= reported + 0.01 {
            reported = part;
            let _ = write!(std::io::stderr(), "\r{:3.0} % of {}", part * 100.0, format::duration(span.as_secs_f64()));
        } else if !terminal && part >= reported + PROGRESS {
            reported = part;
            say(format_args!("{:.0} % of {}", part * 100.0, format::duration(span.as_secs_f64())));
        }
    });
    if terminal {
        let _ = write!(std::io::stderr(), "\r{:40}\r", "");
    }
    if arguments.json {
        return print_json(&as_json(&rules, &report, &receivers));
    }
    show(&rules, &report, &receivers)
}

/// The result as JSON, with each episode.
fn as_json(rules: &[Rule], report: &Report, receivers: &[Receiver]) -> Value {
    let weeks = report.to.seconds_since(report.from) / A_WEEK.as_secs_f64();
    let episode = |one: &Episode| json!({ "labels": one.labels, "fired_at": one.fired_at, "ended_at": one.ended_at, "seconds": lasted(one, report.to) });
    let of_rule = |rule: &Rule| {
        let episodes = report.episodes.get(rule.name()).map(Vec::as_slice).unwrap_or_default();
        json!({
            "rule": rule.name(), "severity": rule.label("severity"), "fired": episodes.len(),
            "fired_a_week": episodes.len() as f64 / weeks, "episodes": episodes.iter().map(episode).collect::<Vec<_>>(),
        })
    };
    let of_receiver = |receiver: &Receiver| {
        let all = report.episodes.values().flatten();
        let count = all.filter(|episode| is_reported(receiver, receivers, episode, report.to)).count();
        json!({ "receiver": receiver.name, "notified": count, "notified_a_week": count as f64 / weeks })
    };
    json!({
        "from": report.from, "to": report.to,
        "rules": rules.iter().map(of_rule).collect::<Vec<_>>(),
        "receivers": receivers.iter().map(of_receiver).collect::<Vec<_>>(),
    })
}

/// Replays the frames of a state file.
fn replay(file: &Path, rules: &[Rule], arguments: &Arguments) -> Result<Report, Failure> {
    let unreadable = |error: StoreError| Failure::failed(format!("{}: {error}", file.display()));
    load_config::check_state_file("--recorded", file)?;
    let frames = Frames::open(file).map_err(Failure::failed)?;
    let Some((begin, end)) = frames.span().map_err(unreadable)? else {
        return Err(Failure::failed(format!("{}: it has no recorded metrics", file.display())));
    };
    let (from, to) = (begin + arguments.from, arguments.to.map_or(end, |to| (begin + to).min(end)));
    if from >= to {
        return Err(Failure::usage(format!(
            "the recorded metrics cover {begin} to {end}: --from must be before the end"
        )));
    }
    let of_jobs = |rule: &&Rule| rule.metrics().any(|metric| single_jobs::find(metric.name).is_some());
    for rule in rules.iter().filter(of_jobs) {
        say(format_args!("{}: skipped, because metrics of single jobs are not recorded", rule.name()));
    }
    let mut replay = Replay::new(rules.to_vec(), from, to);
    let bad = frames.each(begin, to, None, |frame| replay.take(&frame)).map_err(unreadable)?;
    if bad > 0 {
        say(format_args!("{}: {bad} unreadable ticks are left out", file.display()));
    }
    Ok(replay.report())
}

fn show(rules: &[Rule], report: &Report, receivers: &[Receiver]) -> Result<(), Failure> {
    let weeks = report.to.seconds_since(report.from) / A_WEEK.as_secs_f64();
    let mut severities: BTreeMap<&str, usize> = BTreeMap::new();
    print(format_args!(
        "{:<28} {:<8} {:>6} {:>8} {:>9} {:>9}  when",
        "rule", "severity", "fired", "a week", "median", "longest"
    ))?;
    for rule in rules {
        let name = rule.name();
        let episodes = report.episodes.get(name).map(Vec::as_slice).unwrap_or_default();
        let severity = rule.label("severity").unwrap_or("-");
        *severities.entry(severity).or_default() += episodes.len();
        let mut lasted: Vec<f64> = episodes.iter().map(|one| lasted(one, report.to)).collect();
        lasted.sort_by(f64::total_cmp);
        let median = lasted.get(lasted.len() / 2).copied();
        let per_week = episodes.len() as f64 / weeks;
        let (median, longest) = (span(median), span(lasted.last().copied()));
        let picture: String = report.timeline(name, COLUMNS).into_iter().map(letter).collect();
        print(format_args!(
            "{name:<28} {severity:<8} {:>6} {per_week:>8.1} {median:>9} {longest:>9}  {picture}",
            episodes.len()
        ))?;
    }
    let column = report.to.seconds_since(report.from) / COLUMNS as f64;
    print(format_args!("Each letter is {}: . quiet, 1 to 9 alerts, # more.", span(Some(column))))?;
    for (severity, fired) in severities {
        print(format_args!("{severity}: fired {fired} times, {:.1} a week", fired as f64 / weeks))?;
    }
    for receiver in receivers {
        let reported =
            report.episodes.values().flatten().filter(|episode| is_reported(receiver, receivers, episode, report.to));
        let reported = reported.count();
        print(format_args!(
            "receiver {}: notified of {reported} alerts, {:.1} a week",
            receiver.name,
            reported as f64 / weeks
        ))?;
    }
    Ok(())
}

/// Whether a receiver is notified of an episode, by its matchers or by escalation. Ignores mute windows, silences
/// and inhibition.
fn is_reported(receiver: &Receiver, all: &[Receiver], episode: &Episode, to: Timestamp) -> bool {
    let after = routing::notified_after(receiver, all, &episode.labels);
    after.is_some_and(|after| lasted(episode, to) >= after.as_secs_f64())
}

fn lasted(episode: &Episode, to: Timestamp) -> f64 {
    episode.ended_at.unwrap_or(to).seconds_since(episode.fired_at)
}

/// Formats a duration; `-` if unknown.
fn span(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format::duration(seconds.round()))
}

fn letter(count: usize) -> char {
    match count {
        0 => '.',
        1..=9 => char::from_digit(u32::try_from(count).unwrap_or(9), 10).unwrap_or('9'),
        _ => '#',
    }
}
