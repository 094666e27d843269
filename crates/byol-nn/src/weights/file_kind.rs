//! What a file is that holds no weights for us: its name, for a person, and what to do with it.

use std::path::Path;

/// How to save weights so that they are read.
pub(super) const SAVE: &str = "save the state dict alone, with torch.save(model.state_dict(), FILE) or safetensors";

/// A kind of file that is not read.
#[derive(Debug, PartialEq)]
pub(super) struct Kind {
    /// For example `an HDF5 file, as Keras saves`.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// First bytes, what begins so, and the remedy.
const BEGINNINGS: [(&[u8], &str, &str); 23] = [
    (
        b"version https://git-lfs",
        "a Git LFS pointer in place of the file it stands for",
        "fetch that with `git lfs pull`",
    ),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras saves", CONVERT),
    (b"\x93NUMPY", "one NumPy array", ARRAYS),
    (b"GGUF", "a GGUF file of a language model", CONVERT),
    (b"\x1f\x8b", "a file compressed with gzip", "unpack it and give what is in it"),
    (b"BZh", "a file compressed with bzip2", "unpack it and give what is in it"),
    (b"\xfd7zXZ\0", "a file compressed with xz", "unpack it and give what is in it"),
    (b"\x28\xb5\x2f\xfd", "a file compressed with zstd", "unpack it and give what is in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it and give what is in it"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it and give what is in it"),
    (b"PK\x05\x06", "an empty zip archive", "restore it from a copy"),
    (b"\x89PNG", "a picture (PNG)", "the encoder comes first, the pictures after it"),
    (b"\xff\xd8\xff", "a picture (JPEG)", "the encoder comes first, the pictures after it"),
    (b"GIF8", "a picture (GIF)", "the encoder comes first, the pictures after it"),
    (b"BM", "a picture (BMP)", "the encoder comes first, the pictures after it"),
    (b"%PDF", "a PDF document", "give the file of weights"),
    (b"PAR1", "a Parquet table", "the encoder comes first, the pictures after it"),
    (b"ARROW1", "an Arrow table", "the encoder comes first, the pictures after it"),
    (b"model_checkpoint_path:", "the index of a TensorFlow checkpoint", CONVERT),
    (b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "a TensorFlow checkpoint", CONVERT),
    (b"\x7fELF", "a program", "give the file of weights"),
    (b"MZ", "a program", "give the file of weights"),
    (b"RIFF", "a picture (WebP) or a sound", "the encoder comes first, the pictures after it"),
];

/// Of arrays without a model.
pub(super) const ARRAYS: &str =
    "arrays are not read as weights: load them into the model in PyTorch, then save its state dict";

const CONVERT: &str = "PyTorch's and safetensors weights are read, so convert it with the tools of its program";

/// What ONNX files say right at their beginning.
const ONNX_PRODUCERS: [&str; 5] = ["pytorch", "onnx", "tf2onnx", "keras2onnx", "skl2onnx"];

/// What the beginning and the name of a file say it is.
pub(super) fn of_head(head: &[u8], path: &Path) -> Option<Kind> {
    let kind = |what: &str, remedy: &str| Some(Kind { what: what.to_owned(), remedy: remedy.to_owned() });
    if head.is_empty() {
        return kind("an empty file", "restore it from a copy, or download it again");
    }
    if head.iter().all(|&byte| byte == 0) {
        return kind("a file of zeros, as a download that broke off leaves", "download it again");
    }
    if let Some((_, what, remedy)) = BEGINNINGS.iter().find(|(beginning, ..)| head.starts_with(beginning)) {
        return kind(what, remedy);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let text = String::from_utf8_lossy(head);
    let word = text.trim_start_matches('\u{feff}').trim_start().to_lowercase();
    if head.get(4..8) == Some(b"TFL3") {
        return kind("a TensorFlow Lite model", CONVERT);
    }
    let is_onnx = |producer: &str| text.get(..64).unwrap_or(&text).contains(producer);
    if name.ends_with(".onnx")
        || (head[0] == 8 && head.get(2) == Some(&0x12) && ONNX_PRODUCERS.into_iter().any(is_onnx))
    {
        return kind("an ONNX model", &format!("a graph is not read: {SAVE} in the program that exported it"));
    }
    if name.contains(".data-000") || name.ends_with(".index") || name.ends_with(".ckpt.meta") {
        return kind("a part of a TensorFlow checkpoint", CONVERT);
    }
    if name.ends_with(".pb") || name.ends_with(".pbtxt") {
        return kind("a TensorFlow graph", CONVERT);
    }
    if name.ends_with(".msgpack") {
        return kind("a Flax checkpoint", CONVERT);
    }
    if word.starts_with("<!doctype html") || word.starts_with("<html") || word.starts_with("<head") {
        return kind(
            "a web page, as a download leaves that did not reach the file",
            "download the file itself: follow its link in a browser, or sign in",
        );
    }
    if word.starts_with("<?xml") {
        return kind("an XML text, as a storage service answers when it refuses a download", "download the file again");
    }
    if word.starts_with('{') || word.starts_with('[') {
        return kind("a JSON text", "give the file of weights beside it");
    }
    let printable = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    // A pickle of protocol 0 is text, too, and begins with a mark or a class.
    if head.iter().all(printable) && !matches!(head[0], b'(' | b'c' | b'}' | b']') {
        return kind("a text", "give the file of weights");
    }
    None
}

/// What the names in an archive say it is; none for one of `torch.save`.
pub(super) fn of_archive(form: &str, names: &[String]) -> Option<Kind> {
    let kind = |what: String, remedy: &str| Some(Kind { what, remedy: remedy.to_owned() });
    let ends = |ending: &str| names.iter().any(|name| name.ends_with(ending));
    let within = |part: &str| names.iter().any(|name| name.contains(part));
    if form == "tar" {
        // The form before PyTorch 0.1.10.
        if ["storages", "tensors", "pickle"].iter().all(|part| names.iter().any(|name| name == part)) {
            return None;
        }
    } else if ends("/constants.pkl") || ends("/bytecode.pkl") || within("/code/__torch__") {
        return kind(
            "a TorchScript archive (torch.jit.save), which is a program with its weights".to_owned(),
            "save its state dict alone: torch.save(torch.jit.load(FILE).state_dict(), NEW)",
        );
    } else if ends("serialized_exported_program.json") || within("/models/model.json") || ends("archive_format") {
        return kind("a program of torch.export".to_owned(), SAVE);
    } else if names.iter().any(|name| name == "data.pkl" || name.ends_with("/data.pkl")) {
        return None;
    } else if ends("model.weights.h5") {
        return kind("a Keras model".to_owned(), CONVERT);
    } else if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        return kind("a NumPy archive (.npz)".to_owned(), ARRAYS);
    } else if within("__MODEL_PROTO") || ends("MAR-INF/MANIFEST.json") || ends(".mlmodel") {
        return kind("a model archive of another program".to_owned(), SAVE);
    }
    let mut shown: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.ends_with('/')).collect();
    // What a person is looking for comes first.
    let looks_right =
        |name: &str| [".pth", ".pt", ".ckpt", ".safetensors", ".bin", ".tar"].iter().any(|e| name.ends_with(e));
    shown.sort_by_key(|name| !looks_right(name));
    let first: Vec<String> = shown.iter().take(3).map(|name| format!("{name:?}")).collect();
    let more = if shown.len() > first.len() { ", …" } else { "" };
    kind(
        format!("a {form} archive of {} file(s) ({}{more})", shown.len(), first.join(", ")),
        "unpack it and give the file of weights in it",
    )
}

/// An archive of `torch.save` whose entry `name` is compressed.
pub(super) fn packed_again(name: &str) -> Kind {
    let what = format!("a zip archive that was unpacked and packed again, with compression ({name:?})");
    Kind { what, remedy: "pack it without (zip -0), or take the original".to_owned() }
}
