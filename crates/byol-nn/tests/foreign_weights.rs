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
        ("torch_lightly_f16.ckpt", "resnet18x0.015625", 3, 224, " under `state_dict.backbone`"),
        ("torch_dino_f16.pth", "resnet18x0.015625", 3, 224, " under `student.module.backbone`"),
        ("torch_cifar_places_f16.pth", "resnet18x0.015625", 3, 32, " under `f`"),
        ("torch_stem_21_letters.pth", "resnet18x0.015625", 3, 224, ""),
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
            &["no tensor `layer1.0.conv1.weight` or the like", "the first of the file is `blocks.0.attn.qkv.weight`"],
        ),
        (
            |t| {
                let rename =
                    |(name, tensor): (&String, &StoredTensor)| (name.replacen("a.", "b.", 1), ones(&tensor.shape));
                let other: StoredTensors = t.iter().map(rename).collect();
                t.extend(other);
            },
            &["several different networks, under `a`, `b`; choose one of them with --prefix"],
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

/// Names that other programs give to two networks: that which is taken, and that which follows it slowly.
const PAIRS: [(&str, &str); 20] = [
    ("state_dict.backbone.", "state_dict.backbone_momentum."),
    ("state_dict.student_backbone.", "state_dict.teacher_backbone."),
    ("state_dict.encoder.", "state_dict.momentum_encoder."),
    ("state_dict.module.encoder_q.", "state_dict.module.encoder_k."),
    ("state_dict.module.base_encoder.", "state_dict.module.momentum_encoder."),
    ("online_backbone.", "target_backbone."),
    ("online_encoder.net.", "target_encoder.net."),
    ("online_network_state_dict.encoder.", "target_network_state_dict.encoder."),
    ("state_dict.online_net.0.", "state_dict.target_net.0."),
    ("onlineNetwork.", "targetNetwork."),
    ("student.module.backbone.", "teacher.backbone."),
    ("student.", "teacher."),
    ("state_dict.", "state_dict_ema."),
    ("model.", "model_ema.module."),
    ("model._orig_mod.module.", "ema.shadow."),
    ("model.", "swa.module."),
    (
        "classy_state_dict.base_model.model.trunk._feature_blocks.",
        "classy_state_dict.ema_model.model.trunk._feature_blocks.",
    ),
    ("state_dict.model.", "state_dict.model_k."),
    ("", "mean_teacher."),
    ("net.", "offline_net."),
];

#[test]
fn of_two_networks_the_online_one_is_taken_and_the_other_is_named_and_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    for (online, slow) in PAIRS {
        let mut tensors = good(online);
        tensors.extend(good(slow).into_iter().map(|(name, tensor)| (name, ones(&tensor.shape))));
        let path = write(folder.path(), &tensors);
        let text = path.to_str().unwrap();
        let mut opened = Encoder::open_under(text, None, &device).unwrap();
        assert_close(&represent(&mut opened.encoder), &expected("torch_zip.pth"), online);
        let note = opened.note.unwrap();
        let slow = slow.trim_end_matches('.');
        assert!(note.contains(&format!("also has `{slow}`")) && note.contains("--prefix"), "{note}");

        let chosen = Encoder::open_under(text, Some(slow), &device).unwrap();
        assert!(chosen.encoder.info.training.contains(&format!("under `{slow}`")), "{}", chosen.encoder.info.training);
        let mut tensors = StoredTensors::new();
        collect(&chosen.encoder.network, "", &mut tensors);
        assert_eq!(tensors["conv1.weight"], ones(&[2, 3, 7, 7]), "{slow}");
        assert!(chosen.note.unwrap().contains("a slowly moving copy"));
    }
}

#[test]
fn a_prefix_may_be_a_part_and_one_that_nothing_stands_under_is_refused_with_those_there_are() {
    let path = data("torch_lightly_f16.ckpt");
    let open = |prefix| Encoder::open_under(path.to_str().unwrap(), Some(prefix), &Device::flex());
    for (prefix, under) in [
        ("backbone_momentum", "state_dict.backbone_momentum"),
        ("backbone_momentum.", "state_dict.backbone_momentum"),
        ("state_dict", "state_dict.backbone"),
        ("backbone", "state_dict.backbone"),
    ] {
        let training = open(prefix).unwrap().encoder.info.training;
        assert!(training.contains(&format!("under `{under}` ")), "{prefix}: {training}");
    }
    for prefix in ["momentum", "backbone_m", ""] {
        let message = open(prefix).unwrap_err().to_string();
        let parts = ["--prefix: ", "`state_dict.backbone`, `state_dict.backbone_momentum`"];
        assert!(parts.iter().all(|part| message.contains(part)), "{prefix}: {message}");
    }
    let opened =
        Encoder::open_under(data("torch_cifar_places_f16.pth").to_str().unwrap(), None, &Device::flex()).unwrap();
    assert!(opened.note.unwrap().contains("stem of 3×3 is taken for one of stride 1 and padding 1"));
    assert_eq!(Encoder::open_under(data("torch_zip.pth").to_str().unwrap(), None, &Device::flex()).unwrap().note, None);
    let message = Encoder::open_under("random:resnet18", Some("a"), &Device::flex()).unwrap_err().to_string();
    assert!(message.contains("--prefix: expected none with random:resnet18"), "{message}");
}

/// A zip archive as `torch.save` writes it since PyTorch 1.6: nothing compressed, and zip64 records at the end whether or not
/// they are needed.
fn torch_zip64(stem: &str, entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let name = format!("{stem}/{name}");
        let (start, size) = ((file.len() as u32).to_le_bytes(), (content.len() as u32).to_le_bytes());
        let length = (name.len() as u16).to_le_bytes();
        // Version, flags, method, time, date; no checksum; both sizes; lengths of name and extra field.
        let rest = [&[0; 10][..], &[0; 4], &size, &size, &length, &[0; 2]].concat();
        file.extend([&b"PK\x03\x04"[..], &rest, name.as_bytes(), content].concat());
        directory.extend([&b"PK\x01\x02"[..], &[0; 2], &rest, &[0; 10], &start, name.as_bytes()].concat());
    }
    let count = entries.len() as u64;
    let (start, size) = (file.len() as u64, directory.len() as u64);
    file.extend(directory);
    let end = file.len() as u64;
    file.extend(b"PK\x06\x06");
    file.extend(44u64.to_le_bytes());
    file.extend([0; 12]);
    file.extend([count, count, size, start].map(u64::to_le_bytes).concat());
    file.extend([&b"PK\x06\x07"[..], &[0; 4], &end.to_le_bytes(), &1u32.to_le_bytes()].concat());
    file.extend([&b"PK\x05\x06"[..], &[0; 4], &(count as u16).to_le_bytes(), &(count as u16).to_le_bytes()].concat());
    file.extend([&(size as u32).to_le_bytes()[..], &(start as u32).to_le_bytes(), &[0; 2]].concat());
    file
}

#[test]
fn a_file_opens_whatever_the_length_of_its_stem() {
    let folder = tempfile::tempdir().unwrap();
    let pickle = repeated(&[("a".into(), vec![3])], 1);
    let value = 1f32.to_le_bytes();
    for length in 1..=64 {
        let stem = "s".repeat(length);
        let path = folder.path().join(format!("{stem}.pth"));
        let entries: [(&str, &[u8]); 7] = [
            ("data.pkl", &pickle),
            (".format_version", b"1"),
            (".storage_alignment", b"64"),
            ("byteorder", b"little"),
            ("data/0", &value),
            ("version", b"3\n"),
            (".data/serialization_id", b"0000"),
        ];
        fs::write(&path, torch_zip64(&stem, &entries)).unwrap();
        let read = StateDict::open(&path).unwrap_or_else(|error| panic!("{length}: {error}"));
        assert_eq!(read.read("", ["a"].into_iter()).unwrap()["a"], ones(&[3]));
    }
}

#[test]
fn what_a_file_is_instead_is_said_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let zip = |name: &str| torch_zip64("a", &[(name, b"x")]);
    let cases: [(&str, Vec<u8>, &str, &str); 19] = [
        (
            "script.pt",
            torch_zip64("a", &[("data.pkl", b"x"), ("code/__torch__.py", b"x"), ("constants.pkl", b"x")]),
            "TorchScript",
            "torch.jit.load(FILE).state_dict()",
        ),
        ("lite.ptl", torch_zip64("a", &[("data.pkl", b"x"), ("bytecode.pkl", b"x")]), "TorchScript", "state_dict()"),
        ("w.npz", zip("conv1.npy"), "a NumPy archive", "save its state dict"),
        ("w.keras", zip("model.weights.h5"), "a Keras model", "convert it"),
        ("w.zip", zip("best.pth"), "a zip archive of 1 file(s) (\"a/best.pth\")", "unpack it"),
        ("w.npy", b"\x93NUMPY\x01\0".to_vec(), "one NumPy array", "save its state dict"),
        ("w.h5", b"\x89HDF\r\n\x1a\n\0\0".to_vec(), "an HDF5 file", "convert it"),
        ("w.onnx", b"\x08\x08\x12\x07pytorch".to_vec(), "an ONNX model", "save the state dict"),
        ("model.ckpt-1.index", vec![1, 2, 3], "TensorFlow checkpoint", "convert it"),
        ("lfs.pth", b"version https://git-lfs.github.com/spec/v1\noid".to_vec(), "Git LFS pointer", "git lfs pull"),
        ("page.pth", b"\n<!DOCTYPE html><html>".to_vec(), "a web page", "download the file itself"),
        ("denied.pth", b"<?xml version=\"1.0\"?><Error>".to_vec(), "an XML text", "download the file again"),
        ("text.pth", b"Not Found".to_vec(), "a text", "give the file of weights"),
        ("empty.pth", Vec::new(), "an empty file", "download it again"),
        ("zeros.pth", vec![0; 2000], "a file of zeros", "download it again"),
        ("w.pth.gz", b"\x1f\x8b\x08\0".to_vec(), "a file compressed with gzip", "unpack it"),
        ("picture.png", b"\x89PNG\r\n\x1a\n".to_vec(), "a picture (PNG)", "the encoder comes first"),
        (
            "settings.pth",
            b"\x80\x02}q\0X\x01\0\0\0aK\x01s.".to_vec(),
            "a dictionary without a tensor",
            "torch.save(model.state_dict(), FILE)",
        ),
        (
            "object.pth",
            b"\x80\x02cmy.program\nState\n)\x81.".to_vec(),
            "my.program.State without a tensor",
            "torch.save(model.state_dict(), FILE)",
        ),
    ];
    for (name, content, what, remedy) in cases {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let message = refusal(&path);
        assert!([what, remedy, name].iter().all(|part| message.contains(part)), "{message}");
    }
    let inner = folder.path().join("downloaded");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("model.safetensors"), "x").unwrap();
    let message = refusal(&inner);
    assert!(message.contains("give the file itself") && message.contains("model.safetensors"), "{message}");
}

#[test]
fn a_whole_module_is_read_as_its_state_dict_and_objects_of_any_class_are_passed_by() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("module.pth");
    let tensor = |name: &str| repeated(&[(name.into(), vec![3])], 1);
    // Without the protocol, the empty dictionary and the last opcode: a key and its value, set.
    let pair = |name: &str| tensor(name)[3..tensor(name).len() - 1].to_vec();
    let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let table = |name: &str, pairs: &[u8]| [&text(name)[..], b"}", pairs, b"s"].concat();
    let module = |tables: &[u8]| [&b"cmy.program\nNet\n)\x81}"[..], tables, b"b"].concat();
    let buffers = [pair("running_mean"), pair("scratch")].concat();
    let hidden =
        [&text("_non_persistent_buffers_set")[..], b"c__builtin__\nset\n]", &text("scratch"), b"a\x85Rs"].concat();
    let inner = module(
        &[table("_parameters", &pair("weight")), table("_buffers", &buffers), table("_modules", b""), hidden].concat(),
    );
    let modules = [&text("0")[..], &inner, b"s"].concat();
    let outer = module(
        &[table("_parameters", b""), table("_buffers", b""), table("_modules", &modules), pair("note")].concat(),
    );
    // A defaultdict and a deque with things in them, an object that holds itself, and the module.
    let others = [
        &text("d")[..],
        b"ccollections\ndefaultdict\nc__builtin__\nint\n\x85R",
        &text("k"),
        b"K\x01ss",
        &text("q"),
        b"ccollections\ndeque\n)R(K\x01K\x02es",
        &text("o"),
        b"cmy.program\nNode\n)\x81q\x09}",
        &text("me"),
        b"h\x09sbs",
    ]
    .concat();
    let pickle = [&b"\x80\x02}"[..], &others, &text("model"), &outer, b"s."].concat();
    torch_zip(&path, &pickle, &1f32.to_le_bytes(), CompressionMethod::Stored);
    let dict = StateDict::open(&path).unwrap();
    assert_eq!(dict.names().collect::<Vec<_>>(), ["model.0.running_mean", "model.0.weight"]);
    assert_eq!(dict.read("model.0.", ["weight"].into_iter()).unwrap()["weight"], ones(&[3]));
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
    for name in
        ["torch_zip.pth", "torch_legacy_ddp.pth", "torch_tar.pth", "torch_views_bf16.pth", "torch_lightly_f16.ckpt"]
    {
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

    for (pickle, reason) in [
        // Lists in lists; lists of ten times the list before, ten times over; one that holds itself; a call.
        (
            [&b"\x80\x02"[..], &vec![b']'; 100_000], &vec![b'a'; 99_999], b"."].concat(),
            "a pickle of a list without a tensor",
        ),
        (
            [
                &b"\x80\x02]q\0"[..],
                &(0..10u8)
                    .flat_map(|at| [&b"]q"[..], &[at + 1], b"(", &[b'h', at].repeat(10), b"e"].concat())
                    .collect::<Vec<u8>>(),
                b".",
            ]
            .concat(),
            "hold each other many times over",
        ),
        ([&b"\x80\x02]q\0"[..], &b"(h\0h\0h\0h\0h\0h\0h\0h\0h\0eq\0".repeat(20), b"."].concat(), "without a tensor"),
        (
            b"\x80\x02cposix\nsystem\n(X\x0e\0\0\0touch executedtR.".to_vec(),
            "a pickle of posix.system without a tensor",
        ),
    ] {
        torch_zip(&path, &pickle, &[], CompressionMethod::Stored);
        let message = refusal(&path);
        assert!(message.contains("hostile.pth: expected ") && message.contains(reason), "{message}");
    }
    assert!(!Path::new("executed").exists());
}
