//! Archiving beside the event loop: ticks add their rows to the commit, and a separate task writes completed days.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::archive::{self, ArchiveError, Written, day_text, source_of, unarchived_of, write_day};
use crate::config::{Archive, Config};
use crate::notify::outbox::Outbox as _;
use crate::objects::{AnyStorage, OpenError};
use crate::service::COUNTED_UNTIL;
use crate::service::StartError;
use crate::service::problems::Problems;
use crate::store::{ArchiveTable, StoreError, StoreHandle, Unarchived, UnarchivedDay};
use trainspotter_clock::Clock;
use trainspotter_core::engine::{Engine, Output};
use trainspotter_core::metrics::archived_hour::{HourFigures, Hourly};
use trainspotter_core::metrics::{EndedJob, Frame, PendingArchive, catalogue};
use trainspotter_core::model::{SavedSeries, Timestamp};

/// Interval between checks for days that are due.
const CHECK_INTERVAL: Duration = Duration::from_secs(300);

/// Lower bound of that interval in wall time, for clocks that run fast.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Maximum backoff after failures.
const MAX_PAUSE: Duration = Duration::from_secs(3_600);

/// Maximum rows held while commits fail. Newer rows are dropped and counted in `limit.hits`.
const MAX_UNCOMMITTED_ROWS: u64 = 1_000_000;

/// Why due days could not be written.
#[derive(Debug, thiserror::Error)]
enum WriteDaysError {
    /// The bucket or folder is unreachable.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Writing a day failed.
    #[error(transparent)]
    Write(#[from] ArchiveError),
    /// The rows cannot be read from the store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Status of the archive.
#[derive(Clone, Debug, Default)]
pub(super) struct ArchiveStatus {
    rows: u64,
    /// When the oldest pending day became due.
    due_since: Option<Timestamp>,
    failures: u64,
    trouble: Option<String>,
}

/// Creates the two halves of archiving: the row buffer for commits, and the writer of completed days.
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

/// The task that writes days, if an archive is configured.
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

/// Archive rows produced by ticks and not yet committed.
#[derive(Debug)]
pub(super) struct ArchiveRows {
    hourly: Hourly,
    uncommitted: Unarchived,
    /// Whether the state at the beginning of the current hour must be saved.
    is_new_hour: bool,
    /// Whether rows are collected at all.
    is_on: bool,
    left_out: u64,
    status: Option<watch::Receiver<ArchiveStatus>>,
    failures_counted: u64,
}

impl ArchiveRows {
    /// Resumes from the state saved by an earlier run.
    async fn restored(
        config: &Config,
        store: &StoreHandle,
        series: &[SavedSeries],
        writer: Option<&ArchiveWriter>,
    ) -> Result<Self, StartError> {
        let failed = |error: StoreError| StartError::new("reading the rows to archive", error);
        let begin = store.call(|store| store.hour_begin()).await.map_err(failed)?;
        // If the saved state is unreadable, start from scratch: counters continue, and only the current hour is
        // incomplete.
        let begin = begin.and_then(|body| serde_json::from_slice(&body).inspect_err(warn_of_lost_hour).ok());
        let keep = config.archive.is_none().then_some(config.history.keep);
        Ok(Self {
            hourly: Hourly::restored(begin, series),
            uncommitted: Unarchived { keep, ..Unarchived::default() },
            is_new_hour: true,
            is_on: config.archive.is_some() || !config.history.keep.is_zero(),
            left_out: 0,
            status: writer.map(|writer| writer.status.subscribe()),
            failures_counted: 0,
        })
    }

    /// Adds the rows of a tick.
    pub(super) fn add_rows(&mut self, now: Timestamp, output: &mut Output, frame: &Frame) {
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
            Err(error) => tracing::error!(%error, "cannot encode rows for the archive; the archive will lack them"),
        }
        if self.is_new_hour {
            self.uncommitted.hour = self.hourly.begin().and_then(|begin| serde_json::to_vec(begin).ok());
        }
    }

    /// Rows and state for the next commit.
    pub(super) fn uncommitted(&self) -> Unarchived {
        self.uncommitted.clone()
    }

    /// Clears the buffer after a successful commit.
    pub(super) fn committed(&mut self) {
        self.uncommitted = Unarchived { keep: self.uncommitted.keep, ..Unarchived::default() };
        self.is_new_hour = false;
    }

    /// Publishes the archive's status as metrics and problems.
    pub(super) fn show(&mut self, now: Timestamp, engine: &mut Engine, problems: &mut Problems) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            engine.counting().add(&catalogue::LIMIT_HITS, [("limit", "uncommitted_archive_rows".into())], left_out);
        }
        let unknown_hours = self.hourly.take_unknown_hours();
        if unknown_hours > 0 {
            engine.counting().add(&catalogue::LIMIT_HITS, [("limit", "remembered_hours".into())], unknown_hours);
        }
        let Some(status) = &self.status else { return };
        let status = status.borrow().clone();
        let failures = status.failures.saturating_sub(std::mem::replace(&mut self.failures_counted, status.failures));
        engine.counting().add(&catalogue::ARCHIVE_FAILURES, [], failures);
        let oldest_age = status.due_since.map_or(Duration::ZERO, |since| now.since(since));
        engine.service().archive = Some(PendingArchive { rows: status.rows, oldest_age });
        problems.set_archive(status.trouble);
    }
}

fn warn_of_lost_hour(error: &serde_json::Error) {
    tracing::warn!(
        %error,
        "the saved state of the current hour is unreadable; the archive will lack the part of the hour before the start"
    );
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

/// Writes completed days to the archive.
#[derive(Debug)]
struct ArchiveWriter {
    archive: Archive,
    config: Arc<Config>,
    source: String,
    store: StoreHandle,
    clock: Clock,
    status: watch::Sender<ArchiveStatus>,
}

impl ArchiveWriter {
    /// Creates the writer, or `None` if no archive is configured.
    fn new(config: &Config, whole: &Arc<Config>, store: &StoreHandle, clock: Clock) -> Option<Self> {
        let archive = config.archive.clone()?;
        let source = source_of(config.targets.first()?);
        // Bucket settings that are not given default to those of the first target.
        let (config, status) = (Arc::clone(whole), watch::Sender::default());
        Some(Self { archive, config, source, store: store.clone(), clock, status })
    }

    /// Runs until `stop`. Days not yet written stay in the state file.
    async fn run(self, stop: CancellationToken) {
        let least = self.clock.of_wall(MIN_CHECK_INTERVAL);
        let mut pause = Duration::ZERO;
        let mut storage: Option<AnyStorage> = None;
        loop {
            if stop.run_until_cancelled(self.clock.sleep(pause.max(least))).await.is_none() {
                return;
            }
            let Some(looked) = stop.run_until_cancelled(self.look(&mut storage)).await else { return };
            pause = match looked {
                Ok(()) => CHECK_INTERVAL,
                Err(error) => {
                    let trouble = error.to_string();
                    if self.status.borrow().trouble.as_ref() != Some(&trouble) {
                        tracing::error!(
                            place = %self.archive.place,
                            trouble,
                            "cannot write the archive; its rows stay in the state file until a retry succeeds"
                        );
                    }
                    self.status.send_modify(|status| {
                        // Nothing failed to be written before a day is due.
                        status.failures += u64::from(status.due_since.is_some());
                        status.trouble = Some(trouble);
                    });
                    (pause * 2).clamp(CHECK_INTERVAL, MAX_PAUSE)
                }
            };
        }
    }

    /// Writes every day that is due. The place is checked at the start, since the first day may be due a day later.
    async fn look(&self, storage: &mut Option<AnyStorage>) -> Result<(), WriteDaysError> {
        let due = self.due().await?;
        let storage = match storage {
            Some(storage) => storage,
            None => storage.insert(self.opened().await?),
        };
        let Some(due) = due else { return Ok(()) };
        if due.is_empty() && self.status.borrow().trouble.is_none() {
            return Ok(());
        }
        let mut failed = Ok(());
        for UnarchivedDay { table, day, .. } in due {
            match self.write(storage, table, day).await {
                Ok(written) => self.report(table, day, written),
                Err(ArchiveError::NotLeading) => return Ok(()),
                // Keep going: other days may succeed.
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed?;
        let before = self.status.borrow().trouble.is_some();
        if before {
            tracing::info!(place = %self.archive.place, "the archive can be written again");
        }
        let days = self.pending().await?;
        self.status.send_modify(|status| {
            status.rows = days.iter().flat_map(|(days, _)| days).map(|day| day.rows).sum();
            (status.due_since, status.trouble) = (None, None);
        });
        Ok(())
    }

    /// Days that are due; `None` while unknown.
    async fn due(&self) -> Result<Option<Vec<UnarchivedDay>>, StoreError> {
        let Some((days, counted_until)) = self.pending().await? else { return Ok(None) };
        let is_due = |day: &UnarchivedDay| self.due_at(day.day) <= counted_until;
        let due: Vec<UnarchivedDay> = days.iter().copied().filter(is_due).collect();
        self.status.send_modify(|status| {
            status.rows = days.iter().map(|day| day.rows).sum();
            status.due_since = due.iter().map(|day| self.due_at(day.day)).min();
        });
        Ok(Some(due))
    }

    /// Opens the place, and checks that it can be used.
    async fn opened(&self) -> Result<AnyStorage, WriteDaysError> {
        let storage = archive::open(&self.archive, Some(&self.config), self.clock).await?;
        storage.check(ArchiveTable::Jobs.as_str()).await.map_err(ArchiveError::from)?;
        Ok(storage)
    }

    /// When a day is due: its end, plus the time AWS may report late.
    fn due_at(&self, day: Timestamp) -> Timestamp {
        day + Duration::from_secs(86_400) + self.archive.grace
    }

    /// Unwritten days, and the time up to which everything is counted; `None` while unknown.
    async fn pending(&self) -> Result<Option<(Vec<UnarchivedDay>, Timestamp)>, StoreError> {
        self.store
            .call(|store| {
                // The in-memory fallback holds only what was added since the failure.
                if store.trouble().is_some() {
                    return Ok(None);
                }
                Ok(Some(store.unarchived_days()?).zip(store.watermark(COUNTED_UNTIL)?))
            })
            .await
    }

    async fn write(&self, storage: &AnyStorage, table: ArchiveTable, day: Timestamp) -> Result<Written, ArchiveError> {
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
                "cannot read rows that are due for the archive; they stay in the state file"
            );
        }
        if added > 0 {
            tracing::info!(table, day, rows = added, corrected = was_corrected, "archived a day");
        }
    }
}
