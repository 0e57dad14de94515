//! Tables of the archive: columns and version.
//!
//! Within a version, columns are only added, at the end of their type; readers treat missing columns as unknown.
//! Any other change is a new version, in separate folders.

use std::sync::OnceLock;

use crate::archive::column::{Cell, Column, InCell, Kind};
use crate::store::ArchiveTable;
use trainspotter_core::metrics::archived_hour::{self, HourFigures};
use trainspotter_core::metrics::{EndedJob, Reason};
use trainspotter_core::model::Timestamp;

/// Version of both tables.
pub const SCHEMA_VERSION: u32 = 1;

/// A row of a table.
pub trait Row: Default + Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static {
    /// Its table.
    const TABLE: ArchiveTable;

    /// The table's columns.
    fn columns() -> &'static [Column<Self>];

    /// Time that determines its day.
    fn at(&self) -> Timestamp;

    /// Key that is unique within its day.
    fn key(&self) -> String;
}

/// Defines a column for a field.
macro_rules! field {
    ($kind:ident, $field:ident, $meaning:literal) => {
        Column::new(
            stringify!($field),
            Kind::$kind,
            $meaning,
            |row: &_| InCell::to_cell(&field_of(row).$field),
            |row: &mut _, cell| {
                if let Some(value) = InCell::from_cell(cell) {
                    field_of_mut(row).$field = value;
                }
            },
        )
    };
}

impl Row for EndedJob {
    const TABLE: ArchiveTable = ArchiveTable::Jobs;

    fn columns() -> &'static [Column<Self>] {
        static COLUMNS: OnceLock<Vec<Column<EndedJob>>> = OnceLock::new();
        COLUMNS.get_or_init(of_jobs)
    }

    fn at(&self) -> Timestamp {
        self.ended_at
    }

    fn key(&self) -> String {
        self.id.clone()
    }
}

fn of_jobs() -> Vec<Column<EndedJob>> {
    fn field_of(row: &EndedJob) -> &EndedJob {
        row
    }
    fn field_of_mut(row: &mut EndedJob) -> &mut EndedJob {
        row
    }
    let mut columns = vec![
        field!(Text, id, "`jobId`; each job is in one row"),
        field!(Text, name, "`jobName`; not unique"),
        field!(Text, account, "account of the queue"),
        field!(Text, region, "region of the queue"),
        field!(Text, queue, "queue"),
        field!(Text, share, "share; null for jobs without one"),
        field!(Text, owner, "tag `owner`"),
        field!(Texts, tags, "the other tags that `tags` in the configuration lists"),
        field!(Whole, priority, "`schedulingPriority`"),
        field!(Numbers, instances, "instances by type"),
        field!(Number, gpus, "total GPUs; null if an instance type is unknown"),
        field!(Text, outcome, "`succeeded`, `failed`, or `vanished` if AWS no longer listed it"),
        field!(Text, failure_category, "who can fix the failure, as in `job.failures`; null unless it failed"),
        field!(Text, status_reason, "AWS's status reason, at most 500 characters"),
        field!(Time, submitted_at, "time of submission"),
        field!(Time, scheduled_at, "time of the first dispatch to SageMaker; null if never dispatched"),
        field!(Time, started_at, "start of the first attempt that ran; null if none did"),
        field!(Time, ended_at, "end time; its day is the day of the file"),
        field!(Number, wait_seconds, "total wait; null if earlier attempts may not have been seen"),
        field!(
            Number,
            first_wait_seconds,
            "first wait, until dispatch to SageMaker or the end; null if earlier attempts may not have been seen"
        ),
        field!(
            Whole,
            attempts,
            "attempts, including preempted ones; 0 if never dispatched to SageMaker; null likewise"
        ),
        field!(Whole, preemptions, "preempted attempts; null if the job was never described"),
        field!(Number, run_seconds, "running time over all attempts"),
        field!(Number, gpu_seconds, "GPU-seconds held, from SCHEDULED to the end of each attempt"),
        field!(Number, run_gpu_seconds, "GPU-seconds running"),
        field!(
            Number,
            lost_gpu_seconds,
            "GPU-seconds of attempts that ran and did not succeed, including retried ones"
        ),
        field!(Number, dollars, "cost of the GPU time held, at the configured prices; null if a price was missing"),
    ];
    for reason in Reason::ALL.map(Reason::as_str) {
        columns.push(Column::new(
            format!("waited_{reason}_seconds"),
            Kind::Number,
            format!("time waited for the reason `{reason}`, while the service was watching"),
            move |row: &EndedJob| row.waited.get(reason).map_or(Cell::None, f64::to_cell),
            move |row: &mut EndedJob, cell| {
                if let Some(seconds) = f64::from_cell(cell) {
                    row.waited.insert(reason.to_owned(), seconds);
                }
            },
        ));
    }
    columns
}

impl Row for HourFigures {
    const TABLE: ArchiveTable = ArchiveTable::Hours;

    fn columns() -> &'static [Column<Self>] {
        static COLUMNS: OnceLock<Vec<Column<HourFigures>>> = OnceLock::new();
        COLUMNS.get_or_init(of_hours)
    }

    fn at(&self) -> Timestamp {
        self.hour
    }

    fn key(&self) -> String {
        // A separator that does not occur in names.
        let Self { hour, account, region, queue, share, .. } = self;
        format!("{}\u{0}{account:?}\u{0}{region:?}\u{0}{queue}\u{0}{share:?}", hour.millis())
    }
}

fn of_hours() -> Vec<Column<HourFigures>> {
    fn field_of(row: &HourFigures) -> &HourFigures {
        row
    }
    fn field_of_mut(row: &mut HourFigures) -> &mut HourFigures {
        row
    }
    let mut columns = vec![
        field!(Time, hour, "start of the hour"),
        field!(Text, account, "the queue's account"),
        field!(Text, region, "the queue's region"),
        field!(Text, queue, "the queue"),
        Column::new(
            "level",
            Kind::Text,
            "`queue` for the queue as a whole, `share` for one of its shares",
            |row: &HourFigures| Cell::Text(if row.share.is_some() { "share" } else { "queue" }.to_owned()),
            |_, _| {},
        ),
        field!(Text, share, "the share, empty for jobs without one; null for the queue as a whole"),
    ];
    for (name, meaning) in archived_hour::columns() {
        let (of_get, of_set) = (name.clone(), name.clone());
        columns.push(Column::new(
            name,
            Kind::Number,
            meaning,
            move |row: &HourFigures| row.figures.get(&of_get).map_or(Cell::None, f64::to_cell),
            move |row: &mut HourFigures, cell| {
                if let Some(number) = f64::from_cell(cell) {
                    row.figures.insert(of_set.clone(), number);
                }
            },
        ));
    }
    columns
}
