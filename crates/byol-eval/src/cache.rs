//! Representations that stay on disk, so that the next evaluation of the same encoder on the same pictures computes nothing.
//!
//! An entry is `KEY.safetensors`. Its key is a hash of everything the representations depend on: weights, architecture, stem,
//! preprocessing, precision and instruction set; the fingerprint of the data, and how and within which limits pictures are
//! read; the versions of the program and of this form. XXH3 with 128 bits: entries are mixed up by chance with probability 1e-21
//! even among 1e9 of them, and nobody gains by forging one, so that no cryptographic hash is needed, which would be slower
//! than the disk. As the fingerprint holds names, labels and sizes of the pictures and not their pixels, a picture rewritten
//! in place with the same number of bytes is not noticed; deleting the folder helps.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use byol_data::{BadImage, DataConfig, Dataset};
use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::files::write_atomically;
use byol_nn::model::visit_tensors;
use byol_nn::ops::isa;
use byol_nn::weights::to_vec;
use byol_nn::{Error, Result};
use serde_json::{Value, json};
use twox_hash::xxhash3_128;

use super::progress::Countdown;
use super::{Features, extract_watched};

/// Version of the entries and of what is computed: to be raised when representations of the same weights change.
const FORMAT: &str = "byol features 1";

/// Stands for no label.
const NO_LABEL: i64 = -1;

/// Bytes read or written at a time, a whole number of values of each type.
const CHUNK_BYTES: usize = 1 << 16;

/// Features and where they are from.
#[derive(Debug)]
pub struct Extracted {
    /// The same, bit for bit, whether read or computed.
    pub features: Features,
    /// What became of the cache.
    pub cache: CacheUse,
}

/// What [`extract_cached`] did with its folder.
#[derive(Debug)]
pub enum CacheUse {
    /// There is none.
    Off,
    /// The features were read from it; no picture was opened.
    Hit,
    /// The features were computed and are there for the next time.
    Written,
    /// The features were computed and could not be kept, which is no reason to lose them.
    NotWritten(Error),
}

/// [`extract`](crate::extract), or what it gave before for the same encoder and data, if that is in `folder`.
///
/// The folder is made if needed, an entry appears in it as a whole or not at all, and one that is damaged is computed
/// again. Entries may be deleted at any time; nothing here deletes them.
///
/// # Errors
/// As [`extract`](crate::extract). What is wrong with the cache is no error.
pub fn extract_cached(
    encoder: &mut Encoder,
    dataset: &Arc<Dataset>,
    folder: Option<&Path>,
    threads: usize,
    device: &Device,
) -> Result<Extracted> {
    extract_cached_watched(encoder, dataset, folder, threads, device, &mut Countdown::silent())
}

/// As [`extract_cached`]; `countdown` goes down by every picture, or is told that none need be done.
///
/// # Errors
/// As [`extract_cached`], and [`Error::Interrupted`], after which nothing of this part is kept.
pub fn extract_cached_watched(
    encoder: &mut Encoder,
    dataset: &Arc<Dataset>,
    folder: Option<&Path>,
    threads: usize,
    device: &Device,
    countdown: &mut Countdown,
) -> Result<Extracted> {
    let extract =
        |encoder: &mut Encoder, countdown: &mut _| extract_watched(encoder, dataset, threads, device, countdown);
    cached_or(encoder, dataset, folder, countdown, extract)
}

/// What is in `folder`, or what `extract` gives, which is then kept there.
///
/// # Errors
/// Those of `extract`.
pub(super) fn cached_or(
    encoder: &mut Encoder,
    dataset: &Arc<Dataset>,
    folder: Option<&Path>,
    countdown: &mut Countdown,
    extract: impl FnOnce(&mut Encoder, &mut Countdown) -> Result<Features>,
) -> Result<Extracted> {
    let Some(folder) = folder else {
        return Ok(Extracted { features: extract(encoder, countdown)?, cache: CacheUse::Off });
    };
    let key = key(encoder, dataset);
    let path = folder.join(format!("{key}.safetensors"));
    if let Ok(features) = read(&path, &key)
        && features.size == encoder.info.representation_size
        && features.len() + features.bad.len() == dataset.len()
    {
        countdown.leave_out(dataset.len() as u64);
        return Ok(Extracted { features, cache: CacheUse::Hit });
    }
    let features = extract(encoder, countdown)?;
    let written = fs::create_dir_all(folder)
        .map_err(Error::io("create", folder))
        .and_then(|()| write_atomically(&path, |to| write(&features, &key, to)));
    let cache = match written {
        Ok(()) => CacheUse::Written,
        Err(error) => CacheUse::NotWritten(error),
    };
    Ok(Extracted { features, cache })
}

/// Where [`extract_cached`] keeps the representations of `dataset` in its folder: there already, or to be computed.
pub fn entry_name(encoder: &Encoder, dataset: &Dataset) -> String {
    format!("{}.safetensors", key(encoder, dataset))
}

/// Names an encoder by all that its representations depend on but the machine and the pictures: weights, architecture and
/// preprocessing, as 32 hexadecimal digits.
pub fn fingerprint(encoder: &Encoder) -> String {
    let EncoderInfo { arch, stem, padding, first_group_projection, norm, preprocessing, precision, .. } = &encoder.info;
    let described = json!([arch, stem, padding, first_group_projection, norm, preprocessing, precision]);
    let mut hash = xxhash3_128::Hasher::new();
    hash.write(described.to_string().as_bytes());
    hash_weights(encoder, &mut hash);
    format!("{:032x}", hash.finish_128())
}

/// What the representations depend on, as 32 hexadecimal digits.
fn key(encoder: &Encoder, dataset: &Dataset) -> String {
    // Written out, so that a new key is either here or knowingly not.
    let EncoderInfo {
        arch,
        stem,
        padding,
        first_group_projection,
        norm,
        preprocessing,
        precision,
        // The data is read as its own configuration says, below.
        value_range: _,
        exif_orientation: _,
        interpolation: _,
        // It follows from the others.
        preparation: _,
        representation_size: _,
        representation: _,
        training: _,
        steps: _,
        batch_norm_updates: _,
    } = &encoder.info;
    let DataConfig {
        channels,
        exif_orientation,
        jpeg,
        max_bad_fraction,
        max_image_pixels,
        max_file_bytes,
        max_archive_memory_bytes: _,
        index_cache: _,
        remote_cache: _,
        remote_cache_bytes: _,
        remote_retry_secs: _,
        // These decide which pictures and labels there are, which the fingerprint knows.
        split_map: _,
        label_column: _,
        split_column: _,
        image_key,
        value_range,
    } = dataset.config();
    let circumstances = json!([
        FORMAT,
        env!("CARGO_PKG_VERSION"),
        isa().name(),
        [json!(arch), json!(stem), json!(padding), json!(first_group_projection), json!(norm)],
        [json!(preprocessing), json!(precision)],
        [dataset.fingerprint(), dataset.len() as u64],
        [
            json!(channels),
            json!(exif_orientation),
            json!(jpeg),
            json!(image_key),
            json!(value_range),
            json!(max_bad_fraction)
        ],
        [max_image_pixels, max_file_bytes],
    ]);
    let mut hash = xxhash3_128::Hasher::new();
    hash.write(circumstances.to_string().as_bytes());
    hash_weights(encoder, &mut hash);
    format!("{:032x}", hash.finish_128())
}

fn hash_weights(encoder: &Encoder, hash: &mut xxhash3_128::Hasher) {
    visit_tensors(&encoder.network, |tensor| {
        hash.write(json!([tensor.name, tensor.shape]).to_string().as_bytes());
        for values in to_vec(tensor.values).chunks(CHUNK_BYTES / 4) {
            hash.write(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        }
    });
}

/// The header of an entry: a safetensors file of `values [images, size]`, `images` and `labels`, the rest as metadata.
fn header(images: usize, size: usize, key: &str, bad: &str, checksum: u128) -> String {
    let (values, places) = (images * size * 4, images * 4);
    let tensor = |dtype: &str, shape: &[usize], start: usize, end: usize| json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
    let metadata = json!({"format": FORMAT, "key": key, "bad": bad, "checksum": format!("{checksum:032x}")});
    let header = json!({
        "__metadata__": metadata,
        "values": tensor("F32", &[images, size], 0, values),
        "images": tensor("U32", &[images], values, values + places),
        "labels": tensor("I64", &[images], values + places, values + 3 * places),
    });
    let mut text = header.to_string();
    // The values begin at a multiple of 8.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    text
}

/// Everything behind the header, piece by piece.
fn data(features: &Features, mut piece: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    for values in features.values.chunks(CHUNK_BYTES / 4) {
        piece(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    for images in features.images.chunks(CHUNK_BYTES / 4) {
        piece(&images.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    for labels in features.labels.chunks(CHUNK_BYTES / 8) {
        let number = |label: &Option<u32>| label.map_or(NO_LABEL, i64::from).to_le_bytes();
        piece(&labels.iter().flat_map(number).collect::<Vec<u8>>())?;
    }
    Ok(())
}

/// Writes an entry.
pub(super) fn write(features: &Features, key: &str, to: &mut impl Write) -> io::Result<()> {
    let bad = serde_json::to_string(&features.bad)?;
    let mut hash = xxhash3_128::Hasher::new();
    hash.write(bad.as_bytes());
    data(features, |bytes| {
        hash.write(bytes);
        Ok(())
    })?;
    let header = header(features.len(), features.size, key, &bad, hash.finish_128());
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(header.as_bytes())?;
    data(features, |bytes| to.write_all(bytes))
}

/// An entry, if it is whole and of this key.
pub(super) fn read(path: &Path, key: &str) -> io::Result<Features> {
    let damaged = || io::Error::from(ErrorKind::InvalidData);
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut from = BufReader::new(file);
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let data_bytes = file_bytes.checked_sub(8).and_then(|rest| rest.checked_sub(length)).ok_or_else(damaged)?;
    let mut text = String::new();
    from.by_ref().take(length).read_to_string(&mut text)?;

    // The header must be exactly the one that would be written.
    let found: Value = serde_json::from_str(&text)?;
    let side = |axis: usize| found["values"]["shape"][axis].as_u64().ok_or_else(damaged);
    let (images, size) = (side(0)?, side(1)?);
    let row_bytes = size.checked_mul(4).and_then(|bytes| bytes.checked_add(4 + 8));
    if row_bytes.and_then(|bytes| bytes.checked_mul(images)) != Some(data_bytes) {
        return Err(damaged());
    }
    let bad_text = found["__metadata__"]["bad"].as_str().ok_or_else(damaged)?;
    let bad: Vec<BadImage> = serde_json::from_str(bad_text)?;
    let (images, size) = (images as usize, size as usize);

    let mut hash = xxhash3_128::Hasher::new();
    hash.write(bad_text.as_bytes());
    let values = numbers(&mut from, images * size, &mut hash, f32::from_le_bytes)?;
    let places = numbers(&mut from, images, &mut hash, u32::from_le_bytes)?;
    let labels = numbers(&mut from, images, &mut hash, |x| u32::try_from(i64::from_le_bytes(x)).ok())?;
    match text == header(images, size, key, bad_text, hash.finish_128()) {
        true => Ok(Features { values, size, images: places, labels, bad }),
        false => Err(damaged()),
    }
}

fn numbers<T, const N: usize>(
    from: &mut impl Read,
    count: usize,
    hash: &mut xxhash3_128::Hasher,
    number: impl Fn([u8; N]) -> T,
) -> io::Result<Vec<T>> {
    let mut numbers = Vec::with_capacity(count);
    let mut buffer = vec![0; CHUNK_BYTES];
    while numbers.len() < count {
        let bytes = &mut buffer[..CHUNK_BYTES.min((count - numbers.len()) * N)];
        from.read_exact(bytes)?;
        hash.write(bytes);
        numbers.extend(bytes.as_chunks().0.iter().map(|&bytes| number(bytes)));
    }
    Ok(numbers)
}
