#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| trainspotter_fuzz::saved_jobs(input));
