//! The endpoint as the real SDK clients see it, over real sockets.

mod account;
mod batch;
mod metrics;
mod topics;
