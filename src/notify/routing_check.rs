//! Static analysis of routing: which receivers the alerts of each rule reach, and which parts of a configuration
//! can never match. PURE.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::{Config, Inhibition, Receiver};
use crate::notify::outbox::RECEIVER_IN_TROUBLE;
use trainspotter_core::model::{
    LabelValue, Matcher, Matchers, Overlap, PLACE_LABELS, Place, Timestamp, check_place, format,
};
use trainspotter_core::rules::{Rule, usual_labels};
use trainspotter_core::yaml::nearest;

/// Labels that alerts can have regardless of the rules.
const BUILT_IN: [&str; 3] = ["alertname", "overflow", "receiver"];

/// The conventional severity label of rules.
const SEVERITY: &str = "severity";

/// Step at which a week of a mute window is checked.
const MINUTE: Duration = Duration::from_secs(60);
const MINUTES_OF_A_WEEK: u32 = 7 * 24 * 60;

/// A rule and the receivers of its alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Name of the rule.
    pub rule: String,
    /// Receivers, with condition or delay if any. Empty if there is none.
    pub receivers: Vec<String>,
    /// Rules whose alerts inhibit this rule's.
    pub held_back_by: Vec<String>,
}

/// Receivers per rule, in the order of the rules.
pub fn routes(config: &Config, rules: &[Rule]) -> Vec<Route> {
    let of_rule = |rule: &Rule| Route {
        rule: rule.name().to_owned(),
        receivers: config.receivers.iter().filter_map(|receiver| heard(receiver, &config.receivers, rule)).collect(),
        held_back_by: held_back_by(config, rules, rule),
    };
    rules.iter().map(of_rule).collect()
}

/// How a receiver is notified of a rule's alerts; `None` if never.
fn heard(receiver: &Receiver, all: &[Receiver], rule: &Rule) -> Option<String> {
    let name = &receiver.name;
    match overlap(&receiver.matchers, rule) {
        Overlap::Always => return Some(name.clone()),
        Overlap::Sometimes => return Some(format!("{name} (if {})", receiver.matchers)),
        Overlap::Never => {}
    }
    let escalating = |other: &&Receiver| {
        let to_this = other.escalate.as_ref().is_some_and(|escalation| escalation.to == *name);
        to_this && overlap(&other.matchers, rule) != Overlap::Never
    };
    let (from, escalation) = all.iter().filter(escalating).find_map(|other| Some((other, other.escalate.as_ref()?)))?;
    Some(format!("{name} ({} after {})", format::duration(escalation.after.as_secs_f64()), from.name))
}

fn held_back_by(config: &Config, rules: &[Rule], rule: &Rule) -> Vec<String> {
    let inhibitions = config.receivers.first().map_or(&[][..], |receiver| &receiver.inhibit);
    let of_it = inhibitions.iter().filter(|inhibition| overlap(&inhibition.mute, rule) != Overlap::Never);
    let whens: Vec<&Matchers> = of_it.map(|inhibition| &inhibition.when).collect();
    let holds =
        |other: &&Rule| other.name() != rule.name() && whens.iter().any(|when| overlap(when, other) != Overlap::Never);
    rules.iter().filter(holds).map(|other| other.name().to_owned()).collect()
}

/// Parts of a configuration that can never match with these rules: location and reason.
pub fn problems(config: &Config, rules: &[Rule]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if rules.is_empty() && !config.receivers.is_empty() {
        found.push((
            "receivers".to_owned(),
            "there are no rules, so no receiver is ever notified: list rule files in `rules`".to_owned(),
        ));
        return found;
    }
    let labels = labels_of(rules);
    for (index, receiver) in config.receivers.iter().enumerate() {
        let at = format!("receivers[{index}]");
        let escalated_to =
            config.receivers.iter().any(|other| other.escalate.as_ref().is_some_and(|to| to.to == receiver.name));
        let wrong =
            problem_of(&receiver.matchers, rules, &labels).or_else(|| elsewhere(&receiver.matchers, rules, config));
        found
            .extend(wrong.filter(|wrong| wrong.unknown || !escalated_to).map(|wrong| wrong.at(&format!("{at}.match"))));
        if is_always_muted(receiver) {
            found.push((
                format!("{at}.mute"),
                "these windows cover the whole week, so this receiver is never notified".to_owned(),
            ));
        }
        for (number, label) in receiver.group.iter().flat_map(|group| &group.by).enumerate() {
            found.extend(unknown(label, &labels).map(|message| (format!("{at}.group.by[{number}]"), message)));
        }
    }
    let inhibitions = config.receivers.first().map_or(&[][..], |receiver| &receiver.inhibit);
    for (index, inhibition) in inhibitions.iter().enumerate() {
        for (key, matchers) in [("when", &inhibition.when), ("mute", &inhibition.mute)] {
            let wrong = problem_of(matchers, rules, &labels).or_else(|| elsewhere(matchers, rules, config));
            found.extend(wrong.map(|wrong| wrong.at(&format!("inhibit[{index}].{key}"))));
        }
        found.extend(mutes_itself(inhibition, rules).map(|message| (format!("inhibit[{index}].mute"), message)));
        for (number, label) in inhibition.same.iter().enumerate() {
            let wrong = unknown(label, &labels).or_else(|| never_same(inhibition, label, rules));
            found.extend(wrong.map(|message| (format!("inhibit[{index}].same[{number}]"), message)));
        }
    }
    found
}

fn met<'a>(matchers: &'a Matchers, rules: &'a [Rule]) -> impl Iterator<Item = &'a Rule> + Clone {
    rules.iter().filter(|rule| overlap(matchers, rule) != Overlap::Never)
}

/// Why an inhibition has no effect, if cause and consequence are the same alerts.
fn mutes_itself(Inhibition { when, mute, .. }: &Inhibition, rules: &[Rule]) -> Option<String> {
    let within = |one: &Matchers, other: &Matchers| met(one, rules).all(|rule| overlap(other, rule) == Overlap::Always);
    let is_same = when == mute || (within(when, mute) && within(mute, when));
    let is_some = met(when, rules).next().is_some() && met(mute, rules).next().is_some();
    (is_same && is_some).then(|| {
        "`when` and `mute` match the same alerts, and an alert does not inhibit itself: put the cause in `when` \
         and its consequences in `mute`"
            .to_owned()
    })
}

/// Why causes and consequences can never have the same value of a label, if so.
fn never_same(Inhibition { when, mute, .. }: &Inhibition, label: &str, rules: &[Rule]) -> Option<String> {
    let (causes, follow) = (met(when, rules), met(mute, rules));
    let agree = |one: &Rule, other: &Rule| match (one.value_of(label), other.value_of(label)) {
        (LabelValue::Known(one), LabelValue::Known(other)) => one == other,
        (LabelValue::Known(value), LabelValue::Within(_)) | (LabelValue::Within(_), LabelValue::Known(value)) => {
            !value.is_empty()
        }
        (LabelValue::Within(_), LabelValue::Within(_)) => true,
    };
    let is_known = causes.clone().next().is_some() && follow.clone().next().is_some();
    let ever = causes.clone().any(|one| follow.clone().any(|other| agree(one, other)));
    (is_known && !ever).then(|| {
        let lacks = |mut side: Box<dyn Iterator<Item = &Rule> + '_>| {
            side.all(|rule| rule.value_of(label) == LabelValue::Known(""))
        };
        if lacks(Box::new(causes)) {
            format!("no alert of `when` has the label `{label}`, so none ever has the same value as an alert of `mute`")
        } else if lacks(Box::new(follow)) {
            format!("no alert of `mute` has the label `{label}`, so none ever has the same value as an alert of `when`")
        } else {
            format!("alerts of `when` and of `mute` never have the same `{label}`")
        }
    })
}

/// Why no alert can ever match, if so.
pub fn never(matchers: &Matchers, rules: &[Rule]) -> Option<String> {
    problem_of(matchers, rules, &labels_of(rules)).map(|wrong| wrong.message)
}

/// Why matchers never match.
struct Unmatchable {
    /// The label that causes it, if it is one.
    label: Option<String>,
    /// Whether no alert has the label at all.
    unknown: bool,
    message: String,
}

impl Unmatchable {
    fn at(self, path: &str) -> (String, String) {
        (self.label.map_or_else(|| path.to_owned(), |label| format!("{path}.{label}")), self.message)
    }
}

fn problem_of(matchers: &Matchers, rules: &[Rule], labels: &BTreeSet<&str>) -> Option<Unmatchable> {
    for matcher in matchers.iter() {
        if let Some(message) = unknown(matcher.label(), labels) {
            return Some(Unmatchable { label: Some(matcher.label().to_owned()), unknown: true, message });
        }
        if let Some(Err(message)) = matcher.glob().map(|glob| check_place(matcher.label(), glob)) {
            let message = format!("`{matcher}`: {message}");
            return Some(Unmatchable { label: Some(matcher.label().to_owned()), unknown: true, message });
        }
    }
    let about_trouble = matchers.iter().any(|matcher| ["alertname", "receiver"].contains(&matcher.label()));
    let reached = rules.iter().any(|rule| overlap(matchers, rule) != Overlap::Never)
        || (about_trouble && matchers.overlap(of_trouble) != Overlap::Never);
    // Without rules the possible values are unknown.
    if rules.is_empty() || reached {
        return None;
    }
    let alone = matchers.iter().find(|matcher| {
        let value = |rule: &Rule| matcher.overlap(&value_of(rule, matcher.label())) != Overlap::Never;
        !rules.iter().any(value)
    });
    let Some(matcher) = alone else {
        let message = format!("no alert of any rule matches all of `{matchers}`");
        return Some(Unmatchable { label: None, unknown: false, message });
    };
    let label = matcher.label();
    let values: BTreeSet<&str> = rules.iter().filter_map(|rule| known(rule, label)).collect();
    let wanted = matcher.to_string();
    let wanted = wanted.trim_start_matches(label).trim_start_matches(['=', '!', '~']).trim_matches('"');
    let hint =
        nearest(wanted, values.iter().copied()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let values = match values.len() {
        0 => String::new(),
        1..=12 => format!(": it is one of {}", values.into_iter().collect::<Vec<_>>().join(", ")),
        _ => String::new(),
    };
    let message = format!("no alert of any rule matches `{matcher}`{values}{hint}");
    Some(Unmatchable { label: Some(label.to_owned()), unknown: false, message })
}

/// Why no target matches, if so: by its region; by its account if every target names a role and thereby its account; by its
/// queues if every target names them without globs, and no rule has a label `queue` of its own that matches.
fn elsewhere(matchers: &Matchers, rules: &[Rule], config: &Config) -> Option<Unmatchable> {
    let regions = config.targets.iter().map(|target| Some(target.region.as_str())).collect();
    let accounts = config.targets.iter().map(|target| Place::account_of(target.role.as_deref()?)).collect();
    let queues = config.targets.iter().flat_map(|target| &target.queues);
    let queues = queues.map(|queue| Some(queue.as_str()).filter(|queue| !queue.contains(['*', '?']))).collect();
    [("region", regions), ("account", accounts), ("queue", queues)].into_iter().find_map(
        |(label, known): (_, Option<BTreeSet<&str>>)| {
            let known = known?;
            let is_none = |matcher: &&Matcher| {
                matcher.label() == label
                    && !known.iter().any(|value| matcher.matches(value))
                    && !(label == "queue" && met(matchers, rules).any(|rule| has_matching(rule, matcher)))
            };
            let matcher = matchers.iter().find(is_none)?;
            let all = known.iter().copied().collect::<Vec<_>>().join(", ");
            let message = format!("no target has `{matcher}`; there are {all}");
            Some(Unmatchable { label: Some(label.to_owned()), unknown: true, message })
        },
    )
}

/// Whether alerts of a rule have a fixed value of a label, which matches. About no queue they have an empty one.
fn has_matching(rule: &Rule, matcher: &Matcher) -> bool {
    matches!(rule.value_of(matcher.label()), LabelValue::Known(value) if matcher.matches(value))
}

fn known<'a>(rule: &'a Rule, label: &str) -> Option<&'a str> {
    match rule.value_of(label) {
        LabelValue::Known(value) => Some(value).filter(|value| !value.is_empty()),
        LabelValue::Within(_) => None,
    }
}

fn overlap(matchers: &Matchers, rule: &Rule) -> Overlap {
    matchers.overlap(|label| value_of(rule, label))
}

/// Possible values of a label on a rule's alerts. An alert that stands for those over the rule's limit has
/// `overflow`.
fn value_of<'a>(rule: &'a Rule, label: &str) -> LabelValue<'a> {
    if label == "overflow" { LabelValue::Within(Vec::new()) } else { rule.value_of(label) }
}

/// Possible values of a label on the alert about a failing receiver.
fn of_trouble(label: &str) -> LabelValue<'static> {
    match label {
        "alertname" => LabelValue::Known(RECEIVER_IN_TROUBLE),
        SEVERITY => LabelValue::Known("page"),
        "receiver" => LabelValue::Within(Vec::new()),
        _ => LabelValue::Known(""),
    }
}

/// Labels that alerts of these rules can have; without rules, the usual ones.
fn labels_of(rules: &[Rule]) -> BTreeSet<&str> {
    let mut labels: BTreeSet<&str> = BUILT_IN.into_iter().chain(PLACE_LABELS).collect();
    for rule in rules {
        labels.extend(rule.by().iter().copied());
        labels.extend(rule.labels().map(|(label, _)| label));
    }
    if rules.is_empty() {
        labels.extend(usual_labels());
        labels.insert(SEVERITY);
    }
    labels
}

fn unknown(label: &str, labels: &BTreeSet<&str>) -> Option<String> {
    if labels.contains(label) {
        return None;
    }
    let hint =
        nearest(label, labels.iter().copied()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let all: Vec<&str> = labels.iter().copied().collect();
    Some(format!("no alert has a label `{label}`; there are {}{hint}", all.join(", ")))
}

/// Whether a receiver's mute windows cover every minute of a week.
fn is_always_muted(receiver: &Receiver) -> bool {
    let at = |minute: u32| Timestamp::default() + MINUTE * minute;
    !receiver.mute.is_empty()
        && (0..MINUTES_OF_A_WEEK).all(|minute| receiver.mute.iter().any(|window| window.covers(at(minute))))
}

#[cfg(test)]
mod tests;
