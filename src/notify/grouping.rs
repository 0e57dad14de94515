//! Groups notifications into messages, and decides when to send them. PURE.

use std::collections::BTreeMap;

use crate::config::Group;
use crate::notify::inhibition::value;
use crate::notify::outbox::OutboxRow;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::AlertId;

/// Returns the rows of the first message that is due, at most `most`, from `rows` in order; without one, when the
/// next is due.
///
/// A row that was attempted before keeps its message. All rows of an alert go into the message of its first row.
pub(crate) fn grouped<'a>(
    group: &Group,
    most: usize,
    rows: &[&'a OutboxRow],
    now: Timestamp,
) -> (Vec<&'a OutboxRow>, Option<Timestamp>) {
    if let Some(begun) = rows.iter().find(|row| row.begun_at.is_some()) {
        return (vec![begun], None);
    }
    let mut key_of: BTreeMap<&AlertId, Vec<&str>> = BTreeMap::new();
    let mut messages: Vec<(Vec<&str>, Vec<&OutboxRow>)> = Vec::new();
    for row in rows {
        let labels = &row.transition.alert.labels;
        let new = || group.by.iter().map(|label| value(labels, label)).collect();
        let key = key_of.entry(row.alert()).or_insert_with(new);
        match messages.iter_mut().find(|(other, _)| other == key) {
            Some((_, of_message)) => of_message.push(row),
            None => messages.push((key.clone(), vec![row])),
        }
    }
    let leaves_at = |of_message: &[&OutboxRow]| of_message.iter().map(|row| row.created_at + group.wait).min();
    let first = messages.into_iter().min_by_key(|(_, of_message)| leaves_at(of_message));
    let Some((_, mut of_message)) = first else { return (Vec::new(), None) };
    match leaves_at(&of_message) {
        Some(at) if at > now => (Vec::new(), Some(at)),
        _ => {
            of_message.truncate(most);
            (of_message, None)
        }
    }
}
