//! Encoders that BYOL's reference or another program of Haiku saved (`tests/golden/haiku_weights.py`), with the representations that JAX
//! computes; and files that are damaged, hostile or of another network.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use byol_data::views::{EvaluationConfig, EvaluationResize, Semantics};
use byol_nn::encoder::{Encoder, Opened};
use byol_nn::model::{NormKind, PaddingKind, ResNet, ResNetConfig, Stem};
use byol_nn::weights::{StateDict, StoredTensors, Values, collect, fill, load, save, to_vec};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn open_under(path: &Path, prefix: Option<&str>) -> byol_nn::Result<Opened> {
    Encoder::open_under(path.to_str().unwrap(), prefix, &Device::flex())
}

fn refusal(path: &Path) -> String {
    open_under(path, None).unwrap_err().to_string()
}

/// Of the pictures of the Python side.
fn represent(encoder: &mut Encoder) -> Vec<f32> {
    let channels = encoder.info.channels();
    let side = if encoder.info.stem == Stem::Imagenet { 64 } else { 32 };
    let pixels: Vec<f32> =
        (0..2 * side * side * channels).map(|i| ((i * 7919 % 1009) as f64 / 504.0 - 1.0) as f32).collect();
    let pictures = Tensor::from_data(TensorData::new(pixels, [2, side, side, channels]), &Device::flex());
    let representation = encoder.represent(pictures);
    let count = representation.shape().num_elements();
    to_vec(representation.reshape([count]))
}

/// The largest difference to what JAX computes with the weights of `name`, relative to the largest value.
fn difference(actual: &[f32], name: &str) -> f32 {
    let Values::F32(expected) = &load(&data("haiku_representations.safetensors")).unwrap().0[name].values else {
        panic!("{name} holds whole numbers")
    };
    assert_eq!(actual.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    actual.iter().zip(expected).fold(0f32, |most, (a, e)| most.max((a - e).abs())) / largest
}

#[test]
fn every_form_that_haiku_is_saved_in_gives_the_representation_that_jax_computes() {
    for (name, arch, stem, projection, under) in [
        ("haiku_byol.pkl", "resnet18x0.015625", Stem::Imagenet, true, "experiment_state.online_params.res_net18"),
        ("haiku_frozen.pkl", "resnet18x0.015625", Stem::Imagenet, true, "experiment_state.online_params.res_net18"),
        ("haiku_eval.pkl", "resnet50x0.015625", Stem::Imagenet, false, "experiment_state.backbone_params.res_net50"),
        ("haiku_library_bf16.pkl", "resnet18x0.015625", Stem::Imagenet, false, "params.library/~/res_net18"),
        ("haiku_cifar_f16.pkl", "resnet18x0.015625", Stem::Cifar, true, "0.encoder"),
    ] {
        let Opened { mut encoder, note } = open_under(&data(name), None).unwrap_or_else(|e| panic!("{name}: {e}"));
        let expected = ResNetConfig {
            arch: arch.parse().unwrap(),
            stem,
            padding: PaddingKind::Same,
            first_group_projection: projection,
            norm: NormKind::Batch,
        };
        assert_eq!(encoder.info.resnet(), expected, "{name}");
        assert_eq!(encoder.info.training, format!("weights of {name} under `{under}` (not trained by byol)"));
        let note = note.unwrap();
        assert!(note.contains("padding is \"SAME\"") && !note.contains("mu"), "{note}");
        let difference = difference(&represent(&mut encoder), name);
        assert!(difference <= 1e-4, "{name}: {difference}");
    }
}

#[test]
fn symmetric_padding_and_averages_before_haiku_debiases_them_give_other_representations() {
    let good = open_under(&data("haiku_byol.pkl"), None).unwrap().encoder;
    let mut tensors = StoredTensors::new();
    collect(&good.network, "", &mut tensors);
    let difference_of = |config: &ResNetConfig, tensors: &StoredTensors| {
        let network = ResNet::new(config, 3, &Device::flex());
        let network = fill(network, "", tensors, Path::new("")).unwrap();
        difference(&represent(&mut Encoder { network, info: good.info.clone() }), "haiku_byol.pkl")
    };
    assert!(difference_of(&good.info.resnet(), &tensors) <= 1e-4);
    let symmetric = ResNetConfig { padding: PaddingKind::Symmetric, ..good.info.resnet() };
    assert!(difference_of(&symmetric, &tensors) > 1e-2);

    // What Haiku calls `hidden`: after two passes 1 − 0.9² of the average.
    for (_, tensor) in tensors.iter_mut().filter(|(name, _)| name.contains("running_")) {
        let Values::F32(values) = &mut tensor.values else { panic!("floats") };
        values.iter_mut().for_each(|value| *value *= 0.19);
    }
    let dict = StateDict::open(&data("haiku_byol.pkl")).unwrap();
    let hidden = "experiment_state.online_state.res_net18/~/initial_batchnorm/~/var_ema.hidden";
    let hidden = dict.read("", [hidden].into_iter()).unwrap().remove(hidden).unwrap().values;
    let (Values::F32(hidden), Values::F32(ours)) = (hidden, &tensors["bn1.running_var"].values) else {
        panic!("floats")
    };
    assert!((hidden[0] / ours[0] - 1.0).abs() < 1e-4);
    assert!(difference_of(&good.info.resnet(), &tensors) > 1e-2);
}

#[test]
fn pictures_are_prepared_as_the_reference_evaluates() {
    let preprocessing = |name| open_under(&data(name), None).unwrap().encoder.info.preprocessing;
    assert_eq!(preprocessing("haiku_byol.pkl"), EvaluationConfig::default());
    let small = preprocessing("haiku_cifar_f16.pkl");
    assert_eq!((small.resize, small.semantics), (EvaluationResize::CropThenResize, Semantics::Reference));
    assert_eq!((small.size_px, small.crop_fraction, small.mean), (32, 1.0, vec![0.5]));
}

#[test]
fn the_online_network_is_taken_and_the_target_can_be_chosen() {
    let path = data("haiku_byol.pkl");
    let target = "experiment_state.target_params.res_net18";
    let note = open_under(&path, None).unwrap().note.unwrap();
    assert!(note.contains(&format!("it also has `{target}` (--prefix {target})")), "{note}");
    for prefix in [target, "target_params"] {
        let Opened { encoder, note } = open_under(&path, Some(prefix)).unwrap();
        assert!(encoder.info.training.contains(&format!("under `{target}`")), "{}", encoder.info.training);
        assert!(note.unwrap().contains("a slowly moving copy"));
        // The Python side added 1 to every number of the target.
        let first = |encoder: Encoder| {
            let mut tensors = StoredTensors::new();
            collect(&encoder.network, "", &mut tensors);
            let Values::F32(values) = &tensors["layer4.1.bn2.running_var"].values else { panic!("floats") };
            values[0]
        };
        let online = first(open_under(&path, None).unwrap().encoder);
        assert!((first(encoder) - online - 1.0).abs() < 1e-6);
    }
    let message = open_under(&path, Some("classifier")).unwrap_err().to_string();
    assert!(message.contains("--prefix: expected a part of one of the prefixes"), "{message}");
}

#[test]
fn one_tree_with_parameters_and_statistics_is_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("merged.safetensors");
    let there = StateDict::open(&data("haiku_byol.pkl")).unwrap();
    let mut merged = StoredTensors::new();
    for tree in ["experiment_state.online_params.", "experiment_state.online_state."] {
        let in_tree = there.names().filter_map(|name| name.strip_prefix(tree));
        let names: Vec<&str> = in_tree.filter(|name| !name.ends_with(".counter")).collect();
        merged.extend(there.read(tree, names.into_iter()).unwrap());
    }
    save(&path, &merged, BTreeMap::new()).unwrap();
    let mut encoder = open_under(&path, None).unwrap().encoder;
    assert!(encoder.info.training.contains("under `res_net18` "), "{}", encoder.info.training);
    assert!(difference(&represent(&mut encoder), "haiku_byol.pkl") <= 1e-4);
}

/// A text of Python in the form of protocol 2.
fn text(content: &str) -> Vec<u8> {
    [&b"X"[..], &(content.len() as u32).to_le_bytes(), content.as_bytes()].concat()
}

/// What `numpy` pickles by protocol 2 of an array of `shape`, whose bytes are spelled as `content`.
fn array(shape: &[u32], content: &str) -> Vec<u8> {
    let shape: Vec<u8> = shape.iter().flat_map(|side| [&b"J"[..], &side.to_le_bytes()].concat()).collect();
    [
        &b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85"[..],
        &text("b"),
        b"tR(K\x01(",
        &shape,
        b"tcnumpy\ndtype\n",
        &text("f4"),
        b"K\0K\x01\x87R(K\x03",
        &text("<"),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tbI00\nc_codecs\nencode\n",
        &text(content),
        &text("latin1"),
        b"\x86Rtb",
    ]
    .concat()
}

/// `{module: {key: array}}` in place of the parameters of a file, and nothing else.
fn one_module(module: &str, key: &str, array: &[u8]) -> Vec<u8> {
    [&b"\x80\x02}"[..], &text("params"), b"}", &text(module), b"}", &text(key), array, b"sss."].concat()
}

#[test]
fn nothing_in_a_file_is_executed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.pkl");
    let executed = folder.path().join("executed");
    let command = text(&format!("touch {}", executed.display()));
    let call = |opcodes: &[u8]| [&b"cposix\nsystem\n("[..], &command, b"t", opcodes].concat();

    // In front of good weights, which Python would call before it reads them: they are read.
    let good = fs::read(data("haiku_byol.pkl")).unwrap();
    fs::write(&path, [&good[..2], &call(b"R0"), &good[2..]].concat()).unwrap();
    let mut encoder = open_under(&path, None).unwrap().encoder;
    assert!(difference(&represent(&mut encoder), "haiku_byol.pkl") <= 1e-4);

    // In place of weights, of one array, of its type, of its bytes: one line that says what is missing.
    let module = "res_net18/~/initial_conv";
    let whole = array(&[7, 7, 3, 1], &"\0".repeat(588));
    let replaced = |part: &[u8], by: &[u8]| {
        let start = whole.windows(part.len()).position(|window| window == part).unwrap();
        one_module(module, "w", &[&whole[..start], by, &whole[start + part.len()..]].concat())
    };
    let bytes = [&b"c_codecs\nencode\n"[..], &text(&"\0".repeat(588)), &text("latin1"), b"\x86R"].concat();
    let dtype = [&b"cnumpy\ndtype\n"[..], &text("f4"), b"K\0K\x01\x87R"].concat();
    for content in [
        [&b"\x80\x02"[..], &call(b"R."), b""].concat(),
        one_module(module, "w", &call(b"R")),
        replaced(&dtype, &call(b"R")),
        replaced(&bytes, &call(b"R")),
        replaced(b"cnumpy.core.multiarray\n_reconstruct\n", b"cposix\nsystem\n"),
    ] {
        fs::write(&path, &content).unwrap();
        let message = refusal(&path);
        assert!(message.contains("hostile.pkl: expected weights as") && !message.contains('\n'), "{message}");
    }
    assert!(!executed.exists());
}

#[test]
fn what_claims_more_than_it_holds_or_holds_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.pkl");
    let module = "res_net18/~/initial_conv";
    let huge = u32::MAX >> 1;
    let few = one_module(module, "w", &array(&[7, 7, 3, 1], &"\0".repeat(587)));
    let beyond = one_module(module, "w", &array(&[huge; 4], "\0\0\0\0"));
    for (content, reason) in [
        (few, "an array of shape [7, 7, 3, 1] in 587 bytes"),
        (beyond, "a damaged one or something else (an array of shape"),
        (one_module(module, "w", &array(&[7, 7, 3, 1], &"é".repeat(600))), "in 1200 bytes"),
        // Lists of ten times the list before, ten times over; one that holds itself.
        (
            [
                &b"\x80\x02}q\0"[..],
                &(0..10u8)
                    .flat_map(|at| [&b"]q"[..], &[at + 1], b"(", &[b'h', at].repeat(10), b"e"].concat())
                    .collect::<Vec<u8>>(),
                b".",
            ]
            .concat(),
            "hold each other many times over",
        ),
        ([&b"\x80\x02}q\0"[..], &text("params"), b"h\0s."].concat(), "a dictionary without a tensor in it"),
    ] {
        fs::write(&path, content).unwrap();
        let message = refusal(&path);
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn an_array_whose_bytes_are_spelled_wrongly_is_refused_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spelled.pkl");
    let good = fs::read(data("haiku_byol.pkl")).unwrap();
    let module = good.windows(12).position(|window| window == b"initial_conv").unwrap();
    // The text of 588 bytes, of which about half are spelled as two.
    let is_text = |at: &usize| {
        let length = u32::from_le_bytes(good[at + 1..at + 5].try_into().unwrap());
        good[*at] == b'X' && (589..1176).contains(&length)
    };
    let start = (module..).find(is_text).unwrap() + 5;
    let two = (start..).find(|&at| good[at].is_ascii() && good[at + 1].is_ascii()).unwrap();
    // One character for two; no UTF-8; a character above 255.
    for spelled in [[0xc3, 0xa9], [0xff, 0xff], [0xc4, 0x80]] {
        let mut file = good.clone();
        file[two..two + 2].copy_from_slice(&spelled);
        fs::write(&path, file).unwrap();
        let message = refusal(&path);
        assert!(message.contains("an array has other bytes than its shape says"), "{message}");
    }
}

#[test]
fn another_network_is_refused_by_what_does_not_fit_under_haikus_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.pkl");
    let good = fs::read(data("haiku_library_bf16.pkl")).unwrap();
    // Names of the same length, so that nothing else moves.
    let renamed = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let mut file = good.clone();
        let starts: Vec<usize> = file
            .windows(from.len())
            .enumerate()
            .filter_map(|(at, part)| (part == from.as_bytes()).then_some(at))
            .collect();
        assert!(!starts.is_empty(), "{from}");
        starts.into_iter().for_each(|at| file[at..at + to.len()].copy_from_slice(to.as_bytes()));
        file
    };
    let one = array(&[1, 1], "\0\0\0\0");
    let second = [&text("res_net50/~/final_batchnorm")[..], b"}", &text("offset"), &one, b"sss."].concat();
    let pre_activation =
        [one_module("res_net50/~/initial_conv", "w", &one).strip_suffix(b"s.").unwrap(), &second].concat();
    for (content, expected) in [
        (pre_activation, "activations before its convolutions (resnet_v2), which is not read"),
        (
            renamed("block_group_2/~/block_1/~/conv_0", "block_group_2/~/block_1/~/conv_9"),
            "`params.library/~/res_net18/~/block_group_2/~/block_1/~/conv_0.w` of resnet18x0.015625 is missing",
        ),
        (renamed("initial_batchnorm", "final_batchnorm__"), "no running statistics beside them"),
        (renamed("average", "averagE"), "save Haiku's state with its parameters"),
        (renamed("initial_conv", "initial_cave"), "no tensor `layer1.0.conv1.weight` or the like under any prefix"),
        (one_module("mlp/~/linear_0", "w", &one), "the first of the file is `params.mlp/~/linear_0.w`"),
        (
            one_module("res_net50/~/initial_conv", "w", &one),
            "`params.res_net50/~/…` has parameters, but no running statistics",
        ),
    ] {
        fs::write(&path, content).unwrap();
        let message = refusal(&path);
        assert!(message.contains(expected) && message.contains("or Haiku's names"), "{message}");
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.pkl");
    for name in ["haiku_byol.pkl", "haiku_cifar_f16.pkl"] {
        let good = fs::read(data(name)).unwrap();
        for end in (16..good.len()).step_by(997).chain([good.len() - 1]) {
            fs::write(&path, &good[..end]).unwrap();
            let message = refusal(&path);
            assert!(message.contains("short.pkl: expected") && message.contains("restore it from a copy"), "{message}");
        }
    }
}
