//! Parquet files: the first byte chooses the channels, two more where the description of the columns begins.
#![no_main]

const MARK: &[u8] = b"PAR1";

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    let &[channels, high, low, ref content @ ..] = input else { return };
    let file = if content.len() > 12 && content.starts_with(MARK) && content.ends_with(MARK) {
        content.to_vec()
    } else {
        let described = content.len() - usize::from(u16::from_be_bytes([high, low])).min(content.len());
        [MARK, content, &(described as u32).to_le_bytes(), MARK].concat()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("train.parquet");
    std::fs::write(&path, file).expect("room for it");
    byol_fuzz::open_and_load(&path, [1, 3, 4][usize::from(channels) % 3]);
});
