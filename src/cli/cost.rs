//! `cost`: projected monthly cost by destination.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::remote::{Remote, URL_VARIABLE};
use crate::cli::table::{Align, Table};
use crate::cli::{Failure, load_config, print, print_json};
use crate::config::Config;
use crate::cost::{Assumed, Bill, ClassicUse, OtlpUse, PriceTable, Usage, assumed_frame, bill, hosts_in_use};
use crate::publish::{CHANGED_FRACTION, Origin, affordable_series, classic_use, otlp_use};
use crate::service::{LiveCheckError, look, state_files_beside};
use crate::store::{Frames, StoreError};
use trainspotter_clock::Clock;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::format::{amount, counted};
use trainspotter_core::rules::{Rule, export};

/// Maximum size of a price file.
const MAX_BYTES: u64 = 1 << 20;

/// Assumed number of queues if unknown.
const QUEUES: usize = 5;
const SHARES: usize = 20;
const HOSTS: f64 = 32.0;

/// Estimate the monthly cost by destination, from a configuration, a state file, the current state of AWS, or a running
/// service.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trainspotter cost --config trainspotter.yaml                              with default assumptions, which are shown
  trainspotter cost --config trainspotter.yaml --queues 3 --shares 10       with other assumptions
  trainspotter cost --config trainspotter.yaml --recorded trainspotter.db   with the series in a state file
  trainspotter cost --config trainspotter.yaml --live                       with the current series; queries AWS
  trainspotter cost --config trainspotter.yaml --prices mine.yaml --json    with other prices, as JSON
  trainspotter cost --url http://127.0.0.1:9464                             of a running service

Default prices are in config/prices.yaml, which is embedded; --prices overrides those that its file lists.")]
pub(super) struct Arguments {
    /// The configuration: a file, env:NAME for the content of an environment variable, or s3://bucket/object.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<String>,
    /// Query AWS once for the existing queues, shares and jobs.
    #[arg(long, requires = "config", conflicts_with_all = ["recorded", "url"])]
    live: bool,
    /// Count the series of the latest metrics in this state file, and in those of other targets next to it.
    #[arg(long, value_name = "STATEFILE", requires = "config", conflicts_with = "url")]
    recorded: Option<PathBuf>,
    /// Use these prices instead of the built-in ones; the format is that of config/prices.yaml.
    #[arg(long, value_name = "FILE", requires = "config", conflicts_with = "url")]
    prices: Option<PathBuf>,
    /// Number of queues to assume. [default: 5]
    #[arg(long, value_name = "NUMBER", requires = "config", conflicts_with_all = ["live", "recorded", "url"], value_parser = clap::value_parser!(u16).range(1..=1_000))]
    queues: Option<u16>,
    /// Number of shares per queue to assume. [default: 20]
    #[arg(long, value_name = "NUMBER", requires = "config", conflicts_with_all = ["live", "recorded", "url"], value_parser = clap::value_parser!(u16).range(1..=1_000))]
    shares: Option<u16>,
    /// Average number of instances running jobs. [default: instances in use, or 32]
    #[arg(long, value_name = "NUMBER", requires = "config", conflicts_with = "url", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    hosts: Option<u32>,
    /// Number of Fargate tasks of the service; 0 for none. [default: 2 with a log, else 1]
    #[arg(long, value_name = "NUMBER", requires = "config", conflicts_with = "url", value_parser = clap::value_parser!(u8).range(0..=100))]
    tasks: Option<u8>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Some(config) = &arguments.config else {
        if arguments.remote.is_named() {
            return service_costs(arguments).await;
        }
        let message = format!("--config FILE is required, or --url URL (or {URL_VARIABLE}) for a running service");
        return Err(Failure::usage(message));
    };
    let source = load_config::Source::load(config).await?;
    let rules = source.rules().await?;
    let config = &source.config;
    let prices = prices(arguments.prices.as_deref())?;
    let mut notes = vec![format!("Prices: {}.", prices.in_words())];
    notes.extend(prices.doubts(Clock::real().now()));
    let frames = frames(arguments, config, &mut notes).await?;
    // The service applies its budget at the shipped prices, whatever prices the bill uses.
    let shipped = PriceTable::shipped().map_err(Failure::failed)?;
    let usage = usage(arguments, config, &rules, &frames, &shipped, &mut notes);
    let bill = bill(&usage, &prices);
    if arguments.json { print_json(&shown(&bill, &notes)) } else { table(&bill, &notes) }
}

/// Latest frame of each target, with notes about their origin.
async fn frames(arguments: &Arguments, config: &Config, notes: &mut Vec<String>) -> Result<Vec<Frame>, Failure> {
    if let Some(file) = &arguments.recorded {
        load_config::check_state_file("--recorded", file)?;
        let files = state_files_beside(file, &config.targets);
        if files.len() < config.targets.len() {
            notes.push(format!(
                "Includes {} of {} targets: the others have no state file.",
                files.len(),
                config.targets.len()
            ));
        }
        return files.iter().map(|file| recorded(file, notes)).collect();
    }
    if arguments.live {
        let mut frames = Vec::new();
        for target in &config.targets {
            let alone = Config { targets: vec![target.clone()], ..config.clone() };
            let failed = |error: LiveCheckError| Failure::failed(format!("target {}: {error}", target.name));
            frames.push(look(&alone, Clock::real()).await.map_err(failed)?.frame);
        }
        notes.push(format!(
            "Series: those of {} current queues, without series that appear with the first failure, preemption or notification.",
            frames.iter().map(|frame| frame.queues.len()).sum::<usize>()
        ));
        return Ok(frames);
    }
    let targets = config.targets.len();
    let queues = arguments.queues.map_or(QUEUES, usize::from);
    let shares = arguments.shares.map_or(SHARES, usize::from).min(config.shares.most);
    let publish = &config.publish;
    let assumed = Assumed {
        queues,
        shares,
        instance_types: 1,
        bands: config.priority_bands.names().count(),
        sinks: publish.otlp.len() + usize::from(publish.cloudwatch.is_some()),
        receivers: config.receivers.len(),
        reserved: config.targets.iter().any(|target| target.reserved.training_plans || target.reserved.warm_pools),
        priced: !config.prices.is_empty(),
    };
    notes.push(format!(
        "Assumed: {queues} queues with {shares} shares each and one instance type{}, and every series that can \
         appear there. Use --recorded or --live for actual numbers.",
        if targets > 1 { format!(" in each of {targets} targets") } else { String::new() }
    ));
    Ok(vec![assumed_frame(&assumed, Clock::real().now()); targets])
}

/// The latest frame in a state file.
fn recorded(file: &Path, notes: &mut Vec<String>) -> Result<Frame, Failure> {
    let unreadable = |error: StoreError| Failure::failed(format!("{}: {error}", file.display()));
    let frame = Frames::open(file).map_err(Failure::failed)?.latest().map_err(unreadable)?;
    let frame = frame.ok_or_else(|| Failure::failed(format!("{}: it has no recorded metrics", file.display())))?;
    notes.push(format!("Series: as of {}, from {}.", frame.at, file.display()));
    Ok(frame)
}

fn usage(
    arguments: &Arguments,
    config: &Config,
    rules: &[Rule],
    frames: &[Frame],
    shipped: &PriceTable,
    notes: &mut Vec<String>,
) -> Usage {
    let in_use = hosts_in_use(frames).filter(|_| arguments.live || arguments.recorded.is_some());
    let hosts = arguments.hosts.map(f64::from).or(in_use).unwrap_or(HOSTS * config.targets.len() as f64);
    let tasks = u64::from(arguments.tasks.unwrap_or(if config.replication.is_some() { 2 } else { 1 }));
    notes.push(format!(
        "{}: {}, {} of 0.25 vCPU and 0.5 GB. Instances of jobs, load balancers, logs of the \
         service and network are not counted.",
        if arguments.hosts.is_none() && in_use.is_none() { "Assumed" } else { "Counted with" },
        amount(hosts, "instance") + " in use by jobs",
        counted(tasks, "task"),
    ));
    let mut usage = Usage::of(config, hosts, tasks);
    let region = config.targets.first().map(|target| target.region.clone());
    let began = frames.first().map(|frame| frame.at).unwrap_or_default();
    let origin = Origin { began, region, account: Some("111122223333".to_owned()) };
    if let Some(sink) = &config.publish.cloudwatch {
        if sink.metrics.are_classic() {
            let of_target = |frame| classic_use(frame, sink, config.targets.len(), shipped);
            let classic = frames.iter().map(of_target).fold(ClassicUse::default(), ClassicUse::plus);
            if sink.budget.is_some() && config.targets.len() > 1 {
                notes.push(format!("{} targets share the budget evenly.", config.targets.len()));
            }
            if classic.left_out > 0 {
                notes.push(format!("The budget leaves out {} series of classic metrics.", classic.left_out));
            }
            if affordable_series(sink, config.targets.len(), shipped) == Some(0) {
                notes.push(
                    "The budget pays for no series, because the requests alone cost more than it: raise `budget` or `every`."
                        .to_owned(),
                );
            }
            usage.classic = Some(classic);
            (usage.alarms, usage.composite_alarms) = alarms(rules, &sink.namespace);
        } else {
            usage.alarms = count(&export::promql_alarms(rules).text).0;
        }
        if sink.metrics.are_otlp() {
            let every = (sink.every, sink.repeat_unchanged);
            let of_target = |frame| otlp_use(frame, "cloudwatch-otlp", true, every, sink.histograms, &origin);
            usage.otlp.extend(frames.iter().map(of_target).reduce(|all, one| all.plus(&one)));
        }
        if sink.metrics.are_otlp() && sink.repeat_unchanged > sink.every {
            notes.push(format!(
                "Assumed: {:.0} % of all points change between two publications by OTLP.",
                CHANGED_FRACTION * 100.0
            ));
        }
        notes.push(
            "Alarms and dashboard: assumes that all rules are exported and the dashboard is imported.".to_owned(),
        );
    }
    for (index, receiver) in config.publish.otlp.iter().enumerate() {
        let name = if index == 0 { "otlp".to_owned() } else { format!("otlp-{}", index + 1) };
        let every = (config.poll.every, Duration::ZERO);
        let of_target = |frame| otlp_use(frame, &name, false, every, receiver.histograms, &origin);
        usage.otlp.extend(frames.iter().map(of_target).reduce(|all, one| all.plus(&one)));
    }
    if usage.otlp.iter().any(|otlp: &OtlpUse| !otlp.is_cloudwatch) {
        notes.push("The cost of OTLP receivers other than CloudWatch is unknown.".to_owned());
    }
    usage
}

/// Numbers of standard and composite alarms for the rules.
fn alarms(rules: &[Rule], namespace: &str) -> (u64, u64) {
    count(&export::alarms(rules, namespace, |metric| metric.is_in_cloudwatch()).text)
}

/// Standard and composite alarms in an export: a template, or a list.
fn count(exported: &str) -> (u64, u64) {
    let exported: Value = serde_json::from_str(exported).unwrap_or_default();
    if let Some(list) = exported.as_array() {
        return (list.len() as u64, 0);
    }
    let of = |kind: &str| {
        let resources = exported["Resources"].as_object();
        let resources = resources.into_iter().flat_map(serde_json::Map::values);
        resources.filter(|resource| resource["Type"] == kind).count() as u64
    };
    (of("AWS::CloudWatch::Alarm"), of("AWS::CloudWatch::CompositeAlarm"))
}

/// The price table. Errors in its file are usage errors.
fn prices(file: Option<&Path>) -> Result<PriceTable, Failure> {
    let Some(file) = file else { return PriceTable::shipped().map_err(Failure::failed) };
    let failed = |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", file.display()));
    let mut text = String::new();
    std::fs::File::open(file).map_err(failed)?.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        let message = format!("{} is larger than {} KiB, so it is no price table", file.display(), MAX_BYTES / 1024);
        return Err(Failure::usage(message));
    }
    PriceTable::with_file(&file.display().to_string(), &text).map_err(Failure::usage)
}

fn table(bill: &Bill, notes: &[String]) -> Result<(), Failure> {
    let columns = [
        ("DESTINATION", Align::Left),
        ("WHAT", Align::Left),
        ("A MONTH", Align::Right),
        ("", Align::Left),
        ("US DOLLARS", Align::Right),
    ];
    let mut rows = Table::new(&columns);
    for line in &bill.lines {
        let dollars = line.dollars.map_or_else(
            || "not known".to_owned(),
            |dollars| if line.is_guess { format!("about {dollars:.2}") } else { format!("{dollars:.2}") },
        );
        let cells = [
            line.destination.as_str().to_owned(),
            line.what.clone(),
            grouped(line.quantity),
            line.unit.to_owned(),
            dollars,
        ];
        rows.row(cells);
    }
    rows.row(["total".to_owned(), String::new(), String::new(), String::new(), format!("{:.2}", bill.total())]);
    for line in rows.lines() {
        print(format_args!("{line}"))?;
    }
    print(format_args!(""))?;
    for note in notes {
        print(format_args!("{note}"))?;
    }
    if bill.lines.iter().any(|line| line.is_guess) {
        print(format_args!("`about`: no public source confirms this price; set yours with --prices."))?;
    }
    Ok(())
}

fn shown(bill: &Bill, notes: &[String]) -> Value {
    let lines: Vec<Value> = bill
        .lines
        .iter()
        .map(|line| {
            json!({
                "destination": line.destination.as_str(),
                "what": line.what,
                "quantity": line.quantity,
                "unit": line.unit,
                "dollars": line.dollars,
                "price_confirmed": !line.is_guess,
            })
        })
        .collect();
    json!({ "lines": lines, "total_dollars": bill.total(), "hours": 730, "notes": notes })
}

/// A number with spaces between thousands, rounded to an integer from a hundred on.
fn grouped(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.2}").trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Prints the costs reported by a running service.
async fn service_costs(arguments: &Arguments) -> Result<(), Failure> {
    let answer = arguments.remote.connect()?.get(&["service"], &[]).await?;
    let costs = answer["costs"].as_array().cloned().unwrap_or_default();
    let total: f64 = costs.iter().filter_map(|row| row["dollars"].as_f64()).fold(0.0, |sum, dollars| sum + dollars);
    if arguments.json {
        return print_json(&json!({ "lines": costs, "total_dollars": total, "hours": 730 }));
    }
    if costs.is_empty() {
        return print(format_args!(
            "The service reports no cost: it has published nothing since it started. Use --config for an estimate."
        ));
    }
    let mut rows = Table::new(&[("DESTINATION", Align::Left), ("US DOLLARS A MONTH", Align::Right)]);
    for row in &costs {
        let dollars = row["dollars"].as_f64().unwrap_or_default();
        rows.row([row["destination"].as_str().unwrap_or_default().to_owned(), format!("{dollars:.2}")]);
    }
    rows.row(["total".to_owned(), format!("{total:.2}")]);
    for line in rows.lines() {
        print(format_args!("{line}"))?;
    }
    print(format_args!(
        "\nBased on the last publication and the service's prices, without tasks; use --config for an estimate that includes them."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_small_ones_keep_their_parts() {
        let numbers = [0.5, 99.0, 12.345, 100.4, 3_754_285.7, 1_000.0];
        assert_eq!(numbers.map(grouped), ["0.5", "99", "12.35", "100", "3 754 286", "1 000"]);
    }

    #[test]
    fn alarms_are_counted_by_kind() {
        let template = r#"{"Resources": {"A": {"Type": "AWS::CloudWatch::Alarm"}, "B": {"Type": "AWS::CloudWatch::CompositeAlarm"}}}"#;
        assert_eq!(count(template), (1, 1));
        assert_eq!(count(r#"[{}, {}]"#), (2, 0));
        assert_eq!(count("{}"), (0, 0));
    }
}
