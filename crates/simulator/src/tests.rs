//! Tests of the endpoint with the real SDK clients over real sockets.

mod assume_role_deadlock;
mod batch;
mod control;
mod control_plane;
mod fixture;
mod metrics;
mod payloads;
mod quirks;
mod shipped_dashboard;
mod topics;
