//! Roles are assumed while requests with sessions are answered: the two take their locks in the same order.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use trainspotter_clock::Clock;

use super::fixture::{SEED, workload};
use crate::{Accounts, Simulation};

const ROLE: &str = "arn:aws:iam::210987654321:role/Reader";
const ROUNDS: usize = 5_000;

/// A call finds its simulation by the role's session; `AssumeRole` has a simulation and adds a session. In the wrong
/// order of their locks, they wait for each other.
#[test]
fn roles_are_assumed_while_requests_with_sessions_are_answered() {
    let clock = Clock::real();
    let place = |account, region| Simulation::new(workload(), SEED, clock).at(account, region);
    let places = vec![place("123456789012", "us-east-1"), place("210987654321", "us-east-1")];
    let accounts = Accounts::new(places).unwrap();
    let hour = Duration::from_secs(3_600);
    let (key, _) = accounts.assume(ROLE, "210987654321", None, clock.now(), hour).unwrap();
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential={key}/20300102/us-east-1/batch/aws4_request, SignedHeaders=host, Signature=0"
    );
    let signed = HeaderMap::from_iter([(axum::http::header::AUTHORIZATION, HeaderValue::from_str(&scope).unwrap())]);

    let (done, both) = mpsc::channel();
    let (assuming, assumed) = (accounts.clone(), done.clone());
    thread::spawn(move || {
        for _ in 0..ROUNDS {
            let world = assuming.first().unwrap().world();
            assuming.assume(ROLE, "210987654321", None, world.now, hour).unwrap();
        }
        assumed.send(()).unwrap();
    });
    thread::spawn(move || {
        for _ in 0..ROUNDS {
            // The session ends when many others have begun; either answer is one.
            let _ = accounts.of_request(&signed, false);
        }
        done.send(()).unwrap();
    });
    for _ in 0..2 {
        both.recv_timeout(Duration::from_secs(60)).expect("neither waits for the other");
    }
}
