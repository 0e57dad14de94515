//! Checks the invariants of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::process::{COUNTED_UNTIL, COUNTER, LEASE};
use super::world::{HOLDS, RECEIVERS, Taken, World, start};
use crate::notify::outbox::Kind;
use crate::replication::object_names;
use crate::replication::record;
use crate::replication::record::Purpose;
use crate::store::{Position, Store};

/// Returns the violation, if any.
pub(super) fn verify(world: &World) -> Result<(), String> {
    if let Some(violation) = &world.violation {
        return Err(violation.clone());
    }
    if !world.is_delivered() {
        return Err(format!("not delivered in time: {} wait, last tick {:?}", world.waiting, world.ticks.last()));
    }
    is_one_line(world)?;
    let logged = counts_everything_once(world)?;
    nothing_is_doubled(world)?;
    RECEIVERS.into_iter().try_for_each(|receiver| receives_every_episode(world, &logged, receiver))
}

/// Each record follows the previous one, and was written by the leader.
fn is_one_line(world: &World) -> Result<(), String> {
    let (mut before, mut leader) = (String::new(), None);
    for (header, number) in world.log.iter().zip(1..) {
        if header.number != number || header.before != before {
            return Err(format!("record {} does not follow record {}", header.number, number - 1));
        }
        match header.purpose {
            Purpose::TakeOver => leader = Some(header.writer.clone()),
            Purpose::Changes | Purpose::HandOver if leader.as_ref() != Some(&header.writer) => {
                return Err(format!("record {number} is of {}, and {leader:?} leads", header.writer));
            }
            Purpose::Changes => {}
            Purpose::HandOver => leader = None,
        }
        before.clone_from(&header.digest);
    }
    Ok(())
}

/// At every record the counter is as if no fault had occurred. Returns the ticks in the log; for several in one
/// record, the last.
fn counts_everything_once(world: &World) -> Result<Vec<Duration>, String> {
    let mut ticks = Vec::new();
    let mut store = Store::reused().map_err(|error| error.to_string())?;
    store.follow_log().map_err(|error| error.to_string())?;
    for header in &world.log {
        let name = object_names::record(header.number);
        let bytes = world.objects.get(&name).ok_or("a record is gone")?;
        let (header, body) =
            record::decode(&name, bytes, header.number, Store::schema_version()).map_err(|error| error.to_string())?;
        let changes = record::changes(&name, body).map_err(|error| error.to_string())?;
        let position = Position {
            number: header.number,
            digest: header.digest.into_bytes(),
            writer: String::new(),
            is_ahead: false,
        };
        store.apply(&changes, &position).map_err(|error| error.to_string())?;
        let (until, counted) = store.counted(COUNTED_UNTIL, COUNTER).map_err(|error| error.to_string())?;
        let Some(until) = until else { continue };
        ticks.push(until.since(start()));
        let expected = world.events.iter().filter(|event| start() + **event <= until).count();
        if counted != f64::from(u32::try_from(expected).unwrap_or(u32::MAX)) {
            return Err(format!("record {}: {counted} counted of {expected}", header.number));
        }
    }
    Ok(ticks)
}

/// Duplicates have the same id, and a cause.
fn nothing_is_doubled(world: &World) -> Result<(), String> {
    let mut first: BTreeMap<&str, &Taken> = BTreeMap::new();
    for taken in &world.taken {
        let Some(before) = first.get(taken.id.as_str()) else {
            first.insert(taken.id.as_str(), taken);
            continue;
        };
        let margin = LEASE;
        let has_reason = world.unanswered.contains(&taken.id)
            || world.faults.iter().any(|at| *at + margin >= before.at && *at <= taken.at);
        if !has_reason {
            return Err(format!("{} is sent at {:?} and again at {:?}, for no reason", taken.id, before.at, taken.at));
        }
    }
    Ok(())
}

/// Every episode is delivered from beginning to end, in order, each transition under one id.
fn receives_every_episode(world: &World, logged: &[Duration], receiver: &str) -> Result<(), String> {
    let mut heard: Vec<(trainspotter_core::model::Timestamp, Kind, &str)> = Vec::new();
    for taken in world.taken.iter().filter(|taken| taken.receiver == receiver && !taken.is_trouble) {
        let known = heard.iter().find(|(episode, kind, _)| *episode == taken.episode && *kind == taken.kind);
        match known {
            Some((.., id)) if *id != taken.id.as_str() => return Err(format!("two ids for {taken:?}")),
            Some(_) => {}
            None => heard.push((taken.episode, taken.kind, taken.id.as_str())),
        }
    }
    if world.perils.may_double() {
        // An episode that was sent and is in no log has no end.
        let ended = |heard: &[(_, Kind, _)], of| {
            heard.iter().any(|(episode, kind, _)| *episode == of && *kind == Kind::Resolved)
        };
        let all = heard.clone();
        heard.retain(|(episode, ..)| ended(&all, *episode));
    }
    let kinds: Vec<Kind> = heard.iter().map(|(_, kind, _)| *kind).collect();
    let pairs = heard
        .chunks(2)
        .all(|pair| matches!(pair, [(first, Kind::Fired, _), (second, Kind::Resolved, _)] if first == second));
    if !pairs {
        return Err(format!("{receiver} hears {kinds:?} {:?}", world.perils));
    }
    let episodes = heard.len() / 2;
    // What a leader observed while the bucket failed may have been lost with it.
    let kept: Vec<Duration> = if world.perils.may_double() { logged.to_vec() } else { [logged, &world.ticks].concat() };
    // What is observed by a tick without a commit is committed by the next one, if the leader survives.
    let (least, most) = (episodes_seen(&kept), episodes_seen(&world.evaluated));
    if episodes < least || (episodes > most && !world.perils.may_double()) {
        return Err(format!("{receiver} hears of {episodes} episodes of {least} to {most} {:?}", world.perils));
    }
    Ok(())
}

/// Number of episodes observed at these times.
fn episodes_seen(moments: &[Duration]) -> usize {
    let is_seen = |from: u64, to: u64| moments.iter().any(|at| (from..to).contains(&at.as_secs()));
    let seen = HOLDS.iter().filter(|(from, to)| is_seen(*from, *to)).count();
    let is_parted = is_seen(HOLDS[0].1, HOLDS[1].0);
    if is_parted { seen } else { seen.min(1) }
}

impl super::world::Perils {
    /// While the bucket fails for everybody a leader continues; if it dies then, what it has sent is in no log.
    pub(super) fn may_double(&self) -> bool {
        self.outages
            && (self.deaths || self.stops || self.pauses || self.partitions || self.lost_answers || self.slow_puts)
    }
}
