//! See `fulmar_fuzz_targets`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fulmar_fuzz_targets::target("letters")(bytes));
