//! A record of the log, stored as one object.
//!
//! Its first line is a JSON header, readable with any tool; the compressed changes follow. The digest in the header
//! covers the changes and the rest of the header, including the digest of the previous record: the log is a hash
//! chain.

use std::io::Read as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::replication::LogError;
use crate::store::Changes;
use trainspotter_core::model::Timestamp;

/// Prefix of the first line.
const MAGIC: &str = "trainspotter log ";

/// Format version of the records written.
const FORM: u32 = 1;

/// What to do about a record that cannot be used.
pub(super) const REPAIR: &str = "restore it from an older version of the object; without one, stop all replicas, and delete \
                                 it and the records after it, whose changes are then lost";

/// Maximum decompressed size of a record's changes; larger ones count as broken.
const MAX_CHANGES_BYTES: u64 = 1 << 30;

/// Purpose of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Changes of a transaction; without any, a heartbeat.
    Changes,
    /// Its writer leads from here on.
    TakeOver,
    /// Its writer has given up the leadership, and nobody leads.
    HandOver,
}

/// The header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Position in the log, from 1.
    pub number: u64,
    /// Its purpose.
    pub purpose: Purpose,
    /// Its writer; a new id with each start of a process.
    pub writer: String,
    /// Time by the writer's clock.
    pub at: Timestamp,
    /// Digest of the previous record, or of the snapshot that the log begins with; empty if it begins empty.
    pub before: String,
    /// Schema version.
    pub schema: u32,
    /// Targets of the service.
    pub watches: String,
    /// Digest of the configuration.
    pub config: String,
    /// Version of the program.
    pub version: String,
    /// Number of bytes that follow.
    pub bytes: usize,
    /// Digest of the record.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// A record and its bytes.
#[derive(Clone, Debug)]
pub struct Record {
    /// The header.
    pub header: Header,
    /// The bytes written to the log.
    pub bytes: Vec<u8>,
}

impl Record {
    /// Creates a record with these changes, and fills in `bytes` and `digest` of the header.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(mut header: Header, changes: &Changes) -> Result<Self, LogError> {
        let body = if changes.is_empty() { Vec::new() } else { squeeze(&changes.encode().map_err(LogError::store)?)? };
        header.bytes = body.len();
        header.digest = digest(&header, &body)?;
        let mut bytes = format!("{MAGIC}{FORM} {}\n", line(&header)?).into_bytes();
        bytes.extend(body);
        Ok(Self { header, bytes })
    }
}

/// Parses the header and verifies a record, which should have this number.
///
/// # Errors
/// It is foreign, of a newer version, broken or out of place. The error has its name.
pub fn decode<'b>(name: &str, bytes: &'b [u8], number: u64, schema: u32) -> Result<(Header, &'b [u8]), LogError> {
    let at = |problem: String| LogError::Unreadable { name: name.to_owned(), problem };
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (first, rest) = bytes.split_at(end);
    let cut = || at(format!("it is truncated or corrupt: {REPAIR}"));
    // Nothing is left of it, or not even the first word.
    if rest.is_empty() && MAGIC.as_bytes().starts_with(first) {
        return Err(cut());
    }
    let text = std::str::from_utf8(first).ok().and_then(|text| text.strip_prefix(MAGIC));
    let Some((form, json)) = text.and_then(|text| text.split_once(' ')) else {
        return Err(at(
            "it is not a record of Trainspotter: give `store.log` a prefix that nothing else uses".to_owned()
        ));
    };
    if form.parse::<u32>().ok() != Some(FORM) {
        return Err(LogError::Newer {
            name: name.to_owned(),
            found: format!("form {form}"),
            known: format!("form {FORM}"),
        });
    }
    let header: Header = serde_json::from_str(json).map_err(|_| cut())?;
    let body = rest.get(1..).ok_or_else(cut)?;
    if body.len() != header.bytes || digest(&header, body)? != header.digest {
        return Err(cut());
    }
    if header.number != number {
        return Err(at(format!("its header has the number {}", header.number)));
    }
    if header.schema > schema {
        let (found, known) = (format!("tables of version {}", header.schema), format!("version {schema}"));
        return Err(LogError::Newer { name: name.to_owned(), found, known });
    }
    Ok((header, body))
}

/// Parses the changes after a header.
///
/// # Errors
/// They cannot be read.
pub fn changes(name: &str, body: &[u8]) -> Result<Changes, LogError> {
    if body.is_empty() {
        return Ok(Changes::default());
    }
    let at = |problem: String| LogError::Unreadable { name: name.to_owned(), problem };
    let mut bytes = Vec::new();
    DeflateDecoder::new(body).take(MAX_CHANGES_BYTES).read_to_end(&mut bytes).map_err(|error| at(error.to_string()))?;
    Changes::decode(&bytes).map_err(|error| at(error.to_string()))
}

fn squeeze(bytes: &[u8]) -> Result<Vec<u8>, LogError> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(|error| LogError::Local(error.to_string()))
}

fn line(header: &Header) -> Result<String, LogError> {
    serde_json::to_string(header).map_err(|error| LogError::Local(error.to_string()))
}

fn digest(header: &Header, body: &[u8]) -> Result<String, LogError> {
    let without = Header { digest: String::new(), ..header.clone() };
    let mut hash = Sha256::new();
    hash.update(line(&without)?);
    hash.update([0]);
    hash.update(body);
    Ok(hex(&hash.finalize()))
}

/// Formats hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
