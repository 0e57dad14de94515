//! Tests of the endpoint with the real SDK clients over real sockets.

mod account;
mod accounts;
mod batch;
mod control;
mod control_plane;
mod dashboards;
mod metrics;
mod payloads;
mod quirks;
mod topics;
