//! Columns of a table: name, type and description, and the conversion of rows to and from cells.

use std::collections::BTreeMap;

use trainspotter_core::model::Timestamp;

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Integer.
    Whole,
    /// Float.
    Number,
    /// Timestamp.
    Time,
    /// Map of names to text.
    Texts,
    /// Map of names to numbers.
    Numbers,
}

impl Kind {
    /// Type name in SQL (Athena and DuckDB).
    pub fn in_sql(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Whole => "int",
            Self::Number => "double",
            Self::Time => "timestamp",
            Self::Texts => "map<string,string>",
            Self::Numbers => "map<string,double>",
        }
    }

    /// A column of this type in Parquet's schema notation.
    pub(super) fn in_parquet(self, name: &str) -> String {
        let map = |value: &str| {
            format!(
                "required group {name} (MAP) {{ repeated group key_value {{ required binary key (STRING); {value} value{} }} }}",
                if value.ends_with("binary") { " (STRING);" } else { ";" }
            )
        };
        match self {
            Self::Text => format!("optional binary {name} (STRING);"),
            Self::Whole => format!("optional int32 {name};"),
            Self::Number => format!("optional double {name};"),
            Self::Time => format!("optional int64 {name} (TIMESTAMP(MILLIS,true));"),
            Self::Texts => map("required binary"),
            Self::Numbers => map("required double"),
        }
    }
}

/// Value of a row in a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// Null: unknown or not applicable.
    None,
    Text(String),
    Whole(i32),
    Number(f64),
    Time(Timestamp),
    Texts(BTreeMap<String, String>),
    Numbers(BTreeMap<String, f64>),
}

type Get<R> = Box<dyn Fn(&R) -> Cell + Send + Sync>;
type Set<R> = Box<dyn Fn(&mut R, Cell) + Send + Sync>;

/// A column of a row type.
pub struct Column<R> {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Its description, for documentation.
    pub meaning: String,
    pub(super) get: Get<R>,
    pub(super) set: Set<R>,
}

impl<R> std::fmt::Debug for Column<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Column").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<R> Column<R> {
    pub(super) fn new(
        name: impl Into<String>,
        kind: Kind,
        meaning: impl Into<String>,
        get: impl Fn(&R) -> Cell + Send + Sync + 'static,
        set: impl Fn(&mut R, Cell) + Send + Sync + 'static,
    ) -> Self {
        let (name, meaning) = (name.into(), meaning.into());
        Self { name, kind, meaning, get: Box::new(get), set: Box::new(set) }
    }
}

/// Conversion of a value to and from a cell.
pub(super) trait InCell: Sized {
    fn to_cell(&self) -> Cell;
    fn from_cell(cell: Cell) -> Option<Self>;
}

impl InCell for String {
    fn to_cell(&self) -> Cell {
        Cell::Text(self.clone())
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Text(text) = cell { Some(text) } else { None }
    }
}

impl InCell for i32 {
    fn to_cell(&self) -> Cell {
        Cell::Whole(*self)
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Whole(number) = cell { Some(number) } else { None }
    }
}

impl InCell for u32 {
    fn to_cell(&self) -> Cell {
        Cell::Whole(i32::try_from(*self).unwrap_or(i32::MAX))
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        i32::from_cell(cell).and_then(|number| u32::try_from(number).ok())
    }
}

impl InCell for f64 {
    fn to_cell(&self) -> Cell {
        if self.is_finite() { Cell::Number(*self) } else { Cell::None }
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Number(number) = cell { Some(number) } else { None }
    }
}

impl InCell for Timestamp {
    fn to_cell(&self) -> Cell {
        Cell::Time(*self)
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Time(at) = cell { Some(at) } else { None }
    }
}

impl InCell for BTreeMap<String, String> {
    fn to_cell(&self) -> Cell {
        Cell::Texts(self.clone())
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Texts(map) = cell { Some(map) } else { None }
    }
}

impl InCell for BTreeMap<String, f64> {
    fn to_cell(&self) -> Cell {
        Cell::Numbers(self.clone())
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        if let Cell::Numbers(map) = cell { Some(map) } else { None }
    }
}

impl<T: InCell> InCell for Option<T> {
    fn to_cell(&self) -> Cell {
        self.as_ref().map_or(Cell::None, T::to_cell)
    }

    fn from_cell(cell: Cell) -> Option<Self> {
        Some(T::from_cell(cell))
    }
}
