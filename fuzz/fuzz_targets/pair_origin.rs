#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| offline_ksk_fuzz::run("pair_origin", data));
