//! Fuzzes what `name` of ../targets.rs promises.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::name(bytes));
