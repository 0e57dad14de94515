//! Collects report rows from the archive and, for days not yet archived, from the state files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::archive::{self, ArchiveError, Row, day_of, unpack};
use crate::config::{Config, check_report_key};
use crate::objects::{AnyStorage, OpenError};
use crate::report::{Builder, Key, Report};
use crate::service::state_files;
use crate::store::{ArchiveTable, StoreError, UnarchivedFile};
use trainspotter_clock::Clock;
use trainspotter_core::metrics::EndedJob;
use trainspotter_core::metrics::archived_hour::HourFigures;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Objective, Rule};

/// Default objective for first waits if no rule has one: 95 % within an hour.
const USUAL_OBJECTIVE: (f64, f64) = (3_600.0, 0.95);

/// Ticks whose rows are read in one batch.
const TICKS_AT_ONCE: u32 = 200;

/// A day.
const DAY: Duration = Duration::from_secs(86_400);

/// Why a report failed.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The archive cannot be read.
    #[error("the archive: {0}")]
    Archive(#[from] ArchiveError),
    /// The archive cannot be opened.
    #[error("the archive: {0}")]
    Open(#[from] OpenError),
    /// The state file cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The request is invalid.
    #[error("{0}")]
    Usage(String),
    /// The report thread panicked.
    #[error("building the report failed: {0}")]
    Ended(#[source] tokio::task::JoinError),
}

/// Data sources of a report.
#[derive(Debug, Default)]
pub struct Sources {
    /// The archive, if configured.
    pub archive: Option<AnyStorage>,
    /// State files, for what is not archived yet.
    pub stores: Vec<PathBuf>,
}

impl Sources {
    /// The sources for a configuration.
    ///
    /// # Errors
    /// The archive cannot be opened.
    pub async fn of(config: &Config, clock: Clock) -> Result<Self, OpenError> {
        let archive = match &config.archive {
            Some(archive) => Some(archive::open(archive, Some(config), clock).await?),
            None => None,
        };
        let stores = state_files::of_targets(&config.store, &config.targets).into_iter().map(|file| file.path);
        Ok(Self { archive, stores: stores.collect() })
    }

    /// Time of the newest row. A simulated service has its own time, so the local clock cannot be used.
    ///
    /// # Errors
    /// A source cannot be read.
    pub async fn newest(&self) -> Result<Option<Timestamp>, ReportError> {
        let mut newest = None;
        if let Some(archive) = &self.archive {
            for table in ArchiveTable::ALL {
                let last = archive::days(archive, table).await?.into_keys().next_back();
                newest = newest.max(last.map(|day| day + DAY));
            }
        }
        for store in self.stores.iter().filter(|store| store.exists()) {
            newest = newest.max(UnarchivedFile::open(store)?.committed_at()?);
        }
        Ok(newest)
    }

    /// Adds all rows of the report's period. Unreadable parts are skipped and noted in the report.
    ///
    /// # Errors
    /// The archive or a state file cannot be read at all.
    pub async fn fill(&self, builder: &mut Builder) -> Result<(), ReportError> {
        let jobs = self.table::<EndedJob>(builder, Builder::take_job).await?;
        let hours = self.table::<HourFigures>(builder, Builder::take_hour).await?;
        for note in jobs.into_iter().chain(hours) {
            builder.note(note);
        }
        Ok(())
    }

    async fn table<R: Row>(
        &self,
        builder: &mut Builder,
        take: impl Fn(&mut Builder, &R),
    ) -> Result<Vec<String>, ReportError> {
        let (from, to) = builder.span();
        let mut notes = Vec::new();
        // A row may be in both places for a moment.
        let mut seen = HashSet::new();
        for store in self.stores.iter().filter(|store| store.exists()) {
            let bad = unarchived::<R>(store, (from, to), |row| {
                take(builder, &row);
                seen.insert(row.key());
            })?;
            if bad > 0 {
                notes.push(format!("{bad} unreadable rows of {} in the state file were skipped", R::TABLE.as_str()));
            }
        }
        if let Some(archive) = &self.archive {
            let is_new = |row: &R| !seen.contains(&row.key());
            let read = archive::read_days(archive, from, to, |row: R| {
                if is_new(&row) {
                    take(builder, &row)
                }
            })
            .await?;
            notes.extend(read.unreadable.into_iter().map(|problem| format!("skipped: {problem}")));
            if read.more_unreadable > 0 {
                notes.push(format!("skipped {} more unreadable files", read.more_unreadable));
            }
            if !read.has_days {
                notes.push(format!(
                    "the archive has no files of {0}: no day is complete yet, or this is not the place of `archive` in the \
                     service's configuration (files are below {0}/)",
                    R::TABLE.as_str()
                ));
            }
        }
        Ok(notes)
    }
}

/// Passes the unarchived rows of a period to `take`. Returns how many cannot be read.
fn unarchived<R: Row>(
    store: &Path,
    (from, to): (Timestamp, Timestamp),
    mut take: impl FnMut(R),
) -> Result<u64, StoreError> {
    let file = UnarchivedFile::open(store)?;
    let mut bad = 0;
    let days = file.days()?.into_iter().filter(|day| day.table == R::TABLE);
    for day in days.filter(|day| day.day >= day_of(from) && day.day < to) {
        let mut after = Timestamp::from_millis(i64::MIN);
        loop {
            let page = file.read(R::TABLE, day.day, after, TICKS_AT_ONCE)?;
            let Some(last) = page.last() else { break };
            after = last.at;
            for packed in page {
                match unpack::<R>(&packed.body) {
                    Ok(rows) => rows.into_iter().filter(|row| (from..to).contains(&row.at())).for_each(&mut take),
                    Err(_) => bad += packed.rows,
                }
            }
        }
    }
    Ok(bad)
}

/// First-wait objectives of the rules, or the default one.
pub fn objectives(rules: &[Rule]) -> Vec<Objective> {
    let mut all: Vec<Objective> = Vec::new();
    for objective in rules.iter().filter_map(Rule::objective) {
        if !all.contains(objective) {
            all.push(objective.clone());
        }
    }
    if all.is_empty() {
        let (within, target) = USUAL_OBJECTIVE;
        all.push(Objective::over_all("default objective", within, target));
    }
    all
}

/// Builds a report for a period. Unknown grouping keys are refused: a key must be a tag of some job, a configured
/// key or a built-in one.
///
/// # Errors
/// See [`ReportError`].
pub async fn report(
    sources: &Sources,
    (from, to): (Timestamp, Timestamp),
    by: &[String],
    tags: &[String],
    objectives: Vec<Objective>,
) -> Result<Report, ReportError> {
    let keys = by.iter().map(|key| Key::named(key)).collect();
    let mut builder = Builder::new(from, to, keys, objectives);
    sources.fill(&mut builder).await?;
    let known: Vec<String> = builder.tags().iter().chain(tags).cloned().collect();
    for key in by {
        check_report_key(key, &known).map_err(ReportError::Usage)?;
    }
    Ok(builder.finish())
}
