//! Every format: the first byte chooses the channels, the rest is the file.
#![no_main]

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| byol_fuzz::decode(input, b""));
