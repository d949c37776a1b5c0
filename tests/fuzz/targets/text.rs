#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| riskcycle_fuzz::ways::text(bytes));
