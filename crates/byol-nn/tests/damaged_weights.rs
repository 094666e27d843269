//! Safetensors files with a turned bit, or cut short: refused, or read as they were.

use std::collections::BTreeMap;
use std::fs;

use byol_nn::Error;
use byol_nn::weights::{StoredTensor, StoredTensors, Values, load, save};

fn tensors() -> StoredTensors {
    let values = Values::F32((0..20).map(|x| x as f32).collect());
    StoredTensors::from([("weight".to_owned(), StoredTensor { shape: vec![4, 5], values })])
}

/// What `load` says of every change of one bit, and how the file is read where it says nothing.
#[test]
fn a_file_with_any_bit_turned_is_refused_or_read_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let metadata = BTreeMap::from([("note".to_owned(), "say \"checksum\":\"xxh3-64:\"".to_owned())]);
    save(&path, &tensors(), metadata.clone()).unwrap();
    assert_eq!(load(&path).unwrap(), (tensors(), metadata.clone()));
    let bytes = fs::read(&path).unwrap();
    let name = br#""checksum":"xxh3-64:"#;
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, damaged).unwrap();
        match load(&path) {
            Err(Error::Damaged { .. }) => refused += 1,
            Err(error) => panic!("bit {bit}: {error}"),
            // The name of the checksum itself: then there is none to compare, and nothing else was touched.
            Ok((read, rest)) => {
                assert_eq!((read, rest.get("note")), (tensors(), metadata.get("note")), "bit {bit}");
            }
        }
    }
    assert!(refused > bytes.len() * 8 - name.len() * 8, "{refused} of {}", bytes.len() * 8);
}

#[test]
fn a_file_cut_short_anywhere_is_refused_and_one_without_checksum_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    save(&path, &tensors(), BTreeMap::new()).unwrap();
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(matches!(load(&path), Err(Error::Damaged { .. })), "{length} of {} bytes", bytes.len());
    }
    let values = tensors()["weight"].values.clone();
    let Values::F32(values) = values else { unreachable!("they were made as f32") };
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![4, 5], &data).unwrap();
    fs::write(&path, safetensors::serialize([("weight", view)], None).unwrap()).unwrap();
    assert_eq!(load(&path).unwrap(), (tensors(), BTreeMap::new()));
}
