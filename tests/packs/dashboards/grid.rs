//! Checks the layout of both kinds of dashboards: a grid of 24 columns.

use serde_json::Value;

/// A rectangle, with its name for messages.
pub struct Tile {
    pub name: String,
    pub x: u64,
    pub y: u64,
    pub width: u64,
    pub height: u64,
}

impl Tile {
    pub fn read(name: String, place: &Value, keys: [&str; 4]) -> Self {
        let [x, y, width, height] = keys.map(|key| place[key].as_u64().unwrap_or(u64::MAX >> 1));
        Self { name, x, y, width, height }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// Reports tiles outside the grid and overlapping tiles.
pub fn check(noun: &str, tiles: &[Tile]) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, tile) in tiles.iter().enumerate() {
        if tile.x + tile.width > 24 || tile.width == 0 || !(1..=1_000).contains(&tile.height) {
            problems.push(format!("{} is {} wide at {}: the grid has 24 columns", tile.name, tile.width, tile.x));
        }
        for other in &tiles[..index] {
            if tile.overlaps(other) {
                let (first, second) = (bare(&other.name, noun), bare(&tile.name, noun));
                problems.push(format!("{noun}s {first} and {second} overlap"));
            }
        }
    }
    problems
}

fn bare<'a>(name: &'a str, noun: &str) -> &'a str {
    name.strip_prefix(noun).unwrap_or(name).trim()
}
