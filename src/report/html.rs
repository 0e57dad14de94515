//! A report as a self-contained HTML file.

use std::fmt::Write as _;

use crate::report::Report;
use crate::report::contents::{Breakdown, Gpus};
use crate::report::text::{in_dollars, in_hours, in_words, named, queue, summary, title, words_of};
use trainspotter_core::model::format::{counted, duration};
use trainspotter_core::model::readable_line;

/// Maximum bars of a chart.
const BARS: usize = 20;

/// Maximum rows of the table.
const MAX_ROWS: usize = 1_000;

/// Layout of a chart, in its own units.
const NAME_WIDTH: f64 = 220.0;
const BAR_WIDTH: f64 = 420.0;
const ROW_HEIGHT: f64 = 22.0;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24;background:#fff}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
td,th{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #d0d7de}td:first-child,th:first-child{text-align:left}\
svg{width:100%;height:auto}svg text{font-size:13px;fill:currentColor}.bar{fill:#2f6fb0}.waste{fill:#c4582a}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}td,th{border-color:#30363d}.bar{fill:#5aa0e6}.waste{fill:#e58a5f}}";

/// Renders the page.
pub fn html(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut page, report);
    page
}

fn write_all(out: &mut String, report: &Report) -> std::fmt::Result {
    let title = escaped(&title(report));
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1><p>{}</p>",
        escaped(&summary(report))
    )?;
    wastes(out, report)?;
    gpus(out, "GPU use", &report.parts, report.gpu_hours, "bar")?;
    let idle: f64 = report.idle.iter().map(|gpus| gpus.gpu_hours).sum();
    gpus(out, "Unallocated, by cause", &report.idle, idle, "waste")?;
    objectives(out, report)?;
    failures(out, report)?;
    lending(out, report)?;
    breakdown(out, report)?;
    if !report.notes.is_empty() {
        let notes: String = report.notes.iter().map(|note| format!("<li>{}</li>", escaped(note))).collect();
        write!(out, "<h2>Notes</h2><ul>{notes}</ul>")?;
    }
    out.push_str("</body></html>\n");
    Ok(())
}

fn wastes(out: &mut String, report: &Report) -> std::fmt::Result {
    out.push_str("<h2>Largest wastes</h2>");
    if report.wastes.is_empty() {
        out.push_str("<p>none</p>");
        return Ok(());
    }
    out.push_str("<ol>");
    for waste in &report.wastes {
        write!(out, "<li><b>{}</b><br>{}</li>", escaped(&in_words(waste)), escaped(&waste.advice))?;
    }
    out.push_str("</ol>");
    Ok(())
}

/// Renders a bar chart with names and values.
fn picture(out: &mut String, name: &str, class: &str, bars: &[(String, f64, String)]) -> std::fmt::Result {
    let largest = bars.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
    if largest <= 0.0 {
        return Ok(());
    }
    let (width, height) = (NAME_WIDTH + BAR_WIDTH + 200.0, bars.len() as f64 * ROW_HEIGHT);
    let name = escaped(name);
    write!(out, "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{name}\"><title>{name}</title>")?;
    for (index, (name, value, label)) in bars.iter().enumerate() {
        let top = index as f64 * ROW_HEIGHT;
        let (base, length) = (top + 15.0, value / largest * BAR_WIDTH);
        let (name, label) = (escaped(name), escaped(label));
        write!(
            out,
            "<text x=\"0\" y=\"{base}\">{name}</text>\
             <rect class=\"{class}\" x=\"{NAME_WIDTH}\" y=\"{}\" width=\"{length:.1}\" height=\"14\"/>\
             <text x=\"{:.1}\" y=\"{base}\">{label}</text>",
            top + 3.0,
            NAME_WIDTH + length + 6.0
        )?;
    }
    out.push_str("</svg>");
    Ok(())
}

fn gpus(out: &mut String, name: &str, rows: &[Gpus], all: f64, class: &str) -> std::fmt::Result {
    if all <= 0.0 {
        return Ok(());
    }
    write!(out, "<h2>{}</h2>", escaped(name))?;
    let bar = |row: &Gpus| {
        let dollars = row.dollars.map(|dollars| format!(", {}", in_dollars(dollars))).unwrap_or_default();
        let part = row.gpu_hours / all * 100.0;
        (words_of(&row.name), row.gpu_hours, format!("{part:.1} %, {}{dollars}", in_hours(row.gpu_hours)))
    };
    let bars: Vec<_> = rows.iter().filter(|row| row.gpu_hours > 0.0).map(bar).collect();
    picture(out, name, class, &bars)
}

fn table(out: &mut String, header: &[String], rows: impl Iterator<Item = Vec<String>>) {
    let line = |tag: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>")
    };
    out.push_str("<table><thead>");
    out.push_str(&line("th", header));
    out.push_str("</thead><tbody>");
    for row in rows {
        out.push_str(&line("td", &row));
    }
    out.push_str("</tbody></table>");
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn objectives(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.objectives.is_empty() {
        return Ok(());
    }
    out.push_str("<h2>Waits against objectives</h2>");
    let rows = report.objectives.iter().map(|objective| {
        let reached = objective.reached.map_or_else(|| "-".to_owned(), |reached| format!("{:.1} %", reached * 100.0));
        let met = objective.is_met().map_or("no job started", |is_met| if is_met { "met" } else { "missed" });
        let target = format!("{:.0} % within {}", objective.target * 100.0, duration(objective.within_seconds));
        vec![objective.name.clone(), target, reached, objective.waits.to_string(), met.to_owned()]
    });
    table(out, &strings(["Objective", "Target", "Reached", "Jobs", ""]), rows);
    Ok(())
}

fn failures(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.failures.is_empty() {
        return Ok(());
    }
    out.push_str("<h2>Failures, by who can fix them</h2>");
    let bar = |row: &crate::report::Failures| (words_of(&row.category), row.jobs as f64, counted(row.jobs, "job"));
    picture(out, "Failures", "waste", &report.failures.iter().map(bar).collect::<Vec<_>>())?;
    let rows = report.failures.iter().map(|row| {
        vec![
            row.who.clone(),
            words_of(&row.category),
            row.words.clone(),
            row.jobs.to_string(),
            in_hours(row.lost_gpu_hours),
        ]
    });
    table(out, &strings(["Who", "Category", "What", "Jobs", "Lost"]), rows);
    Ok(())
}

fn lending(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.lending.is_empty() {
        return Ok(());
    }
    out.push_str("<h2>Quotas, in GPU-hours</h2>");
    let rows = report.lending.iter().map(|row| {
        let hours = [
            row.own_gpu_hours,
            row.lent_gpu_hours,
            row.borrowed_gpu_hours,
            row.idle_gpu_hours,
            row.idle_while_waiting_gpu_hours,
        ];
        let hours = hours.map(|hours| format!("{hours:.1}"));
        [queue(report, row), row.share.clone()].into_iter().chain(hours).collect()
    });
    table(out, &strings(["Queue", "Share", "Own", "Lent", "Borrowed", "Idle", "Idle while jobs waited"]), rows);
    Ok(())
}

fn breakdown(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.by.is_empty() || report.breakdown.is_empty() {
        return Ok(());
    }
    let name = format!("Jobs that ended, by {}", report.by.join(" and "));
    write!(out, "<h2>{}</h2>", escaped(&name))?;
    let bar = |row: &Breakdown| (named(row).join(" / "), row.gpu_hours, in_hours(row.gpu_hours));
    picture(out, &name, "bar", &report.breakdown.iter().take(BARS).map(bar).collect::<Vec<_>>())?;
    let rest = strings(["Jobs", "Failed", "Preemptions", "GPU-hours", "Dollars", "Lost", "Wait p50", "Wait p90"]);
    let header: Vec<String> = report.by.iter().cloned().chain(rest).collect();
    let rows = report.breakdown.iter().take(MAX_ROWS).map(|row| {
        let wait = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), duration);
        let figures = [
            row.jobs.to_string(),
            row.failed.to_string(),
            row.preemptions.to_string(),
            format!("{:.1}", row.gpu_hours),
            row.dollars.map_or_else(|| "-".to_owned(), in_dollars),
            format!("{:.1}", row.lost_gpu_hours),
            wait(row.waits.p50_seconds),
            wait(row.waits.p90_seconds),
        ];
        named(row).into_iter().chain(figures).collect()
    });
    table(out, &header, rows);
    let more = report.breakdown.len().saturating_sub(MAX_ROWS);
    if more > 0 {
        write!(out, "<p>... and {}; the CSV form has all.</p>", counted(more as u64, "row"))?;
    }
    Ok(())
}

/// Escapes a text for HTML content and attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in readable_line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
