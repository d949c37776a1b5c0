#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| riskcycle_fuzz::http::request(bytes));
