//! TIFF alone, classic and BigTIFF, with and without a range of values: the second byte chooses both.
#![no_main]

use byol_data::{Measured, ValueRange};

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    let &[channels, choice, ref rest @ ..] = input else { return };
    let heads: [&[u8]; 4] = [b"II\x2A\0", b"MM\0\x2A", b"II\x2B\0", b"MM\0\x2B"];
    let head = heads[usize::from(choice) % 4];
    let range = [None, Some(ValueRange::Fixed([-3.0, 1000.0])), Some(ValueRange::Measured(Measured::Percentile))];
    let rest = rest.strip_prefix(head).unwrap_or(rest);
    byol_fuzz::decode_in(&[&[channels], head, rest].concat(), range[usize::from(choice / 4) % 3]);
});
