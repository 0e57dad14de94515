//! What reads what others write, as functions of one input each that panic where a promise is broken. The programs in `fuzz_targets` run
//! them under libFuzzer, and `tests/models/fuzz_corpora.rs` runs them over the corpora with every `cargo test`.

mod targets;

pub use targets::*;
