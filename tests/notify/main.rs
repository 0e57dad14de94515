//! Notifications: delivery, routing, crashes and real receivers.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot build its case has failed, and one that is skipped says so"
)]

#[path = "../support"]
mod support {
    pub mod alerts;
    pub mod moto;
    pub mod ports;
    pub mod python;
    pub mod reserved_address;
}
mod alertmanager;
mod crash;
mod delivery;
mod escalation_and_inhibition;
mod kill;
mod sns;
