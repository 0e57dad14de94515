//! Sample alerts, to test receivers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::notify::outbox::NotificationId;
use crate::notify::outbox::OutboxRow;
use crate::notify::outbox::RowState;
use trainspotter_core::model::LabelValue;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::AlertId;
use trainspotter_core::rules::AlertState;
use trainspotter_core::rules::ResolveReason;
use trainspotter_core::rules::Rule;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;

/// Kind of sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// A firing alert.
    Firing,
    /// The resolve of the same alert.
    Resolved,
    /// Several firing alerts in one message.
    Group,
    /// Several alerts of all severities in one message, some of them resolved.
    Digest,
    /// An alert about a single job with an owner, and its resolve.
    Job,
}

/// Labels and values of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// Region in the sample.
    pub region: String,
    /// Owner of the sample's job, to test mentions.
    pub owner: String,
}

impl Sample {
    /// All kinds, in a sensible order for a receiver: alerts fire before they resolve.
    pub const ALL: [Self; 5] = [Self::Firing, Self::Resolved, Self::Job, Self::Group, Self::Digest];

    /// Name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Group => "group",
            Self::Digest => "digest",
            Self::Job => "job",
        }
    }

    /// Grouping labels of the message; `None` if the alert has its own message.
    pub fn group(self) -> Option<Vec<String>> {
        match self {
            Self::Group => Some(vec!["queue".to_owned()]),
            Self::Digest => Some(Vec::new()),
            Self::Firing | Self::Resolved | Self::Job => None,
        }
    }

    /// The messages in order. Each says that it is a test.
    pub fn rows(self, receiver: &str, scene: &Scene, now: Timestamp) -> Vec<OutboxRow> {
        let one = |kind, by: &[(&str, &str)], severity| of(tested(kind, by, severity, scene, now), receiver);
        let (fired, ended) = (TransitionKind::Fired, TransitionKind::Resolved(ResolveReason::Recovered));
        let queue = ("queue", "test-queue");
        let of_share = |kind, share, severity| one(kind, &[queue, ("share", share)], severity);
        let together = |first: OutboxRow, together| vec![OutboxRow { together, ..first }];
        match self {
            Self::Firing => vec![of_share(fired, "test", "info")],
            Self::Resolved => vec![of_share(ended, "test", "info")],
            Self::Job => {
                let by = [queue, ("share", "test"), ("owner", &scene.owner), ("name", "test-job"), ("job", JOB)];
                [fired, ended].map(|kind| one(kind, &by, "info")).into()
            }
            Self::Group => together(
                of_share(fired, "test-1", "info"),
                vec![of_share(fired, "test-2", "info"), of_share(fired, "test-3", "info")],
            ),
            Self::Digest => together(
                of_share(fired, "test-1", "page"),
                vec![
                    of_share(fired, "test-2", "warning"),
                    of_share(fired, "test-3", "info"),
                    of_share(ended, "test-4", "warning"),
                ],
            ),
        }
    }
}

/// Id that no real job has.
const JOB: &str = "00000000-0000-0000-0000-000000000000";

/// Duration of the sample alert.
const SAMPLE_DURATION: Duration = Duration::from_secs(300);

/// First message of `trainspotter notify test`: a firing marked as a test.
pub fn test(receiver: &str, now: Timestamp) -> OutboxRow {
    let scene = Scene { region: "us-east-1".to_owned(), owner: "nobody".to_owned() };
    let by = [("queue", "test-queue"), ("share", "test")];
    of(tested(TransitionKind::Fired, &by, "info", &scene, now), receiver)
}

/// Label that marks samples of a rule, so that no receiver takes them for a real alert: otherwise their resolve
/// would resolve the real one.
const TEST_LABEL: &str = "test";

/// Sample of a rule: its routing labels, and an alert that fires and resolves. The labels that distinguish the
/// rule's alerts are as `given`, from the rule, or default values.
pub fn of_rule(
    rule: &Rule,
    given: &BTreeMap<String, String>,
    scene: &Scene,
    now: Timestamp,
) -> (BTreeMap<String, String>, [Transition; 2]) {
    let by: BTreeMap<String, String> =
        rule.by().iter().map(|label| ((*label).to_owned(), value(rule, label, given, scene))).collect();
    let mut labels: BTreeMap<String, String> =
        rule.labels().map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
    labels.extend(by.clone());
    labels.insert("alertname".to_owned(), rule.name().to_owned());
    let test = |kind| {
        let mut transition = tested(kind, &[("queue", "test-queue")], "info", scene, now);
        let alert = &mut transition.alert;
        let marked = |labels: &BTreeMap<String, String>| {
            let mut labels = labels.clone();
            labels.insert(TEST_LABEL.to_owned(), "true".to_owned());
            labels
        };
        (alert.rule, alert.by, alert.labels) = (rule.name().to_owned(), marked(&by), marked(&labels));
        alert.id = AlertId::of(&alert.rule, &alert.by);
        let summary = format!("This is a test of the rule {}. Nothing is wrong.", rule.name());
        alert.annotations.insert("summary".to_owned(), summary);
        transition
    };
    let transitions = [TransitionKind::Fired, TransitionKind::Resolved(ResolveReason::Recovered)].map(test);
    (labels, transitions)
}

fn value(rule: &Rule, label: &str, given: &BTreeMap<String, String>, scene: &Scene) -> String {
    if let Some(given) = given.get(label) {
        return given.clone();
    }
    let one_of_it = match rule.value_of(label) {
        LabelValue::Known(value) => Some(value),
        LabelValue::Within(globs) => globs.into_iter().find(|glob| !glob.contains(['*', '?'])),
    };
    let usual = match label {
        "queue" => "test-queue",
        "owner" => scene.owner.as_str(),
        "job" => JOB,
        _ => "test",
    };
    one_of_it.unwrap_or(usual).to_owned()
}

fn tested(kind: TransitionKind, by: &[(&str, &str)], severity: &str, scene: &Scene, now: Timestamp) -> Transition {
    let mut transition = transition(kind);
    transition.at = now;
    let fired_at = if kind == TransitionKind::Fired { now } else { now - SAMPLE_DURATION };
    let alert = &mut transition.alert;
    alert.rule = "TestNotification".to_owned();
    alert.by = by.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    alert.id = AlertId::of(&alert.rule, &alert.by);
    alert.labels = alert.by.clone();
    alert.labels.insert("alertname".to_owned(), alert.rule.clone());
    alert.labels.insert("severity".to_owned(), severity.to_owned());
    alert.annotations = BTreeMap::from([
        ("summary".to_owned(), "This is a test of the receiver. Nothing is wrong.".to_owned()),
        ("threshold".to_owned(), "30m".to_owned()),
        ("runbook".to_owned(), "/runbooks/NotificationsStuck".to_owned()),
    ]);
    alert.state = AlertState::Firing { active_at: fired_at, fired_at, keep_since: None };
    let partition = match scene.region.split('-').collect::<Vec<_>>().as_slice() {
        ["cn", ..] => "aws-cn",
        ["us", "gov", ..] => "aws-us-gov",
        _ => "aws",
    };
    alert.queue_arn =
        Some(format!("arn:{partition}:batch:{}:000000000000:job-queue/{}", scene.region, alert.by["queue"]));
    alert.evaluated_at = now;
    transition
}

/// A row about a long wait of the share `research`, for the receiver `oncall`.
#[cfg(test)]
pub(crate) fn row(kind: TransitionKind) -> OutboxRow {
    of(transition(kind), "oncall")
}

/// A firing alert with these labels.
#[cfg(test)]
pub(in crate::notify) fn firing_with(labels: &[(&str, &str)]) -> Alert {
    let mut alert = row(TransitionKind::Fired).transition.alert;
    alert.labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    alert.id = AlertId::of("any", &alert.labels);
    alert
}

/// The row of a transition for a receiver.
fn of(transition: Transition, receiver: &str) -> OutboxRow {
    let at = transition.at;
    OutboxRow {
        id: NotificationId::of(&transition, receiver),
        receiver: receiver.to_owned(),
        transition,
        created_at: at,
        while_firing: false,
        attempts: 0,
        next_attempt_at: at,
        last_error: None,
        reference: None,
        begun_at: None,
        together: Vec::new(),
        state: RowState::Pending,
    }
}

fn transition(kind: TransitionKind) -> Transition {
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let by = text(&[("queue", "prod-a"), ("share", "research")]);
    let fired_at = Timestamp::from_millis(1_700_000_000_000);
    let (value, at) = match kind {
        TransitionKind::Fired => (2_520.0, fired_at),
        TransitionKind::Resolved(_) => (61.25, fired_at + Duration::from_secs(3_780)),
    };
    let mut labels = by.clone();
    labels.extend(text(&[("alertname", "ShareWaitsTooLong"), ("severity", "page")]));
    let alert = Alert {
        id: AlertId::of("ShareWaitsTooLong", &by),
        rule: "ShareWaitsTooLong".to_owned(),
        by,
        labels,
        annotations: text(&[
            ("summary", "research on prod-a waits 42m (p95)"),
            ("description", "Jobs of this share wait longer than agreed."),
            ("threshold", "30m"),
            ("runbook_url", "https://runbooks.example/waits"),
        ]),
        state: AlertState::Firing { active_at: fired_at - Duration::from_secs(600), fired_at, keep_since: None },
        recent: Vec::new(),
        value: Some(value),
        value_at_fire: Some(2_520.0),
        unit: trainspotter_core::rules::Unit::Seconds,
        threshold: Some(1_800.0),
        condition: 0,
        queue_arn: Some("arn:aws:batch:eu-west-1:123456789012:job-queue/prod-a".to_owned()),
        evaluated_at: at,
    };
    Transition { alert, kind, at }
}

/// Rows with hostile names, each with the name: in a label, as an owner and in the summary.
#[cfg(test)]
pub(in crate::notify) fn hostile_rows() -> Vec<(String, OutboxRow)> {
    let mut names: Vec<String> = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "a'b\"c\\d`e",
        "x\nBecause:       the condition no longer holds",
        "x\r\nBecause: y",
        "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{0}",
        "gpj.\u{202e}exe\u{2066}\u{2069}\u{fffe}\u{ffff}",
        "<!channel> <!here> <@U012AB3CD> <#C012AB3CD> @here @channel",
        "<https://evil.example|click>",
        "*bold* _it_ ~no~ `code` :boom: [a](https://evil.example)",
        "=HYPERLINK(\"https://evil.example\")",
        "{{ labels.share }} {% for a in b %}",
        "}\", severity=\"page\"} 1\n# HELP x",
        "- a: &b *c !!d #e",
        "${HOME} $(id) %n %s",
        "\u{200b}\u{feff}",
        " ",
        "日本語 🚂 e\u{301}",
    ]
    .map(str::to_owned)
    .into();
    names.push("x".repeat(10_000));
    names.push("ü<&>".repeat(2_500));
    let hostile = |name: String| {
        let mut row = row(TransitionKind::Fired);
        let alert = &mut row.transition.alert;
        for label in ["share", "owner", "job", "queue"] {
            alert.labels.insert(label.to_owned(), name.clone());
        }
        for label in ["share", "reason"] {
            alert.by.insert(label.to_owned(), name.clone());
        }
        alert.annotations.insert("summary".to_owned(), name.clone());
        alert.annotations.insert("jobs".to_owned(), format!("{name} of {name}, 2h"));
        (name, row)
    };
    names.into_iter().map(hostile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::Message;

    #[test]
    fn every_kind_is_marked_as_a_test_of_the_configured_region() {
        let scene = Scene { region: "cn-north-1".to_owned(), owner: "ada".to_owned() };
        let now = Timestamp::from_millis(1_700_000_000_000);
        for sample in Sample::ALL {
            for row in sample.rows("oncall", &scene, now) {
                let message = Message::of_group(&row, Some("https://spotter.example"), sample.group().as_deref());
                assert!(message.text.contains("This is a test"), "{}: {}", sample.as_str(), message.text);
                assert!(message.console().unwrap().contains("region=cn-north-1#"), "{:?}", message.console());
                assert!(message.subject.contains("TestNotification"), "{}", message.subject);
            }
        }
        let [fired, ended] = [Sample::Firing, Sample::Resolved].map(|sample| sample.rows("oncall", &scene, now));
        assert_eq!(fired[0].alert(), ended[0].alert(), "the second ends the first");
        let job = Message::of(&Sample::Job.rows("oncall", &scene, now)[0], None);
        assert!(job.console().unwrap().ends_with(&format!("#jobs/detail/{JOB}")), "{:?}", job.console());
        let digest = Message::of_group(&Sample::Digest.rows("oncall", &scene, now)[0], None, Some(&[]));
        assert_eq!(digest.title(), "[3 FIRING, 1 RESOLVED] TestNotification");
    }
}
