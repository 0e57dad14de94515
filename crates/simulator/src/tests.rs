//! The endpoint as the real SDK clients see it, over real sockets.

mod account;
mod batch;
mod control;
mod metrics;
mod quirks;
mod topics;
