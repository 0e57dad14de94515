//! Mutants that the simulation must find: each is enabled for one thread.

use std::cell::Cell;

/// A mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replication) enum Mutant {
    /// Replies before a change is in the log.
    ActsBeforeItAppends,
    /// A former leader continues to send, regardless of its lease.
    SendsWithoutALease,
    /// A record with a lost response counts as written.
    TrustsALostAnswer,
    /// A follower leads as soon as there is no new record, whoever leads.
    TakesOverTooEarly,
    /// A notification is recorded as delivered before it is sent.
    SettlesBeforeItSends,
    /// A new leader counts from zero.
    ForgetsCounters,
}

impl Mutant {
    /// All mutants, each with a seed that finds it.
    pub(super) const ALL: [(Self, u64); 6] = [
        (Self::ActsBeforeItAppends, 153),
        (Self::SendsWithoutALease, 119),
        (Self::TrustsALostAnswer, 4),
        (Self::TakesOverTooEarly, 1),
        (Self::SettlesBeforeItSends, 2),
        (Self::ForgetsCounters, 0),
    ];
}

thread_local! {
    static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Enables a mutant for this thread.
pub(in crate::replication) fn switch(mutant: Option<Mutant>) {
    MUTANT.set(mutant);
}

pub(in crate::replication) fn acts_before_it_appends() -> bool {
    MUTANT.get() == Some(Mutant::ActsBeforeItAppends)
}

pub(super) fn sends_without_a_lease() -> bool {
    MUTANT.get() == Some(Mutant::SendsWithoutALease)
}

pub(super) fn trusts_a_lost_answer() -> bool {
    MUTANT.get() == Some(Mutant::TrustsALostAnswer)
}

pub(in crate::replication) fn takes_over_too_early() -> bool {
    MUTANT.get() == Some(Mutant::TakesOverTooEarly)
}

pub(super) fn settles_before_it_sends() -> bool {
    MUTANT.get() == Some(Mutant::SettlesBeforeItSends)
}

pub(super) fn forgets_counters() -> bool {
    MUTANT.get() == Some(Mutant::ForgetsCounters)
}
