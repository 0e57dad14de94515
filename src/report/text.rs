//! A report as text for a terminal or message.

use std::fmt::Write as _;

use crate::report::Report;
use crate::report::contents::{Breakdown, Gpus, Lending, Waste};
use trainspotter_core::model::format::{amount, counted, duration};
use trainspotter_core::model::{Timestamp, readable_line};

/// Maximum rows of a breakdown; CSV and HTML have all of them.
const MAX_ROWS: usize = 40;

/// Maximum length of a name in a table.
const MAX_NAME: usize = 32;

/// Renders the report.
pub fn text(report: &Report) -> String {
    with_rows(report, MAX_ROWS)
}

/// Renders the report within a number of characters, for a message: with fewer rows of the breakdown and, if that is
/// not enough, without its last lines, which the end says. The notes come after the breakdown and are kept by that.
pub fn text_within(report: &Report, most: usize) -> String {
    let fits = |text: &String| text.chars().count() <= most;
    let shorter = [MAX_ROWS, 20, 10, 5, 2].into_iter().map(|rows| with_rows(report, rows)).find(fits);
    shorter.unwrap_or_else(|| {
        let whole = with_rows(report, 2);
        let end = format!("  ... cut at {most} characters: `trainspotter report` shows all\n");
        let mut left = most.saturating_sub(end.chars().count());
        let lines = whole.split_inclusive('\n').take_while(|line| {
            let length = line.chars().count();
            let fits = length <= left;
            left = left.saturating_sub(length);
            fits
        });
        lines.collect::<String>() + &end
    })
}

fn with_rows(report: &Report, rows: usize) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut text, report, rows);
    text
}

fn write_all(out: &mut String, report: &Report, rows: usize) -> std::fmt::Result {
    writeln!(out, "{}", title(report))?;
    writeln!(out, "{}", summary(report))?;
    section(out, "Largest wastes")?;
    if report.wastes.is_empty() {
        writeln!(out, "  none")?;
    }
    for (number, waste) in report.wastes.iter().enumerate() {
        writeln!(out, "  {}. {}", number + 1, in_words(waste))?;
        writeln!(out, "     {}", waste.advice)?;
    }
    gpus(out, "GPU use", &report.parts, report.gpu_hours)?;
    let idle: f64 = report.idle.iter().map(|gpus| gpus.gpu_hours).sum();
    gpus(out, "Unallocated, by cause", &report.idle, idle)?;
    waits(out, report)?;
    failures(out, report)?;
    lending(out, report)?;
    breakdown(out, report, rows)?;
    if !report.notes.is_empty() {
        section(out, "Notes")?;
        for note in &report.notes {
            writeln!(out, "  {note}")?;
        }
    }
    Ok(())
}

/// Title of the report.
pub(super) fn title(report: &Report) -> String {
    format!("GPUs from {} to {} (UTC)", moment(report.from), moment(report.to))
}

/// Formats a time to the minute.
pub(super) fn moment(at: Timestamp) -> String {
    at.to_string().chars().take(16).collect::<String>().replace('T', " ")
}

/// Summary in a sentence or two.
pub fn summary(report: &Report) -> String {
    let used = if report.gpu_hours > 0.0 { report.used_gpu_hours / report.gpu_hours } else { 0.0 };
    let cost = |dollars: Option<f64>| dollars.map(|dollars| format!(" ({})", in_dollars(dollars))).unwrap_or_default();
    let ended = counted(report.jobs, "job");
    // Jobs are those that ended in the requested period, GPU-hours those of completed hours.
    let Some((from, to)) = report.hours_from.zip(report.hours_to) else {
        return format!("{ended} ended. GPU use is unknown: no completed hour of this period was recorded.");
    };
    let mut text = format!(
        "{ended} ended. In completed hours from {} to {}, jobs held {}{} of {}{}, {:.0} %.",
        moment(from),
        moment(to),
        in_hours(report.used_gpu_hours),
        cost(report.used_dollars),
        in_hours(report.gpu_hours),
        cost(report.dollars),
        used * 100.0
    );
    if let Some(waste) = report.wastes.first() {
        let _ = write!(text, " Largest waste: {}.", in_words(waste));
    }
    text
}

/// A waste in one line.
pub(super) fn in_words(waste: &Waste) -> String {
    let dollars = waste.dollars.map(|dollars| format!(", {}", in_dollars(dollars))).unwrap_or_default();
    format!("{}{dollars}: {}", in_hours(waste.gpu_hours), waste.words)
}

/// GPU-hours with their unit.
pub(super) fn in_hours(gpu_hours: f64) -> String {
    if gpu_hours < 100.0 { amount(gpu_hours, "GPU-hour") } else { format!("{} GPU-hours", thousands(gpu_hours)) }
}

/// Formats dollars, without cents for large amounts.
pub(super) fn in_dollars(dollars: f64) -> String {
    if dollars < 100.0 { format!("${dollars:.2}") } else { format!("${}", thousands(dollars)) }
}

/// An integer in groups of three digits.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let first = digits.len() % 3;
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 3 == first % 3 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn section(out: &mut String, name: &str) -> std::fmt::Result {
    writeln!(out, "\n{name}")
}

fn gpus(out: &mut String, name: &str, rows: &[Gpus], all: f64) -> std::fmt::Result {
    if all <= 0.0 {
        return Ok(());
    }
    section(out, name)?;
    for row in rows.iter().filter(|row| row.gpu_hours > 0.0) {
        let dollars = row.dollars.map(in_dollars).unwrap_or_default();
        let part = row.gpu_hours / all * 100.0;
        let line =
            format!("  {:<20} {:>12} {part:>5.1} % {dollars:>12}", words_of(&row.name), thousands_or(row.gpu_hours));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn thousands_or(gpu_hours: f64) -> String {
    if gpu_hours < 100.0 { format!("{gpu_hours:.1}") } else { thousands(gpu_hours) }
}

/// Readable form of a name in the archive.
pub(super) fn words_of(name: &str) -> String {
    name.replace('_', " ")
}

fn waits(out: &mut String, report: &Report) -> std::fmt::Result {
    section(out, "Waits against objectives")?;
    for objective in &report.objectives {
        let (within, target) = (duration(objective.within_seconds), objective.target * 100.0);
        let result = match (objective.reached, objective.is_met()) {
            (Some(reached), Some(is_met)) => {
                let met = if is_met { "met" } else { "missed" };
                format!("{met}: {:.1} % of {}", reached * 100.0, counted(objective.waits, "job"))
            }
            _ => "no job started".to_owned(),
        };
        writeln!(out, "  {}: {target:.0} % start within {within}: {result}", objective.name)?;
    }
    Ok(())
}

fn failures(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.failures.is_empty() {
        return Ok(());
    }
    section(out, "Failures, by who can fix them")?;
    for row in &report.failures {
        let (who, words, jobs) = (&row.who, &row.words, counted(row.jobs, "job"));
        writeln!(out, "  {who}: {jobs}, {} lost: {words} ({})", in_hours(row.lost_gpu_hours), row.category)?;
    }
    Ok(())
}

fn lending(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.lending.is_empty() {
        return Ok(());
    }
    section(out, "Quotas, in GPU-hours")?;
    writeln!(
        out,
        "  {:<MAX_NAME$} {:>10} {:>10} {:>10} {:>10} {:>14}",
        "QUEUE/SHARE", "OWN", "LENT", "BORROWED", "IDLE", "IDLE, WAITING"
    )?;
    for row in &report.lending {
        let name = cut(&format!("{}/{}", queue(report, row), row.share));
        let amounts = [
            row.own_gpu_hours,
            row.lent_gpu_hours,
            row.borrowed_gpu_hours,
            row.idle_gpu_hours,
            row.idle_while_waiting_gpu_hours,
        ];
        let [own, lent, borrowed, idle, waiting] = amounts.map(thousands_or);
        writeln!(out, "  {name:<MAX_NAME$} {own:>10} {lent:>10} {borrowed:>10} {idle:>10} {waiting:>14}")?;
    }
    Ok(())
}

fn breakdown(out: &mut String, report: &Report, rows: usize) -> std::fmt::Result {
    if report.by.is_empty() || report.breakdown.is_empty() {
        return Ok(());
    }
    section(out, &format!("Jobs that ended, by {}", report.by.join(" and ")))?;
    let header = report.by.join("/").to_uppercase();
    writeln!(
        out,
        "  {header:<MAX_NAME$} {:>8} {:>7} {:>10} {:>12} {:>10} {:>10} {:>10}",
        "JOBS", "FAILED", "GPU-HOURS", "DOLLARS", "LOST", "WAIT P50", "WAIT P90"
    )?;
    for row in report.breakdown.iter().take(rows) {
        let name = cut(&named(row).join("/"));
        let (hours, lost) = (thousands_or(row.gpu_hours), thousands_or(row.lost_gpu_hours));
        let dollars = row.dollars.map_or_else(|| "-".to_owned(), in_dollars);
        let wait = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), duration);
        let (p50, p90) = (wait(row.waits.p50_seconds), wait(row.waits.p90_seconds));
        writeln!(
            out,
            "  {name:<MAX_NAME$} {:>8} {:>7} {hours:>10} {dollars:>12} {lost:>10} {p50:>10} {p90:>10}",
            row.jobs, row.failed
        )?;
    }
    let more = report.breakdown.len().saturating_sub(rows);
    if more > 0 {
        writeln!(out, "  ... and {}: --format csv has all", counted(more as u64, "row"))?;
    }
    Ok(())
}

/// The queue of a quota, with account and region if the report covers several.
pub(super) fn queue(report: &Report, row: &Lending) -> String {
    let is_here = |other: &Lending| (&other.account, &other.region) == (&row.account, &row.region);
    if report.lending.iter().all(is_here) {
        return row.queue.clone();
    }
    let known = |part: &Option<String>| part.clone().unwrap_or_else(|| "(unknown)".to_owned());
    format!("{}/{}/{}", known(&row.account), known(&row.region), row.queue)
}

/// Readable keys.
pub(super) fn named(row: &Breakdown) -> Vec<String> {
    // Terminal control characters are made visible.
    let shown = |key: &String| readable_line(key).into_owned();
    row.keys.iter().map(|key| if key.is_empty() { "(none)".to_owned() } else { shown(key) }).collect()
}

fn cut(name: &str) -> String {
    if name.chars().count() <= MAX_NAME {
        return name.to_owned();
    }
    name.chars().take(MAX_NAME - 1).chain(['…']).collect()
}
