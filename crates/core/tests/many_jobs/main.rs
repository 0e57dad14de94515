//! With many jobs, queries cost as much as they return: lists are compared with a full scan, and rules over single
//! jobs with the same rules over the figures of every job.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ledger_queries;
mod single_job_rules;

use trainspotter_core::model::{Capacity, Demand, JobDetails, JobSeen, JobStatus, Timestamp};

const OWNERS: [&str; 3] = ["", "ada", "grace"];
const TYPES: [&str; 2] = ["ml.p5.48xlarge", "ml.g5.xlarge"];
const NAMES: [&str; 4] = ["train", "train-large", "eval", "écoute"];

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

/// A job derived from its number; several are created at the same time.
fn job(number: usize, status: JobStatus, at: i64) -> JobSeen {
    let queue = if number.is_multiple_of(3) { "research" } else { "prod" };
    let share = ["vision", "audio"].get(number % 5).map(|share| (*share).into());
    let at = Some(second(at));
    let in_flight = !status.is_waiting();
    JobSeen {
        name: format!("{}-{}", NAMES[number % 4], number % 7).into(),
        share,
        scheduled_at: at.filter(|_| in_flight),
        started_at: at.filter(|_| in_flight && status != JobStatus::Scheduled && status != JobStatus::Starting),
        stopped_at: at.filter(|_| status.is_ended()),
        demand: TYPES.get(number % 3).map_or_else(Demand::default, |unit| vec![Capacity::new(*unit, 2.0)].into()),
        ..JobSeen::new(format!("{:04x}-{number}", number * 40_503 % 65_536), queue, status, second(number as i64 / 4))
    }
}

fn described(number: usize, job: JobSeen) -> JobSeen {
    let owner = Some(OWNERS[number % 3]).filter(|owner| !owner.is_empty()).map(Into::into);
    JobSeen {
        details: Some(Box::new(JobDetails { owner, preemptions: number as u32 % 4, ..JobDetails::default() })),
        ..job
    }
}

const STATES: [JobStatus; 5] =
    [JobStatus::Runnable, JobStatus::Scheduled, JobStatus::Starting, JobStatus::Running, JobStatus::Succeeded];
