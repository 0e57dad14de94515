//! Routing: which receiver gets an alert and when, by label matchers, escalation and reminders. PURE.
//!
//! All of these affect firings only; a resolve goes to every receiver that was notified.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Receiver;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;

/// Delay between the firing and the notification of a receiver: zero if its matchers accept the labels, longer if
/// another receiver that accepts them escalates to it, `None` if never. Escalations are not chained.
pub(crate) fn notified_after(
    receiver: &Receiver,
    all: &[Receiver],
    labels: &BTreeMap<String, String>,
) -> Option<Duration> {
    let takes = |receiver: &Receiver| receiver.matchers.matches(labels);
    if takes(receiver) {
        return Some(Duration::ZERO);
    }
    let escalations = all.iter().filter(|other| takes(other)).filter_map(|other| other.escalate.as_ref());
    escalations.filter(|escalation| escalation.to == receiver.name).map(|escalation| escalation.after).min()
}

/// The latest due reminder of a firing alert: its number, from 1, and the time it became due.
pub(crate) fn reminder(receiver: &Receiver, alert: &Alert, now: Timestamp) -> Option<(u32, Timestamp)> {
    let (interval, fired_at) = (receiver.repeat_interval?, alert.state.fired_at()?);
    let number = now.since(fired_at).as_millis().checked_div(interval.as_millis())?;
    let number = u32::try_from(number).ok().filter(|number| *number > 0)?;
    receiver.matchers.matches(&alert.labels).then(|| (number, fired_at + interval * number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Channel;
    use crate::config::Escalation;
    use crate::notify::sample_alerts::firing_with;
    use trainspotter_core::model::Matchers;

    fn matchers(pairs: &[(&str, &str)]) -> Matchers {
        pairs.iter().map(|(label, glob)| Matchers::parse(&format!("{label}={glob}")).unwrap()).next().unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
    }

    fn receiver(name: &str, severity: &str, escalate: Option<(u64, &str)>) -> Receiver {
        let escalate =
            escalate.map(|(minutes, to)| Escalation { after: Duration::from_secs(minutes * 60), to: to.to_owned() });
        let channel = Channel::sns(String::new());
        Receiver { matchers: matchers(&[("severity", severity)]), escalate, ..Receiver::new(name, channel) }
    }

    #[test]
    fn a_receiver_is_notified_at_once_by_matchers_and_later_by_the_earliest_escalation() {
        let all = [
            receiver("first", "page", Some((30, "boss"))),
            receiver("second", "*", Some((20, "boss"))),
            receiver("boss", "never", Some((5, "board"))),
            receiver("board", "never", None),
        ];
        let check = |name: usize, severity: &str, minutes: Option<u64>| {
            let after = notified_after(&all[name], &all, &labels(&[("severity", severity)]));
            assert_eq!(
                after,
                minutes.map(|minutes| Duration::from_secs(minutes * 60)),
                "{} {severity}",
                all[name].name
            );
        };
        check(0, "page", Some(0));
        check(0, "info", None);
        check(1, "info", Some(0));
        check(2, "page", Some(20));
        check(2, "never", Some(0));
        // No receiver that accepts `page` escalates to the board: escalations are not chained.
        check(3, "page", None);
        check(3, "never", Some(0));
    }

    #[test]
    fn reminders_count_from_the_firing() {
        let every_ten = Receiver { repeat_interval: Some(Duration::from_secs(600)), ..receiver("a", "page", None) };
        let page = firing_with(&[("severity", "page")]);
        let fired_at = page.state.fired_at().unwrap();
        let check = |seconds: u64, number: Option<u32>| {
            let expected = number.map(|number| (number, fired_at + Duration::from_secs(600) * number));
            assert_eq!(reminder(&every_ten, &page, fired_at + Duration::from_secs(seconds)), expected, "{seconds}");
        };
        check(0, None);
        check(599, None);
        check(600, Some(1));
        check(1_199, Some(1));
        check(6_000, Some(10));
        let later = fired_at + Duration::from_secs(6_000);
        assert_eq!(reminder(&receiver("a", "page", None), &page, later), None);
        assert_eq!(reminder(&every_ten, &firing_with(&[("severity", "info")]), later), None);
    }
}
