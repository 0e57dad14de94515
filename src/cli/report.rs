//! `report`: what GPUs did and cost over a past period, from the archive, a state file or a running service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::archive;
use crate::cli::remote::{Client, Remote};
use crate::cli::{Failure, escaped, load_config, print, print_exactly};
use crate::config::{Archive, ObjectPlace, check_report_key};
use crate::report::{Report, csv, html, text};
use crate::service::report_rows::{ReportError, Sources, objectives, report};
use crate::store::UnarchivedFile;
use trainspotter_clock::Clock;
use trainspotter_core::model::{Timestamp, parse_duration};
use trainspotter_core::rules::Objective;

/// Maximum grouping keys.
const MAX_KEYS: usize = 4;

/// Report GPU use and cost: the three largest wastes first, then use, idle time by cause, lending, waits against
/// objectives, failures.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter report --config trainspotter.yaml --from 7d --by share,owner
  trainspotter report --archive s3://my-bucket/trainspotter-archive --from 2026-10-01 --to 2026-11-01 --by team --format csv -o october.csv
  trainspotter report --archive ./archive --from 30d --format html -o report.html
  trainspotter report --recorded trainspotter.db --from 24h
  trainspotter report --url https://trainspotter.example.com --from 7d --by queue

--from and --to take an age (7d, 12h), a day (2026-10-01) or a time (2026-10-01T12:00:00Z), in UTC. With --config the report covers the
archive and the data in the state file that is not archived yet. Without --config, --archive and --recorded, a running service creates it.
For an s3:// archive, --archive uses the region in AWS_REGION and the endpoint in AWS_ENDPOINT_URL_S3, if set.")]
pub(super) struct Arguments {
    /// Start of the period: an age, a day or a time.
    #[arg(long, value_name = "TIME", default_value = "7d", allow_hyphen_values = true)]
    from: String,
    /// End of the period. [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Group jobs by these keys, separated by commas: queue, share, owner, account, region, instance_type, or job tags.
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    by: Vec<String>,
    /// Configuration of the service: uses its archive, its state file and the objectives of its rules.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["archive", "recorded", "url"])]
    config: Option<String>,
    /// Archive to read: a folder, file:///folder or s3://bucket/prefix.
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["recorded", "url"])]
    archive: Option<String>,
    /// State file to read: the data in it that is not archived yet.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    recorded: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write to this file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Compare waits with this objective instead of those of the rules; 95%:30m means that 95 % start within half an
    /// hour.
    #[arg(long, value_name = "PERCENT:DURATION", value_parser = objective)]
    objective: Vec<Objective>,
    #[command(flatten)]
    remote: Remote,
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text for a terminal.
    Text,
    /// Standalone HTML page with charts.
    Html,
    /// The breakdown by --by, one row per group.
    Csv,
    /// The API response.
    Json,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.by.len() > MAX_KEYS {
        return Err(Failure::usage(format!("--by: {MAX_KEYS} keys at most")));
    }
    if let Some(twice) = arguments.by.iter().enumerate().find(|(index, key)| arguments.by[..*index].contains(key)) {
        return Err(Failure::usage(format!("--by: `{}` is given twice", twice.1)));
    }
    let is_local = arguments.config.is_some() || arguments.archive.is_some() || arguments.recorded.is_some();
    let built = if is_local { local(arguments).await? } else { remote(arguments).await? };
    let format = if arguments.json { Format::Json } else { arguments.format };
    let shown = match format {
        Format::Json => escaped(&serde_json::to_string_pretty(&built).map_err(Failure::failed)?),
        Format::Text => text(&built),
        Format::Html => html(&built),
        Format::Csv => csv(&built).map_err(Failure::failed)?,
    };
    match &arguments.output {
        Some(file) => write(file, &shown),
        None if format == Format::Text => print(format_args!("{}", shown.trim_end())),
        None => print_exactly(shown.trim_end()),
    }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))
}

/// Builds a report locally.
async fn local(arguments: &Arguments) -> Result<Report, Failure> {
    let clock = Clock::real();
    let mut tags = Vec::new();
    let mut found = Vec::new();
    let sources = if let Some(file) = &arguments.config {
        let source = load_config::Source::load(file).await?;
        found = objectives(&source.rules().await?);
        tags.clone_from(&source.config.tags);
        // Check before reading, which may take long.
        for key in &arguments.by {
            check_report_key(key, &tags).map_err(|message| Failure::usage(format!("--by: {message}")))?;
        }
        let sources = Sources::of(&source.config, clock).await.map_err(Failure::failed)?;
        if sources.archive.is_none() && !sources.stores.iter().any(|store| store.exists()) {
            let message = "has no `archive`, and there is no state file yet: run the service first, or use --archive";
            return Err(Failure::usage(format!("--config: {file} {message}")));
        }
        sources
    } else if let Some(place) = &arguments.archive {
        Sources { archive: Some(opened(place, clock).await?), stores: Vec::new() }
    } else {
        let stores: Vec<PathBuf> = arguments.recorded.clone().into_iter().collect();
        for file in &stores {
            let unreadable = |error| Failure::usage(format!("--recorded: {error}"));
            UnarchivedFile::open(file).and_then(|opened| opened.days()).map_err(unreadable)?;
        }
        Sources { archive: None, stores }
    };
    // A simulated service is ahead of the local clock.
    let newest = sources.newest().await.map_err(failure)?;
    let now = match (&arguments.recorded, newest) {
        (Some(_), Some(newest)) => newest,
        (_, newest) => newest.map_or(clock.now(), |newest| newest.max(clock.now())),
    };
    let span = span(arguments, now)?;
    let wanted = if arguments.objective.is_empty() { found } else { arguments.objective.clone() };
    let wanted = if wanted.is_empty() { objectives(&[]) } else { wanted };
    report(&sources, span, &arguments.by, &tags, wanted).await.map_err(failure)
}

fn failure(error: ReportError) -> Failure {
    match error {
        ReportError::Usage(message) => Failure::usage(format!("--by: {message}")),
        ReportError::Archive(_) | ReportError::Open(_) | ReportError::Store(_) | ReportError::Ended(_) => {
            Failure::failed(error)
        }
    }
}

async fn opened(place: &str, clock: Clock) -> Result<crate::objects::AnyStorage, Failure> {
    let usage = |message: String| Failure::usage(format!("--archive: {message}"));
    let place = if place.contains("://") {
        ObjectPlace::parse(place, "an archive").map_err(usage)?
    } else {
        ObjectPlace::Folder(PathBuf::from(place))
    };
    if let ObjectPlace::Folder(folder) = &place {
        match std::fs::metadata(folder) {
            Err(error) => return Err(usage(format!("cannot read the folder {}: {error}", folder.display()))),
            Ok(found) if !found.is_dir() => return Err(usage(format!("{} is not a folder", folder.display()))),
            Ok(_) => {}
        }
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    if region.is_none() && matches!(place, ObjectPlace::Bucket { .. }) {
        return Err(usage(
            "the bucket's region is required: set AWS_REGION, or use --config FILE with `archive`".to_owned(),
        ));
    }
    let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
    let archive = Archive { region, endpoint, ..Archive::at(place) };
    archive::open(&archive, None, clock).await.map_err(Failure::failed)
}

/// The period.
fn span(arguments: &Arguments, now: Timestamp) -> Result<(Timestamp, Timestamp), Failure> {
    let from = moment("--from", &arguments.from, now)?;
    let to = arguments.to.as_ref().map_or(Ok(now), |to| moment("--to", to, now))?;
    if from >= now {
        return Err(Failure::usage(format!(
            "--from: {from} is in the future: a report covers a past period, such as --from 7d"
        )));
    }
    if from >= to {
        return Err(Failure::usage(format!("--from must be before --to, and {from} is not before {to}")));
    }
    Ok((from, to))
}

/// Parses a time.
fn moment(option: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let ago = text.strip_prefix('-').unwrap_or(text);
    if let Ok(ago) = parse_duration(ago) {
        return Ok(now - ago);
    }
    let written = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    written.parse::<jiff::Timestamp>().map(|at| Timestamp::from_millis(at.as_millisecond())).map_err(|_| {
        let forms = "an age (7d, 12h), a day (2026-10-01) or a time (2026-10-01T12:00:00Z)";
        Failure::usage(format!("{option}: `{text}` is not a time; write {forms}"))
    })
}

fn objective(text: &str) -> Result<Objective, String> {
    let form = || format!("`{text}` is not an objective; write it like 95%:30m");
    let (percent, within) = text.split_once(':').ok_or_else(form)?;
    let percent: f64 = percent.trim().trim_end_matches('%').trim().parse().map_err(|_| form())?;
    let within: Duration = parse_duration(within).map_err(|_| form())?;
    if !(percent > 0.0 && percent <= 100.0) {
        return Err(form());
    }
    Ok(Objective::over_all(text, within.as_secs_f64(), percent / 100.0))
}

/// Requests a report from a running service.
async fn remote(arguments: &Arguments) -> Result<Report, Failure> {
    if !arguments.objective.is_empty() {
        let message =
            "a running service compares waits with the objectives of its own rules: leave it out, or use --config";
        return Err(Failure::usage(format!("--objective: {message}")));
    }
    let client: Client = arguments.remote.connect()?;
    let from = asked("--from", &arguments.from)?;
    let to = arguments.to.as_ref().map(|to| asked("--to", to)).transpose()?;
    let by = arguments.by.join(",");
    let mut query = vec![("from", from.as_str())];
    query.extend(to.as_deref().map(|to| ("to", to)));
    if !by.is_empty() {
        query.push(("by", &by));
    }
    let answer = client.get(&["report"], &query).await?;
    serde_json::from_value(answer).map_err(|error| client.is_something_else(&error.to_string()))
}

/// A time for the API: relative times stay relative, since the service has its own clock.
fn asked(option: &str, text: &str) -> Result<String, Failure> {
    if parse_duration(text.strip_prefix('-').unwrap_or(text)).is_ok() {
        return Ok(format!("-{}", text.trim_start_matches('-')));
    }
    moment(option, text, Timestamp::default()).map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_how_long_ago_a_day_or_a_moment() {
        let at = |text: &str| serde_json::from_value::<Timestamp>(text.into()).unwrap();
        let now = at("2026-11-27T12:00:00Z");
        for (text, expected) in [
            ("7d", "2026-11-20T12:00:00Z"),
            ("-12h", "2026-11-27T00:00:00Z"),
            ("2026-10-01", "2026-10-01T00:00:00Z"),
            ("2026-10-01T06:30:00+02:00", "2026-10-01T04:30:00Z"),
        ] {
            assert_eq!(moment("--from", text, now).ok(), Some(at(expected)), "{text}");
        }
        for wrong in ["", "yesterday", "2026-13-01", "7", "2026-10-01T25:00:00Z", "d"] {
            let Err(Failure::Usage(message)) = moment("--from", wrong, now) else { panic!("{wrong}") };
            assert!(message.contains("--from") && message.contains("2026-10-01"), "{message}");
        }
        assert_eq!(asked("--from", "7d").ok().as_deref(), Some("-7d"));
        assert_eq!(asked("--from", "-7d").ok().as_deref(), Some("-7d"));
    }

    #[test]
    fn an_age_may_begin_with_a_minus() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let line = ["report", "--from", "-3h", "--to", "-1h"];
        let arguments = <Line as clap::Parser>::try_parse_from(line).unwrap().arguments;
        assert_eq!((arguments.from.as_str(), arguments.to.as_deref()), ("-3h", Some("-1h")));
    }

    #[test]
    fn an_objective_is_a_part_and_a_time() {
        let right = objective("95%:30m").unwrap();
        assert_eq!((right.within_seconds, right.target), (1_800.0, 0.95));
        for wrong in ["95%", "30m", "0%:30m", "101:30m", "95%:soon", "x:30m"] {
            assert!(objective(wrong).unwrap_err().contains("95%:30m"), "{wrong}");
        }
    }
}
