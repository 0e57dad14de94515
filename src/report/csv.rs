//! The breakdown of a report as CSV: one row per combination of keys, keys first.

use crate::report::Report;
use trainspotter_core::model::readable;

/// First characters that make spreadsheets interpret a cell as a formula.
const FORMULAS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// The breakdown as CSV (RFC 4180), with a header.
///
/// # Errors
/// A row cannot be written, which only a lack of memory could cause.
pub fn csv(report: &Report) -> Result<String, csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let figures = [
        "from",
        "to",
        "jobs",
        "succeeded",
        "failed",
        "preemptions",
        "gpu_hours",
        "dollars",
        "lost_gpu_hours",
        "waits",
        "wait_mean_seconds",
        "wait_p50_seconds",
        "wait_p90_seconds",
        "wait_max_seconds",
    ];
    writer.write_record(report.by.iter().map(String::as_str).chain(figures))?;
    let (from, to) = (report.from.to_string(), report.to.to_string());
    let number = |value: Option<f64>| value.map(|value| format!("{value:.3}")).unwrap_or_default();
    for row in &report.breakdown {
        let waits = &row.waits;
        let counts = [row.jobs, row.succeeded, row.failed, row.preemptions].map(|count| count.to_string());
        let amounts = [Some(row.gpu_hours), row.dollars, Some(row.lost_gpu_hours)].map(number);
        let of_waits = [waits.mean_seconds, waits.p50_seconds, waits.p90_seconds, waits.max_seconds].map(number);
        let cells = row.keys.iter().map(|key| harmless(key)).chain([from.clone(), to.clone()]);
        let cells = cells.chain(counts).chain(amounts).chain([waits.count.to_string()]).chain(of_waits);
        writer.write_record(cells)?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Neutralizes a name, which may be any text from a tag: it must not become a formula or control a terminal.
fn harmless(text: &str) -> String {
    let shown = readable(text);
    if text.starts_with(FORMULAS) { format!("'{shown}") } else { shown.into_owned() }
}
