//! Merges the jobs of several targets.

use std::cmp::Reverse;

use crate::web::cursor::Cursor;
use crate::web::jobs::{JobMatches, JobPage, JobView, MAX_JOB_MATCHES};
use crate::web::watched_targets::Answers;
use trainspotter_core::jobs::key_of;
use trainspotter_core::model::{Place, Timestamp};

/// Position of a job in the list of all jobs, in the order of every ledger.
type At = (Timestamp, u64);

/// Merges pages in order of creation. If a target has examined only part of its jobs, nothing after that part is
/// included yet.
pub(super) fn in_order(answers: Answers<JobPage>, newest_first: bool, limit: usize) -> JobPage {
    let at = |job: &JobView| (job.created_at, key_of(&job.id));
    let is_later = |one: &At, other: &At| if newest_first { one < other } else { one > other };
    let mut jobs = Vec::new();
    let mut end: Option<(At, Cursor)> = None;
    let mut undescribed = 0;
    for (target, page) in answers.given {
        undescribed += page.undescribed;
        if let Some(next) = page.next {
            let place = (next.created_at, key_of(&next.id));
            end = Some(end.filter(|(end, _)| !is_later(end, &place)).unwrap_or((place, next)));
        }
        jobs.extend(placed(page.jobs, &target.place_now()));
    }
    if let Some((end, _)) = &end {
        jobs.retain(|job| !is_later(&at(job), end));
    }
    if newest_first {
        jobs.sort_by_cached_key(|job| Reverse(at(job)));
    } else {
        jobs.sort_by_cached_key(at);
    }
    if jobs.len() > limit {
        jobs.truncate(limit);
        end = jobs.last().map(|job| (at(job), Cursor { created_at: job.created_at, id: job.id.clone() }));
    }
    JobPage { jobs, next: end.map(|(_, next)| next), undescribed, missing: answers.missing }
}

/// Merges the longest-waiting jobs.
pub(super) fn longest(answers: Answers<JobPage>, limit: usize) -> JobPage {
    let is_alone = answers.given.len() == 1;
    let mut jobs: Vec<JobView> =
        answers.given.into_iter().flat_map(|(target, page)| placed(page.jobs, &target.place_now())).collect();
    if !is_alone {
        let waited = |job: &JobView| job.waiting_seconds.unwrap_or_default();
        jobs.sort_by(|one, other| waited(other).total_cmp(&waited(one)));
        jobs.truncate(limit);
    }
    JobPage { jobs, missing: answers.missing, ..JobPage::default() }
}

/// Merges the matches of a text: an exact id match takes precedence.
pub(super) fn meant(answers: Answers<JobMatches>, words: &str) -> JobMatches {
    let (mut found, mut more) = (Vec::new(), false);
    for (target, meant) in answers.given {
        let place = target.place_now();
        match meant {
            JobMatches::None => {}
            JobMatches::One(job) => found.extend(placed(vec![*job], &place)),
            JobMatches::Several(jobs, others) => {
                more |= others;
                found.extend(placed(jobs, &place));
            }
        }
    }
    if let Some(index) = found.iter().position(|job| job.id.as_str() == words) {
        return JobMatches::One(Box::new(found.swap_remove(index)));
    }
    match found.len() {
        0 => JobMatches::None,
        1 if !more => found.pop().map_or(JobMatches::None, |job| JobMatches::One(Box::new(job))),
        count => {
            found.truncate(MAX_JOB_MATCHES);
            JobMatches::Several(found, more || count > MAX_JOB_MATCHES)
        }
    }
}

fn placed(jobs: Vec<JobView>, place: &Place) -> impl Iterator<Item = JobView> + use<> {
    let account = place.account.as_deref().map(str::to_owned);
    let region = place.region.as_deref().map(str::to_owned);
    jobs.into_iter().map(move |job| JobView { account: account.clone(), region: region.clone(), ..job })
}
