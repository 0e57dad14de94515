//! Hooks of the simulation in the product code: wherever it would start a thread, open a socket or call another machine, it asks here
//! first. On a thread without a simulation the hooks do nothing.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::bucket::Bucket;
use super::network::Link;
use super::world::{Local, Page, Shared};
use crate::config::ObjectPlace;
use crate::store::{Call, Store};
use trainspotter_clock::Clock;

thread_local! {
    static WORLD: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// Sets the world of this thread; `None` for none.
pub(super) fn enter(world: Option<Shared>) {
    WORLD.set(world);
}

/// Whether this thread runs a simulation.
pub(crate) fn is_running() -> bool {
    current().is_some()
}

/// Distinguishes this process from the service's other processes.
pub(crate) fn process_id() -> Option<String> {
    let world = current()?;
    let mut world = world.lock().unwrap();
    world.processes += 1;
    Some(format!("{:016x}", world.processes))
}

fn current() -> Option<Shared> {
    WORLD.with_borrow(Clone::clone)
}

/// The client to AWS of the replica with this clock.
pub(crate) fn network_of(clock: Clock) -> Option<SharedHttpClient> {
    let world = current()?;
    let replica = world.lock().unwrap().replica_of(&clock);
    Some(SharedHttpClient::new(Link { world, replica }))
}

/// No pause between attempts of the SDK, because its jitter does not depend on the seed.
pub(crate) fn without_jitter(retries: RetryConfig) -> RetryConfig {
    if current().is_some() { retries.with_initial_backoff(Duration::ZERO) } else { retries }
}

/// The object store of the replica with this clock.
pub(crate) fn bucket_at(place: &ObjectPlace, clock: Clock) -> Option<Bucket> {
    let world = current()?;
    let replica = world.lock().unwrap().replica_of(&clock);
    Some(Bucket { world, replica, prefix: format!("{place}/") })
}

/// Runs on this thread what would otherwise have a separate one. Returns it if nothing is simulated.
pub(crate) fn run_here<F, R>(make: F) -> Option<F>
where
    F: FnOnce() -> R + Send + 'static,
    R: Future<Output = ()> + 'static,
{
    let Some(world) = current() else { return Some(make) };
    let local: Local = Box::new(move || Box::pin(make()));
    let _ = world.lock().unwrap().locals.send(local);
    None
}

/// Executes the calls of a store on this thread, on a disk that may be slow or fail. Returns them if nothing is simulated.
pub(crate) fn serve_store(store: Store, calls: mpsc::Receiver<Call>) -> Option<(Store, mpsc::Receiver<Call>)> {
    let Some(world) = current() else { return Some((store, calls)) };
    let serving = move || async move {
        let (mut store, mut calls) = (store, calls);
        while let Some(call) = calls.recv().await {
            let disk = world.lock().unwrap().disk();
            tokio::time::sleep(disk.delay).await;
            (call.run)(&mut store, disk.error)(Ok(()));
        }
    };
    let _ = run_here(serving);
    None
}

/// Passes pages to the simulation, which reads them without a socket. Returns them if nothing is simulated.
pub(crate) fn show(listener: &TcpListener, router: Router) -> Option<Router> {
    let Some(world) = current() else { return Some(router) };
    let port = listener.local_addr().map_or(0, |address| address.port());
    world.lock().unwrap().pages.push(Page { port, router });
    None
}
