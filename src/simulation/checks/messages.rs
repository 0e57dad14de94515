//! Receivers get every alert once, in order, and no false one.

use std::collections::BTreeMap;

use super::Past;
use crate::simulation::aws::{FAILING_TOPIC, TOPICS};
use crate::simulation::inject_faults::WAITS;
use crate::simulation::process::POLL;
use crate::simulation::record::Received;
use crate::simulation::scenario::FaultKind;
use crate::simulation::truth::waited;

/// Maximum age in seconds of a message's content without faults.
const AGE: f64 = 2.0 * POLL as f64 + 15.0;

/// `for` of the rule about waits.
const FOR: f64 = 60.0;

/// Maximum unnoticed difference of two clocks in seconds.
const CLOCKS_APART: f64 = 2.0;

fn of_topic<'a>(past: &'a Past<'_>, topic: &str) -> impl Iterator<Item = &'a Received> {
    let end = format!(":{topic}");
    past.world.received.iter().filter(move |received| received.topic.ends_with(&end))
}

/// A message is received once, unless the sender could not know the result of the first attempt.
pub(super) fn none_is_doubled(past: &Past<'_>) -> Result<(), String> {
    // A process that ends between sending and recording, or is replaced while the disk fails, sends the message again.
    let interrupting = [
        FaultKind::Death,
        FaultKind::DeathWithDisk,
        FaultKind::Deployment,
        FaultKind::FailingDisk,
        FaultKind::SlowDisk,
        FaultKind::Partition,
        FaultKind::SlowBucket,
        FaultKind::BucketOutage,
        FaultKind::SilentBucket,
    ];
    let cut = [FaultKind::Cut, FaultKind::Truncated, FaultKind::Malformed, FaultKind::Slow];
    for topic in TOPICS {
        let mut before: BTreeMap<(&str, bool), &Received> = BTreeMap::new();
        for received in of_topic(past, topic) {
            let Some(first) = before.insert((&received.episode, received.is_resolved), received) else { continue };
            let has_reason = first.is_answer_lost
                || past.world.scenario.faults.iter().any(|fault| {
                    let (from, to) = (fault.at as f64, (fault.at + fault.lasts) as f64 + 60.0);
                    (interrupting.contains(&fault.kind) || cut.contains(&fault.kind))
                        && from <= received.at
                        && first.at <= to
                });
            if !has_reason {
                let what = if received.is_resolved { "end" } else { "beginning" };
                let (rule, first, again) = (&received.rule, first.at, received.at);
                return Err(format!(
                    "{topic} receives the {what} of {rule} at {first:.0} s, and again at {again:.0} s"
                ));
            }
        }
    }
    Ok(())
}

/// Every resolve follows its firing, and every firing is resolved.
pub(super) fn each_end_follows_its_beginning(past: &Past<'_>) -> Result<(), String> {
    for topic in TOPICS {
        let mut begun: BTreeMap<&str, bool> = BTreeMap::new();
        for received in of_topic(past, topic) {
            let Received { at, rule, episode, is_resolved, .. } = received;
            match (begun.get(episode.as_str()), is_resolved) {
                (None, true) => {
                    return Err(format!(
                        "at {at:.0} s: {topic} receives the end of {rule}, and did not receive its beginning"
                    ));
                }
                (Some(true), false) => {
                    return Err(format!("at {at:.0} s: {topic} receives the beginning of {rule} after its end"));
                }
                (_, ended) => _ = begun.insert(episode, *ended || begun.get(episode.as_str()) == Some(&true)),
            }
        }
        if let Some((episode, _)) = begun.iter().find(|(_, ended)| !**ended) {
            return Err(format!("{topic} never receives the end of {episode}"));
        }
    }
    Ok(())
}

/// The content of a message was true shortly before.
pub(super) fn none_is_false(past: &Past<'_>) -> Result<(), String> {
    for Received { at, rule, is_resolved, because, .. } in &past.world.received {
        if rule != WAITS || !past.is_clean(at - AGE - FOR, *at) {
            continue;
        }
        let (always, _) = waited(&past.jobs, at - AGE, *at);
        if *is_resolved && always {
            return Err(format!("at {at:.0} s: {WAITS} ends ({because}), and a job has waited all the time"));
        }
        // A poll, as long ago as the rule's `for`, has seen a waiting job.
        let (_, ever) = waited(&past.jobs, at - AGE - FOR, at - FOR + CLOCKS_APART);
        if !is_resolved && !ever {
            return Err(format!("at {at:.0} s: {WAITS} fires, and no job has waited for {FOR} s"));
        }
    }
    Ok(())
}

/// Every receiver is notified of a long wait.
pub(super) fn none_is_missing(past: &Past<'_>) -> Result<(), String> {
    let long = FOR + 2.0 * AGE;
    let end = past.world.passed() - 1.0;
    let mut at = 90.0;
    while at + long < end {
        let (always, _) = waited(&past.jobs, at, at + long);
        let is_silenced = past.world.silenced.iter().any(|silenced| silenced.from <= at + long && at <= silenced.to);
        if always && !is_silenced && past.is_clean(at, at + long) {
            // Messages to the failing topic are retried with increasing pauses.
            let fails = past.has(&[FaultKind::Topic]);
            for topic in TOPICS.into_iter().filter(|topic| !fails || *topic != FAILING_TOPIC) {
                let said = of_topic(past, topic).filter(|received| received.rule == WAITS && received.at <= at + long);
                let fires = said.last().is_some_and(|received| !received.is_resolved);
                if !fires {
                    return Err(format!("jobs wait from {at:.0} s to {:.0} s, and {topic} is not notified", at + long));
                }
            }
        }
        at += 30.0;
    }
    Ok(())
}

/// No receiver is notified of a silenced alert.
pub(super) fn silences_hold(past: &Past<'_>) -> Result<(), String> {
    for silenced in &past.world.silenced {
        // Except messages in flight when the silence began, and those due when it ends.
        let held = silenced.from + 40.0..silenced.to - 5.0;
        let stepped = past.has(&[FaultKind::ClockStep, FaultKind::ClockSkew]);
        let mut said = past.world.received.iter().filter(|received| received.rule == WAITS && !received.is_resolved);
        if let Some(received) = said.find(|received| held.contains(&received.at)).filter(|_| !stepped) {
            let (from, to) = (silenced.from, silenced.to);
            return Err(format!(
                "{WAITS} is silenced from {from:.0} s to {to:.0} s, and received at {:.0} s",
                received.at
            ));
        }
    }
    Ok(())
}
