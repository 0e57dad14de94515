//! Compares documents and SQL about the archive with its columns.

use std::fmt::Write as _;
use std::fs;

use trainspotter::archive::{Column, Row};
use trainspotter_core::metrics::EndedJob;
use trainspotter_core::metrics::archived_hour::HourFigures;

use crate::read_sources::root;

const BEGIN: &str = "<!-- begin columns -->\n";
const END: &str = "<!-- end columns -->";

fn table<R>(name: &str, columns: &[Column<R>]) -> String {
    let mut text = format!("\n### {name}\n\n| column | type | meaning |\n|---|---|---|\n");
    for column in columns {
        writeln!(text, "| `{}` | {} | {} |", column.name, column.kind.in_sql(), column.meaning).unwrap();
    }
    text
}

/// The table for Athena: partitions come from folder names.
fn athena<R: Row>() -> String {
    let name = R::TABLE.as_str();
    let columns: Vec<String> =
        R::columns().iter().map(|column| format!("  `{}` {}", column.name, column.kind.in_sql())).collect();
    format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS trainspotter_{name} (\n{}\n)\nPARTITIONED BY (`day` string)\nSTORED AS PARQUET\n\
         LOCATION 's3://MY-BUCKET/trainspotter-archive/{name}/v1/'\nTBLPROPERTIES (\n  'projection.enabled' = 'true',\n  \
         'projection.day.type' = 'date',\n  'projection.day.format' = 'yyyy-MM-dd',\n  'projection.day.range' = '2026-01-01,NOW+1DAY',\n  \
         'projection.day.interval' = '1',\n  'projection.day.interval.unit' = 'DAYS',\n  \
         'storage.location.template' = 's3://MY-BUCKET/trainspotter-archive/{name}/v1/day=${{day}}/'\n);\n",
        columns.join(",\n")
    )
}

#[test]
fn docs_archive_names_every_column_and_athena_has_the_same() {
    let (document, sql) = (root().join("docs/ARCHIVE.md"), root().join("deploy/athena.sql"));
    let text = fs::read_to_string(&document).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let tables = table("jobs", EndedJob::columns()) + &table("hours", HourFigures::columns()) + "\n";
    let wanted = format!("{before}{BEGIN}{tables}{END}{after}");
    let wanted_sql = format!(
        "-- The archive as tables of Athena: docs/ARCHIVE.md says what the columns mean. Replace s3://MY-BUCKET/trainspotter-archive by the\n\
         -- place of `archive` in the configuration, and run the statements one by one. Days need no crawler: they are projected.\n\n{}\n{}",
        athena::<EndedJob>(),
        athena::<HourFigures>()
    );
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&document, &wanted).unwrap();
        fs::write(&sql, &wanted_sql).unwrap();
    }
    let hint = "UPDATE_DOCS=1 cargo test docs_archive rewrites it";
    assert!(fs::read_to_string(&document).unwrap() == wanted, "docs/ARCHIVE.md: {hint}");
    assert!(fs::read_to_string(&sql).unwrap_or_default() == wanted_sql, "deploy/athena.sql: {hint}");
}

#[test]
fn the_document_has_ten_queries() {
    let text = fs::read_to_string(root().join("docs/ARCHIVE.md")).unwrap();
    let queries = text.split("## Ten queries").nth(1).unwrap().split("## Reports").next().unwrap();
    assert_eq!(queries.matches("```sql").count(), 10);
}
