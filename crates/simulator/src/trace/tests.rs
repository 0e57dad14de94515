//! Realistic traces, and longer ones generated from a seed.

#[path = "../../../../tests/support/generated_trace.rs"]
mod generated_trace;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use trainspotter_core::model::JobStatus;
use trainspotter_core::scheduler::Job;
use trainspotter_core::scheduler::Scheduler;

const SEED: u64 = 7;
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn read(text: &str) -> Result<Workload, Problem> {
    super::read(text.as_bytes(), "my trace.v1", START)
}

/// Simulates a trace for this long.
fn play(text: &str, hours: u64) -> Scheduler {
    let workload = read(text).unwrap();
    let mut scheduler = Scheduler::new(workload.setup, 1, START);
    for submission in workload.submissions {
        scheduler.submit(submission).unwrap();
    }
    scheduler.advance(START + Duration::from_secs(hours * 3600));
    scheduler
}

#[test]
fn a_scheduled_trace_becomes_submissions() {
    let workload = read(
        "job_id,share,num_gpu,submit_s,duration_s,instance_type,instance_count,priority,owner,status,gpu_util\n\
         late,a,16,60,30,ml.p5.48xlarge,,5,ada,FAILED,40\n\
         early,b,3,1.5,10,,,,,,\n\
         counted,b,8,2,10,ml.unheard.of,4,-1,,pass,\n\
         none,b,0,3,10,,,,,,\n",
    )
    .unwrap();
    let rows: Vec<_> = workload
        .submissions
        .iter()
        .map(|job| (job.name.as_str(), job.demand[0].unit.as_str(), job.demand[0].quantity, job.priority))
        .collect();
    assert_eq!(
        rows,
        [
            ("early", "ml.p5.4xlarge", 3.0, 0),
            ("counted", "ml.unheard.of", 4.0, -1),
            ("none", "ml.m5.4xlarge", 1.0, 0),
            ("late", "ml.p5.48xlarge", 2.0, 5),
        ]
    );
    let late = &workload.submissions[3];
    assert_eq!((late.at, late.queue.as_str()), (START + Duration::from_secs(60), "my_trace_v1"));
    assert_eq!(late.tags.get("owner").map(String::as_str), Some("ada"));
    assert!((late.utilisation - 0.4).abs() < 1e-9);
    let fails = PlannedOutcome::Fails(FAILED.to_owned());
    assert_eq!(late.plan, Plan::Runs { duration: Duration::from_secs(30), outcome: fails });
    assert_eq!(workload.submissions[0].at, START + Duration::from_millis(1500));
}

#[test]
fn a_mistake_is_named_by_line_and_column() {
    let scheduled = "job_id,share,num_gpu,submit_s,duration_s\nfine,a,1,0,1\n";
    let recorded = "job_id,share,num_gpu,submit_s,start_s,end_s\n";
    let typed = "job_id,share,num_gpu,submit_s,duration_s,instance_type,status\n";
    let table = [
        ("job_id,share,submit_s,duration_s\n".to_owned(), 1, Some("num_gpu"), "is missing"),
        ("job_id,share,num_gpu,submit_s\n".to_owned(), 1, Some("duration_s"), "is missing"),
        ("job_id,share,num_gpu,submit_s,start_s\n".to_owned(), 1, Some("end_s"), "is missing"),
        ("job_id,share,num_gpu,submit_s,duration_s,end_s\n".to_owned(), 1, Some("duration_s"), "contradicts"),
        (format!("{scheduled}b,a,one,0,1\n"), 3, Some("num_gpu"), "no whole number"),
        (format!("{scheduled}b,a,1,-1,1\n"), 3, Some("submit_s"), "no number of seconds"),
        (format!("{scheduled}b,a,1,0,NaN\n"), 3, Some("duration_s"), "no number of seconds"),
        (format!("{scheduled}b,a,1,0,\n"), 3, Some("duration_s"), "is empty"),
        (format!("{scheduled}b,,1,0,1\n"), 3, Some("share"), "is empty"),
        (format!("{scheduled}b,a,1\n"), 3, None, "no CSV"),
        (format!("{recorded}b,a,1,10,9,\n"), 2, Some("start_s"), "before submit_s"),
        (format!("{recorded}b,a,1,10,12,11\n"), 2, Some("end_s"), "before start_s"),
        (format!("{typed}b,a,1,0,1,ml.unheard.of,\n"), 2, Some("instance_type"), "give instance_count"),
        (format!("{typed}b,a,1,0,1,,odd\n"), 2, Some("status"), "not one of"),
    ];
    for (text, line, column, message) in table {
        let problem = read(&text).unwrap_err();
        assert_eq!(problem.place, Some((line, column.map(str::to_owned))), "{text}");
        assert!(problem.message.contains(message), "{text}: {}", problem.message);
    }
    let error = load(Path::new("nowhere/none.csv"), START).unwrap_err();
    assert!(error.to_string().starts_with("nowhere/none.csv: cannot be read"), "{error}");
    let error = TraceError { line: Some(3), column: Some("share".to_owned()), message: "is empty".to_owned(), ..error };
    assert_eq!(error.to_string(), "nowhere/none.csv:3: column share: is empty");
}

#[test]
fn limits_of_batch_are_limits_of_a_trace() {
    let header = "job_id,share,num_gpu,submit_s,duration_s,instance_type\n";
    let rows = |n: usize, row: fn(usize) -> String| header.to_owned() + &(0..n).map(row).collect::<String>();
    let share = |n: usize| format!("j{n},s{n},1,0,1,\n");
    assert!(read(&rows(20, share)).is_ok());
    assert!(read(&rows(21, share)).unwrap_err().message.starts_with("21 shares"));
    let types = |n: usize| format!("j{n},s,1,0,1,ml.g5.{}xlarge\n", [2, 4, 8, 12, 16, 24][n]);
    assert!(read(&rows(5, types)).is_ok());
    assert!(read(&rows(6, types)).unwrap_err().message.starts_with("6 instance types"));
}

#[test]
fn a_recorded_trace_comes_out_as_it_went_in() {
    let recorded = generated_trace::jobs(SEED);
    let scheduler = play(&generated_trace::csv(&recorded), 10_000);
    for share in generated_trace::shares().map(Some).chain([None]) {
        let of_share = |job: &&Job| share.is_none_or(|share| job.share == Some(share.into()));
        let jobs = scheduler.jobs().filter(of_share);
        let mut waits: Vec<_> = jobs.filter_map(|job| job.first_wait()).map(|wait| wait.as_secs()).collect();
        waits.sort_unstable();
        assert!(waits.len() > 5, "seed {SEED}, {share:?}: {} jobs started", waits.len());
        assert_eq!(waits, generated_trace::waits(&recorded, share), "seed {SEED}, {share:?}");
    }
    assert_eq!(scheduler.jobs().count(), generated_trace::JOBS);
    let waiting: Vec<_> = scheduler.jobs().filter(|job| job.status == JobStatus::Runnable).collect();
    assert!(waiting.is_empty(), "seed {SEED}: all that never started ended as recorded: {waiting:?}");
}

#[test]
fn a_dense_trace_makes_people_wait_and_drains() {
    const JOBS: usize = 30_000;
    let mut dice = ChaCha8Rng::seed_from_u64(SEED);
    let mut text = "job_id,share,num_gpu,submit_s,duration_s\n".to_owned();
    for job in 0..JOBS {
        // Small jobs of a few minutes and large ones of an hour, all submitted within five hours.
        let (gpus, seconds) = if dice.random_range(0..20) == 0 { (16, 3_600) } else { (1, 600) };
        let seconds = dice.random_range(seconds / 2..seconds);
        text +=
            &format!("{job},share-{},{gpus},{},{seconds}\n", dice.random_range(0..10), dice.random_range(0..18_000));
    }
    let mut scheduler = play(&text, 5);
    let queue = QueueName::from("my_trace_v1");
    // The quota is nine tenths of the demand, so after five hours the oldest jobs have waited for about half an hour.
    let long = |job: &&Job| scheduler.now().since(job.created_at) > Duration::from_secs(900);
    let shares = scheduler.jobs_in(&queue, &JobStatus::Runnable).filter(long).map(|job| job.share.clone());
    let shares: std::collections::BTreeSet<_> = shares.collect();
    assert!(shares.len() >= 5, "seed {SEED}: long waits only in {shares:?}");
    scheduler.advance(START + Duration::from_secs(48 * 3600));
    assert_eq!(scheduler.next_event(), None);
    assert_eq!(scheduler.jobs().filter(|job| job.status == JobStatus::Succeeded).count(), JOBS);
}

#[test]
fn limits_stay_within_the_range_of_batch_for_any_number_of_jobs() {
    let mut text = "job_id,share,num_gpu,submit_s,duration_s\n".to_owned();
    for job in 0..100_000 {
        text += &format!("{job},share-{},8,0,36000\n", job % 20);
    }
    let workload = read(&text).unwrap();
    let total = workload.setup.environments[0].limits[0].quantity;
    assert_eq!(total, 800_000.0, "no more than all jobs at once");

    let text = "job_id,share,num_gpu,submit_s,duration_s,instance_type,instance_count\n\
                one,a,8,0,10,ml.p5.48xlarge,2147483647\ntwo,b,8,0,10,ml.p5.48xlarge,1\n";
    let problem = read(text).unwrap_err();
    assert!(problem.message.contains("2147483648 instances of ml.p5.48xlarge"), "{problem:?}");
    let problem = read(&text.replace("2147483647", "2147483648")).unwrap_err();
    assert_eq!(problem.place, Some((2, Some("instance_count".to_owned()))));
}
