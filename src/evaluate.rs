//! Rules over the figures of each tick, and the life of the alerts they raise. PURE.

mod alert;

pub use alert::{Alert, AlertId, AlertState, Ending, Transition, TransitionKind};
