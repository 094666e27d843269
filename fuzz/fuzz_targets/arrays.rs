//! NumPy arrays: one, and pictures with labels in an .npz file, whose checksums are made right. The first byte chooses the
//! channels and the form, the second the range of values, two more where the labels begin.
#![no_main]

use byol_data::DataConfig;

const MARK: &[u8] = b"\x93NUMPY";

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    let &[first, choice, high, low, ref content @ ..] = input else { return };
    let channels = [1, 3, 4][usize::from(first) % 3];
    let config = DataConfig { value_range: byol_fuzz::range(choice), ..byol_fuzz::limits(channels) };
    let whole = |content: &[u8]| [MARK, content.strip_prefix(MARK).unwrap_or(content)].concat();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (name, bytes) = match first / 3 % 3 {
        0 => ("a.npy", whole(content)),
        1 => {
            let cut = usize::from(u16::from_be_bytes([high, low])).min(content.len());
            ("a.npz", zip(&[("images.npy", &whole(&content[..cut])), ("labels.npy", &whole(&content[cut..]))]))
        }
        _ => ("a.npz", [b"PK\x03\x04", content.strip_prefix(b"PK\x03\x04").unwrap_or(content)].concat()),
    };
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("room for it");
    byol_fuzz::open_and_load_with(&path, &config);
});

/// A zip file of stored members.
fn zip(members: &[(&str, &Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let sizes = (content.len() as u32).to_le_bytes();
        let name_length = (name.len() as u16).to_le_bytes();
        let shared = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &byol_fuzz::crc32(content).to_le_bytes()[..],
            &sizes,
            &sizes,
            &name_length,
            &[0; 2],
        ]
        .concat();
        let start = (file.len() as u32).to_le_bytes();
        file.extend([b"PK\x03\x04", &shared[..], name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02\x14\0", &shared[..], &[0; 10], &start, name.as_bytes()].concat());
    }
    let count = (members.len() as u16).to_le_bytes();
    let (length, start) = ((directory.len() as u32).to_le_bytes(), (file.len() as u32).to_le_bytes());
    [&file[..], &directory, b"PK\x05\x06\0\0\0\0", &count, &count, &length, &start, &[0; 2]].concat()
}
