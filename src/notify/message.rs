//! Text of notifications: plain language, the same for every channel that shows text. PURE.

mod links;
mod text;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::notify::outbox::Kind;
use crate::notify::outbox::NotificationId;
use crate::notify::outbox::OutboxRow;
use trainspotter_core::model::{PLACE_LABELS, readable, readable_line};
use trainspotter_core::rules::{Alert, AlertId, REPORT, Transition};

use links::linked;

/// SNS accepts subjects of less than 100 characters; mail clients show fewer.
const SUBJECT_CHARS: usize = 99;

/// Marks text that was cut.
const ELLIPSIS: char = '…';

/// A notification, before it is formatted for a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Id of the outbox row.
    pub id: NotificationId,
    /// Name of the receiver.
    pub receiver: String,
    /// The transition; of several alerts, that of the first.
    pub transition: Transition,
    /// Transitions of the other alerts, in order; only the latest of each episode.
    pub others: Vec<Transition>,
    /// Labels and values by which the receiver groups alerts; `None` if each alert has its own message.
    pub group: Option<BTreeMap<String, String>>,
    /// The receiver's id of the firing message, if known.
    pub reference: Option<String>,
    /// Base URL of the service's pages, without a trailing slash.
    pub external_url: Option<String>,
    /// One line of printable ASCII, at most 99 characters.
    pub subject: String,
    /// The complete message in plain text.
    pub text: String,
}

impl Message {
    /// Formats a row.
    pub fn of(row: &OutboxRow, external_url: Option<&str>) -> Self {
        Self::of_group(row, external_url, None)
    }

    /// Formats a row and the rows grouped with it. `by` are the labels they are grouped by.
    pub fn of_group(row: &OutboxRow, external_url: Option<&str>, by: Option<&[String]>) -> Self {
        let external_url = external_url.map(|url| url.trim_end_matches('/').to_owned());
        let mut transitions: Vec<&Transition> = Vec::new();
        for row in std::iter::once(row).chain(&row.together) {
            let episode = |other: &Transition| {
                (&other.alert.id, other.alert.state.fired_at()) == (row.alert(), row.transition.alert.state.fired_at())
            };
            match transitions.iter_mut().find(|other| episode(other)) {
                Some(earlier) => *earlier = &row.transition,
                None => transitions.push(&row.transition),
            }
        }
        let (first, others) =
            transitions.split_first().map_or((&row.transition, &[][..]), |(first, others)| (*first, others));
        let label = |name: &String| Some((name.clone(), first.alert.labels.get(name)?.clone()));
        let mut message = Self {
            id: row.id.clone(),
            receiver: row.receiver.clone(),
            transition: linked(first, external_url.as_deref()),
            others: others.iter().map(|transition| linked(transition, external_url.as_deref())).collect(),
            group: by.map(|by| by.iter().filter_map(label).collect()),
            reference: row.reference.clone(),
            external_url,
            subject: String::new(),
            text: String::new(),
        };
        let text = if message.others.is_empty() { message.write_text() } else { message.write_all() };
        message.text = readable(&text).into_owned();
        message.subject = one_line(&message.title_as_it_is());
        message
    }

    /// All transitions in order; at least one.
    pub fn transitions(&self) -> impl Iterator<Item = &Transition> {
        std::iter::once(&self.transition).chain(&self.others)
    }

    /// `firing` while any of the alerts is firing.
    pub fn status(&self) -> Kind {
        let fires = |transition: &Transition| Kind::of(transition) == Kind::Fired;
        if self.transitions().any(fires) { Kind::Fired } else { Kind::Resolved }
    }

    /// Highest severity of the firing alerts or, if there are none, of the resolved ones, from the label
    /// `severity`.
    pub fn severity(&self) -> Option<&str> {
        let fires = self.status();
        let of_status = self.transitions().filter(|transition| Kind::of(transition) == fires);
        let severities = of_status.filter_map(|transition| transition.alert.labels.get("severity"));
        severities.map(String::as_str).filter(|severity| !severity.is_empty()).max_by_key(|severity| rank(severity))
    }

    /// The summaries in one line, those of firing alerts first.
    pub fn summaries(&self) -> String {
        let of = |kind| self.transitions().filter(move |transition| Kind::of(transition) == kind);
        let summary =
            |transition: &Transition| transition.alert.annotations.get("summary").map(|words| in_one_line(words));
        let all: Vec<String> = of(Kind::Fired).chain(of(Kind::Resolved)).filter_map(summary).collect();
        readable_line(&all.join("; ")).into_owned()
    }

    /// The subject without the limits of mail: all labels in full, in any script.
    pub fn title(&self) -> String {
        readable_line(&self.title_as_it_is()).into_owned()
    }

    fn title_as_it_is(&self) -> String {
        if self.others.is_empty() { titled(&self.transition) } else { self.title_of_several() }
    }

    /// `[2 FIRING, 1 RESOLVED] JobFailures, LongWait: queue prod-a`.
    fn title_of_several(&self) -> String {
        let mut line = format!("[{}]", self.counted());
        let of_group = self.group.iter().flatten().filter(|(label, value)| *label != "alertname" && !value.is_empty());
        let rules: BTreeSet<&str> = self.transitions().map(|transition| transition.alert.rule.as_str()).collect();
        push_str(&mut line, format_args!(" {}", rules.into_iter().collect::<Vec<_>>().join(", ")));
        // A message is about one target.
        let is_new = |label: &str| self.group.as_ref().is_none_or(|group| !group.contains_key(label));
        let place = one_of_several(&self.transition.alert).filter(|(label, _)| is_new(label));
        let of_group = of_group.map(|(label, value)| (label.as_str(), value));
        for (at, (label, value)) in place.chain(of_group).enumerate() {
            push_str(&mut line, format_args!("{} {label} {value}", if at == 0 { ":" } else { "," }));
        }
        line
    }

    fn counted(&self) -> String {
        let count = |kind| self.transitions().filter(|transition| Kind::of(transition) == kind).count();
        match (count(Kind::Fired), count(Kind::Resolved)) {
            (firing, 0) => format!("{firing} FIRING"),
            (0, ended) => format!("{ended} RESOLVED"),
            (firing, ended) => format!("{firing} FIRING, {ended} RESOLVED"),
        }
    }
}

/// Joins a summary into one line, so that a name in it cannot imitate a line of the message.
fn in_one_line(words: &str) -> String {
    words.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Account and region of an alert, unless its rule names them.
fn place(alert: &Alert) -> impl Iterator<Item = (&str, &String)> {
    let is_new = move |label: &&str| !alert.by.contains_key(*label);
    PLACE_LABELS.into_iter().filter(is_new).filter_map(move |label| Some((label, alert.labels.get(label)?)))
}

/// As [`place`], if the alert is of one of several targets, whose alerts have ids of their own: titles have little room.
fn one_of_several(alert: &Alert) -> impl Iterator<Item = (&str, &String)> {
    let is_apart = alert.id != AlertId::of(&alert.rule, &alert.by);
    place(alert).filter(move |_| is_apart)
}

fn titled(transition: &Transition) -> String {
    let alert = &transition.alert;
    let mut line = format!("[{}] {}", status(transition), alert.rule);
    let by = alert.by.iter().map(|(label, value)| (label.as_str(), value));
    for (at, (label, value)) in one_of_several(alert).chain(by.filter(|(_, value)| !value.is_empty())).enumerate() {
        push_str(&mut line, format_args!("{} {label} {value}", if at == 0 { ":" } else { "," }));
    }
    line
}

/// Rank of a severity; higher is worse. Unknown words count as a warning.
fn rank(severity: &str) -> u8 {
    match severity {
        "page" | "critical" => 3,
        "info" | "low" | "none" => 1,
        _ => 2,
    }
}

/// Converts to printable ASCII within the length of a subject.
fn one_line(line: &str) -> String {
    let line: String = line.chars().map(printable).collect();
    if line.len() <= SUBJECT_CHARS { line } else { format!("{}...", &line[..SUBJECT_CHARS - 3]) }
}

fn printable(letter: char) -> char {
    match letter {
        ' '..='~' => letter,
        _ if letter.is_whitespace() || letter.is_control() => ' ',
        _ => '?',
    }
}

/// `FIRING` or `RESOLVED`.
fn status(transition: &Transition) -> &'static str {
    match Kind::of(transition) {
        Kind::Fired if transition.alert.rule == REPORT => "REPORT",
        Kind::Fired => "FIRING",
        Kind::Resolved => "RESOLVED",
    }
}

fn push_str(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}

/// Cuts a text to at most `bytes`, at a character boundary, with an ellipsis if anything is left out.
pub(super) fn cut(text: &str, bytes: usize) -> Cow<'_, str> {
    if text.len() <= bytes {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}{ELLIPSIS}", head(text, bytes.saturating_sub(ELLIPSIS.len_utf8()))))
}

/// The beginning of a text, at most `bytes`, cut at a character boundary.
pub(super) fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::sample_alerts;
    use trainspotter_core::rules::AlertState;
    use trainspotter_core::rules::ResolveReason;
    use trainspotter_core::rules::TransitionKind;

    #[test]
    fn a_firing_shows_subject_start_and_severity() {
        let message = Message::of(&sample_alerts::row(TransitionKind::Fired), Some("https://spotter.example/"));
        assert_eq!(message.subject, "[FIRING] ShareWaitsTooLong: queue prod-a, share research");
        insta::assert_snapshot!(message.text, @r"
        ShareWaitsTooLong is firing (severity page)

        research on prod-a waits 42m (p95)

        Jobs of this share wait longer than agreed.

        Queue:         prod-a
        Share:         research
        Since:         2023-11-14T22:13:20Z
        Value:         42m
        Threshold:     30m
        Runbook:       https://runbooks.example/waits
        Details:       https://spotter.example/alerts/be601bcecd67135b
        AWS console:   https://eu-west-1.console.aws.amazon.com/batch/home?region=eu-west-1#queues/detail/arn:aws:batch:eu-west-1:123456789012:job-queue/prod-a
        Alert id:      be601bcecd67135b
        ");
    }

    #[test]
    fn the_text_names_account_and_region_once_whether_the_rule_does_or_not() {
        let mut row = sample_alerts::row(TransitionKind::Fired);
        row.transition.alert.labels.insert("account".to_owned(), "444455556666".to_owned());
        row.transition.alert.labels.insert("region".to_owned(), "eu-west-1".to_owned());
        for by in [None, Some("account")] {
            row.transition.alert.by.extend(by.map(|label| (label.to_owned(), "444455556666".to_owned())));
            for message in [Message::of(&row, None), Message::of_group(&row, None, Some(&[]))] {
                let text = &message.text;
                assert_eq!(text.matches("\nAccount:       444455556666\n").count(), 1, "{text}");
                assert_eq!(text.matches("\nRegion:        eu-west-1\n").count(), 1, "{text}");
            }
        }
    }

    #[test]
    fn the_title_names_account_and_region_of_one_of_several_targets() {
        let mut row = sample_alerts::row(TransitionKind::Fired);
        let alert = &mut row.transition.alert;
        alert.labels.insert("account".to_owned(), "444455556666".to_owned());
        alert.labels.insert("region".to_owned(), "eu-west-1".to_owned());
        alert.id = AlertId::of(&alert.rule, &alert.by);
        assert_eq!(Message::of(&row, None).subject, "[FIRING] ShareWaitsTooLong: queue prod-a, share research");
        let alert = &mut row.transition.alert;
        alert.id = AlertId::within(Some("444455556666/eu-west-1"), &alert.rule, &alert.by);
        let place = "account 444455556666, region eu-west-1";
        let title = format!("[FIRING] ShareWaitsTooLong: {place}, queue prod-a, share research");
        assert_eq!(Message::of(&row, None).subject, title);
        let mut other = row.clone();
        other.transition.alert.id = AlertId::of("other", &BTreeMap::new());
        row.together.push(other);
        let group = ["account", "queue"].map(str::to_owned);
        let title = Message::of_group(&row, None, Some(&group)).title();
        assert!(title.matches("444455556666").count() == 1 && title.matches("eu-west-1").count() == 1, "{title}");
    }

    #[test]
    fn a_resolve_shows_time_reason_and_both_values() {
        let message = Message::of(&sample_alerts::row(TransitionKind::Resolved(ResolveReason::Recovered)), None);
        assert_eq!(message.subject, "[RESOLVED] ShareWaitsTooLong: queue prod-a, share research");
        insta::assert_snapshot!(message.text, @r"
        ShareWaitsTooLong has ended (severity page)

        Was:           research on prod-a waits 42m (p95)
        Queue:         prod-a
        Share:         research
        Since:         2023-11-14T22:13:20Z
        Ended:         2023-11-14T23:16:20Z, after 1h 3m
        Because:       the condition no longer holds
        Value:         1m 1s (was 42m when it fired)
        Threshold:     30m
        Runbook:       https://runbooks.example/waits
        AWS console:   https://eu-west-1.console.aws.amazon.com/batch/home?region=eu-west-1#queues/detail/arn:aws:batch:eu-west-1:123456789012:job-queue/prod-a
        Alert id:      be601bcecd67135b
        ");
    }

    #[test]
    fn several_alerts_are_listed_one_by_one_those_that_fire_first() {
        let of = |share: &str, kind| {
            let mut row = sample_alerts::row(kind);
            let alert = &mut row.transition.alert;
            alert.by.insert("share".to_owned(), share.to_owned());
            alert.id = trainspotter_core::rules::AlertId::of(&alert.rule, &alert.by);
            alert.annotations.insert("summary".to_owned(), format!("{share} on prod-a waits 42m (p95)"));
            row
        };
        let ended = TransitionKind::Resolved(ResolveReason::Recovered);
        let together =
            vec![of("research", ended), of("vision", TransitionKind::Fired), of("speech", TransitionKind::Fired)];
        let row = OutboxRow { together, ..of("research", TransitionKind::Fired) };
        let by = ["severity".to_owned(), "queue".to_owned()];
        let message = Message::of_group(&row, Some("https://spotter.example"), Some(&by));
        assert_eq!(
            message.subject, "[2 FIRING, 1 RESOLVED] ShareWaitsTooLong: queue prod-a, severity page",
            "of an episode that fired and ended the end is sent"
        );
        insta::assert_snapshot!(message.text);
    }

    #[test]
    fn the_console_is_that_of_the_queues_region_and_partition() {
        let console = |arn: &str| {
            let mut row = sample_alerts::row(TransitionKind::Fired);
            row.transition.alert.queue_arn = Some(arn.to_owned());
            Message::of(&row, None).console()
        };
        let china = console("arn:aws-cn:batch:cn-north-1:1:job-queue/q").unwrap();
        assert!(china.starts_with("https://console.amazonaws.cn/batch/home?region=cn-north-1#"), "{china}");
        assert_eq!(console("queue"), None);
        assert_eq!(console("arn:aws:batch"), None);
    }

    #[test]
    fn hostile_names_neither_move_a_cursor_nor_forge_a_line() {
        for (name, row) in sample_alerts::hostile_rows() {
            let mut other = row.clone();
            other.transition.alert.id = trainspotter_core::rules::AlertId::of("other", &BTreeMap::new());
            let several = OutboxRow { together: vec![other], ..row.clone() };
            for message in [Message::of(&row, None), Message::of_group(&several, None, Some(&["share".to_owned()]))] {
                let is_shown = |letter: char| letter == '\n' || !letter.is_control() && letter != '\u{202e}';
                assert!(message.text.chars().all(is_shown), "{name:?}: {:?}", message.text);
                let forged = message.text.lines().filter(|line| line.starts_with("Because:")).count();
                assert_eq!(forged, 0, "{name:?}: {}", message.text);
                for line in [message.title(), message.summaries()] {
                    assert!(line.chars().all(|letter| is_shown(letter) && letter != '\n'), "{name:?}: {line:?}");
                }
            }
        }
    }

    #[test]
    fn the_jobs_that_matter_are_listed_for_every_receiver_while_the_alert_fires() {
        let jobs = "pretrain-7 of ada, 6h 10m\nsweep-3 of bob, 2h\nprobe of nobody, 40m";
        let mut row = sample_alerts::row(TransitionKind::Fired);
        row.transition.alert.annotations.insert("jobs".to_owned(), jobs.to_owned());
        let listed = "Jobs:          pretrain-7 of ada, 6h 10m\n               sweep-3 of bob, 2h\n";
        let text = Message::of(&row, None).text;
        assert!(text.contains(listed), "{text}");
        let mut other = row.clone();
        other.transition.alert.id = trainspotter_core::rules::AlertId::of("other", &BTreeMap::new());
        let several = Message::of_group(&OutboxRow { together: vec![other], ..row.clone() }, None, Some(&[])).text;
        assert_eq!(several.matches(listed).count(), 2, "{several}");
        row.transition.kind = TransitionKind::Resolved(ResolveReason::Recovered);
        let text = Message::of(&row, None).text;
        assert!(!text.contains("pretrain-7"), "they are of the past: {text}");
    }

    #[test]
    fn links_keep_the_path_of_the_services_address_and_name_the_job() {
        let mut row = sample_alerts::row(TransitionKind::Fired);
        let alert = &mut row.transition.alert;
        alert.annotations.remove("runbook_url");
        alert.annotations.insert("runbook".to_owned(), "docs/runbooks/LongWait.md".to_owned());
        alert.labels.insert("job".to_owned(), "0f1e2d3c-aaaa".to_owned());
        let message = Message::of(&row, Some("https://ops.example/trainspotter/"));
        assert_eq!(message.runbook().unwrap(), "https://ops.example/trainspotter/runbooks/LongWait");
        assert!(message.link().unwrap().starts_with("https://ops.example/trainspotter/alerts/"));
        let console = "https://eu-west-1.console.aws.amazon.com/batch/home?region=eu-west-1#jobs/detail/0f1e2d3c-aaaa";
        assert_eq!(message.console().unwrap(), console);
        let nowhere = Message::of(&row, None);
        assert_eq!((nowhere.runbook(), nowhere.link()), (None, None));
        assert!(nowhere.text.contains("/runbooks/LongWait on the page of the service"), "{}", nowhere.text);
    }

    #[test]
    fn no_ending_is_called_recovered_but_recovery() {
        let mut row = sample_alerts::row(TransitionKind::Resolved(ResolveReason::NoData));
        row.transition.alert.value = None;
        let text = Message::of(&row, None).text;
        assert!(text.contains("there is no more data"), "{text}");
        assert!(text.contains("no data (was 42m when it fired)"), "{text}");
    }

    #[test]
    fn a_subject_is_one_short_line_of_ascii_whatever_the_labels_hold() {
        let mut row = sample_alerts::row(TransitionKind::Fired);
        row.transition.alert.by.insert("share".to_owned(), format!("zürich\n\u{7}\u{1F600}{}", "x".repeat(300)));
        let subject = Message::of(&row, None).subject;
        assert!(subject.starts_with("[FIRING] ShareWaitsTooLong: queue prod-a, share z?rich  ?xxx"), "{subject}");
        assert!(subject.ends_with("..."), "{subject}");
        assert_eq!(subject.len(), SUBJECT_CHARS);
        assert!(subject.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }

    #[test]
    fn an_alert_without_annotations_or_labels_still_reads_well() {
        let mut row = sample_alerts::row(TransitionKind::Fired);
        let alert = &mut row.transition.alert;
        alert.annotations.clear();
        alert.by.clear();
        alert.labels.clear();
        alert.value = None;
        alert.state = AlertState::Pending { active_at: row.transition.at };
        let message = Message::of(&row, None);
        assert_eq!(message.subject, "[FIRING] ShareWaitsTooLong");
        insta::assert_snapshot!(message.text, @r"
        ShareWaitsTooLong is firing

        Since:         2023-11-14T22:13:20Z
        Value:         no data
        Threshold:     30m
        AWS console:   https://eu-west-1.console.aws.amazon.com/batch/home?region=eu-west-1#queues/detail/arn:aws:batch:eu-west-1:123456789012:job-queue/prod-a
        Alert id:      be601bcecd67135b
        ");
    }
}
