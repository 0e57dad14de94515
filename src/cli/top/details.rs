//! Details shown instead of the tables: a job's explanation, an alert's text, or the keys. Independent of the
//! terminal.

use serde_json::Value;

use crate::cli::format_api_values::text;
use crate::cli::table::plain;

const KEYS: [&str; 8] = [
    "tab, shift-tab, 1 2 3               jobs, queues, alerts",
    "arrows, j k, page up and down, g G  move",
    "enter                               details of the job, queue or alert",
    "esc                                 back; without details, clears the filter",
    "s                                   change the sort order of jobs",
    "/                                   filter; enter keeps it, esc clears it",
    "? h                                 these keys",
    "q, ctrl-c                           quit",
];

/// Full-screen lines with a scroll position.
#[derive(Debug)]
pub(super) struct Details {
    of: &'static str,
    lines: Vec<String>,
    first: usize,
}

impl Details {
    pub(super) fn new(of: &'static str, lines: Vec<String>) -> Self {
        Self { of, lines, first: 0 }
    }

    pub(super) fn keys() -> Self {
        Self::new("keys", KEYS.map(str::to_owned).to_vec())
    }

    /// An alert's labels and annotations, one per line.
    pub(super) fn of_alert(alert: &Value) -> Self {
        let mut lines =
            vec![format!("{} {}, since {}", text(alert, "rule"), text(alert, "state"), text(alert, "active_at"))];
        for part in ["annotations", "labels"] {
            let pairs = alert[part].as_object().into_iter().flatten();
            lines.extend(pairs.map(|(name, value)| format!("  {name}: {}", value.as_str().unwrap_or_default())));
        }
        lines.push(format!("  page: /alerts/{}", text(alert, "id")));
        Self::new("alert", lines.iter().map(|line| plain(line)).collect())
    }

    pub(super) fn move_by(&mut self, lines: isize) {
        self.first = self.first.saturating_add_signed(lines);
    }

    /// Lines for a screen of `height`, of which `page` show details. None is selected.
    pub(super) fn lines(&mut self, title: String, page: usize, height: usize) -> Vec<(String, bool)> {
        self.first = self.first.min(self.lines.len().saturating_sub(page));
        let mut lines = vec![title, format!("[{}]", self.of), String::new()];
        lines.extend(self.lines.iter().skip(self.first).take(page).cloned());
        lines.resize(height - 1, String::new());
        lines.push("esc back  arrows j k move  q quit".to_owned());
        lines.into_iter().map(|line| (line, false)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn details_scroll_as_far_as_there_is_something() {
        let mut details = Details::new("job", (0..10).map(|number| format!("line {number}")).collect());
        let shown = |details: &mut Details| {
            let lines = details.lines("title".to_owned(), 4, 8);
            assert_eq!(lines.len(), 8);
            lines[3].0.clone()
        };
        assert_eq!(shown(&mut details), "line 0");
        details.move_by(isize::MAX);
        assert_eq!(shown(&mut details), "line 6");
        details.move_by(-2);
        assert_eq!(shown(&mut details), "line 4");
    }

    #[test]
    fn the_keys_fit_into_eighty_columns() {
        assert!(KEYS.iter().all(|key| key.len() <= 80), "{KEYS:?}");
    }

    #[test]
    fn an_alert_shows_its_summary_without_terminal_escapes() {
        let alert = json!({ "id": "a1", "rule": "LongWait", "state": "firing", "active_at": "t", "annotations": { "summary": "waits \u{1b}[2J" }, "labels": {} });
        let lines = Details::of_alert(&alert).lines;
        assert_eq!(lines[..2], ["LongWait firing, since t", "  summary: waits \u{fffd}[2J"]);
    }
}
