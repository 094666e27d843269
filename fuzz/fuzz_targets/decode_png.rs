//! PNG alone. The checksums are made right: a changed file would else not get past the first one.
#![no_main]

const MARK: &[u8] = b"\x89PNG\r\n\x1A\n";

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let mut file = [&[choice], MARK, rest.strip_prefix(MARK).unwrap_or(rest)].concat();
    let mut at = 1 + MARK.len();
    while let Some(length) = file.get(at..at + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(content) = file.get(at + 4..at + 8 + length) else { break };
        let checksum = byol_fuzz::crc32(content).to_be_bytes();
        let end = at + 8 + length;
        let Some(place) = file.get_mut(end..end + 4) else { break };
        place.copy_from_slice(&checksum);
        at = end + 4;
    }
    byol_fuzz::decode(&file, b"");
});
