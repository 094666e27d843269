//! `encoder.json`: files of before the preparation was stated, and statements of another one.

use std::fs;
use std::path::Path;

use byol_data::DataConfig;
use byol_data::views::Preparation;
use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::ops::Device;
use serde_json::{Value, json};

fn saved(folder: &Path, data: &DataConfig) -> EncoderInfo {
    let mut encoder = Encoder::open("random:resnet18x0.0625:cifar:16", &Device::flex()).unwrap();
    encoder.info = encoder.info.reading(data);
    encoder.save(folder).unwrap();
    encoder.info
}

/// Opens the encoder in `folder` after a change of its description.
fn opened(folder: &Path, change: impl FnOnce(&mut Value)) -> Result<EncoderInfo, String> {
    let path = folder.join("encoder.json");
    let mut description: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut description);
    fs::write(&path, description.to_string()).unwrap();
    let opened = Encoder::open(folder.to_str().unwrap(), &Device::flex());
    opened.map(|encoder| encoder.info).map_err(|error| error.to_string())
}

#[test]
fn what_is_saved_states_how_pictures_are_read_and_prepared() {
    let folder = tempfile::tempdir().unwrap();
    let data = DataConfig { exif_orientation: false, ..DataConfig::default() };
    let info = saved(folder.path(), &data);
    let description: Value = serde_json::from_slice(&fs::read(folder.path().join("encoder.json")).unwrap()).unwrap();
    assert_eq!(description["exif_orientation"], false);
    let steps = json!(["decode", "channels", "crop", "resize", "clip", "normalise"]);
    assert_eq!(description["preparation"]["steps"], steps);
    assert_eq!(description["preparation"]["filter"]["a"], -0.5);
    assert_eq!(opened(folder.path(), |_| ()).unwrap(), info);
}

#[test]
fn a_description_of_before_is_that_of_the_same_preparation() {
    let folder = tempfile::tempdir().unwrap();
    let info = saved(folder.path(), &DataConfig::default());
    let older = opened(folder.path(), |description| {
        let fields = description.as_object_mut().unwrap();
        assert!(fields.remove("preparation").is_some() && fields.remove("exif_orientation").is_some());
    });
    let older = older.unwrap();
    assert_eq!(older, info);
    assert_eq!(older.preparation, Some(Preparation::of(&info.preprocessing, None, true)));
}

#[test]
fn another_preparation_is_refused_with_both() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), &DataConfig::default());
    let message = opened(folder.path(), |description| description["preparation"]["filter"]["a"] = json!(-0.75));
    let message = message.unwrap_err();
    for words in ["encoder.json", "preparation: expected", "\"a\":-0.5", "got", "\"a\":-0.75"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let message =
        opened(folder.path(), |description| description["preparation"]["filter"]["kernel"] = json!("lanczos"));
    assert!(message.unwrap_err().contains("lanczos"));
}
