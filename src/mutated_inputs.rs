//! Mutated inputs, for tests of what reads files, requests and answers that others write. Unlike the fuzzer of `fuzz/` this measures no
//! coverage, needs no other compiler and runs with every `cargo test`.
//!
//! `TRAINSPOTTER_INPUTS=N` sets the number of inputs per test, and `TRAINSPOTTER_FIRST_INPUT=N` the first one: input N is the same on every
//! machine.

use std::ops::Range;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// What readers often take for something else.
const ODD: [&str; 24] = [
    "",
    "null",
    "true",
    "0",
    "-1",
    "-0",
    "0.1",
    "1e400",
    "NaN",
    "9223372036854775808",
    "-9223372036854775809",
    "340282366920938463463374607431768211456",
    "[]",
    "{}",
    "\"\"",
    "\"",
    ":",
    ",",
    "\n",
    "%00",
    "\u{0}",
    "\u{feff}",
    "\u{1f600}",
    "é",
];

/// Maximum mutations of an example.
const MAX_MUTATIONS: u32 = 4;

/// Maximum bytes that are removed or repeated at once.
const MAX_RANGE: usize = 64;

/// How many inputs a reader was given, and how many of them it accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// All inputs.
    pub(crate) inputs: u64,
    /// The accepted ones.
    pub(crate) accepted: u64,
}

/// Passes `usual` mutated examples, or as many as the environment says, to `accepts`, which returns whether an input was accepted and panics where
/// a promise is broken. An input at which it panics is printed.
#[expect(clippy::print_stderr, reason = "how many inputs were tried is what such a test is about")]
pub(crate) fn try_mutated(what: &str, examples: &[&[u8]], usual: u64, mut accepts: impl FnMut(&[u8]) -> bool) -> Tally {
    let first = number_from("TRAINSPOTTER_FIRST_INPUT").unwrap_or(0);
    let mut tally = Tally::default();
    for input in first..first + number_from("TRAINSPOTTER_INPUTS").unwrap_or(usual) {
        let bytes = mutated(examples, input);
        let shown = Shown { what, input, bytes: &bytes };
        tally.accepted += u64::from(accepts(&bytes));
        std::mem::forget(shown);
        tally.inputs += 1;
    }
    eprintln!("{what}: {} mutated inputs from number {first} on, {} of them accepted", tally.inputs, tally.accepted);
    tally
}

/// A number in the environment.
pub(crate) fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Prints the current input when a check panics.
struct Shown<'a> {
    what: &'a str,
    input: u64,
    bytes: &'a [u8],
}

impl Drop for Shown<'_> {
    #[expect(clippy::print_stderr, reason = "the input is needed to find the cause")]
    fn drop(&mut self) {
        let Self { what, input, bytes } = self;
        eprintln!("{what}: TRAINSPOTTER_FIRST_INPUT={input} TRAINSPOTTER_INPUTS=1: {}", bytes.escape_ascii());
    }
}

/// One of the examples with some mutations, the same for the same number.
pub(crate) fn mutated(examples: &[&[u8]], number: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(number);
    let pick = |random: &mut ChaCha8Rng| examples[random.random_range(0..examples.len())];
    let mut bytes = pick(&mut random).to_vec();
    for _ in 0..random.random_range(1..=MAX_MUTATIONS) {
        let other = pick(&mut random);
        mutate(&mut random, &mut bytes, other);
    }
    bytes
}

fn mutate(random: &mut ChaCha8Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let range = some_range(random, bytes.len());
    let word = some_word(random, bytes);
    match random.random_range(0..9) {
        0 => drop(bytes.drain(range)),
        1 => {
            let again = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, again);
        }
        2 => drop(bytes.splice(word, some_odd(random))),
        3 => drop(bytes.splice(word.start..word.start, some_odd(random))),
        4 => drop(bytes.splice(word, other[some_word(random, other)].to_vec())),
        5 => drop(bytes.splice(range.start..range.start, other[some_range(random, other.len())].to_vec())),
        6 => bytes.truncate(range.start),
        7 => drop(bytes.drain(word)),
        _ => {
            if let Some(byte) = bytes.get_mut(range.start) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
    }
}

fn some_odd(random: &mut ChaCha8Rng) -> Vec<u8> {
    ODD[random.random_range(0..ODD.len())].as_bytes().to_vec()
}

fn some_range(random: &mut ChaCha8Rng, length: usize) -> Range<usize> {
    let start = random.random_range(0..=length);
    start..random.random_range(start..=length.min(start + MAX_RANGE))
}

/// The letters and digits around a random place.
fn some_word(random: &mut ChaCha8Rng, bytes: &[u8]) -> Range<usize> {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    let at = random.random_range(0..=bytes.len());
    let before = bytes[..at].iter().rev().take_while(|byte| is_of_word(byte)).count();
    let after = bytes[at..].iter().take_while(|byte| is_of_word(byte)).count();
    at - before..at + after
}

#[test]
fn mutated_inputs_are_the_same_again_and_differ_from_one_another() {
    let examples: [&[u8]; 2] = [b"{\"a\": [1, 2.5]}", b"b: text\n"];
    let all = |from: u64| (from..from + 200).map(|number| mutated(&examples, number)).collect::<Vec<_>>();
    assert_eq!(all(0), all(0));
    let distinct: std::collections::BTreeSet<Vec<u8>> = all(0).into_iter().collect();
    assert!(distinct.len() > 120, "only {} of 200 differ", distinct.len());
}
