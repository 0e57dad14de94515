//! Reads the pages of all processes repeatedly, and records what they show.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use super::network::{ask, get};
use super::record::Look;
use super::world::{Page, Shared};

/// Seconds between two reads of the pages.
pub(super) const LOOK_EVERY: u64 = 30;

/// Reads all pages repeatedly.
pub(super) async fn look(world: Shared) {
    loop {
        tokio::time::sleep(Duration::from_secs(LOOK_EVERY)).await;
        let pages = world.lock().unwrap().pages.clone();
        for page in pages {
            look_at(&world, &page).await;
        }
    }
}

async fn look_at(world: &Shared, page: &Page) {
    let refused = Mutex::new(None);
    let text = async |path: &str| -> String {
        let (status, text) = ask(page.router.clone(), get(path)).await;
        if status != 200 {
            refused.lock().unwrap().get_or_insert(format!("{path} answers {status}: {text}"));
        }
        text
    };
    let json = async |path: &str| -> Value { serde_json::from_str(&text(path).await).unwrap_or_default() };
    let is_ready = async || ask(page.router.clone(), get("/readyz")).await.0 == 200;
    let began_ready = is_ready().await;
    let jobs = json("/api/v1/jobs?limit=500").await;
    let (shares, waterfall) = (json("/api/v1/shares").await, json("/api/v1/waterfall").await);
    let metrics = text("/metrics").await;
    let health = json("/api/v1/health").await;
    let replica = &health["replica"];
    let leads = replica["leads"].as_bool().unwrap_or(true);
    // The log may respond again while the last tick is not committed yet.
    let has_trouble = !replica["trouble"].is_null() || !health["store_error"].is_null();
    let is_behind = has_trouble && !replica.is_null();
    let (leads, is_cut_off) = (leads && !is_behind, leads && is_behind);
    let is_ready = began_ready && is_ready().await;
    let mut world = world.lock().unwrap();
    let at = world.passed();
    let jobs = jobs["jobs"].as_array().cloned().unwrap_or_default();
    let refused = refused.into_inner().unwrap().filter(|_| is_ready);
    let look = Look { at, port: page.port, is_ready, leads, is_cut_off, refused, jobs, shares, waterfall, metrics };
    world.looks.push(look);
}
