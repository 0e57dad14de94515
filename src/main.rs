//! The `trainspotter` binary.

fn main() {}
