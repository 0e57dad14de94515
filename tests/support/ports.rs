//! Ports for programs that cannot choose one themselves: one that was freed may go to the next listener that asks for any.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that systems give to those who ask for any.
const FIRST: u16 = 20_000;
const PORTS: u16 = 10_000;

/// A port for another program that cannot choose one itself.
pub fn for_program() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different ports.
    let begin = std::process::id().wrapping_mul(613);
    (0..PORTS)
        .map(|_| {
            let tried = u32::from(TRIED.fetch_add(1, Ordering::Relaxed));
            FIRST + u16::try_from(begin.wrapping_add(tried) % u32::from(PORTS)).unwrap()
        })
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}
