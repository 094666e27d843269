//! TIFF alone, classic and BigTIFF, with and without a range of values: the second byte chooses both.
#![no_main]

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    let &[channels, choice, ref rest @ ..] = input else { return };
    let heads: [&[u8]; 4] = [b"II\x2A\0", b"MM\0\x2A", b"II\x2B\0", b"MM\0\x2B"];
    let head = heads[usize::from(choice) % 4];
    let rest = rest.strip_prefix(head).unwrap_or(rest);
    byol_fuzz::decode_in(&[&[channels], head, rest].concat(), byol_fuzz::range(choice / 4));
});
