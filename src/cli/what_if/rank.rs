//! Ranks single changes by their effect, for a local recording or that of a service.

use serde_json::{Value, json};

use trainspotter_core::model::Prices;
use trainspotter_core::what_if::{self, Outcome, Past};

use crate::cli::format_api_values::seconds;
use crate::cli::remote::Client;
use crate::cli::table::{Align, NOTHING, Table, plain};
use crate::cli::what_if::Progress;
use crate::cli::{Failure, print, print_json, say};

/// Waits shorter than this, in seconds, need not be halved.
const SHORT_WAIT: f64 = 300.0;

/// Appended to a change that was compared with a later recording than the first changes.
const LATER_PAST: &str = " (of a later past)";

/// A tried change, with its cost and effect.
struct RankedChange {
    changes: String,
    instances: f64,
    /// Whether it was compared with the recording the ranking began with, not a later one.
    is_of_first_past: bool,
    before: Vec<ShareWaits>,
    after: Vec<ShareWaits>,
}

/// Waits of a share in one replay.
#[derive(Clone)]
struct ShareWaits {
    queue: String,
    share: Option<String>,
    started: f64,
    mean: f64,
    p95: Option<f64>,
}

impl ShareWaits {
    fn of_outcome(outcome: &Outcome) -> Vec<Self> {
        let share = |one: &what_if::ShareOutcome| Self {
            queue: one.queue.as_str().to_owned(),
            share: one.share.as_ref().map(|share| share.as_str().to_owned()),
            started: one.started as f64,
            mean: one.mean.unwrap_or(0.0),
            p95: one.p95,
        };
        outcome.shares.iter().map(share).collect()
    }

    /// Waits of the replay `before` or `after` in a report.
    fn of_report(report: &Value, replay: &str) -> Vec<Self> {
        let share = |row: &Value| Self {
            queue: row["queue"].as_str().unwrap_or_default().to_owned(),
            share: row["share"].as_str().map(str::to_owned),
            started: row[replay]["started"].as_f64().unwrap_or(0.0),
            mean: row[replay]["mean_seconds"].as_f64().unwrap_or(0.0),
            p95: row[replay]["p95_seconds"].as_f64(),
        };
        report["shares"].as_array().into_iter().flatten().map(share).collect()
    }

    fn name(&self) -> &str {
        self.share.as_deref().filter(|share| !share.is_empty()).unwrap_or(&self.queue)
    }

    fn json(&self) -> Value {
        json!({"queue": self.queue, "share": self.share, "p95_seconds": self.p95})
    }
}

impl RankedChange {
    /// Total hours of waiting saved.
    fn saved_hours(&self) -> f64 {
        let waited = |shares: &[ShareWaits]| shares.iter().map(|one| one.mean * one.started / 3_600.0).sum::<f64>();
        waited(&self.before) - waited(&self.after)
    }

    /// Hours saved per additional instance.
    fn worth(&self) -> f64 {
        if self.instances > 0.0 { self.saved_hours() / self.instances } else { f64::INFINITY }
    }

    /// Shares with their p95 before and after.
    fn p95s(&self) -> impl Iterator<Item = (&ShareWaits, f64, f64)> {
        self.before.iter().filter_map(|one| {
            let other = self.after.iter().find(|other| other.queue == one.queue && other.share == one.share)?;
            Some((one, one.p95?, other.p95?))
        })
    }

    /// Shares with long waits whose p95 is halved.
    fn halves(&self) -> impl Iterator<Item = &ShareWaits> {
        let is_halved = |(_, before, after): &(&ShareWaits, f64, f64)| *before >= SHORT_WAIT && *after <= before / 2.0;
        self.p95s().filter(is_halved).map(|(share, ..)| share)
    }

    /// The share whose p95 changes most, with both values.
    fn most_changed(&self) -> String {
        let most = self.p95s().max_by(|a, b| (a.1 - a.2).abs().total_cmp(&(b.1 - b.2).abs()));
        most.map_or(NOTHING.to_owned(), |(share, before, after)| {
            format!("{}: {} -> {}", share.name(), seconds(&json!(before)), seconds(&json!(after)))
        })
    }
}

/// Tries single changes on a local recording.
pub(super) fn of_past(past: &Past, prices: &Prices, is_json: bool) -> Result<(), Failure> {
    if let Some(note) = what_if::note_of_replays(past) {
        say(format_args!("{note}"));
    }
    let mut progress = Progress::default();
    let tried = try_all(past, prices, |part| progress.show(part))?;
    progress.end();
    show(tried, is_json)
}

/// Replays a recording without changes and once with each change, with as many runs as `what-if`. `progress` is
/// called with a fraction from 0 to 1.
fn try_all(past: &Past, prices: &Prices, mut progress: impl FnMut(f64)) -> Result<Vec<RankedChange>, Failure> {
    let before = ShareWaits::of_outcome(&what_if::replay(past, prices));
    let candidates = what_if::candidates(past, None);
    let all = candidates.len().max(1) as f64;
    let mut tried = Vec::new();
    for (index, candidate) in candidates.into_iter().enumerate() {
        let changed = what_if::with_changes(past, &candidate.changes).map_err(Failure::usage)?;
        let after = ShareWaits::of_outcome(&what_if::replay(&changed, prices));
        let texts: Vec<&str> = candidate.changes.iter().map(|change| change.text.as_str()).collect();
        let (changes, instances) = (texts.join(" "), candidate.instances);
        tried.push(RankedChange { changes, instances, is_of_first_past: true, before: before.clone(), after });
        progress((index + 1) as f64 / all);
    }
    Ok(tried)
}

/// Tries the candidates of a service, one request each. All use the recording of the moment when the candidates
/// were listed, while the service caches it; afterwards, or if another replica answers, the latest one.
pub(super) async fn of_service(client: &Client, is_json: bool) -> Result<(), Failure> {
    let candidates = client.get(&["what-if", "candidates"], &[]).await?;
    let first = candidates["past"].as_str();
    let mut past = first;
    let Some(candidates) = candidates["candidates"].as_array() else {
        return Err(client.is_something_else("the response has no changes"));
    };
    let mut progress = Progress::default();
    let all = candidates.len().max(1) as f64;
    let mut tried = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let changes: Vec<&str> =
            candidate["changes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut query: Vec<(&str, &str)> = changes.iter().map(|change| ("set", *change)).collect();
        query.extend(past.map(|past| ("past", past)));
        let mut answer = client.get(&["what-if"], &query).await;
        if past.is_some() && matches!(answer, Err(Failure::NotFound(_))) {
            say(format_args!(
                "The service deleted the recording that the ranking started with; the remaining changes are \
                 compared with its latest recording."
            ));
            query.pop();
            past = None;
            answer = client.get(&["what-if"], &query).await;
        }
        match answer {
            Ok(report) => tried.push(RankedChange {
                changes: changes.join(" "),
                instances: candidate["instances"].as_f64().unwrap_or(0.0),
                is_of_first_past: past == first,
                before: ShareWaits::of_report(&report, "before"),
                after: ShareWaits::of_report(&report, "after"),
            }),
            Err(failure) => failures.push(failure),
        }
        progress.show((index + 1) as f64 / all);
    }
    progress.end();
    if let Some(last) = failures.last() {
        say(format_args!("{} of {} changes could not be simulated: {}", failures.len(), candidates.len(), last.text()));
    }
    match failures.pop() {
        Some(failure) if tried.is_empty() => Err(failure),
        _ => show(tried, is_json),
    }
}

/// Prints the changes that shorten waits: free ones first, then by hours saved per instance.
fn show(mut tried: Vec<RankedChange>, is_json: bool) -> Result<(), Failure> {
    tried.retain(|one| one.saved_hours() > 0.0);
    let halving = halving_lines(&tried);
    tried.sort_by(|a, b| b.worth().total_cmp(&a.worth()).then_with(|| b.saved_hours().total_cmp(&a.saved_hours())));
    if is_json {
        let row = |one: &RankedChange| {
            let p95 = |shares: &[ShareWaits]| shares.iter().map(ShareWaits::json).collect::<Vec<Value>>();
            json!({
                "changes": one.changes, "instances": one.instances, "saved_wait_hours": one.saved_hours(),
                "past": if one.is_of_first_past { "first" } else { "later" },
                "halves_p95_of": one.halves().map(ShareWaits::name).collect::<Vec<_>>(),
                "before": p95(&one.before), "after": p95(&one.after),
            })
        };
        return print_json(&Value::from(tried.iter().map(row).collect::<Vec<_>>()));
    }
    let mut table = Table::new(&[
        ("INSTANCES", Align::Right),
        ("SAVED WAIT, H", Align::Right),
        ("P95 THAT CHANGES MOST", Align::Left),
        ("CHANGE", Align::Left),
    ]);
    for one in &tried {
        let saved = format!("{:.0}", one.saved_hours());
        let mark = if one.is_of_first_past { "" } else { LATER_PAST };
        table.row([format!("{:+}", one.instances), saved, one.most_changed(), format!("{}{mark}", one.changes)]);
    }
    if table.is_empty() {
        return print(format_args!("None of the single changes shortens waits."));
    }
    table.lines().iter().chain(&halving).try_for_each(|line| print(format_args!("{}", plain(line))))
}

/// For each share with long waits, the cheapest change that halves its p95.
fn halving_lines(tried: &[RankedChange]) -> Vec<String> {
    let Some(first) = tried.first() else { return Vec::new() };
    let waits = first.before.iter().filter(|share| share.p95.is_some_and(|p95| p95 >= SHORT_WAIT));
    let line = |share: &ShareWaits| {
        let halves =
            |one: &&RankedChange| one.halves().any(|other| other.queue == share.queue && other.share == share.share);
        let cheapest = tried.iter().filter(halves).min_by(|a, b| {
            a.instances.total_cmp(&b.instances).then_with(|| b.saved_hours().total_cmp(&a.saved_hours()))
        });
        let p95 = seconds(&json!(share.p95));
        match cheapest {
            Some(one) => format!(
                "The cheapest change that halves the p95 of {} ({p95}): {} ({:+} instances)",
                share.name(),
                one.changes,
                one.instances
            ),
            None => format!("No change halves the p95 of {} ({p95}).", share.name()),
        }
    };
    waits.map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use trainspotter_core::model::{Capacity, Policy, ServiceEnvironment, Timestamp};
    use trainspotter_core::scheduler::{QueueSetup, Setup};
    use trainspotter_core::what_if::PastJob;

    use super::*;

    fn tried(changes: &str, instances: f64, p95: f64) -> RankedChange {
        let waits = |p95: f64| {
            let (queue, share) = ("q".to_owned(), Some("speech".to_owned()));
            vec![ShareWaits { queue, share, started: 10.0, mean: p95 / 2.0, p95: Some(p95) }]
        };
        RankedChange {
            changes: changes.to_owned(),
            instances,
            is_of_first_past: true,
            before: waits(7_200.0),
            after: waits(p95),
        }
    }

    #[test]
    fn ranked_changes_have_the_effect_of_each_alone() {
        let (start, unit) = (Timestamp::default(), "ml.p5.48xlarge");
        let limits = vec![Capacity::new(unit, 2.0)];
        let environments = vec![ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits }];
        let queues = vec![QueueSetup::new("q", "gpus", Policy::Fifo)];
        let job = |number: u64| PastJob {
            at: start + Duration::from_secs(600 * number),
            queue: "q".into(),
            share: None,
            priority: 0,
            demand: vec![Capacity::new(unit, 1.0)],
            seconds: 1_500.0 + 37.0 * (number % 7) as f64,
            seen: None,
        };
        let past = Past::new(Setup { environments, queues, ..Setup::default() }, (0..40).map(job).collect(), None);
        let mut parts = Vec::new();
        let tried = try_all(&past, &Prices::new(), |part| parts.push(part)).unwrap();
        let names: Vec<(&str, f64)> = tried.iter().map(|one| (one.changes.as_str(), one.instances)).collect();
        let key = format!("queue.q.capacity.{unit}");
        let expected = [1, 2, 4].map(|more| (format!("{key}=+{more}"), f64::from(more)));
        assert_eq!(names, expected.each_ref().map(|(change, more)| (change.as_str(), *more)));
        assert_eq!((parts.len(), parts.last()), (3, Some(&1.0)));
        for one in &tried {
            let change = what_if::parse(&one.changes).unwrap();
            let alone = what_if::answer(&past, &[change], &Prices::new(), |_, _| {}).unwrap();
            for (ranked, alone) in [(&one.before, &alone.before), (&one.after, &alone.after)] {
                let of = |share: &ShareWaits| (share.p95, share.mean);
                let alone: Vec<_> = ShareWaits::of_outcome(alone).iter().map(of).collect();
                assert_eq!(ranked.iter().map(of).collect::<Vec<_>>(), alone, "{}", one.changes);
            }
            assert!(one.saved_hours() > 0.0, "{}", one.changes);
        }
    }

    #[test]
    fn the_cheapest_change_that_halves_a_p95_is_named() {
        let all = [tried("a=+4", 4.0, 600.0), tried("a=+2", 2.0, 3_500.0), tried("a=+1", 1.0, 4_000.0)];
        assert_eq!(
            halving_lines(&all),
            ["The cheapest change that halves the p95 of speech (2h): a=+2 (+2 instances)"]
        );
        assert_eq!(halving_lines(&all[2..]), ["No change halves the p95 of speech (2h)."]);
        assert_eq!(all.iter().map(|one| one.halves().count()).collect::<Vec<_>>(), [1, 1, 0]);
        assert!(all[0].saved_hours() > all[1].saved_hours() && all[2].worth() > all[0].worth());
    }

    #[test]
    fn a_report_of_a_service_is_read_as_a_replay_here_is() {
        let waits = |p95: f64| json!({"started": 4, "mean_seconds": 1_800.0, "p95_seconds": p95});
        let report = json!({"shares": [{"queue": "q", "share": "s", "before": waits(9.0), "after": waits(3.0)}]});
        let (before, after) = (ShareWaits::of_report(&report, "before"), ShareWaits::of_report(&report, "after"));
        let one = RankedChange { changes: String::new(), instances: 0.0, is_of_first_past: true, before, after };
        let p95s: Vec<(&str, f64, f64)> =
            one.p95s().map(|(share, before, after)| (share.name(), before, after)).collect();
        assert_eq!((p95s, one.saved_hours()), (vec![("s", 9.0, 3.0)], 0.0));
    }
}
