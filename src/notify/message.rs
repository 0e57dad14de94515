//! What people read: plain words, the same for every channel that shows text. PURE.

use std::fmt::Write as _;
use std::time::Duration;

use crate::evaluate::Alert;
use crate::evaluate::Ending;
use crate::evaluate::Transition;
use crate::evaluate::TransitionKind;
use crate::evaluate::in_words;
use crate::notify::outbox::Kind;
use crate::notify::outbox::NotificationId;
use crate::notify::outbox::OutboxRow;

/// SNS takes subjects of less than 100 characters; mail clients show fewer.
const SUBJECT_CHARS: usize = 99;

/// A notification, ready to be put into a channel's own form.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The row's identity.
    pub id: NotificationId,
    /// Who is told.
    pub receiver: String,
    /// What happened.
    pub transition: Transition,
    /// What the receiver calls its message of the firing, if it said.
    pub reference: Option<String>,
    /// Where the service's page can be reached, without a slash at its end.
    pub external_url: Option<String>,
    /// One line of printable ASCII, at most 99 characters.
    pub subject: String,
    /// The whole story in plain text.
    pub text: String,
}

impl Message {
    /// Puts a row into words.
    pub fn of(row: &OutboxRow, external_url: Option<&str>) -> Self {
        let external_url = external_url.map(|url| url.trim_end_matches('/').to_owned());
        let mut message = Self {
            id: row.id.clone(),
            receiver: row.receiver.clone(),
            transition: row.transition.clone(),
            reference: row.reference.clone(),
            external_url,
            subject: subject(&row.transition),
            text: String::new(),
        };
        message.text = message.write_text();
        message
    }

    /// The alert on the service's page.
    pub fn link(&self) -> Option<String> {
        self.external_url.as_ref().map(|url| format!("{url}/#alert-{}", self.transition.alert.id))
    }

    /// The runbook, if it is a page that can be opened.
    pub fn runbook(&self) -> Option<String> {
        let annotations = &self.transition.alert.annotations;
        let link = annotations.get("runbook_url").or_else(|| annotations.get("runbook"))?;
        link.starts_with("http").then(|| link.clone())
    }

    /// The queue in the AWS console.
    pub fn console(&self) -> Option<String> {
        let arn = self.transition.alert.queue_arn.as_ref()?;
        let mut parts = arn.split(':').skip(1);
        let (partition, region) = (parts.next()?, parts.nth(1).filter(|region| !region.is_empty())?);
        let domain = match partition {
            "aws-cn" => "console.amazonaws.cn".to_owned(),
            "aws-us-gov" => "console.amazonaws-us-gov.com".to_owned(),
            _ => format!("{region}.console.aws.amazon.com"),
        };
        Some(format!("https://{domain}/batch/home?region={region}#queues/detail/{arn}"))
    }

    fn write_text(&self) -> String {
        let alert = &self.transition.alert;
        let mut text = headline(&self.transition);
        match Kind::of(&self.transition) {
            Kind::Fired => {
                for words in ["summary", "description"].iter().filter_map(|key| alert.annotations.get(*key)) {
                    push(&mut text, format_args!("\n{words}"));
                }
                text.push('\n');
            }
            // A summary speaks of the present, and this is over.
            Kind::Resolved => {
                text.push('\n');
                if let Some(words) = alert.annotations.get("summary") {
                    fact(&mut text, "Was", words);
                }
            }
        }
        for (label, value) in &alert.by {
            fact(&mut text, &capitalised(label), value);
        }
        self.write_times(&mut text);
        write_values(&mut text, &self.transition);
        for (key, words) in &alert.annotations {
            let told = ["summary", "description", "threshold"].contains(&key.as_str());
            // These speak of the present.
            let past =
                Kind::of(&self.transition) == Kind::Resolved && ["likely_reason", "next_step"].contains(&key.as_str());
            if !told && !past {
                fact(&mut text, &capitalised(key.strip_suffix("_url").unwrap_or(key)), words);
            }
        }
        for (name, link) in [("Details", self.link()), ("AWS console", self.console())] {
            if let Some(link) = link {
                fact(&mut text, name, &link);
            }
        }
        fact(&mut text, "Alert id", alert.id.as_str());
        text
    }

    fn write_times(&self, text: &mut String) {
        let Transition { alert, kind, at } = &self.transition;
        let fired_at = alert.state.fired_at().unwrap_or(*at);
        fact(text, "Since", &fired_at.to_string());
        match kind {
            TransitionKind::Fired => {}
            TransitionKind::Resolved(ending) => {
                let whole_seconds = Duration::from_secs(at.since(fired_at).as_secs());
                let lasted = humantime::format_duration(whole_seconds);
                fact(text, "Ended", &format!("{at}, after {lasted}"));
                fact(text, "Because", because(*ending));
            }
        }
    }
}

fn subject(transition: &Transition) -> String {
    let alert = &transition.alert;
    let mut line = format!("[{}] {}", status(transition), alert.rule);
    for (at, (label, value)) in alert.by.iter().filter(|(_, value)| !value.is_empty()).enumerate() {
        push_str(&mut line, format_args!("{} {label} {value}", if at == 0 { ":" } else { "," }));
    }
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

fn headline(transition: &Transition) -> String {
    let alert = &transition.alert;
    let severity = alert.labels.get("severity").map(|severity| format!(" (severity {severity})")).unwrap_or_default();
    let verb = match Kind::of(transition) {
        Kind::Fired if alert.state.fired_at().is_some_and(|fired_at| fired_at < transition.at) => "is still firing",
        Kind::Fired => "is firing",
        Kind::Resolved => "has ended",
    };
    format!("{} {verb}{severity}\n", alert.rule)
}

fn write_values(text: &mut String, transition: &Transition) {
    let Alert { value, value_at_fire, annotations, unit, threshold, .. } = &transition.alert;
    let worded = |value: f64| in_words(value, *unit);
    let latest = value.map_or_else(|| "no data".to_owned(), worded);
    match (Kind::of(transition), value_at_fire) {
        (Kind::Resolved, Some(first)) => {
            fact(text, "Value", &format!("{latest} (was {} when it fired)", worded(*first)));
        }
        (Kind::Fired | Kind::Resolved, _) => fact(text, "Value", &latest),
    }
    if let Some(threshold) = annotations.get("threshold").cloned().or_else(|| threshold.map(worded)) {
        fact(text, "Threshold", &threshold);
    }
}

/// Why an alert ended, in words that never claim more than is known.
fn because(ending: Ending) -> &'static str {
    match ending {
        Ending::Recovered => "the condition no longer holds",
        Ending::Gone => "what it was about is no longer there",
        Ending::NoData => "there is no data any more, which its rule takes as fine",
        Ending::RuleRemoved => "its rule was removed or changed",
    }
}

/// `FIRING` or `RESOLVED`.
fn status(transition: &Transition) -> &'static str {
    match Kind::of(transition) {
        Kind::Fired => "FIRING",
        Kind::Resolved => "RESOLVED",
    }
}

fn fact(text: &mut String, name: &str, value: &str) {
    push(text, format_args!("{:<15}{value}", format!("{name}:")));
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    push_str(text, line);
    text.push('\n');
}

fn push_str(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}

fn capitalised(label: &str) -> String {
    let spaced = label.replace('_', " ");
    let mut letters = spaced.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// As much of the beginning as fits into so many bytes, in whole characters.
pub(super) fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::AlertState;
    use crate::notify::sample;

    #[test]
    fn a_firing_says_what_since_when_and_how_bad() {
        let message = Message::of(&sample::row(TransitionKind::Fired), Some("https://spotter.example/"));
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
        Details:       https://spotter.example/#alert-be601bcecd67135b
        AWS console:   https://eu-west-1.console.aws.amazon.com/batch/home?region=eu-west-1#queues/detail/arn:aws:batch:eu-west-1:123456789012:job-queue/prod-a
        Alert id:      be601bcecd67135b
        ");
    }

    #[test]
    fn a_resolve_says_when_why_and_both_values() {
        let message = Message::of(&sample::row(TransitionKind::Resolved(Ending::Recovered)), None);
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
    fn the_console_is_that_of_the_queues_region_and_partition() {
        let console = |arn: &str| {
            let mut row = sample::row(TransitionKind::Fired);
            row.transition.alert.queue_arn = Some(arn.to_owned());
            Message::of(&row, None).console()
        };
        let china = console("arn:aws-cn:batch:cn-north-1:1:job-queue/q").unwrap();
        assert!(china.starts_with("https://console.amazonaws.cn/batch/home?region=cn-north-1#"), "{china}");
        assert_eq!(console("queue"), None);
        assert_eq!(console("arn:aws:batch"), None);
    }

    #[test]
    fn no_ending_is_called_recovered_but_recovery() {
        let mut row = sample::row(TransitionKind::Resolved(Ending::NoData));
        row.transition.alert.value = None;
        let text = Message::of(&row, None).text;
        assert!(text.contains("there is no data any more"), "{text}");
        assert!(text.contains("no data (was 42m when it fired)"), "{text}");
    }

    #[test]
    fn a_subject_is_one_short_line_of_ascii_whatever_the_labels_hold() {
        let mut row = sample::row(TransitionKind::Fired);
        row.transition.alert.by.insert("share".to_owned(), format!("zürich\n\u{7}\u{1F600}{}", "x".repeat(300)));
        let subject = Message::of(&row, None).subject;
        assert!(subject.starts_with("[FIRING] ShareWaitsTooLong: queue prod-a, share z?rich  ?xxx"), "{subject}");
        assert!(subject.ends_with("..."), "{subject}");
        assert_eq!(subject.len(), SUBJECT_CHARS);
        assert!(subject.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }

    #[test]
    fn an_alert_without_annotations_or_labels_still_reads_well() {
        let mut row = sample::row(TransitionKind::Fired);
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
