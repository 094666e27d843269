//! Encoders that other programs saved: PyTorch's forms with PyTorch's own representations (`tests/golden/torch_weights.py`),
//! and files that are damaged, hostile or of another architecture.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use byol_data::views::EvaluationConfig;
use byol_nn::encoder::Encoder;
use byol_nn::weights::{StateDict, StoredTensor, StoredTensors, Values, collect, load, save, to_vec};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn open(path: &Path) -> byol_nn::Result<Encoder> {
    Encoder::open(path.to_str().unwrap(), &Device::flex())
}

fn refusal(path: &Path) -> String {
    open(path).unwrap_err().to_string()
}

/// Of the pictures of the Python side, which says how their values are made.
fn represent(encoder: &mut Encoder) -> Vec<f32> {
    let channels = encoder.info.channels();
    let side = if encoder.info.preprocessing.size_px == 224 { 64 } else { 32 };
    let pixels: Vec<f32> = (0..2 * side * side * channels).map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0).collect();
    let pictures = Tensor::from_data(TensorData::new(pixels, [2, side, side, channels]), &Device::flex());
    let representation = encoder.represent(pictures);
    let count = representation.shape().num_elements();
    to_vec(representation.reshape([count]))
}

fn assert_close(actual: &[f32], expected: &[f32], name: &str) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    for (a, e) in actual.iter().zip(expected) {
        assert!((a - e).abs() <= 1e-4 * largest, "{name}: {a}, expected {e}");
    }
}

fn expected(name: &str) -> Vec<f32> {
    match &load(&data("torch_representations.safetensors")).unwrap().0[name].values {
        Values::F32(values) => values.clone(),
        Values::I64(_) => panic!("{name} holds whole numbers"),
    }
}

#[test]
fn every_form_that_torch_saves_gives_the_representation_that_torch_computes() {
    for (name, arch, channels, size_px, under) in [
        ("torch_zip.pth", "resnet18x0.03125", 3, 224, ""),
        ("torch_legacy_ddp.pth", "resnet18x0.03125", 3, 224, " under `state_dict.module`"),
        ("torch_moco_f16.pth", "resnet18x0.015625", 3, 224, " under `state_dict.module.encoder_q`"),
        ("torch_views_bf16.pth", "resnet50x0.015625", 1, 32, " under `model_state_dict`"),
        ("torch_wrapper_f64.pth", "resnet18x0.015625", 3, 224, " under `net`"),
        ("torch_tar.pth", "resnet18x0.015625", 3, 32, ""),
    ] {
        let mut encoder = open(&data(name)).unwrap();
        assert_eq!(encoder.info.arch.to_string(), arch, "{name}");
        assert_eq!(encoder.info.channels(), channels, "{name}");
        assert_eq!(encoder.info.preprocessing.size_px, size_px, "{name}");
        assert_eq!(encoder.info.training, format!("weights of {name}{under} (not trained by byol)"));
        assert_close(&represent(&mut encoder), &expected(name), name);
    }
}

#[test]
fn preprocessing_is_imagenets_for_a_large_stem_and_the_whole_picture_for_a_small_one() {
    let large = open(&data("torch_zip.pth")).unwrap().info.preprocessing;
    let text = serde_json::to_value(&large).unwrap();
    assert_eq!((&text["resize"], &text["semantics"]), (&"resize_then_crop".into(), &"torchvision".into()));
    let EvaluationConfig { mean, std, .. } = EvaluationConfig::default();
    assert_eq!((large.crop_fraction, &large.mean, &large.std), (0.875, &mean, &std));
    let small = open(&data("torch_views_bf16.pth")).unwrap().info.preprocessing;
    assert_eq!((small.crop_fraction, small.mean, small.std), (1.0, vec![0.5], vec![0.25]));
}

/// The tensors of a good file under `prefix`.
fn good(prefix: &str) -> StoredTensors {
    let mut tensors = StoredTensors::new();
    collect(&open(&data("torch_zip.pth")).unwrap().network, prefix, &mut tensors);
    tensors
}

fn write(folder: &Path, tensors: &StoredTensors) -> PathBuf {
    let path = folder.join("weights.safetensors");
    save(&path, tensors, BTreeMap::new()).unwrap();
    path
}

fn ones(shape: &[usize]) -> StoredTensor {
    StoredTensor { shape: shape.to_vec(), values: Values::F32(vec![1.0; shape.iter().product()]) }
}

#[test]
fn safetensors_without_a_description_are_opened_too_and_what_follows_the_network_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = good("backbone.");
    tensors.insert("backbone.fc.weight".into(), ones(&[3, 16]));
    tensors.insert("projector.0.weight".into(), ones(&[4, 16]));
    let counter = StoredTensor { shape: vec![], values: Values::I64(vec![7]) };
    tensors.insert("backbone.bn1.num_batches_tracked".into(), counter);
    let mut encoder = open(&write(folder.path(), &tensors)).unwrap();
    assert_close(&represent(&mut encoder), &expected("torch_zip.pth"), "safetensors");
}

#[test]
fn another_architecture_is_refused_by_the_first_tensor_that_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    type Change = fn(&mut StoredTensors);
    let cases: [(Change, &[&str]); 11] = [
        (|t| drop(t.remove("a.layer3.1.bn2.bias")), &["tensor `a.layer3.1.bn2.bias` of resnet18x0.03125 is missing"]),
        (|t| t.retain(|name, _| !name.starts_with("a.layer4.1")), &["`a.layer4.1.conv1.weight`", "is missing"]),
        (
            |t| drop(t.remove("a.conv1.weight")),
            &["`a.conv1.weight` is missing", "expected the state dict of a ResNet-18"],
        ),
        (
            |t| drop(t.insert("a.layer2.0.conv2.weight".into(), ones(&[4, 1, 3, 3]))),
            &["`a.layer2.0.conv2.weight` has shape [4, 1, 3, 3], expected [4, 4, 3, 3]", "no wide, grouped"],
        ),
        (|t| drop(t.insert("a.conv1.weight".into(), ones(&[2, 3, 5, 5]))), &["[2, 3, 5, 5], expected [_, _, 7, 7]"]),
        (|t| drop(t.insert("a.conv1.weight".into(), ones(&[1025, 1, 3, 3]))), &["1025 outputs, expected 1 to 1024"]),
        (
            |t| drop(t.insert("a.layer1.0.se.fc1.weight".into(), ones(&[1]))),
            &["`a.layer1.0.se.fc1.weight` has no place"],
        ),
        (|t| drop(t.insert("a.layer5.0.conv1.weight".into(), ones(&[1]))), &["`a.layer5.0.conv1.weight` has no place"]),
        (
            |t| *t = StoredTensors::from([("blocks.0.attn.qkv.weight".into(), ones(&[9, 3]))]),
            &["`layer1.0.conv1.weight` is missing", "the first of the file is `blocks.0.attn.qkv.weight`"],
        ),
        (
            |t| {
                let rename =
                    |(name, tensor): (&String, &StoredTensor)| (name.replacen("a.", "b.", 1), ones(&tensor.shape));
                let other: StoredTensors = t.iter().map(rename).collect();
                t.extend(other);
            },
            &["several different networks, under `a.`, `b.`"],
        ),
        (
            |t| {
                drop(t.insert(
                    "a.bn1.bias".into(),
                    StoredTensor { shape: vec![2], values: Values::F32(vec![1.0, f32::NAN]) },
                ))
            },
            &["`a.bn1.bias` has a value that is not finite"],
        ),
    ];
    for (change, expected) in cases {
        let mut tensors = good("a.");
        change(&mut tensors);
        let message = refusal(&write(folder.path(), &tensors));
        assert!(expected.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pth");
    for name in ["torch_zip.pth", "torch_legacy_ddp.pth", "torch_tar.pth"] {
        let whole = fs::read(data(name)).unwrap();
        // A tar file ends in blocks of zeros, which nobody misses.
        let content = whole.len() - whole.iter().rev().take_while(|&&byte| byte == 0 && name.contains("tar")).count();
        for end in (0..content).step_by(97) {
            fs::write(&path, &whole[..end]).unwrap();
            let message = refusal(&path);
            assert!(message.contains("cut.pth: ") && message.len() < 1000, "{name} to {end}: {message}");
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.pth");
    for name in ["torch_zip.pth", "torch_legacy_ddp.pth", "torch_tar.pth", "torch_views_bf16.pth"] {
        let whole = fs::read(data(name)).unwrap();
        let pickle = whole.windows(4).position(|bytes| bytes == b"\x80\x02}q").unwrap_or(0);
        let mut refused = 0;
        for seed in 0u64..300 {
            let mut changed = whole.clone();
            let mut state = seed;
            for _ in 0..1 + seed % 4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Half of them where the pickle is.
                let (start, length) = if seed % 2 == 0 { (0, whole.len()) } else { (pickle, 8000) };
                changed[start + (state >> 33) as usize % length] = (state >> 24) as u8;
            }
            fs::write(&path, &changed).unwrap();
            refused += usize::from(open(&path).is_err());
        }
        assert!(refused > 30, "{name}: {refused} of 300 refused");
    }
}

/// A file as `torch.save` makes it, of this pickle and one storage.
fn torch_zip(path: &Path, pickle: &[u8], storage: &[u8], method: CompressionMethod) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in [("archive/data.pkl", pickle), ("archive/data/0", storage)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
}

/// `{name: tensor}` for each, as views of a storage of `count` values: shape with stride 0, so all values are the first.
fn repeated(tensors: &[(String, Vec<usize>)], count: u32) -> Vec<u8> {
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let number = |number: usize| [&b"J"[..], &(number as u32).to_le_bytes()].concat();
    let tuple =
        |numbers: &[usize]| [&b"("[..], &numbers.iter().flat_map(|&n| number(n)).collect::<Vec<u8>>(), b"t"].concat();
    let mut pickle = b"\x80\x02}".to_vec();
    for (name, shape) in tensors {
        pickle.extend(text(name));
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        pickle.extend(text("storage"));
        pickle.extend(b"ctorch\nFloatStorage\n");
        pickle.extend([text("0"), text("cpu"), number(count as usize)].concat());
        pickle.extend(b"tQ");
        pickle.extend([number(0), tuple(shape), tuple(&vec![0; shape.len()])].concat());
        pickle.extend(b"\x89}tRs");
    }
    pickle.push(b'.');
    pickle
}

#[test]
fn hostile_files_are_refused_before_they_cost_anything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pth");
    let whole: Vec<(String, Vec<usize>)> = good("").into_iter().map(|(name, tensor)| (name, tensor.shape)).collect();

    // The handwritten pickle is what the reader expects: one that repeats little is fine.
    torch_zip(&path, &repeated(&[("a".into(), vec![3])], 1), &1f32.to_le_bytes(), CompressionMethod::Stored);
    let read = StateDict::open(&path).unwrap().read("", ["a"].into_iter()).unwrap();
    assert_eq!(read["a"], ones(&[3]));

    let wide: Vec<(String, Vec<usize>)> = whole
        .iter()
        .map(|(name, shape)| {
            let outer = if name == "conv1.weight" { 1 } else { 2 };
            let scaled = |(axis, &side): (usize, &usize)| if axis < outer { side * 512 } else { side };
            (name.clone(), shape.iter().enumerate().map(scaled).collect())
        })
        .collect();
    torch_zip(&path, &repeated(&wide, 1), &1f32.to_le_bytes(), CompressionMethod::Stored);
    let message = refusal(&path);
    assert!(message.contains("more values than the file"), "{message}");

    torch_zip(&path, &repeated(&[("a".into(), vec![3])], 1), &vec![0; 1 << 20], CompressionMethod::Deflated);
    let message = refusal(&path);
    assert!(message.contains("claim") && message.contains("archive/data/0"), "{message}");

    let long = [&b"\x80\x02"[..], &vec![b'N'; 5 << 20], b"."].concat();
    torch_zip(&path, &long, &[], CompressionMethod::Stored);
    let message = refusal(&path);
    assert!(message.contains("expected at most 4194304"), "{message}");

    for pickle in [
        // Lists in lists; a list that holds itself many times over; a call.
        [&b"\x80\x02"[..], &vec![b']'; 100_000], &vec![b'a'; 99_999], b"."].concat(),
        [&b"\x80\x02]q\0"[..], &b"(h\0h\0h\0h\0h\0h\0h\0h\0h\0h\0eq\0".repeat(20), b"."].concat(),
        b"\x80\x02cposix\nsystem\n(X\x0e\0\0\0touch executedtR.".to_vec(),
    ] {
        torch_zip(&path, &pickle, &[], CompressionMethod::Stored);
        let message = refusal(&path);
        assert!(message.contains("hostile.pth: expected a complete file of weights"), "{message}");
    }
    assert!(!Path::new("executed").exists());
}
