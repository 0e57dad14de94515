//! Faults with time windows, counts and probabilities.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn arranged(arrangement: Value) -> Faults {
    let mut faults = Faults::new(7);
    let arrangement: Arrangement = serde_json::from_value(arrangement).unwrap();
    assert_eq!(arrangement.findings(), []);
    faults.now = NOW;
    faults.arrange(arrangement);
    faults
}

fn at(seconds: u64) -> Timestamp {
    NOW + Duration::from_secs(seconds)
}

fn effects(faults: &mut Faults, operation: &str, now: Timestamp) -> CallEffects {
    let throttled = ApiError::new(429, "TooManyRequestsException", "slow down");
    let expired = ApiError::new(403, "ExpiredTokenException", "expired");
    faults.now = now;
    let denied = ApiError::new(403, "AccessDeniedException", "not you");
    faults.effects_on(operation, Refusals { throttled, expired, denied })
}

fn status(faults: &mut Faults, operation: &str, now: Timestamp) -> u16 {
    effects(faults, operation, now).refusal.map_or(200, |error| error.status)
}

#[test]
fn faults_are_used_up() {
    let mut faults = arranged(json!({
        "throttle": {"operation": "A", "count": 1},
        "server_error": {"operation": "*", "count": 1},
        "fail_page": {"operation": "A", "page": 2},
    }));
    assert_eq!(["A", "B", "A"].map(|operation| status(&mut faults, operation, NOW)), [429, 500, 200]);
    assert_eq!(faults.fail_page("A", 1), Ok(()));
    assert!(faults.fail_page("A", 2).is_err());
    assert_eq!(faults.fail_page("A", 2), Ok(()));
}

#[test]
fn a_window_opens_and_closes() {
    let mut faults =
        arranged(json!({"expired_credentials": [{"after": "1m", "for": "1m"}, {"after": "5m", "count": 1}]}));
    let seen = [0, 59, 60, 119, 120, 300, 301].map(|second| status(&mut faults, "A", at(second)));
    assert_eq!(seen, [200, 200, 403, 403, 200, 403, 200]);
}

#[test]
fn chance_is_the_seeds() {
    let draws = |faults: &mut Faults| (0..100).map(|_| status(faults, "A", NOW)).collect::<Vec<_>>();
    let arrangement = json!({"server_error": {"probability": 0.3}});
    let seen = draws(&mut arranged(arrangement.clone()));
    assert_eq!(seen, draws(&mut arranged(arrangement)));
    let struck = seen.iter().filter(|status| **status == 500).count();
    assert!((15..45).contains(&struck), "{struck}");
}

#[test]
fn answers_are_late_and_damaged() {
    let mut faults = arranged(json!({
        "slow": {"operation": "A", "by": "5s", "count": 1},
        "cut": {"operation": "A", "count": 1},
        "truncated": {"operation": "A", "count": 1},
        "malformed": {"operation": "A", "count": 1},
    }));
    let first = effects(&mut faults, "A", NOW);
    assert_eq!((first.late, first.damage), (Duration::from_secs(5), Some(Damage::Cut)));
    assert_eq!(effects(&mut faults, "A", NOW).damage, Some(Damage::Truncated));
    assert_eq!(effects(&mut faults, "A", NOW).damage, Some(Damage::Malformed));
    assert_eq!(effects(&mut faults, "A", NOW), CallEffects { refusal: None, late: Duration::ZERO, damage: None });
}

#[test]
fn a_clock_is_ahead_or_behind_for_a_while() {
    let faults = arranged(json!({"clock_skew": [{"by": "5m", "for": "1h"}, {"by": "-30s", "after": "30m"}]}));
    let seen = [0, 1_800, 3_600].map(|second| faults.skew_millis(at(second)));
    assert_eq!(seen, [300_000, 270_000, -30_000]);
}

#[test]
fn lists_lag_for_a_while() {
    let faults = arranged(json!({"list_lag": {"by": "5s", "after": "1m", "for": "1m"}}));
    assert_eq!([0, 60, 119, 120].map(|second| faults.list_lag(at(second)).as_secs()), [0, 5, 5, 0]);
}

#[test]
fn a_disguise_befalls_one_job() {
    let mut faults = arranged(json!({"unknown_status": "HIBERNATING", "unknown_instance_type": "ml.p9"}));
    let job = || json!({"status": "RUNNING", "capacityUsage": [{"capacityUnit": "ml.g5.xlarge"}]});
    let (mut first, mut second) = (job(), job());
    faults.disguise(&"a".into(), &mut first);
    faults.disguise(&"b".into(), &mut second);
    assert_eq!(first, json!({"status": "HIBERNATING", "capacityUsage": [{"capacityUnit": "ml.p9"}]}));
    assert_eq!(second, job());
}

#[test]
fn jobs_vanish_and_come_back() {
    let mut faults = arranged(json!({"vanish": {"job": "train-*", "count": 1, "after": "1m", "for": "1m"}}));
    let job = |id: &str, name: &str| json!({"jobId": id, "jobName": name});
    let list = json!({"jobSummaryList": [job("1", "eval-1"), job("2", "train-1"), job("3", "train-2")]});
    let mut seen = |second| {
        faults.now = at(second);
        let shown = faults.show("ListServiceJobs", &json!({}), list.clone()).unwrap();
        let described = faults.show("DescribeServiceJob", &json!({"jobId": "2"}), job("2", "train-1"));
        (shown["jobSummaryList"].as_array().unwrap().len(), described.is_ok())
    };
    assert_eq!([0, 60, 119, 120].map(&mut seen), [(3, true), (2, false), (2, false), (3, true)]);
}

#[test]
fn a_stale_snapshot_repeats_itself() {
    let mut faults = arranged(json!({"stale_snapshot": {"after": "1m", "for": "1m"}}));
    let mut seen = |second: u64| {
        let input = json!({"jobQueue": "q"});
        faults.now = at(second);
        faults.show("GetJobQueueSnapshot", &input, json!({"at": second})).unwrap()["at"].clone()
    };
    assert_eq!([0, 60, 90, 120].map(&mut seen), [0, 60, 60, 120]);
}

#[test]
fn a_mistake_is_refused() {
    assert!(serde_json::from_value::<Arrangement>(json!({"trottle": {}})).is_err());
    for (arrangement, member) in [
        (json!({"slow": {}}), "slow.by"),
        (json!({"slow": {"by": "-5s"}}), "slow.by"),
        (json!({"cut": {"by": "5s"}}), "cut.by"),
        (json!({"fail_page": {"operation": "A"}}), "fail_page.page"),
        (json!({"throttle": [{"page": 1}, {"probability": 1.5}]}), "throttle[0].page"),
        (json!({"throttle": [{}, {"probability": 1.5}]}), "throttle[1].probability"),
    ] {
        let findings = serde_json::from_value::<Arrangement>(arrangement).unwrap().findings();
        assert_eq!(findings.first().map(|(path, _)| path.as_str()), Some(member));
    }
}
