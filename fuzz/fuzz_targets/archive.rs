//! A file of any kind given as `DATA`: above all archives, plain and compressed.
#![no_main]

use std::io::Write;

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(input).expect("room for it");
    byol_fuzz::open_and_load(file.path(), 3);
});
