//! Assigns targets to replicas. PURE: replicas with the same input compute the same result.
//!
//! - A target stays with the replica that leads it, if that is alive.
//! - A target without a leader goes to the replica with the fewest targets, of those that can lead it.
//! - While a replica has two more targets than another that can lead one of them, one is moved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Live replicas, with the targets each can lead.
pub type Able = BTreeMap<Arc<str>, BTreeSet<Arc<str>>>;

/// All targets with their leaders; `None` without one.
pub type Leaders = BTreeMap<Arc<str>, Option<Arc<str>>>;

/// Assigns each target. Targets that no live replica can lead are left out.
pub fn assign(able: &Able, leaders: &Leaders) -> BTreeMap<Arc<str>, Arc<str>> {
    let mut led: BTreeMap<&Arc<str>, BTreeSet<&Arc<str>>> =
        able.keys().map(|replica| (replica, BTreeSet::new())).collect();
    let mut free = Vec::new();
    for (target, leader) in leaders {
        match leader.as_ref().and_then(|leader| led.get_mut(leader)) {
            Some(targets) => _ = targets.insert(target),
            None => free.push(target),
        }
    }
    for target in free {
        let can = |(replica, _): &(&&Arc<str>, &mut BTreeSet<_>)| able[**replica].contains(target);
        if let Some((_, targets)) = led.iter_mut().filter(can).min_by_key(|(_, targets)| targets.len()) {
            targets.insert(target);
        }
    }
    while let Some((from, to, target)) = surplus(able, &led) {
        led.entry(from).or_default().remove(target);
        led.entry(to).or_default().insert(target);
    }
    let pairs = |(replica, targets): (&Arc<str>, BTreeSet<&Arc<str>>)| {
        let replica = replica.clone();
        targets.into_iter().map(move |target| (target.clone(), replica.clone())).collect::<Vec<_>>()
    };
    led.into_iter().flat_map(pairs).collect()
}

/// A target to move from a replica with too many to one with too few that can lead it: from, to, target.
fn surplus<'a>(
    able: &'a Able,
    led: &BTreeMap<&'a Arc<str>, BTreeSet<&'a Arc<str>>>,
) -> Option<(&'a Arc<str>, &'a Arc<str>, &'a Arc<str>)> {
    let mut by_number: Vec<(usize, &Arc<str>)> =
        led.iter().map(|(replica, targets)| (targets.len(), *replica)).collect();
    by_number.sort_unstable();
    by_number.iter().rev().find_map(|(most, from)| {
        let fewer = by_number.iter().take_while(|(least, _)| least + 2 <= *most);
        fewer.into_iter().find_map(|(_, to)| {
            let target = led[from].iter().rev().find(|target| able[*to].contains(**target))?;
            Some((*from, *to, *target))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(kind: &str, number: usize) -> Arc<str> {
        format!("{kind}{number:02}").into()
    }

    prop_compose! {
        /// Up to five replicas, each of which can lead all of up to forty targets, or some of them.
        fn worlds()(replicas in 1..6_usize, targets in 1..40_usize)
            (
                able in prop::collection::vec(prop::option::weighted(0.3, prop::collection::vec(any::<bool>(), targets)), replicas),
                leaders in prop::collection::vec(prop::option::of(0..7_usize), targets),
            ) -> (Able, Leaders, bool)
        {
            let of = |some: &Option<Vec<bool>>| -> BTreeSet<Arc<str>> {
                let can = |target: &usize| some.as_ref().is_none_or(|some| some[*target]);
                (0..leaders.len()).filter(can).map(|target| name("t", target)).collect()
            };
            let can_all = able.iter().all(Option::is_none);
            let able = able.iter().enumerate().map(|(replica, some)| (name("r", replica), of(some))).collect();
            let leader = |(target, leader): (usize, &Option<usize>)| (name("t", target), leader.map(|leader| name("r", leader)));
            (able, leaders.iter().enumerate().map(leader).collect(), can_all)
        }
    }

    fn counts(able: &Able, assigned: &BTreeMap<Arc<str>, Arc<str>>) -> Vec<usize> {
        able.keys().map(|replica| assigned.values().filter(|of| *of == replica).count()).collect()
    }

    proptest! {
        #[test]
        fn each_target_that_can_be_led_is_led_by_one_that_is_there((able, leaders, can_all) in worlds()) {
            let assigned = assign(&able, &leaders);
            for (target, leader) in &leaders {
                let of = assigned.get(target);
                let can = able.values().any(|targets| targets.contains(target));
                let stays = leader.as_ref().is_some_and(|leader| able.contains_key(leader));
                prop_assert!(of.is_some() || !(can || stays), "{} is nobody's", target);
                // Only the current leader need not be able to lead it.
                prop_assert!(of.is_none_or(|of| able[of].contains(target) || leader.as_ref() == Some(of)));
            }
            if can_all {
                let counts = counts(&able, &assigned);
                prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
            }
        }

        #[test]
        fn what_is_assigned_stays_assigned((able, leaders, _) in worlds()) {
            let assigned = assign(&able, &leaders);
            let led = leaders.keys().map(|target| (target.clone(), assigned.get(target).cloned())).collect();
            prop_assert_eq!(assign(&able, &led), assigned);
        }

        #[test]
        fn nothing_moves_that_need_not((able, leaders, can_all) in worlds()) {
            prop_assume!(can_all);
            let assigned = assign(&able, &leaders);
            let most = leaders.len().div_ceil(able.len());
            for replica in able.keys() {
                let had: Vec<_> = leaders.iter().filter(|(_, of)| of.as_ref() == Some(replica)).collect();
                let lost = had.iter().filter(|(target, _)| assigned[*target] != *replica).count();
                // One more if it is not among those that have one more than others.
                prop_assert!(lost <= (had.len() + 1).saturating_sub(most), "{} of {} with {}", lost, had.len(), most);
            }
        }
    }

    #[test]
    fn a_replica_that_comes_takes_its_part_of_what_another_one_leads() {
        let targets: BTreeSet<Arc<str>> = (0..30).map(|target| name("t", target)).collect();
        let able: Able = ["r0", "r1", "r2"].map(|replica| (replica.into(), targets.clone())).into();
        let leaders = targets.iter().map(|target| (target.clone(), Some("r1".into()))).collect();
        assert_eq!(counts(&able, &assign(&able, &leaders)), [10, 10, 10]);
    }
}
