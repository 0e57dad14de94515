//! The archive beside the event loop: what ticks leave to be archived goes into their commits, and a task of its own writes the days that
//! are over.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::archive::{self, ArchiveError, Written, day_text, source_of, unarchived_of, write_day};
use crate::config::{Archive, Config};
use crate::notify::outbox::Outbox as _;
use crate::objects::{Anywhere, OpenError};
use crate::service::COUNTED_UNTIL;
use crate::service::StartError;
use crate::service::problems::Problems;
use crate::store::{ArchiveTable, StoreError, StoreHandle, Unarchived, UnarchivedDay};
use trainspotter_clock::Clock;
use trainspotter_core::engine::{Engine, Output};
use trainspotter_core::metrics::hourly::{HourFigures, Hourly};
use trainspotter_core::metrics::{EndedJob, Frame, PendingArchive, catalogue};
use trainspotter_core::model::{SavedSeries, Timestamp};

/// How often it is looked whether a day is to be archived.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// ... in wall time at least, on a clock that runs fast.
const MIN_LOOK: Duration = Duration::from_millis(200);

/// After failures it is tried again after so long at the latest.
const MAX_PAUSE: Duration = Duration::from_secs(3_600);

/// Rows of ticks whose commit failed are held up to this many; beyond it the newest are left out, which `limit.hits` counts.
const MAX_UNCOMMITTED_ROWS: u64 = 1_000_000;

/// Why days that are due could not be written.
#[derive(Debug, thiserror::Error)]
enum LookError {
    /// Bucket or folder cannot be asked at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A day could not be written.
    #[error(transparent)]
    Write(#[from] ArchiveError),
    /// The rows cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How archiving goes.
#[derive(Clone, Debug, Default)]
pub(super) struct ArchiveStanding {
    rows: u64,
    /// Since when the oldest day is due.
    due_since: Option<Timestamp>,
    failures: u64,
    trouble: Option<String>,
}

/// What goes on with the archive: rows for commits, and whoever writes days that are over.
pub(super) async fn begin(
    config: &Config,
    whole: &Arc<Config>,
    store: &StoreHandle,
    series: &[SavedSeries],
    clock: Clock,
) -> Result<(ArchiveRows, Archiving), StartError> {
    let writer = ArchiveWriter::new(config, whole, store, clock);
    let rows = ArchiveRows::restored(config, store, series, writer.as_ref()).await?;
    Ok((rows, Archiving(writer)))
}

/// The task that writes days, where there is an archive.
#[derive(Debug)]
pub(super) struct Archiving(Option<ArchiveWriter>);

impl Archiving {
    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        match self.0 {
            Some(writer) => writer.run(stop).await,
            None => stop.cancelled().await,
        }
    }
}

/// What ticks leave to be archived, until a commit has taken it.
#[derive(Debug)]
pub(super) struct ArchiveRows {
    hourly: Hourly,
    uncommitted: Unarchived,
    /// Whether the hour that is not over has to be kept anew.
    is_new_hour: bool,
    /// Whether rows are kept at all.
    is_on: bool,
    left_out: u64,
    standing: Option<watch::Receiver<ArchiveStanding>>,
    failures_counted: u64,
}

impl ArchiveRows {
    /// Goes on from what an earlier run has kept.
    async fn restored(
        config: &Config,
        store: &StoreHandle,
        series: &[SavedSeries],
        writer: Option<&ArchiveWriter>,
    ) -> Result<Self, StartError> {
        let failed = |error: StoreError| StartError::new("reading what is to be archived", error);
        let begin = store.call(|store| store.hour_begin()).await.map_err(failed)?;
        // What cannot be read begins anew: counters go on, and only the hour is cut.
        let begin = begin.and_then(|body| serde_json::from_slice(&body).ok());
        let keep = config.archive.is_none().then_some(config.history.keep);
        Ok(Self {
            hourly: Hourly::restored(begin, series),
            uncommitted: Unarchived { keep, ..Unarchived::default() },
            is_new_hour: true,
            is_on: config.archive.is_some() || !config.history.keep.is_zero(),
            left_out: 0,
            standing: writer.map(|writer| writer.standing.subscribe()),
            failures_counted: 0,
        })
    }

    /// Takes in what a tick has counted.
    pub(super) fn take_in(&mut self, now: Timestamp, output: &mut Output, frame: &Frame) {
        let ended = std::mem::take(&mut output.ended);
        if !self.is_on {
            return;
        }
        let hour = self.hourly.begin().cloned();
        let hours = self.hourly.tick(now, &output.series, &frame.queues).unwrap_or_default();
        self.is_new_hour |= hour.as_ref() != self.hourly.begin();
        let held: u64 = self.uncommitted.rows.iter().map(|rows| rows.rows).sum();
        if held > MAX_UNCOMMITTED_ROWS {
            self.left_out += (ended.len() + hours.len()) as u64;
            return;
        }
        let packed = packed(&ended, &hours, now);
        match packed {
            Ok(rows) => self.uncommitted.rows.extend(rows),
            Err(error) => tracing::error!(%error, "rows of the archive cannot be written down and are left out"),
        }
        if self.is_new_hour {
            self.uncommitted.hour = self.hourly.begin().and_then(|begin| serde_json::to_vec(begin).ok());
        }
    }

    /// What the next commit has to take.
    pub(super) fn uncommitted(&self) -> Unarchived {
        self.uncommitted.clone()
    }

    /// A commit has taken it.
    pub(super) fn committed(&mut self) {
        self.uncommitted = Unarchived { keep: self.uncommitted.keep, ..Unarchived::default() };
        self.is_new_hour = false;
    }

    /// Shows how archiving goes.
    pub(super) fn show(&mut self, now: Timestamp, engine: &mut Engine, problems: &mut Problems) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            engine.counting().add(&catalogue::LIMIT_HITS, [("limit", "uncommitted_archive_rows".into())], left_out);
        }
        let Some(standing) = &self.standing else { return };
        let standing = standing.borrow().clone();
        let failures =
            standing.failures.saturating_sub(std::mem::replace(&mut self.failures_counted, standing.failures));
        engine.counting().add(&catalogue::ARCHIVE_FAILURES, [], failures);
        let oldest_age = standing.due_since.map_or(Duration::ZERO, |since| now.since(since));
        engine.service().archive = Some(PendingArchive { rows: standing.rows, oldest_age });
        problems.set_archive(standing.trouble);
    }
}

fn packed(
    ended: &[EndedJob],
    hours: &[HourFigures],
    now: Timestamp,
) -> Result<Vec<crate::store::UnarchivedRows>, StoreError> {
    let mut rows = unarchived_of(ended, now)?;
    rows.extend(unarchived_of(hours, now)?);
    Ok(rows)
}

/// Writes the days that are over.
#[derive(Debug)]
struct ArchiveWriter {
    archive: Archive,
    config: Arc<Config>,
    source: String,
    store: StoreHandle,
    clock: Clock,
    standing: watch::Sender<ArchiveStanding>,
}

impl ArchiveWriter {
    /// The writer of the archive that is configured, if one is.
    fn new(config: &Config, whole: &Arc<Config>, store: &StoreHandle, clock: Clock) -> Option<Self> {
        let archive = config.archive.clone()?;
        let source = source_of(config.targets.first()?);
        // What is not said of the bucket is as of the first target of all.
        let (config, standing) = (Arc::clone(whole), watch::Sender::default());
        Some(Self { archive, config, source, store: store.clone(), clock, standing })
    }

    /// Runs until `stop`. What is not written then is in the state file.
    async fn run(self, stop: CancellationToken) {
        let least = self.clock.of_wall(MIN_LOOK);
        let mut pause = Duration::ZERO;
        let mut storage: Option<Anywhere> = None;
        loop {
            if stop.run_until_cancelled(self.clock.sleep(pause.max(least))).await.is_none() {
                return;
            }
            let Some(looked) = stop.run_until_cancelled(self.look(&mut storage)).await else { return };
            pause = match looked {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    let trouble = error.to_string();
                    if self.standing.borrow().trouble.as_ref() != Some(&trouble) {
                        tracing::error!(place = %self.archive.place, trouble, "the archive cannot be written; its rows wait in the state file");
                    }
                    self.standing.send_modify(|standing| {
                        standing.failures += 1;
                        standing.trouble = Some(trouble);
                    });
                    (pause * 2).clamp(LOOK_EVERY, MAX_PAUSE)
                }
            };
        }
    }

    /// Writes every day that is due.
    async fn look(&self, storage: &mut Option<Anywhere>) -> Result<(), LookError> {
        let pending = self.pending().await?;
        let Some((days, counted_until)) = pending else { return Ok(()) };
        let is_due = |day: &UnarchivedDay| self.due_at(day.day) <= counted_until;
        let due: Vec<UnarchivedDay> = days.iter().copied().filter(is_due).collect();
        self.standing.send_modify(|standing| {
            standing.rows = days.iter().map(|day| day.rows).sum();
            standing.due_since = due.iter().map(|day| self.due_at(day.day)).min();
        });
        if due.is_empty() {
            return Ok(());
        }
        let storage = match storage {
            Some(storage) => storage,
            None => storage.insert(archive::open(&self.archive, Some(&self.config), self.clock).await?),
        };
        let mut failed = Ok(());
        for UnarchivedDay { table, day, .. } in due {
            match self.write(storage, table, day).await {
                Ok(written) => self.report(table, day, written),
                Err(ArchiveError::NotLeading) => return Ok(()),
                // The other days may do.
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed?;
        let before = self.standing.borrow().trouble.is_some();
        if before {
            tracing::info!(place = %self.archive.place, "the archive is written again");
        }
        let days = self.pending().await?;
        self.standing.send_modify(|standing| {
            standing.rows = days.iter().flat_map(|(days, _)| days).map(|day| day.rows).sum();
            (standing.due_since, standing.trouble) = (None, None);
        });
        Ok(())
    }

    /// When a day is to be written: once it is over, and what AWS reports late has come.
    fn due_at(&self, day: Timestamp) -> Timestamp {
        day + Duration::from_secs(86_400) + self.archive.grace
    }

    /// The days that wait, and up to when everything is counted; `None` while it is not known.
    async fn pending(&self) -> Result<Option<(Vec<UnarchivedDay>, Timestamp)>, StoreError> {
        self.store
            .call(|store| {
                // Memory that stands in for the file has only what came since.
                if store.trouble().is_some() {
                    return Ok(None);
                }
                Ok(Some(store.unarchived_days()?).zip(store.watermark(COUNTED_UNTIL)?))
            })
            .await
    }

    async fn write(&self, storage: &Anywhere, table: ArchiveTable, day: Timestamp) -> Result<Written, ArchiveError> {
        let may_write = || self.store.may_send();
        match table {
            ArchiveTable::Jobs => write_day::<EndedJob, _>(storage, &self.store, day, &self.source, may_write).await,
            ArchiveTable::Hours => {
                write_day::<HourFigures, _>(storage, &self.store, day, &self.source, may_write).await
            }
        }
    }

    fn report(&self, table: ArchiveTable, day: Timestamp, written: Written) {
        let (table, day) = (table.as_str(), day_text(day));
        let Written { added, was_corrected, unreadable } = written;
        if unreadable > 0 {
            tracing::error!(
                table,
                day,
                unreadable,
                "rows that were to be archived cannot be read; they stay in the state file"
            );
        }
        if added > 0 {
            tracing::info!(table, day, rows = added, corrected = was_corrected, "archived a day");
        }
    }
}
