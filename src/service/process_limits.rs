//! Divides process-wide limits on kept jobs among targets: each target may keep what the others leave, and at least an
//! equal part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use trainspotter_core::engine::Room;

/// Number of jobs kept by each target. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Rooms(Arc<Mutex<BTreeMap<String, Room>>>);

/// The share of one target, released on drop.
#[derive(Debug)]
pub(super) struct RoomOfTarget {
    rooms: Rooms,
    target: String,
}

impl Rooms {
    pub(super) fn of(&self, target: &str) -> RoomOfTarget {
        RoomOfTarget { rooms: self.clone(), target: target.to_owned() }
    }
}

impl RoomOfTarget {
    /// Records what the target keeps now, and returns what it may keep.
    pub(super) fn allowance(&self, kept: Room) -> Room {
        let mut all = self.rooms.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(self.target.clone(), kept);
        let others = || all.iter().filter(|(name, _)| **name != self.target).map(|(_, room)| room);
        let room = |most: usize, least: usize, of_others: usize| {
            most.saturating_sub(of_others).max(most / all.len()).max(least)
        };
        Room {
            ended: room(Room::MAX.ended, Room::LEAST.ended, others().map(|room| room.ended).sum()),
            forecasts: room(Room::MAX.forecasts, Room::LEAST.forecasts, others().map(|room| room.forecasts).sum()),
        }
    }
}

impl Drop for RoomOfTarget {
    fn drop(&mut self) {
        self.rooms.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_target_has_all_the_room_and_several_share_it_by_what_they_need() {
        let rooms = Rooms::default();
        let (large, small) = (rooms.of("large"), rooms.of("small"));
        let kept = |ended| Room { ended, forecasts: 0 };
        assert_eq!(large.allowance(kept(100_000)), Room::MAX);
        // A new target gets its part, and a target with more gives it back as it is needed.
        assert_eq!(small.allowance(kept(0)).ended, 50_000);
        assert_eq!(large.allowance(kept(100_000)).ended, 100_000);
        assert_eq!(small.allowance(kept(10_000)).ended, 50_000);
        assert_eq!(large.allowance(kept(100_000)).ended, 90_000);
        drop(small);
        assert_eq!(large.allowance(kept(90_000)), Room::MAX);
    }

    #[test]
    fn all_targets_together_keep_no_more_than_one_but_for_the_least() {
        for count in [2_usize, 7, 64, 200] {
            let rooms = Rooms::default();
            let targets: Vec<RoomOfTarget> = (0..count).map(|number| rooms.of(&number.to_string())).collect();
            let mut kept = vec![0; count];
            for _ in 0..20 {
                for (target, kept) in targets.iter().zip(&mut kept) {
                    let room = target.allowance(Room { ended: *kept, forecasts: *kept });
                    // It always has more than it may keep.
                    *kept = room.ended;
                    target.allowance(Room { ended: *kept, forecasts: 0 });
                }
            }
            let all: usize = kept.iter().sum();
            assert!(all <= Room::MAX.ended.max(count * Room::LEAST.ended), "{count} targets keep {all}");
            assert!(kept.iter().all(|kept| *kept >= Room::MAX.ended / count), "{kept:?}");
        }
    }
}
