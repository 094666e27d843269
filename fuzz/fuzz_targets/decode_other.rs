//! The other formats: the first byte chooses the channels, the second the first bytes of the file.
#![no_main]

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    let &[channels, format, ref rest @ ..] = input else { return };
    // What a format begins with; a WebP file states its length between its two marks.
    let heads: [&[u8]; 6] = [b"GIF89a", b"BM", b"II\x2A\0", b"MM\0\x2A", b"RIFF\0\x10\0\0WEBP", b""];
    let head = heads[usize::from(format) % heads.len()];
    let rest = rest.strip_prefix(head).unwrap_or(rest);
    byol_fuzz::decode(&[&[channels], head, rest].concat(), b"");
});
