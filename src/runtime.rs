//! The rim that makes the pure core a service: tasks, channels, signals and logs. It waits, and decides nothing.

mod history;
mod keeper;
mod logs;
mod look;
mod polling;
mod queries;
mod rehearsal;
mod rules;
mod service;
mod signals;

pub use logs::start_logs;
pub use look::look;
pub use rehearsal::test_receiver;
pub use rules::{files_of, load_rules};
pub use service::{Service, StartError};
pub use signals::stop_on_signals;
