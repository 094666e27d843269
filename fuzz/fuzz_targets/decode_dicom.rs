//! DICOM alone, with and without a range of values: the second byte chooses the range and how the data set is written.
#![no_main]

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    let &[channels, choice, ref rest @ ..] = input else { return };
    let range = byol_fuzz::range(choice);
    // A file from the corpus brings its header along.
    if rest.get(128..132) == Some(b"DICM") {
        return byol_fuzz::decode_in(&[&[channels], rest].concat(), range);
    }
    const SYNTAXES: [&str; 7] = [".4.57", ".4.50", ".1", "", ".2", ".5", ".1.99"];
    let uid = format!("1.2.840.10008.1.2{}", SYNTAXES[usize::from(choice / 3) % 7]);
    let mut head = [&[channels], &[0; 128][..], b"DICM\x02\0\x10\0UI"].concat();
    head.extend((uid.len() as u16).to_le_bytes());
    byol_fuzz::decode_in(&[&head, uid.as_bytes(), rest].concat(), range);
});
