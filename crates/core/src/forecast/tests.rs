//! Laws of forecasts, and worked examples.

mod unusual_states;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::forecast::simulate::MAX_FRONT;
use crate::model::{Capacity, JobId, Policy, QuotaShare, ServiceEnvironment, ShareName, Sharing, Timestamp};
use crate::scheduler::{Delays, QueueSetup, Setup};

const TYPE: &str = "ml.p5.48xlarge";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn hours(hours: u64) -> Duration {
    Duration::from_secs(3600 * hours)
}

/// Attempts of one kind that ended after so many hours.
fn known(hours: &[u64]) -> Runtimes {
    let mut runtimes = Runtimes::default();
    hours.iter().for_each(|hours| runtimes.record(kind(None), (3600 * hours) as f64, true));
    runtimes
}

fn kind(share: Option<&ShareName>) -> JobKind {
    JobKind::new("train", Some("ada"), 1.0, share, &"q".into())
}

fn setup(instances: f64, policy: Policy) -> Setup {
    let limits = vec![Capacity::new(TYPE, instances)];
    Setup {
        environments: vec![ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits }],
        queues: vec![QueueSetup::new("q", "gpus", policy)],
        delays: Delays::NONE,
        ..Setup::default()
    }
}

fn job(name: &str, instances: f64, dispatched_at: Option<Timestamp>, runtimes: &mut Runtimes) -> OpenJob {
    OpenJob {
        id: JobId::new(name),
        queue: "q".into(),
        share: None,
        priority: 0,
        demand: vec![Capacity::new(TYPE, instances)].into(),
        created_at: NOW,
        dispatched_at,
        holds_at_most: None,
        preemption_retries: None,
        kind: kind(None),
        profile: runtimes.of(kind(None)),
        lacks_instances: false,
    }
}

fn initial_state(setup: Setup, in_flight: Vec<OpenJob>, waiting: Vec<OpenJob>) -> InitialState {
    InitialState {
        now: NOW,
        setup,
        disabled: Vec::new(),
        in_flight,
        waiting,
        left_out: 0,
        arrivals: PastArrivals::default(),
        ended: 20,
    }
}

fn median(starts: &Starts, job: usize) -> f64 {
    match &starts.by_job[job] {
        JobStarts::Runs { seconds, .. } => seconds[seconds.len() / 2],
        JobStarts::Never(because) => panic!("{because:?}"),
    }
}

prop_compose! {
    fn fifo_jobs()(sizes in prop::collection::vec(1_u32..4, 1..25), ages in prop::collection::vec(0_u64..20, 0..4), runtimes in prop::collection::vec(1_u64..40, 5..30)) -> (Vec<OpenJob>, Vec<OpenJob>) {
        let mut known = known(&runtimes);
        let in_flight = ages.iter().enumerate().map(|(index, age)| {
            job(&format!("runs-{index}"), 1.0, Some(NOW - hours(*age)), &mut known)
        });
        let in_flight = in_flight.collect();
        let waiting = sizes.iter().enumerate().map(|(index, size)| job(&format!("waits-{index}"), f64::from(*size), None, &mut known));
        (in_flight, waiting.collect())
    }
}

/// When the jobs of an initial state start that is generated from a seed, with shares that lend, arrivals, and what forecasters have learned: each run of each.
fn seeded(seed: u64) -> Vec<Vec<u64>> {
    let mut state = seed;
    let mut below = move |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let mut forecaster = Forecaster::default();
    let mut jobs = Vec::new();
    for number in 0..40 {
        let traits = JobTraits {
            queue: "q".into(),
            share: Some(["a", "b"][below(2) as usize].into()),
            owner: None,
            name: "train".into(),
            instances: 1.0,
        };
        let (id, held) = (JobId::new(format!("past-{number}")), (1_000 + below(90_000)) as f64);
        let at = NOW - Duration::from_secs(below(4 * 86_400));
        forecaster.arrived(&id, (at, Some(at)), &traits, 0, &vec![Capacity::new(TYPE, 1.0)].into());
        forecaster.attempt_ended(&id, 1, &traits, (at, held), true);
        jobs.push(traits);
    }
    let open = |(index, traits): (usize, JobTraits)| {
        let dispatched_at = (index < 4).then(|| NOW - Duration::from_secs(60 * index as u64));
        let profile = forecaster.profile(traits.kind());
        let of_job = job(&format!("job-{index}"), 1.0, dispatched_at, &mut Runtimes::default());
        OpenJob { share: traits.share.clone(), kind: traits.kind(), profile, ..of_job }
    };
    let mut in_flight: Vec<OpenJob> = jobs.into_iter().take(20).enumerate().map(open).collect();
    let waiting = in_flight.split_off(4);
    let quota = |name: &str| QuotaShare {
        name: name.into(),
        enabled: true,
        limits: vec![Capacity::new(TYPE, 2.0)],
        sharing: Sharing::LendAndBorrow { borrow_limit: None },
        in_share_preemption: false,
    };
    let policy = Policy::QuotaShares(vec![quota("a"), quota("b")]);
    let arrivals = forecaster.arrivals(NOW, |_, _| true);
    let starts = run(&InitialState { arrivals, ..initial_state(setup(4.0, policy), in_flight, waiting) }, 20);
    let seconds = |starts: &JobStarts| match starts {
        JobStarts::Runs { seconds, .. } => seconds.iter().map(|one| one.to_bits()).collect(),
        JobStarts::Never(because) => panic!("{because:?}"),
    };
    starts.by_job.iter().map(seconds).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn more_capacity_never_makes_the_median_of_a_fifo_queue_later((in_flight, waiting) in fifo_jobs(), more in 1_u32..5) {
        let jobs = waiting.len();
        let few = run(&initial_state(setup(4.0, Policy::Fifo), in_flight.clone(), waiting.clone()), 20);
        let many = run(&initial_state(setup(4.0 + f64::from(more), Policy::Fifo), in_flight, waiting), 20);
        for index in 0..jobs {
            prop_assert!(median(&many, index) <= median(&few, index), "job {index}");
        }
    }

    #[test]
    fn an_estimate_made_twice_in_a_still_world_is_the_same((in_flight, waiting) in fifo_jobs()) {
        let initial = initial_state(setup(4.0, Policy::Fifo), in_flight, waiting);
        let (one, other) = (run(&initial, 20), run(&initial, 20));
        for index in 0..initial.waiting.len() {
            prop_assert_eq!(median(&one, index).to_bits(), median(&other, index).to_bits());
        }
    }

    #[test]
    fn equal_seeds_give_equal_answers(seed in any::<u64>()) {
        let (one, other) = (seeded(seed), seeded(seed));
        prop_assert_eq!(&one, &other);
        prop_assert_ne!(one, seeded(seed.wrapping_add(1)));
    }

    #[test]
    fn what_is_left_of_a_job_is_never_negative_and_grows_with_the_quantile(ran in prop::collection::vec((1_u64..50, any::<bool>()), 0..40), age in 0.0..400_000.0_f64, u in 0.0..0.9_f64) {
        let mut runtimes = Runtimes::default();
        ran.iter().for_each(|(hours, ended)| runtimes.record(kind(None), (3600 * hours) as f64, *ended));
        let profile = runtimes.of(kind(None));
        let at = |u: f64| profile.quantile(age, u);
        prop_assert!(at(u).is_finite() && at(u) >= age);
    }
}

#[test]
fn a_job_that_has_run_for_long_is_judged_by_those_that_lasted_longer() {
    let mut runtimes = known(&[1; 50]);
    (0..50).for_each(|_| runtimes.record(kind(None), 36_000.0, true));
    let profile = runtimes.of(kind(None));
    assert!((0..10).all(|u| profile.quantile(7200.0, f64::from(u) / 20.0) >= 36_000.0));
    assert!((3000.0..4000.0).contains(&profile.quantile(0.0, 0.1)));
}

#[test]
fn few_jobs_of_a_name_count_less_than_their_share_and_many_count_more() {
    let share = ShareName::new("speech");
    let of = |name: &str| JobKind::new(name, Some("ada"), 1.0, Some(&share), &"q".into());
    let usual = |of_name: usize| {
        let mut runtimes = Runtimes::default();
        (0..60).for_each(|_| runtimes.record(of("other"), 36_000.0, true));
        (0..of_name).for_each(|_| runtimes.record(of("tune"), 600.0, true));
        runtimes.of(of("tune")).usual().unwrap()
    };
    assert!(usual(1) > 30_000.0);
    assert!(usual(60) < 1_000.0);
}

#[test]
fn names_are_known_by_what_does_not_change_from_job_to_job() {
    for (name, stem) in [
        ("train-llama-7b-20260101-3f9a2c", "train-llama-7b"),
        ("train_llama_7b_0042", "train-llama-7b"),
        ("Eval/nightly 17", "eval-nightly"),
        ("20260101", ""),
        ("bert", "bert"),
    ] {
        assert_eq!(name_stem(name), stem);
        assert_eq!(name_stem(&name_stem(name)), stem);
    }
}

#[test]
fn there_is_never_an_estimate_for_a_job_that_can_never_start() {
    let mut known = known(&[1, 2, 3, 4, 5, 6]);
    let too_large = job("large", 9.0, None, &mut known);
    let small = job("small", 1.0, None, &mut known);
    let other_type =
        OpenJob { id: "other".into(), demand: vec![Capacity::new("ml.g5.xlarge", 1.0)].into(), ..small.clone() };
    let unknown = OpenJob { id: "unknown".into(), demand: Vec::new().into(), ..small.clone() };
    let elsewhere = OpenJob { id: "elsewhere".into(), queue: "gone".into(), ..small.clone() };
    let lacking = OpenJob { id: "lacking".into(), lacks_instances: true, ..small.clone() };
    let waiting = vec![small, too_large, other_type, unknown, elsewhere, lacking];
    let mut initial = initial_state(setup(4.0, Policy::Fifo), Vec::new(), waiting);
    let because = |initial: &InitialState| -> Vec<Option<NeverBecause>> {
        let never = |starts: &JobStarts| match starts {
            JobStarts::Never(because) => Some(*because),
            JobStarts::Runs { .. } => None,
        };
        run(initial, 5).by_job.iter().map(never).collect()
    };
    let at_most = |most: u64| Some(NeverBecause::TooLarge(Some(most)));
    let rest = [Some(NeverBecause::UnknownSize), Some(NeverBecause::NoPlace), Some(NeverBecause::NoInstances)];
    assert_eq!(because(&initial), [&[None, at_most(4), at_most(0)][..], &rest].concat());
    initial.disabled = vec!["q".into()];
    assert_eq!(because(&initial)[0], Some(NeverBecause::Disabled));
    let quota = |name: &str, limit: f64| QuotaShare {
        name: name.into(),
        enabled: true,
        limits: vec![Capacity::new(TYPE, limit)],
        sharing: Sharing::Reserve,
        in_share_preemption: false,
    };
    initial.disabled.clear();
    initial.setup = setup(4.0, Policy::QuotaShares(vec![quota("small", 1.0), quota("rest", 3.0)]));
    initial.waiting = initial.waiting[..1].to_vec();
    initial.waiting[0].share = Some("small".into());
    initial.waiting[0].demand = vec![Capacity::new(TYPE, 2.0)].into();
    assert_eq!(because(&initial), [at_most(1)]);
    initial.waiting[0].share = Some("nobody".into());
    assert_eq!(because(&initial), [Some(NeverBecause::NoPlace)]);
}

#[test]
fn too_little_history_is_reported_and_enough_gives_a_calibrated_interval() {
    let mut forecaster = Forecaster::default();
    let of = JobTraits { queue: "q".into(), share: None, owner: None, name: "train".into(), instances: 1.0 };
    let ask = |forecaster: &mut Forecaster, now: Timestamp, id: &str| {
        let mut runtimes = Runtimes::default();
        let profile = forecaster.profile(of.kind());
        let open =
            |id: &str, at: Option<Timestamp>| OpenJob { profile: profile.clone(), ..job(id, 4.0, at, &mut runtimes) };
        let mut open = open;
        let (in_flight, waiting) = (vec![open("runs", Some(now))], vec![open(id, None)]);
        let initial = InitialState {
            now,
            ended: forecaster.ended(),
            ..initial_state(setup(4.0, Policy::Fifo), in_flight, waiting)
        };
        forecaster.take(&initial, &run(&initial, 50));
        forecaster.shown(&id.into())
    };
    assert_eq!(ask(&mut forecaster, NOW, "a"), Outlook::Unknown(Unknown::FewEnded(0)));
    for index in 0_u32..40 {
        let seconds = f64::from(1800 + 180 * (index * 7 % 40));
        forecaster.attempt_ended(&format!("j{index}").as_str().into(), 1, &of, (NOW, seconds), true);
        // What was learned is not learned again.
        forecaster.attempt_ended(&format!("j{index}").as_str().into(), 1, &of, (NOW, 1e9), true);
    }
    assert_eq!(forecaster.ended(), 40);
    let mut now = NOW;
    let mut shown = Vec::new();
    for index in 0_u32..200 {
        let id = format!("w{index}");
        shown.push(ask(&mut forecaster, now, &id));
        now = now + Duration::from_secs(u64::from(1800 + 180 * (index * 11 % 40)));
        forecaster.wait_ended(&id.as_str().into(), now, WaitEnd::Dispatched);
    }
    assert_eq!(shown[3], Outlook::Unknown(Unknown::FewTruths(3)));
    let Some(Outlook::Expected(estimate)) = shown.last() else { panic!("{:?}", shown.last()) };
    let (p10, p50, p90) = (estimate.p10.unwrap(), estimate.p50.unwrap(), estimate.p90.unwrap());
    assert!(p10 < p50 && p50 < p90, "{estimate:?}");
    let quality = estimate.quality.clone().unwrap();
    assert!((0.72..=0.88).contains(&quality.coverage), "{quality:?}");
    assert!(estimate.rests_on.contains("1 job holds the capacity it waits for"), "{}", estimate.rests_on);
    assert!(estimate.would_change.contains("more instances"), "{}", estimate.would_change);

    let saved = forecaster.take_unsaved();
    let rows: BTreeMap<String, String> =
        saved.changes.into_iter().filter_map(|(name, body)| Some((name, body?))).collect();
    let mut restored = Forecaster::restore(rows);
    assert_eq!(restored.ended(), forecaster.ended());
    assert_eq!(restored.qualities(), forecaster.qualities());
    restored.attempt_ended(&"j3".into(), 1, &of, (NOW, 1e9), true);
    assert_eq!(restored.ended(), 40);
    assert_eq!(ask(&mut restored, now, "next"), ask(&mut forecaster, now, "next"));
}

#[test]
fn jobs_behind_the_front_are_extrapolated_at_its_rate_and_marked() {
    let mut known = known(&[1]);
    let waiting: Vec<OpenJob> =
        (0..MAX_FRONT + 500).map(|index| job(&format!("w{index}"), 1.0, None, &mut known)).collect();
    let starts = run(&initial_state(setup(10.0, Policy::Fifo), Vec::new(), waiting), 3);
    let beyond = |index: usize| match &starts.by_job[index] {
        JobStarts::Runs { beyond_front, .. } => *beyond_front,
        JobStarts::Never(because) => panic!("{because:?}"),
    };
    assert!(!beyond(MAX_FRONT - 1) && beyond(MAX_FRONT));
    assert!(median(&starts, MAX_FRONT + 499) > median(&starts, MAX_FRONT));
    let exact = median(&starts, MAX_FRONT - 1);
    let part = (MAX_FRONT + 499) as f64 / (MAX_FRONT - 1) as f64;
    assert!((median(&starts, MAX_FRONT + 499) / exact / part - 1.0).abs() < 0.25);
}

#[test]
fn a_job_that_can_never_start_has_no_estimate_beyond_the_front_either_and_what_is_behind_it_has_none() {
    let mut known = known(&[1]);
    let mut waiting: Vec<OpenJob> =
        (0..MAX_FRONT + 200).map(|index| job(&format!("w{index}"), 1.0, None, &mut known)).collect();
    waiting[MAX_FRONT + 100] = job("large", 1_000.0, None, &mut known);
    let first = OpenJob { id: "first".into(), priority: 1, ..job("first", 1.0, None, &mut known) };
    waiting.push(first);
    let never = |starts: &Starts, index: usize| match &starts.by_job[index] {
        JobStarts::Never(because) => Some(*because),
        JobStarts::Runs { .. } => None,
    };
    let starts = run(&initial_state(setup(10.0, Policy::Fifo), Vec::new(), waiting.clone()), 2);
    assert_eq!(never(&starts, MAX_FRONT + 99), None);
    assert_eq!(never(&starts, MAX_FRONT + 100), Some(NeverBecause::TooLarge(Some(10))));
    assert_eq!(never(&starts, MAX_FRONT + 101), Some(NeverBecause::Behind));
    assert_eq!(never(&starts, MAX_FRONT + 200), None, "a higher priority goes first");
    // Within a share by its quota, which another share is not held up by.
    let quota = |name: &str| QuotaShare {
        name: name.into(),
        enabled: true,
        limits: vec![Capacity::new(TYPE, 5.0)],
        sharing: Sharing::Reserve,
        in_share_preemption: false,
    };
    waiting[MAX_FRONT + 100] = job("large", 6.0, None, &mut known);
    waiting.iter_mut().for_each(|job| job.share = Some("a".into()));
    waiting.push(OpenJob { share: Some("b".into()), ..job("other", 1.0, None, &mut known) });
    let policy = Policy::QuotaShares(vec![quota("a"), quota("b")]);
    let starts = run(&initial_state(setup(10.0, policy), Vec::new(), waiting), 2);
    assert_eq!(never(&starts, MAX_FRONT + 100), Some(NeverBecause::TooLarge(Some(5))));
    assert_eq!(never(&starts, MAX_FRONT + 101), Some(NeverBecause::Behind));
    assert_eq!(never(&starts, MAX_FRONT + 201), None);
}

/// Sixteen jobs that wait and are run forward; at each step four others have taken the places of four.
fn still_waiting(step: u64, runtimes: &mut Runtimes) -> (InitialState, Starts) {
    let now = NOW + Duration::from_secs(600 * step);
    let id = |place: u64| format!("job-{}", (step + place) * 4 / 16 * 16 + place);
    let waiting: Vec<OpenJob> = (0..16).map(|place| job(&id(place), 1.0, None, runtimes)).collect();
    let seconds = |place: u64| (1..=20).map(|run| (60 * run * (place + 1)) as f64).collect();
    let runs = |place: u64| JobStarts::Runs { seconds: seconds(place), beyond_front: false, reason: None };
    (
        InitialState { now, ..initial_state(setup(4.0, Policy::Fifo), Vec::new(), waiting) },
        Starts { by_job: (0..16).map(runs).collect() },
    )
}

#[test]
fn a_restart_counts_no_miss_again_and_changes_no_estimate() {
    let mut runtimes = known(&[1; 10]);
    let mut forecaster = Forecaster::default();
    let shown = |forecaster: &mut Forecaster, initial: &InitialState, starts: &Starts| {
        forecaster.take(initial, starts);
        let of_job = |job: &OpenJob| match forecaster.shown(&job.id) {
            Outlook::Expected(estimate) => Some((estimate.p10, estimate.p50, estimate.p90)),
            Outlook::Unknown(_) => None,
        };
        initial.waiting.iter().map(of_job).collect::<Vec<_>>()
    };
    let (mut compared, mut late) = (0, 0);
    for step in 0..120 {
        let (initial, starts) = still_waiting(step, &mut runtimes);
        // Some have started by then, sooner and later than was said, and the others wait on until they are late.
        let kept: Vec<JobId> = forecaster.kept().cloned().collect();
        for id in kept.iter().filter(|id| initial.waiting.iter().all(|job| job.id != **id)) {
            forecaster.wait_ended(id, initial.now - Duration::from_secs(step % 7 * 60), WaitEnd::Dispatched);
        }
        let mut restored = Forecaster::restore(forecaster.rows());
        late += usize::from(forecaster.rows().values().any(|row| row.contains("late_after")));
        let expected = shown(&mut forecaster, &initial, &starts);
        compared += expected.iter().flatten().count();
        assert_eq!(shown(&mut restored, &initial, &starts), expected, "step {step}");
    }
    assert!(compared > 1_000 && late > 20, "{compared} estimates, {late} steps with late ones");
}
