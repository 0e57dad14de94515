//! Ages of sources, events that are counted once, and limits of series.

use super::*;

#[test]
fn a_description_that_failed_makes_the_lists_no_older() {
    let mut engine = engine(Saved::default());
    let error = "throttled".to_owned();
    let failed = Observation::Failed { source: Source::Descriptions, queue: None, at: second(95), error };
    engine.observe(vec![topology(), polled(second(90)), failed]);
    let output = engine.tick(second(100));
    assert_eq!(value(&output, "source.age", "jobs"), Some(10.0));
    assert_eq!(value(&output, "source.failures", "descriptions"), Some(1.0));
    let health = output.frame.sources.iter().find(|health| health.source == Source::Descriptions).unwrap();
    assert_eq!(health.error.as_deref(), Some("throttled"), "and yet it is named");
    assert!(value(&output, "source.age", "descriptions").is_some_and(|age| age >= 100.0), "and alerts can fire on it");
}

#[test]
fn a_list_that_failed_ages_and_is_named() {
    let mut engine = engine(Saved::default());
    let error = "throttled".to_owned();
    let failed = Observation::Failed { source: Source::Jobs, queue: Some("prod".into()), at: second(95), error };
    engine.observe(vec![topology(), polled(second(30)), failed]);
    let output = engine.tick(second(100));
    assert_eq!(value(&output, "source.age", "jobs"), Some(70.0));
    let health = output.frame.sources.iter().find(|health| health.source == Source::Jobs).unwrap();
    assert!(health.failing.contains("prod"), "{health:?}");
}

#[test]
fn an_event_is_counted_once_a_poll_has_covered_it_and_never_again_after_a_restart() {
    let mut first = engine(Saved::default());
    first.observe(vec![topology(), known(), dispatched(), answered(60)]);
    let output = first.tick(second(90));
    assert_eq!(value(&output, "queue.wait", "prod"), Some(0.0), "the last complete poll began before the dispatch");
    first.observe(vec![answered(90)]);
    let output = first.tick(second(120));
    assert_eq!(value(&output, "queue.wait", "prod"), Some(1.0));

    let saved = Saved {
        alerts: output.alerts,
        series: output.series,
        jobs: output.jobs.kept().collect(),
        queues: output.queues,
        events: output.events,
        ticked_at: Some(second(120)),
        counted_until: Some(output.counted_until),
        open_since: Some(output.open_since),
        ..Saved::default()
    };
    let mut second_run = engine(saved);
    assert_eq!(second_run.questions(second(150)).since, Some(second(9)), "the job may have ended meanwhile");
    second_run.observe(vec![topology(), dispatched(), answered(150)]);
    let again = second_run.tick(second(160));
    assert_eq!(value(&again, "queue.wait", "prod"), Some(1.0));
    let last_hour = |sample: &Sample| match &sample.value {
        Value::Distribution(distribution) => distribution.recent.map(|recent| recent.count),
        Value::Gauge(_) | Value::Counter(_) => None,
    };
    let waits = again.frame.samples.iter().filter(|sample| sample.metric.name == "queue.wait");
    assert_eq!(waits.filter_map(last_hour).collect::<Vec<_>>(), [1], "the last hour goes on, too");
    assert_eq!(again.frame.waits[0].seconds.count, 1);
    assert!(again.events.is_empty(), "nothing is kept twice");
}

#[test]
fn unknown_values_are_counted_one_by_one_up_to_a_limit() {
    let mut engine = engine(Saved::default());
    let unknown = |number| Observation::UnknownValue { kind: "job_status", value: format!("S{number}") };
    engine.observe((0..60).map(unknown).collect());
    let output = engine.tick(second(1));
    assert_eq!(value(&output, "source.unknown_values", "S0"), Some(1.0));
    assert_eq!(value(&output, "source.unknown_values", "other"), Some(10.0));
}

/// A page of waiting jobs, one per share.
fn page(shares: impl Iterator<Item = usize>, status: &JobStatus, at: i64) -> Observation {
    let job = |share: usize| JobSeen {
        id: format!("job-{share}").as_str().into(),
        share: Some(format!("user-{share:03}").as_str().into()),
        status: status.clone(),
        scheduled_at: None,
        stopped_at: status.is_ended().then(|| second(at)),
        ..scheduled_at(0)
    };
    answer(at, shares.map(job).collect())
}

#[test]
fn shares_beyond_the_limit_are_aggregated_and_sums_stay_right() {
    let shown = |shares: &[&str], most| {
        let show = shares.iter().map(|glob| (*glob).to_owned()).collect();
        let mut engine = engine(Saved::default()).showing(SharesShown { show, most });
        engine.observe(vec![topology(), known()]);
        engine
    };
    // Waiting jobs per share.
    let waiting = |output: &Output| -> BTreeMap<String, f64> {
        let jobs = output.frame.samples.iter().filter(|sample| sample.metric.name == "queue.jobs");
        let runnable = jobs.filter(|sample| sample.labels.get("state").is_some_and(|state| **state == *"runnable"));
        let value = |sample: &Sample| match sample.value {
            Value::Gauge(value) => (sample.labels.get("share").unwrap().to_string(), value),
            Value::Counter(_) | Value::Distribution(_) => panic!("{sample:?}"),
        };
        runnable.map(value).filter(|(_, value)| *value > 0.0).collect()
    };
    let mut limited = shown(&["*"], 3);
    limited.observe(vec![page(0..50, &JobStatus::Runnable, 20), answered(20)]);
    let output = limited.tick(second(20));
    let expected = [("other", 47.0), ("user-000", 1.0), ("user-001", 1.0), ("user-002", 1.0)];
    assert_eq!(waiting(&output), expected.map(|(share, jobs)| (share.to_owned(), jobs)).into());
    assert_eq!(value(&output, "limit.hits", "shares"), Some(47.0));
    // Two shares with separate series end: others take their slots, and their series are gone.
    limited.observe(vec![page(0..2, &JobStatus::Failed, 30), answered(40)]);
    limited.tick(second(40));
    limited.observe(vec![page(2..50, &JobStatus::Runnable, 50), answered(50)]);
    let output = limited.tick(second(50));
    let reported = waiting(&output);
    assert_eq!((reported.len(), reported.values().sum::<f64>(), reported["other"]), (4, 48.0, 45.0));
    assert_eq!(value(&output, "job.ended", "user-000"), None);
    assert_eq!(value(&output, "limit.hits", "shares"), Some(47.0), "once for a job");

    let mut listed = shown(&["user-00*"], 200);
    listed.observe(vec![page(0..50, &JobStatus::Runnable, 20), answered(20)]);
    let output = listed.tick(second(20));
    assert_eq!((waiting(&output).len(), waiting(&output)["other"]), (11, 40.0));
    assert_eq!(value(&output, "limit.hits", "shares").unwrap_or_default(), 0.0, "that is how it was wanted");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// For any sequence of share identifiers: no metric has more shares than allowed plus `other`, and every job is
    /// counted.
    #[test]
    fn no_metric_has_more_shares_than_may_be_shown_and_every_job_is_counted(
        most in 1_usize..6,
        polls in vec(vec((0_usize..20, 0_usize..12, 0_u8..4), 0..30), 1..12),
    ) {
        let mut engine = engine(Saved::default()).showing(SharesShown { show: vec!["*".to_owned()], most });
        engine.observe(vec![topology(), Observation::Answered { source: Source::Topology, queue: None, at: second(0) }]);
        let mut open: BTreeMap<(usize, usize), JobStatus> = BTreeMap::new();
        for (poll, seen) in (1..).zip(&polls) {
            let at = poll * 30;
            let mut jobs = BTreeMap::new();
            for (share, number, status) in seen {
                let (job, far) = ((*share, *number), usize::from(*status));
                let status = [JobStatus::Runnable, JobStatus::Scheduled, JobStatus::Running, JobStatus::Succeeded];
                // Ended jobs stay ended.
                if open.get(&job) != Some(&JobStatus::Succeeded) {
                    open.insert(job, status[far].clone());
                }
                jobs.insert(job, open[&job].clone());
            }
            let seen = |((share, number), status): (&(usize, usize), &JobStatus)| JobSeen {
                id: format!("job-{share}-{number}").as_str().into(),
                share: Some(format!("user-{share:03}").as_str().into()),
                status: status.clone(),
                scheduled_at: None,
                stopped_at: status.is_ended().then(|| second(at)),
                ..scheduled_at(0)
            };
            let page = answer(at, jobs.iter().map(seen).collect());
            engine.observe(vec![page, answered(at)]);
            let output = engine.tick(second(at));
            let mut shares: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            let mut reported = 0.0;
            for sample in &output.frame.samples {
                if let Some(share) = sample.labels.get("share") {
                    shares.entry(sample.metric.name).or_default().insert(share);
                }
                if let ("queue.jobs", Value::Gauge(jobs)) = (sample.metric.name, &sample.value) {
                    reported += jobs;
                }
            }
            // A queue without shares counts as one share.
            let allowed = |shares: &BTreeSet<&str>| shares.iter().filter(|share| !["", "other"].contains(*share)).count() <= most;
            prop_assert!(shares.values().all(allowed), "at most {} of {:?}", most, shares);
            let jobs = open.values().filter(|status| !status.is_ended()).count();
            prop_assert_eq!(reported, jobs as f64);
        }
    }
}

#[test]
fn waits_by_priority_band_sum_to_all_waits_and_continue_after_a_restart() {
    let bands = || PriorityBands::new([("batch", 0), ("urgent", 100)]);
    let with_priority = |job: JobSeen, priority: i32| {
        let details = JobDetails { priority: Some(priority), ..JobDetails::default() };
        JobSeen { id: format!("job-{priority}").into(), details: Some(Box::new(details)), ..job }
    };
    let unknown = || described(JobSeen { id: "job-unknown".into(), ..scheduled_at(50) });
    let waiting = || JobSeen { status: JobStatus::Runnable, scheduled_at: None, ..scheduled_at(0) };
    let mut first = engine(Saved::default()).banded(bands());
    let jobs = vec![
        with_priority(scheduled_at(70), 5),
        with_priority(scheduled_at(30), 100),
        unknown(),
        with_priority(waiting(), 500),
    ];
    first.observe(vec![topology(), known(), answer(80, jobs), answered(90)]);
    let output = first.tick(second(110));
    let of = |output: &Output, metric: &str| ["batch", "urgent", "other"].map(|band| value(output, metric, band));
    assert_eq!(of(&output, "priority.wait"), [Some(1.0); 3]);
    assert_eq!(value(&output, "queue.wait", "prod"), Some(3.0));
    assert_eq!(of(&output, "priority.wait.oldest"), [Some(0.0), Some(100.0), Some(0.0)]);
    let of_estimates = of(&output, "priority.wait.estimate");

    let mut second_run = engine(saved(output)).banded(bands());
    second_run.observe(vec![topology(), answer(115, vec![with_priority(waiting(), 500)])]);
    let output = second_run.tick(second(110));
    assert_eq!(of(&output, "priority.wait"), [Some(1.0); 3]);
    assert_eq!(of(&output, "priority.wait.estimate"), of_estimates, "the kept events know their priority");
    assert!(of_estimates.iter().all(Option::is_some));
}

#[test]
fn a_job_that_is_described_after_it_was_listed_is_counted_in_its_band() {
    let mut engine = engine(Saved::default()).banded(PriorityBands::new([("batch", 0)]));
    let details = Some(Box::new(JobDetails { priority: Some(5), ..JobDetails::default() }));
    let description = JobSeen { details, ..scheduled_at(70) };
    engine.observe(vec![topology(), dispatched(), answer(85, vec![description]), answered(90)]);
    let output = engine.tick(second(100));
    assert_eq!(
        [value(&output, "priority.wait", "batch"), value(&output, "priority.wait", "other")],
        [Some(1.0), Some(0.0)]
    );
}

#[test]
fn series_go_with_their_queue_and_their_quota_share_and_stay_within_the_limit_over_a_restart() {
    let shown = |most| SharesShown { show: vec!["*".to_owned()], most };
    let mut first = engine(Saved::default()).showing(shown(5));
    first.observe(vec![topology(), known(), page(0..5, &JobStatus::Runnable, 20), answered(20)]);
    first.tick(second(20));
    let scheduled = page(0..5, &JobStatus::Scheduled, 25);
    first.observe(vec![scheduled, page(0..5, &JobStatus::Failed, 30), answered(40)]);
    let output = first.tick(second(40));
    let events = output.events.clone();
    let ended = |output: &Output| {
        let samples = output.frame.samples.iter().filter(|sample| sample.metric.name == "job.ended");
        let shares = samples.filter_map(|sample| sample.labels.get("share")).map(|share| share.to_string());
        shares.filter(|share| !share.is_empty()).collect::<BTreeSet<_>>()
    };
    assert_eq!(ended(&output).len(), 5, "whose jobs have all ended: that is still of interest");
    let mut fewer = engine(saved(output)).showing(shown(3));
    fewer.observe(vec![topology(), known(), page(7..9, &JobStatus::Runnable, 50), answered(50)]);
    let output = fewer.tick(second(50));
    assert_eq!(ended(&output).len(), 3, "{:?}", ended(&output));
    assert!(ended(&output).contains("user-008"));
    let last = Saved { counted_until: Some(second(49)), events, ..saved(output) };

    let mut other = engine(last).showing(shown(3));
    let Observation::Topology { at, mut queues } = topology() else { panic!("no topology") };
    queues[0].name = "next".into();
    other.observe(vec![Observation::Topology { at, queues }, known()]);
    let output = other.tick(second(60));
    assert_eq!(ended(&output), BTreeSet::new(), "the queue is gone");
    assert_eq!(value(&output, "queue.wait", "prod"), None, "and what was kept of it");
}

#[test]
fn quota_shares_have_series_of_their_own_whatever_the_limit() {
    let mut engine = engine(Saved::default()).showing(SharesShown { show: Vec::new(), most: 1 });
    let Observation::Topology { at, mut queues } = topology() else { panic!("no topology") };
    let quota = |share: usize| QuotaShare {
        name: format!("user-{share:03}").as_str().into(),
        limits: Vec::new(),
        sharing: Sharing::Reserve,
        in_share_preemption: false,
        enabled: true,
    };
    queues[0].policy = Policy::QuotaShares((0..3).map(quota).collect());
    engine.observe(vec![Observation::Topology { at, queues }, page(0..5, &JobStatus::Runnable, 20), answered(20)]);
    let output = engine.tick(second(20));
    let shares = output.frame.samples.iter().filter(|sample| sample.metric.name == "queue.wait.oldest");
    let shares: Vec<String> = shares.map(|sample| sample.labels.get("share").unwrap().to_string()).collect();
    assert_eq!(shares, ["other", "user-000", "user-001", "user-002"]);

    // Two are deleted: the series of one disappear now, those of the other when its job has ended.
    let Observation::Topology { at, mut queues } = topology() else { panic!("no topology") };
    queues[0].policy = Policy::QuotaShares((2..3).map(quota).collect());
    let deleted = || Observation::Topology { at, queues: queues.clone() };
    engine.observe(vec![page(0..1, &JobStatus::Failed, 30), deleted(), answered(30)]);
    let output = engine.tick(second(30));
    let of = |output: &Output| {
        ["user-000", "user-001", "user-002"].map(|share| value(output, "queue.wait", share).is_some())
    };
    assert_eq!(of(&output), [false, true, true]);
    engine.observe(vec![page(1..2, &JobStatus::Failed, 60), deleted(), answered(60)]);
    assert_eq!(of(&engine.tick(second(60))), [false, false, true]);
}
