//! JPEG alone: its first bytes need not be found.
#![no_main]

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    // A file from the corpus brings them along.
    let head: &[u8] = if input.get(1..3) == Some(b"\xFF\xD8") { b"" } else { b"\xFF\xD8\xFF" };
    byol_fuzz::decode(input, head);
});
