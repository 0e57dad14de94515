//! Plain-text messages: one alert, or a paragraph per alert.

use crate::notify::message::Message;
use crate::notify::message::{in_one_line, place, push_str};
use crate::notify::outbox::Kind;
use crate::runbooks;
use trainspotter_core::model::format;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::REPORT;
use trainspotter_core::rules::ResolveReason;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;
use trainspotter_core::rules::in_words;

/// Annotations that are meaningless once an alert has been resolved.
const CURRENT_STATE_ONLY: [&str; 3] = ["likely_reason", "next_step", "jobs"];

impl Message {
    /// One paragraph per alert, firing alerts first.
    pub(super) fn write_all(&self) -> String {
        let mut text = format!("{}\n", self.counted().to_lowercase());
        for kind in [Kind::Fired, Kind::Resolved] {
            for transition in self.transitions().filter(|transition| Kind::of(transition) == kind) {
                let alert = &transition.alert;
                push_str(&mut text, format_args!("\n{}", headline(transition)));
                match (kind, alert.annotations.get("summary")) {
                    (Kind::Fired, Some(words)) => push(&mut text, format_args!("{}", in_one_line(words))),
                    (Kind::Resolved, Some(words)) => fact(&mut text, "Was", words),
                    (Kind::Fired | Kind::Resolved, None) => {}
                }
                write_subject(&mut text, alert);
                write_times(&mut text, transition);
                write_values(&mut text, transition);
                write_annotations(&mut text, transition, &["description"]);
                let links = [("Details", self.link_of(alert)), ("AWS console", Self::console_of(alert))];
                for (name, link) in links {
                    if let Some(link) = link {
                        fact(&mut text, name, &link);
                    }
                }
            }
        }
        text
    }

    pub(super) fn write_text(&self) -> String {
        let alert = &self.transition.alert;
        let mut text = headline(&self.transition);
        match Kind::of(&self.transition) {
            Kind::Fired => {
                if let Some(words) = alert.annotations.get("summary") {
                    push(&mut text, format_args!("\n{}", in_one_line(words)));
                }
                if let Some(words) = alert.annotations.get("description") {
                    push(&mut text, format_args!("\n{words}"));
                }
                text.push('\n');
            }
            // A summary describes the current state, which no longer holds.
            Kind::Resolved => {
                text.push('\n');
                if let Some(words) = alert.annotations.get("summary") {
                    fact(&mut text, "Was", words);
                }
            }
        }
        write_subject(&mut text, alert);
        write_times(&mut text, &self.transition);
        write_values(&mut text, &self.transition);
        write_annotations(&mut text, &self.transition, &[]);
        for (name, link) in [("Details", self.link()), ("AWS console", self.console())] {
            if let Some(link) = link {
                fact(&mut text, name, &link);
            }
        }
        fact(&mut text, "Alert id", alert.id.as_str());
        text
    }
}

/// Writes what the alert is about. Its target is part of that even if the rule does not name it: with several targets,
/// two queues may have the same name.
fn write_subject(text: &mut String, alert: &Alert) {
    for (label, value) in alert.by.iter().map(|(label, value)| (label.as_str(), value)).chain(place(alert)) {
        fact(text, &capitalised(label), value);
    }
}

/// Writes the annotations that are not shown elsewhere or in `besides`; for a resolved alert, without those about
/// the current state.
fn write_annotations(text: &mut String, transition: &Transition, besides: &[&str]) {
    for (key, words) in &transition.alert.annotations {
        let elsewhere =
            ["summary", "description", "threshold"].contains(&key.as_str()) || besides.contains(&key.as_str());
        let past = Kind::of(transition) == Kind::Resolved && CURRENT_STATE_ONLY.contains(&key.as_str());
        if !elsewhere && !past {
            let name = capitalised(key.strip_suffix("_url").unwrap_or(key));
            // The external URL is not configured, so this cannot be a link.
            let path = words.starts_with(runbooks::PATH);
            fact(text, &name, &if path { format!("{words} on the page of the service") } else { words.clone() });
        }
    }
}

fn write_times(text: &mut String, transition: &Transition) {
    let Transition { alert, kind, at } = transition;
    let fired_at = alert.state.fired_at().unwrap_or(*at);
    fact(text, "Since", &fired_at.to_string());
    match kind {
        TransitionKind::Fired => {}
        TransitionKind::Resolved(ending) => {
            let lasted = format::duration(at.seconds_since(fired_at));
            fact(text, "Ended", &format!("{at}, after {lasted}"));
            fact(text, "Because", because(*ending));
        }
    }
}

fn headline(transition: &Transition) -> String {
    let alert = &transition.alert;
    let severity = alert.labels.get("severity").map(|severity| format!(" (severity {severity})")).unwrap_or_default();
    let verb = match Kind::of(transition) {
        Kind::Fired if alert.rule == REPORT => "for a past period",
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

/// Why an alert was resolved, without claiming more than is known.
fn because(ending: ResolveReason) -> &'static str {
    match ending {
        ResolveReason::Recovered => "the condition no longer holds",
        ResolveReason::Gone => "its subject no longer exists",
        ResolveReason::NoData => "there is no more data, and its rule has `no_data: ok`",
        ResolveReason::RuleRemoved => "its rule was removed or changed",
        ResolveReason::TargetRemoved => "target removed: its account and region are no longer monitored",
    }
}

/// One line, or several if the value has several.
fn fact(text: &mut String, name: &str, value: &str) {
    let mut lines = value.lines();
    push(text, format_args!("{:<15}{}", format!("{name}:"), lines.next().unwrap_or_default()));
    for line in lines {
        push(text, format_args!("{:<15}{line}", ""));
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    push_str(text, line);
    text.push('\n');
}

fn capitalised(label: &str) -> String {
    let spaced = label.replace('_', " ");
    let mut letters = spaced.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
