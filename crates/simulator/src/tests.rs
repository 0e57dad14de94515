//! The endpoint as the real SDK clients see it, over real sockets.

mod account;
mod batch;
mod control;
mod control_plane;
mod dashboards;
mod metrics;
mod payloads;
mod quirks;
mod topics;
