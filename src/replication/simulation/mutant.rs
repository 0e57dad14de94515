//! Faults that the simulation has to find: each is switched on for one thread.

use std::cell::Cell;

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replication) enum Mutant {
    /// Callers hear that a change is kept before it is in the log.
    ActsBeforeItAppends,
    /// Whoever led goes on to send, whatever became of its lease.
    SendsWithoutALease,
    /// A record whose answer was lost is taken for written.
    TrustsALostAnswer,
}

impl Mutant {
    pub(in crate::replication) const ALL: [Self; 3] =
        [Self::ActsBeforeItAppends, Self::SendsWithoutALease, Self::TrustsALostAnswer];
}

thread_local! {
    static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// From now on this thread is wrong in this way.
pub(in crate::replication) fn switch(mutant: Option<Mutant>) {
    MUTANT.set(mutant);
}

pub(in crate::replication) fn acts_before_it_appends() -> bool {
    MUTANT.get() == Some(Mutant::ActsBeforeItAppends)
}

pub(crate) fn sends_without_a_lease() -> bool {
    MUTANT.get() == Some(Mutant::SendsWithoutALease)
}

pub(in crate::replication) fn trusts_a_lost_answer() -> bool {
    MUTANT.get() == Some(Mutant::TrustsALostAnswer)
}
