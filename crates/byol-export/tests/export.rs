//! Every kind of encoder through every format, and the names that the libraries have.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use byol_data::views::{EvaluationConfig, EvaluationResize, Semantics};
use byol_data::{Dataset, Image, Random, Samples, Stream};
use byol_export::{Export, Format, Number, Pictures, Request, check_free};
use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::model::{NormKind, PaddingKind, ResNetConfig, Stem, map_tensors};
use byol_nn::ops::Precision;
use safetensors::SafeTensors;

/// An encoder none of whose tensors has its first value, as after a training.
fn trained(config: ResNetConfig, preprocessing: EvaluationConfig) -> Encoder {
    let info = EncoderInfo::new(config, preprocessing, Precision::F32, "drawn".to_owned(), 10, 20);
    let encoder = Encoder::random_like(&info, 3, &Device::flex());
    let mut draws = 0;
    let network = map_tensors(encoder.network, |name, _, tensor| {
        draws += 1;
        let mut random = Random::new(5, Stream::Drawing, 0, draws);
        let noise: Vec<f32> = (0..tensor.dims()[0]).map(|_| 0.1 * random.normal()).collect();
        let noise = Tensor::<1>::from_floats(&noise[..], &tensor.device());
        // Variances stay positive.
        if name.ends_with("running_var") { tensor + noise.abs() } else { tensor + noise }
    });
    Encoder { network, info }
}

fn preprocessing(size_px: usize) -> EvaluationConfig {
    EvaluationConfig { size_px, ..EvaluationConfig::default() }
}

fn config(arch: &str, stem: Stem) -> ResNetConfig {
    ResNetConfig::torchvision(arch.parse().unwrap(), stem)
}

/// Noise in odd sizes: smaller and larger than the network's, wide and tall, one pixel wide.
fn pictures() -> Pictures {
    let sizes = [(33, 47), (20, 20), (64, 31), (5, 90), (1, 9), (150, 149), (41, 40), (16, 12)];
    let picture = |(place, &(width, height)): (usize, &(usize, usize))| {
        let mut random = Random::new(1, Stream::Drawing, 0, place as u64);
        let samples = (0..width * height * 3).map(|_| random.uniform(0.0, 256.0) as u8).collect();
        Image::rgb8(width, height, samples)
    };
    let images: Vec<Image> = sizes.iter().enumerate().map(picture).collect();
    let names = sizes.iter().map(|(width, height)| format!("{width}×{height}")).collect();
    Pictures::of(&Arc::new(Dataset::from_images(images, None, Vec::new(), names)), true).unwrap()
}

fn grey_pictures() -> Pictures {
    let image = Image::new(4, 3, 1, Samples::U8((0..12).map(|x| x * 20).collect()));
    Pictures::of(&Arc::new(Dataset::from_images(vec![image], None, Vec::new(), vec!["grey".to_owned()])), true).unwrap()
}

fn request(format: Format) -> Request {
    Request { format, preparation: false, heads: None, weights: Number::F32 }
}

#[test]
fn every_kind_of_network_gives_the_same_representations_as_onnx() {
    let pictures = pictures();
    for arch in ["resnet18x0.125", "resnet50x0.125"] {
        for stem in [Stem::Imagenet, Stem::Cifar] {
            for (padding, norm, first_group_projection) in [
                (PaddingKind::Symmetric, NormKind::Batch, false),
                (PaddingKind::Same, NormKind::Batch, true),
                (PaddingKind::Same, NormKind::Group, false),
            ] {
                let config = ResNetConfig { padding, norm, first_group_projection, ..config(arch, stem) };
                let encoder = trained(config, preprocessing(30));
                let agreement = Export::new(&encoder, request(Format::Onnx)).unwrap().check(&pictures).unwrap();
                // Over groups of a few values rounding weighs more.
                let bound = if norm == NormKind::Group { 1e-6 } else { 1e-9 };
                assert!(agreement.cosine_distance < bound, "{config:?}: {agreement:?}");
                assert_eq!(agreement.pictures, 8);
            }
        }
    }
}

#[test]
fn crop_resize_and_normalisation_in_the_graph_are_ours_for_pictures_of_any_size() {
    let pictures = pictures();
    for semantics in [Semantics::Reference, Semantics::Torchvision] {
        for resize in [EvaluationResize::CropThenResize, EvaluationResize::ResizeThenCrop] {
            for crop_fraction in [0.875, 1.0, 0.9, 0.3] {
                let preprocessing = EvaluationConfig { semantics, resize, crop_fraction, ..preprocessing(17) };
                let encoder = trained(config("resnet18x0.125", Stem::Cifar), preprocessing.clone());
                let request = Request { preparation: true, ..request(Format::Onnx) };
                let agreement = Export::new(&encoder, request).unwrap().check(&pictures).unwrap();
                assert!(agreement.cosine_distance < 1e-9, "{preprocessing:?}: {agreement:?}");
            }
        }
    }
    let narrow = EvaluationConfig { crop_fraction: 0.1, ..preprocessing(16) };
    let encoder = trained(config("resnet18x0.125", Stem::Cifar), narrow);
    let error = Export::new(&encoder, Request { preparation: true, ..request(Format::Onnx) }).err().unwrap();
    assert!(error.to_string().contains("at least 0.125, got 0.1"), "{error}");
}

#[test]
fn sixteen_bits_round_and_halve() {
    let pictures = pictures();
    let encoder = trained(config("resnet50x0.125", Stem::Imagenet), preprocessing(32));
    let folder = tempfile::tempdir().unwrap();
    for (format, name) in [(Format::Onnx, "x.onnx"), (Format::Torchvision, "x.safetensors")] {
        let bytes = [Number::F32, Number::F16].map(|weights| {
            let export = Export::new(&encoder, Request { weights, ..request(format) }).unwrap();
            let agreement = export.check(&pictures).unwrap();
            assert_eq!(agreement.cosine_distance < 1e-9, weights == Number::F32, "{agreement:?}");
            let out = folder.path().join(format!("{weights:?}-{name}"));
            export.write(&out).unwrap();
            std::fs::metadata(out).unwrap().len() as f64
        });
        let ratio = bytes[1] / bytes[0];
        assert!((0.5..0.65).contains(&ratio), "{ratio}");
    }
}

/// Every tensor of a file with its shape.
fn shapes(path: &Path) -> BTreeMap<String, Vec<usize>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect()
}

#[test]
fn files_have_exactly_the_tensors_that_each_library_asks_for() {
    let expected: BTreeMap<String, BTreeMap<String, Vec<usize>>> =
        serde_json::from_str(include_str!("data/names.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (case, expected) in &expected {
        let (library, arch) = case.split_once(' ').unwrap();
        let (arch, is_grey) = arch.split_once(' ').map_or((arch, false), |(arch, _)| (arch, true));
        let mut preprocessing = preprocessing(32);
        if is_grey {
            (preprocessing.mean, preprocessing.std) = (vec![0.5], vec![0.25]);
        }
        let (format, out, weights) = match library {
            "torchvision" => (Format::Torchvision, format!("{case}.safetensors"), String::new()),
            "timm" => (Format::Timm, case.clone(), "model.safetensors".to_owned()),
            _ => (Format::Transformers, case.clone(), "model.safetensors".to_owned()),
        };
        let out = folder.path().join(out);
        let export = Export::new(&trained(config(arch, Stem::Imagenet), preprocessing), request(format)).unwrap();
        let pictures = if is_grey { grey_pictures() } else { pictures() };
        assert_eq!(export.check(&pictures).unwrap().cosine_distance, 0.0, "{case}");
        assert!(export.notes().is_empty(), "{case}");
        let files = export.write(&out).unwrap();
        assert!(files.iter().all(|file| file.exists()) && files.iter().any(|file| file.extension().unwrap() == "json"));
        let found = shapes(if weights.is_empty() { &out } else { &files[0] });
        assert_eq!(&found, expected, "{case}");
    }
}

#[test]
fn what_a_library_cannot_be_is_refused_or_said() {
    let folder = tempfile::tempdir().unwrap();
    let cifar = trained(config("resnet18x0.125", Stem::Cifar), preprocessing(16));
    let error = Export::new(&cifar, request(Format::Transformers)).err().unwrap().to_string();
    assert!(error.contains("a 3×3 stem of stride 1") && error.contains("--format onnx, timm"), "{error}");
    let export = Export::new(&cifar, request(Format::Timm)).unwrap();
    assert!(export.notes()[0].contains("import byol.timm"));
    let out = folder.path().join("timm");
    export.write(&out).unwrap();
    let description = std::fs::read_to_string(out.join("config.json")).unwrap();
    let description: serde_json::Value = serde_json::from_str(&description).unwrap();
    assert_eq!(description["architecture"], "byol_resnet");
    assert_eq!(description["model_args"]["stem"], "cifar");
    assert_eq!((&description["num_classes"], &description["model_args"]["num_classes"]), (&0.into(), &0.into()));
    assert!(!folder.path().join("timm.unfinished").exists());

    let request = Request { preparation: true, ..request(Format::Timm) };
    assert!(Export::new(&cifar, request).err().unwrap().to_string().contains("expected --format onnx"));
    assert!(check_free(Format::Timm, &out).unwrap_err().to_string().contains("already exists"));
    let wrong = check_free(Format::Onnx, &folder.path().join("x.pb")).unwrap_err().to_string();
    assert!(wrong.contains("ends in .onnx"), "{wrong}");
}

/// The files of torchvision's names are an encoder of ours, too.
#[test]
fn what_is_written_for_torchvision_opens_here_again() {
    let folder = tempfile::tempdir().unwrap();
    for weights in [Number::F32, Number::F16] {
        let encoder = trained(config("resnet18x0.125", Stem::Cifar), preprocessing(16));
        let out = folder.path().join(format!("{weights:?}.safetensors"));
        let request = Request { weights, ..request(Format::Torchvision) };
        Export::new(&encoder, request).unwrap().write(&out).unwrap();
        let opened = Encoder::open(out.to_str().unwrap(), &Device::flex()).unwrap();
        assert_eq!(opened.info, encoder.info);
    }
}
