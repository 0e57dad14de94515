//! Parses pages of `ListServiceJobs` directly to the types of the ledger.
//!
//! A list may have a hundred thousand jobs, and the SDK's parser would cost more than all other processing: see
//! `docs/adr/0006-pages.md`. The SDK still makes the call: it signs, waits, retries and parses errors. After
//! [`PageReader`] has parsed a page, the SDK gets an empty response instead. If [`PageReader`] cannot parse a page,
//! the SDK parses it and reports what is wrong.
//!
//! Invariant: the result is the same as the SDK's. Null members count as absent, unused members are skipped. The
//! differences are in pages that the SDK would reject: a number that no member can hold counts as unknown, and a job
//! with a member of the wrong type is left out and recorded, if another job of the page can be read. What is no JSON
//! (a number with a leading zero) or repeats a member is refused although the SDK reads it: the poll has failed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::aws::job_summary::{Summary, Text};
use crate::aws::odd_numbers;
use crate::aws::rewrite_body::RewriteBody;
use crate::aws::translate::ListedJobs;
use crate::aws::translate::Unknowns;
use trainspotter_core::model::JobSeen;
use trainspotter_core::model::QueueName;

/// A page of jobs.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) jobs: Vec<JobSeen>,
    /// Token of the next page; `None` on the last page.
    pub(crate) next: Option<String>,
    /// Whether the response contains a list at all. The API guarantees one; an error body has none.
    pub(crate) is_list: bool,
    pub(crate) unknowns: Unknowns,
}

/// Parses the response to one call for a queue. Clones share the result.
#[derive(Clone, Debug)]
pub(crate) struct PageReader {
    queue: QueueName,
    page: Arc<Mutex<Option<Page>>>,
}

impl PageReader {
    pub(crate) fn new(queue: QueueName) -> Self {
        Self { queue, page: Arc::default() }
    }

    /// Takes the parsed page; `None` if no page was parsed.
    pub(crate) fn take(&self) -> Option<Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl RewriteBody for PageReader {
    fn rewrite(&self, _: &str, body: &[u8]) -> Option<Vec<u8>> {
        let page = read(body, &self.queue).ok().or_else(|| read_corrected(body, &self.queue))?;
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(page);
        Some(Vec::new())
    }
}

/// Reads a page without the numbers, the jobs or, if need be, both that cannot be read.
fn read_corrected(body: &[u8], queue: &QueueName) -> Option<Page> {
    let Some((corrected, odd)) = odd_numbers::without(body) else { return read_without_unreadable(body, queue) };
    let page = read(&corrected, queue).ok();
    if page.is_none()
        && let Some(page) = read_without_unreadable(body, queue)
    {
        return Some(page);
    }
    let mut page = page.or_else(|| read_without_unreadable(&corrected, queue))?;
    page.unknowns.note("number", &odd);
    Some(page)
}

/// Reads a page without the jobs that cannot be read. `None` if the page itself is wrong, or no job can be read.
fn read_without_unreadable(body: &[u8], queue: &QueueName) -> Option<Page> {
    let mut answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let jobs = answer.get_mut("jobSummaryList")?.as_array_mut()?;
    let mut unreadable = Vec::new();
    jobs.retain(|job| {
        let is_readable = Summary::deserialize(job).is_ok();
        if !is_readable {
            unreadable.push(job.get("jobId").and_then(serde_json::Value::as_str).unwrap_or("without an id").to_owned());
        }
        is_readable
    });
    if jobs.is_empty() || unreadable.is_empty() {
        return None;
    }
    let mut page = read(&serde_json::to_vec(&answer).ok()?, queue).ok()?;
    // Ids would take the places of other unknown values, of which few are kept apart.
    page.unknowns.note("unreadable_job", queue.as_str());
    tracing::debug!(%queue, jobs = ?unreadable, "jobs of a list cannot be read and are left out");
    Some(page)
}

fn read(body: &[u8], queue: &QueueName) -> serde_json::Result<Page> {
    let body = std::str::from_utf8(body).map_err(Error::custom)?;
    let mut answer = serde_json::Deserializer::from_str(if body.is_empty() { "{}" } else { body });
    let mut page = Page::default();
    answer.deserialize_map(Answer { page: &mut page, queue })?;
    answer.end()?;
    Ok(page)
}

/// Deserializes the members of a response.
struct Answer<'p> {
    page: &'p mut Page,
    queue: &'p QueueName,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Member {
    JobSummaryList,
    NextToken,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for Answer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a page of jobs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_key()? {
            match member {
                Member::JobSummaryList => members.next_value_seed(Jobs(&mut *self.page, self.queue))?,
                Member::NextToken => {
                    let next = members.next_value::<Option<Text<'_>>>()?.map(|next| next.0.into_owned());
                    self.page.next = next.filter(|next| !next.is_empty());
                }
                Member::Other => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Deserializes a list of jobs one entry at a time, so that only one raw entry is in memory.
struct Jobs<'p>(&'p mut Page, &'p QueueName);

impl<'de> DeserializeSeed<'de> for Jobs<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Jobs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of jobs")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self(page, queue) = self;
        page.is_list = true;
        let mut translate = ListedJobs::new(queue);
        while let Some(job) = list.next_element::<Summary<'_>>()? {
            page.jobs.extend(translate.next(&job, &mut page.unknowns));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
