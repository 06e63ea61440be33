//! The part of the program that reads frames, for libFuzzer.

#![no_main]

#[path = "../check.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|frame: &[u8]| check::check(frame));
