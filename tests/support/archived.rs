//! Rows that a service has archived, and rows still pending.

use std::path::Path;

use trainspotter::archive::{Row, read_days, unpack};
use trainspotter::objects::folder::Folder;
use trainspotter::store::UnarchivedFile;
use trainspotter_core::model::Timestamp;

/// All rows of a table, archived ones first, and the number of archived rows; the rest is in the state file.
///
/// # Panics
/// A file of either cannot be read.
pub async fn rows<R: Row>(place: &Path, store: &Path) -> (Vec<R>, usize) {
    let mut rows = Vec::new();
    let (from, to) = (Timestamp::default(), Timestamp::from_millis(4_000_000_000_000));
    let storage = Folder::new(place.to_owned());
    let read = read_days(&storage, from, to, |row: R| rows.push(row)).await.unwrap();
    assert_eq!(read.unreadable, Vec::<String>::new());
    let archived = rows.len();
    let file = UnarchivedFile::open(store).unwrap();
    for day in file.days().unwrap().into_iter().filter(|day| day.table == R::TABLE) {
        for packed in file.read(R::TABLE, day.day, Timestamp::from_millis(i64::MIN), u32::MAX).unwrap() {
            rows.extend(unpack::<R>(&packed.body).unwrap());
        }
    }
    (rows, archived)
}
