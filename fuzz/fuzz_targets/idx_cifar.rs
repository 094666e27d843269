//! CIFAR and IDX files, alone and as a folder. The first byte chooses the names, two more where the second file begins.
#![no_main]

libfuzzer_sys::fuzz_target!(init: byol_fuzz::let_known_panics_pass(), |input: &[u8]| {
    let &[names, high, low, ref content @ ..] = input else { return };
    let sets = [
        ["data_batch_1.bin", "test_batch.bin"],
        ["data_batch_1.bin", "batches.meta.txt"],
        ["train.bin", "fine_label_names.txt"],
        ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"],
        ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"],
        ["t10k-images-idx3-ubyte", "train-images-idx3-ubyte"],
    ];
    let [first, second] = sets[usize::from(names) % sets.len()];
    let cut = usize::from(u16::from_be_bytes([high, low])).min(content.len());
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join(first), &content[..cut]).expect("room for it");
    std::fs::write(folder.path().join(second), &content[cut..]).expect("room for it");
    let channels = [1, 3, 4][usize::from(names / 16) % 3];
    byol_fuzz::open_and_load(folder.path(), channels);
    byol_fuzz::open_and_load(&folder.path().join(first), channels);
});
