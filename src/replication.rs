//! Several replicas of one service, of which one leads: an ordered log in an object store, from which each makes its own state file.
//!
//! - **Append, apply, act.** What a few calls of the store change together is one [record]. It is written to the log, then kept in the state
//!   file, and only then the callers hear that it is done, publish and notify. Nothing is sent that is not in the log.
//! - **The log is the lease.** Record N is an object that is created only if it is not there, so that the log is one line and each record has
//!   one writer. Whoever wrote the last record leads; [lease] says when another one may write the next.
//! - **An answer that was lost is read.** If it is not known whether record N was written, N is read, and written again with the same
//!   bytes. No other record is written before that is settled.
//! - **A bucket that fails stops nobody.** While it answers with errors the leader goes on from its file, and writes what it has changed
//!   when it can, unless somebody else has written meanwhile: then it gives up what it did and follows.
//!
//! Where there are several targets each has a log of its own, and [sharing] spreads them over the replicas.
//!
//! `replica` does all this around a [`crate::store::Store`], `restore` makes a state from the log, [`crate::objects`] is where it is kept.

mod append;
mod error;
pub mod lease;
mod names;
mod open;
pub mod record;
mod replica;
mod restore;
pub mod sharing;
#[cfg(test)]
mod simulation;
mod snapshot;
mod standing;

pub use error::LogError;
pub use open::{Replicas, open, watches};
pub use replica::Identity;
pub use standing::Standing;

#[cfg(test)]
pub(crate) use simulation::mutant::{sends_without_a_lease, settles_before_it_sends};
