//! Counting when a service is killed at a bad moment.

use super::*;

#[test]
fn a_job_that_went_back_to_the_queue_during_a_restart_has_had_its_first_wait() {
    let mut first = engine(Saved::default());
    first.observe(vec![topology(), known(), dispatched(), answered(90)]);
    let output = first.tick(second(100));
    // Killed again before it has seen the job.
    let before = saved(output);
    let output = engine(before.clone()).tick(second(110));
    let mut last = engine(saved_after(before, output));
    let job = JobSeen { details: Some(Box::default()), ..scheduled_at(140) };
    last.observe(vec![topology(), answer(150, vec![job]), answered(160)]);
    let output = last.tick(second(170));
    assert_eq!(value(&output, "queue.wait", "prod"), Some(1.0));
    assert_eq!(value(&output, "queue.wait.requeue", "prod"), Some(1.0));
}

#[test]
fn an_end_that_was_seen_before_a_restart_and_described_exactly_after_it_is_counted() {
    let job = |status, details: Option<JobDetails>, at| {
        let job = JobSeen { status, started_at: Some(second(75)), details: details.map(Box::new), ..scheduled_at(70) };
        answer(at, vec![job])
    };
    let mut first = engine(Saved::default());
    first.observe(vec![topology(), known(), job(JobStatus::Running, Some(JobDetails::default()), 80), answered(90)]);
    first.observe(vec![job(JobStatus::Runnable, None, 130), answered(125)]);
    let output = first.tick(second(140));
    assert_eq!((value(&output, "job.run", "prod"), output.counted_until), (Some(0.0), just_before(50)));

    let mut last = engine(saved(output));
    let stopped = StoppedAttempt { started_at: Some(second(75)), stopped_at: Some(second(120)), status_reason: None };
    let details = JobDetails { preemptions: 1, preempted: vec![stopped], ..JobDetails::default() };
    last.observe(vec![topology(), job(JobStatus::Runnable, Some(details), 150), answered(155)]);
    let output = last.tick(second(160));
    let counts = ["queue.wait", "job.run", "job.preemptions"].map(|metric| value(&output, metric, "prod"));
    assert_eq!(counts, [Some(1.0); 3]);
}

#[test]
fn a_preemption_is_counted_once_however_often_the_service_dies_before_it_is_described() {
    let stopped = || StoppedAttempt { started_at: None, stopped_at: Some(second(120)), status_reason: None };
    let details = |preemptions| {
        let preempted = (0..preemptions).map(|_| stopped()).collect();
        Some(Box::new(JobDetails { preemptions, preempted, ..JobDetails::default() }))
    };
    let job = |status, details, at| answer(at, vec![JobSeen { status, details, ..scheduled_at(70) }]);
    let preemptions = |output: &Output| value(output, "job.preemptions", "prod");
    let runnable = || JobStatus::Runnable;

    let mut run = engine(Saved::default());
    run.observe(vec![topology(), known(), job(JobStatus::Scheduled, details(0), 80), answered(90)]);
    // Reported after the last poll began: the next run gets it from the saved state.
    run.observe(vec![job(runnable(), details(1), 130), answered(115)]);
    let output = run.tick(second(130));
    assert_eq!((preemptions(&output), output.counted_until), (Some(0.0), second(115)));
    let mut state = saved(output);
    let mut restarted = |description, at, after| {
        let mut run = engine(state.clone());
        run.observe(vec![topology(), known(), job(runnable(), description, at), answered(at + after)]);
        let output = run.tick(second(at + 10));
        let counted = preemptions(&output);
        state = saved_after(std::mem::take(&mut state), output);
        counted
    };
    assert_eq!(restarted(None, 115, -5), Some(0.0), "no poll has covered it");
    assert_eq!(restarted(None, 200, 5), Some(1.0), "without another description");
    assert_eq!(restarted(None, 300, 5), Some(1.0));
    assert_eq!(restarted(details(1), 400, -5), Some(1.0));
    assert_eq!(restarted(details(1), 500, 5), Some(1.0));
    assert_eq!(restarted(details(1), 600, 5), Some(1.0));
    assert_eq!(restarted(details(2), 700, 5), Some(2.0), "another one while nobody looked");
}

#[test]
fn counts_wait_for_the_description_of_a_job_that_was_preempted_between_polls() {
    let job = |training_job: Option<&str>, details, at| {
        let (status, training_job) = (JobStatus::Runnable, training_job.map(Into::into));
        let job = JobSeen { status, details, training_job, scheduled_at: None, ..scheduled_at(70) };
        answer(at, vec![job])
    };
    let mut first = engine(Saved::default());
    first.observe(vec![topology(), known(), job(None, Some(Box::default()), 80), answered(85)]);
    first.observe(vec![job(Some("train-1"), None, 130), answered(125)]);
    let output = first.tick(second(140));
    assert_eq!(output.counted_until, just_before(0), "it may have happened any time");

    let mut next = engine(Saved { counted_until: Some(second(85)), ..saved(output) });
    next.observe(vec![topology(), known(), job(Some("train-1"), None, 160), answered(155)]);
    assert_eq!(next.tick(second(165)).counted_until, second(85));
    let stopped = StoppedAttempt { started_at: None, stopped_at: Some(second(110)), status_reason: None };
    let details = JobDetails { preemptions: 1, preempted: vec![stopped], ..JobDetails::default() };
    next.observe(vec![job(Some("train-1"), Some(Box::new(details)), 190), answered(185)]);
    let output = next.tick(second(195));
    assert_eq!((value(&output, "job.preemptions", "prod"), output.counted_until), (Some(1.0), second(185)));
}

#[test]
fn a_job_that_ended_after_the_last_poll_began_is_found_again_after_a_restart() {
    let job = |status, stopped, at| {
        let job = JobSeen { status, stopped_at: Some(second(stopped)), ..scheduled_at(70) };
        answer(at, vec![job])
    };
    let mut first = engine(Saved::default());
    first.observe(vec![topology(), known(), dispatched(), answered(90), job(JobStatus::Succeeded, 95, 100)]);
    let output = first.tick(second(100));
    assert_eq!((output.counted_until, output.open_since), (second(90), second(10)));
    first.observe(vec![answered(120)]);
    let output = first.tick(second(130));
    assert_eq!(output.open_since, second(120), "now it is counted");
}

#[test]
fn frames_report_that_the_time_before_a_start_is_not_counted_yet() {
    let hour = 3_600;
    let mut first = engine(Saved::default());
    first.observe(vec![topology(), known(), dispatched(), answered(90)]);
    let output = first.tick(second(100));
    assert_eq!(output.frame.catch_up, CatchUp::Done, "nothing was before");
    let before = saved(output);

    let mut next = engine(before);
    assert_eq!(next.tick(second(hour)).frame.catch_up, CatchUp::UnderWay, "nothing has been listed yet");
    let (source, queue, at) = (Source::Jobs, Some("prod".into()), second(hour + 10));
    next.observe(vec![topology(), known(), Observation::Failed { source, queue, at, error: "no".to_owned() }]);
    assert_eq!(next.tick(second(hour + 20)).frame.catch_up, CatchUp::Stalled);
    next.observe(vec![answered(hour + 60)]);
    let output = next.tick(second(hour + 70));
    assert_eq!(output.frame.catch_up, CatchUp::Done, "{}", output.counted_until);
    assert_eq!(next.tick(second(3 * hour)).frame.catch_up, CatchUp::Done, "lists that fail later are no start");
}

#[test]
fn what_each_wait_was_for_is_known_by_attempt_also_after_a_restart() {
    let job = |status, scheduled: Option<i64>, preemptions, at| {
        let details = JobDetails { preemptions, ..JobDetails::default() };
        let stopped = || StoppedAttempt { started_at: None, stopped_at: Some(second(200)), status_reason: None };
        let details = JobDetails { preempted: (0..preemptions).map(|_| stopped()).collect(), ..details };
        let job = JobSeen { status, scheduled_at: scheduled.map(second), ..scheduled_at(70) };
        answer(at, vec![JobSeen { details: Some(Box::new(details)), ..job }])
    };
    let mut run = engine(Saved::default());
    let mut state = Saved::default();
    for (at, status, scheduled, preemptions) in [
        (100, JobStatus::Runnable, None, 0),
        (130, JobStatus::Runnable, None, 0),
        (160, JobStatus::Scheduled, Some(150), 0),
        (210, JobStatus::Runnable, Some(150), 1),
        (240, JobStatus::Runnable, Some(150), 1),
        (270, JobStatus::Runnable, Some(150), 1),
        (300, JobStatus::Scheduled, Some(290), 1),
    ] {
        run.observe(vec![topology(), job(status, scheduled, preemptions, at), answered(at)]);
        let output = run.tick(second(at + 5));
        state = saved_after(state, output);
    }
    let check = |engine: &Engine| {
        let job = engine.job(&"job-1".into()).unwrap().clone();
        let of = |attempt| job.waited_before(attempt).values().sum::<f64>();
        assert!(of(1) > 0.0 && of(2) > of(1), "{} and {} of {:?}", of(1), of(2), job.waited);
        assert_eq!(of(3), 0.0);
        let all: f64 = job.waited.as_ref().unwrap().0.values().sum();
        assert!((all - of(1) - of(2)).abs() < 1e-6);
    };
    check(&run);
    check(&engine(state));
}

#[test]
fn other_rules_count_from_the_next_tick_on_and_alerts_of_those_that_are_gone_end() {
    let rule = |name: &str| {
        let text =
            format!("rules: [{{ alert: {name}, metric: source.age, above: 1s, annotations: {{ summary: x }} }}]");
        crate::rules::parse_rules("rules.yaml", &text).unwrap()
    };
    let mut engine = engine(Saved::default());
    engine.observe(vec![topology(), known(), answered(0)]);
    let changes = |engine: &mut Engine, at| {
        let transitions = engine.tick(second(at)).transitions;
        let names: BTreeSet<String> =
            transitions.iter().map(|one| format!("{} {:?}", one.alert.rule, one.kind)).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(changes(&mut engine, 100), Vec::<String>::new());
    engine.set_rules(rule("Before"));
    assert_eq!(changes(&mut engine, 110), ["Before Fired"]);
    engine.set_rules(rule("After"));
    assert_eq!(changes(&mut engine, 120), ["After Fired", "Before Resolved(RuleRemoved)"]);
}

#[test]
fn what_is_kept_of_jobs_that_never_turn_up_is_dropped_a_day_after_the_first_complete_poll() {
    let body = r#"{"spans":[
        {"phase":"Waiting","attempt":1,"from":{"earliest":"1970-01-01T00:00:10Z","latest":"1970-01-01T00:00:10Z"},"to":null}]}"#;
    let job = SavedJob { id: "unseen".into(), body: body.to_owned() };
    let mut engine = engine(Saved { jobs: vec![job], counted_until: Some(second(60)), ..Saved::default() });
    let day = 86_400;
    let dropped =
        |engine: &mut Engine, at: i64| engine.tick(second(at)).jobs.changes.contains_key(&JobId::from("unseen"));
    assert!(!dropped(&mut engine, 2 * day), "nothing has been listed yet");
    engine.observe(vec![topology(), known(), answered(2 * day)]);
    assert!(!dropped(&mut engine, 2 * day + 60));
    assert!(!dropped(&mut engine, 3 * day + 60), "a day, and no longer");
    assert!(dropped(&mut engine, 3 * day + 61));
    assert!(!dropped(&mut engine, 3 * day + 120), "once");
}
