//! Lists and tables of paths, and tables beside pictures. The first byte chooses which, the rest is the text.
#![no_main]

use byol_data::DataConfig;

/// One pixel, white.
const PICTURE: &[u8] = b"BM\x3A\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0\0\0\0\0\x04\0\0\0\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xFF\0";

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    let Some((&choice, text)) = input.split_first() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["a.bmp", "b.bmp", "x/a.bmp"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("room for it");
        std::fs::write(path, PICTURE).expect("room for it");
    }
    let names = ["list.csv", "list.txt", "list.jsonl", "list.tsv", "metadata.csv", "metadata.jsonl"];
    let name = names[usize::from(choice) % 6];
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("room for it");
    let label_column = (choice / 6 % 3 == 1).then(|| "label".to_owned());
    let config = DataConfig { label_column, ..byol_fuzz::limits(3) };
    byol_fuzz::open_and_load_with(if name.starts_with("meta") { folder.path() } else { &path }, &config);
});
