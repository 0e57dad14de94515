//! State of the view: three tables, a selection, a filter. Independent of the terminal.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::jobs::{self, Sort, compare};
use crate::cli::remote::Client;
use crate::cli::table::plain;
use crate::cli::top::details::Details;
use crate::cli::{Failure, alerts, queues};
use trainspotter_core::model::{Timestamp, format};

/// Number of jobs requested.
const MAX_JOBS: &str = "500";

/// Lines besides the rows of a table: title, tabs and header above, keys below.
const FIXED_LINES: usize = 4;

const SORTS: [Sort; 8] =
    [Sort::Waiting, Sort::Created, Sort::Gpus, Sort::Name, Sort::State, Sort::Owner, Sort::Share, Sort::Priority];

/// The latest data of the service.
#[derive(Debug)]
pub(super) struct Data {
    jobs: Vec<Value>,
    queues: queues::Found,
    alerts: Vec<Value>,
    now: Option<Timestamp>,
    status: String,
    asked_at: Instant,
}

impl Data {
    pub(super) async fn ask(client: &Client, sort: Sort) -> Result<Self, Failure> {
        let health = client.get(&["health"], &[]).await?;
        let Some(status) = health["status"].as_str().map(str::to_owned) else {
            return Err(client.is_something_else("the response has no status"));
        };
        let (alerts, now) = alerts::found(client).await?;
        let queues = queues::found(client, None).await?;
        let mut jobs = Vec::new();
        for query in [
            [("sort", "waiting"), ("limit", MAX_JOBS)],
            [("state", "scheduled"), ("limit", MAX_JOBS)],
            [("state", "starting"), ("limit", MAX_JOBS)],
            [("state", "running"), ("limit", MAX_JOBS)],
        ] {
            let mut page = client.get(&["jobs"], &query).await?;
            jobs.append(page["jobs"].as_array_mut().unwrap_or(&mut Vec::new()));
        }
        jobs.sort_by(|one, other| compare(sort, one, other));
        Ok(Self { jobs, queues, alerts, now, status, asked_at: Instant::now() })
    }

    /// All lines, for output without a terminal.
    pub(super) fn all_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for tab in TABS {
            lines.extend([String::new(), tab.title().to_uppercase()]);
            lines.extend(self.table(tab));
        }
        lines.remove(0);
        lines
    }

    /// The data as JSON.
    pub(super) fn as_json(&self) -> Value {
        let Self { jobs, queues, alerts, now, status, .. } = self;
        json!({ "status": status, "now": now, "jobs": jobs, "queues": queues.queues, "shares": queues.shares, "alerts": alerts })
    }

    fn table(&self, tab: Tab) -> Vec<String> {
        match tab {
            Tab::Jobs => jobs::table(&self.jobs).lines(),
            Tab::Queues => queues::table(&self.queues).lines(),
            Tab::Alerts => alerts::table(&self.alerts, self.now).lines(),
        }
    }

    fn firing(&self) -> usize {
        self.alerts.iter().filter(|alert| alert["state"] == "firing").count()
    }
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Jobs,
    Queues,
    Alerts,
}

const TABS: [Tab; 3] = [Tab::Jobs, Tab::Queues, Tab::Alerts];

impl Tab {
    fn title(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Queues => "queues",
            Self::Alerts => "alerts",
        }
    }
}

/// State of the view.
#[derive(Debug)]
pub(super) struct View {
    service: String,
    data: Data,
    /// Error of the last request.
    error: Option<String>,
    tab: usize,
    /// Selected line, among those shown.
    marked: usize,
    /// First line on the screen.
    first: usize,
    page: usize,
    sort: usize,
    filter: String,
    typing: bool,
    /// Details shown instead of the tables.
    details: Option<Details>,
    /// Job whose explanation must be requested.
    asked: Option<String>,
}

impl View {
    pub(super) fn new(service: &str, data: Data) -> Self {
        let (error, service) = (None, service.to_owned());
        Self {
            service,
            data,
            error,
            tab: 0,
            marked: 0,
            first: 0,
            page: 1,
            sort: 0,
            filter: String::new(),
            typing: false,
            details: None,
            asked: None,
        }
    }

    /// Applies the result of a request: on failure the previous data stays.
    pub(super) fn take(&mut self, looked: Result<Data, Failure>) {
        match looked {
            Ok(data) => (self.data, self.error) = (data, None),
            Err(failure) => self.error = Some(plain(failure.text().lines().next().unwrap_or_default())),
        }
    }

    pub(super) fn sort(&self) -> Sort {
        SORTS[self.sort % SORTS.len()]
    }

    pub(super) fn next_sort(&mut self) {
        self.sort = (self.sort + 1) % SORTS.len();
        let sort = self.sort();
        self.data.jobs.sort_by(|one, other| compare(sort, one, other));
    }

    pub(super) fn turn(&mut self, by: usize) {
        self.details = None;
        (self.tab, self.marked, self.first) = ((self.tab + by) % TABS.len(), 0, 0);
    }

    pub(super) fn show(&mut self, digit: char) {
        let tab =
            digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok()).map_or(0, |digit| digit.saturating_sub(1));
        self.details = None;
        (self.tab, self.marked, self.first) = (tab % TABS.len(), 0, 0);
    }

    /// Opens the selection: the explanation of a job, which must be requested first; the jobs of a queue; the text
    /// of an alert.
    pub(super) fn enter(&mut self) {
        let shown = self.shown_rows();
        let Some((row, _)) = shown.get(self.marked).filter(|_| self.details.is_none()) else { return };
        match self.shown_tab() {
            Tab::Jobs => self.asked = self.data.jobs.get(*row).and_then(|job| Some(job["id"].as_str()?.to_owned())),
            Tab::Queues => {
                if let Some(queue) = self.data.queues.name_of_row(*row) {
                    (self.filter, self.tab, self.marked, self.first) = (queue, 0, 0, 0);
                }
            }
            Tab::Alerts => self.details = self.data.alerts.get(*row).map(Details::of_alert),
        }
    }

    /// Takes the job whose explanation must be requested.
    pub(super) fn take_asked(&mut self) -> Option<String> {
        self.asked.take()
    }

    pub(super) fn show_story(&mut self, story: Result<Vec<String>, Failure>) {
        self.details = Some(match story {
            Ok(lines) => Details::new("job", lines),
            Err(failure) => Details::new("job", vec![plain(failure.text().lines().next().unwrap_or_default())]),
        });
    }

    pub(super) fn show_keys(&mut self) {
        self.details = Some(Details::keys());
    }

    /// Closes the details, or clears the filter.
    pub(super) fn back(&mut self) {
        if self.details.take().is_none() {
            self.clear_filter();
        }
    }

    fn shown_tab(&self) -> Tab {
        TABS[self.tab % TABS.len()]
    }

    /// The rows that match the filter, with their index in the table.
    fn shown_rows(&self) -> Vec<(usize, String)> {
        let wanted = self.filter.to_lowercase();
        let rows = self.data.table(self.shown_tab()).into_iter().skip(1).enumerate();
        rows.filter(|(_, row)| row.to_lowercase().contains(&wanted)).collect()
    }

    pub(super) fn move_by(&mut self, lines: isize) {
        if let Some(details) = &mut self.details {
            return details.move_by(lines);
        }
        self.marked = self.marked.saturating_add_signed(lines);
    }

    pub(super) fn page(&self) -> isize {
        isize::try_from(self.page).unwrap_or(1)
    }

    pub(super) fn is_typing(&self) -> bool {
        self.typing
    }

    pub(super) fn type_filter(&mut self) {
        (self.typing, self.filter) = (true, String::new());
    }

    pub(super) fn typed(&mut self, letter: char) {
        self.filter.push(letter);
        (self.marked, self.first) = (0, 0);
    }

    pub(super) fn erase(&mut self) {
        self.filter.pop();
    }

    pub(super) fn keep_filter(&mut self) {
        self.typing = false;
    }

    fn clear_filter(&mut self) {
        (self.typing, self.filter) = (false, String::new());
    }

    /// Lines for a screen of `height`, and which is selected.
    pub(super) fn lines(&mut self, height: usize) -> Vec<(String, bool)> {
        self.page = height.saturating_sub(FIXED_LINES).max(1);
        let title = self.title();
        if let Some(details) = &mut self.details {
            return details.lines(title, self.page, height.max(FIXED_LINES));
        }
        let titles = self.data.table(self.shown_tab()).into_iter().next().unwrap_or_default();
        let rows = self.shown_rows();
        self.marked = self.marked.min(rows.len().saturating_sub(1));
        self.first = self.first.clamp((self.marked + 1).saturating_sub(self.page), self.marked);
        let mut lines = vec![(title, false), (self.tabs(), false), (titles, false)];
        let shown = rows.iter().enumerate().skip(self.first).take(self.page);
        lines.extend(shown.map(|(index, (_, row))| (row.clone(), index == self.marked)));
        if rows.is_empty() {
            lines.push(("nothing to show".to_owned(), false));
        }
        lines.resize((height.max(FIXED_LINES)) - 1, (String::new(), false));
        lines.push((self.keys(), false));
        lines
    }

    fn title(&self) -> String {
        let Self { service, data, error, .. } = self;
        let age = format::duration(data.asked_at.elapsed().as_secs_f64());
        match error {
            Some(error) => format!("Trainspotter {service}  data is {age} old: {error}"),
            None => format!(
                "Trainspotter {service}  {}, {} firing",
                data.status,
                format::counted(data.firing() as u64, "alert")
            ),
        }
    }

    fn tabs(&self) -> String {
        let tab = |(index, tab): (usize, &Tab)| {
            let title = format!("{} {}", index + 1, tab.title());
            if index == self.tab { format!("[{title}]") } else { format!(" {title} ") }
        };
        let tabs: Vec<String> = TABS.iter().enumerate().map(tab).collect();
        let order = format!("{:?}", self.sort()).to_lowercase();
        let filter =
            if self.filter.is_empty() && !self.typing { String::new() } else { format!("  /{}", plain(&self.filter)) };
        format!("{}  order: {order}{filter}{}", tabs.join(" "), if self.typing { "_" } else { "" })
    }

    fn keys(&self) -> String {
        if self.typing {
            "enter keeps the filter, esc clears it".to_owned()
        } else {
            "q quit  tab next table  arrows j k move  enter details  s order  / filter  ? keys".to_owned()
        }
    }
}
