//! Representations of a whole data set, computed once and shared by the protocols.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use byol_data::{BadImage, Dataset, EvaluationBatch, EvaluationLoader, EvaluationOptions, check_bad};
use byol_nn::dist::{Alone, Communicator, gathered, part_of, threads_of};
use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::weights::to_vec;
use byol_nn::{Error, Result};

use super::meter::Meter;
use super::progress::Countdown;

/// Pictures per forward pass.
pub(super) const BATCH_SIZE: usize = 256;

/// Representations `y` of pictures, in the order of the data set.
#[derive(Clone, Debug)]
pub struct Features {
    /// `[images, size]`, row-major, not normalised.
    pub values: Vec<f32>,
    /// Size of one representation.
    pub size: usize,
    /// Index of each picture in its data set; pictures that could not be read are left out.
    pub images: Vec<u32>,
    /// Class of each picture, if known.
    pub labels: Vec<Option<u32>>,
    /// Pictures that could not be read.
    pub bad: Vec<BadImage>,
}

impl Features {
    /// Of no picture.
    pub fn none(size: usize) -> Self {
        Self { values: vec![], size, images: vec![], labels: vec![], bad: vec![] }
    }

    /// Those that all ranks have made of pictures of `dataset`, in the order of ranks.
    ///
    /// # Errors
    /// The ranks cannot talk to each other.
    pub fn of_all(self, dataset: &Dataset, ranks: &dyn Communicator) -> Result<Self> {
        if ranks.is_alone() {
            return Ok(self);
        }
        let values = gathered(ranks, &self.values)?.concat();
        let images: Vec<u32> = gathered(ranks, &self.images)?.concat();
        let labels = images.iter().map(|&image| dataset.label(image as usize)).collect();
        let bad = ranks.gather(&serde_json::to_vec(&self.bad).expect("plain fields have a JSON form"))?;
        let bad = bad.iter().flat_map(|bad| serde_json::from_slice::<Vec<BadImage>>(bad).expect("what a rank wrote"));
        Ok(Self { values, size: self.size, images, labels, bad: bad.collect() })
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Adds what was made of further pictures.
    pub fn append(&mut self, more: Self) {
        let Self { values, size: _, images, labels, bad } = more;
        self.values.extend(values);
        self.images.extend(images);
        self.labels.extend(labels);
        self.bad.extend(bad);
    }

    /// The representation of the `index`-th picture.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.size..(index + 1) * self.size]
    }

    /// The class of every picture.
    ///
    /// # Errors
    /// [`Error::Evaluation`] when a picture has none.
    pub fn required_labels(&self) -> Result<Vec<u32>> {
        self.labels.iter().copied().collect::<Option<Vec<u32>>>().ok_or_else(|| {
            Error::Evaluation(
                "this evaluation needs labels and the data has none; expected one folder per class (train/cat/1.jpg), or a \
                 labelled file set such as CIFAR or IDX"
                    .to_owned(),
            )
        })
    }

    /// All values in double precision.
    pub fn as_f64(&self) -> Vec<f64> {
        self.values.iter().map(|&value| value.into()).collect()
    }

    /// The given rows, in that order; bad pictures belong to no row and stay behind.
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            values: rows.iter().flat_map(|&row| self.row(row)).copied().collect(),
            size: self.size,
            images: rows.iter().map(|&row| self.images[row]).collect(),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            bad: Vec::new(),
        }
    }

    /// All rows scaled to unit length.
    pub fn l2_normalized(&self) -> Vec<f32> {
        let mut values = self.values.clone();
        for row in values.chunks_exact_mut(self.size) {
            let norm = row.iter().map(|x| x * x).sum::<f32>().max(1e-12).sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        values
    }
}

/// Representations of every readable picture of `dataset`, with the encoder's own preprocessing, batch norm frozen.
///
/// # Errors
/// Data errors, among them too many unreadable pictures.
pub fn extract(encoder: &mut Encoder, dataset: &Arc<Dataset>, threads: usize, device: &Device) -> Result<Features> {
    extract_watched(encoder, dataset, threads, device, &mut Countdown::silent())
}

/// Representations of the stretch of `dataset` that is of this rank.
///
/// # Errors
/// As [`extract_watched`].
pub(super) fn extract_part(
    encoder: &mut Encoder,
    dataset: &Arc<Dataset>,
    threads: usize,
    device: &Device,
    countdown: &mut Countdown,
    ranks: &dyn Communicator,
) -> Result<Features> {
    let part = part_of(dataset.len(), ranks.rank(), ranks.ranks());
    if part.is_empty() {
        return Ok(Features::none(encoder.info.representation_size));
    }
    let places: Vec<u32> = part.clone().map(|place| place as u32).collect();
    let threads = if threads == 0 { threads_of(ranks) } else { threads };
    let pictures = Arc::new(dataset.subset(&places));
    let options = EvaluationOptions { total: dataset.len(), ..EvaluationOptions::of(&pictures, BATCH_SIZE, threads) };
    let info = encoder.info.clone();
    let mut encoder = encoder.frozen();
    let represent = |images| encoder.forward(images);
    let mut own = extract_by(represent, info.representation_size, &info, &pictures, options, device, countdown)?;
    own.images.iter_mut().for_each(|image| *image += part.start as u32);
    Ok(own)
}

/// All representations, of what each rank has made of its stretch.
///
/// # Errors
/// Too many pictures of all stretches together are bad; the ranks cannot talk to each other.
pub(super) fn joined(own: Features, dataset: &Dataset, ranks: &dyn Communicator) -> Result<Features> {
    let features = own.of_all(dataset, ranks)?;
    check_bad(&features.bad, dataset.len(), dataset.config().max_bad_fraction)?;
    Ok(features)
}

/// As [`extract`]; `countdown` goes down by every picture.
///
/// # Errors
/// As [`extract`], and [`Error::Interrupted`].
pub fn extract_watched(
    encoder: &mut Encoder,
    dataset: &Arc<Dataset>,
    threads: usize,
    device: &Device,
    countdown: &mut Countdown,
) -> Result<Features> {
    extract_part(encoder, dataset, threads, device, countdown, &Alone)
}

/// What `forward` makes of every readable picture of `dataset`, prepared as `info` says: `[batch, height, width, channels]` →
/// `[batch, size]`.
pub(super) fn extract_by(
    mut forward: impl FnMut(Tensor<4>) -> Tensor<2>,
    size: usize,
    info: &EncoderInfo,
    dataset: &Arc<Dataset>,
    options: EvaluationOptions,
    device: &Device,
    countdown: &mut Countdown,
) -> Result<Features> {
    let mut features = Features::none(size);
    let loader = EvaluationLoader::start(dataset.clone(), info.preprocessing.clone(), options);
    let meter = countdown.is_silent().then(|| Meter::start("representations", dataset.len() as u64));
    for batch in loader {
        let batch = batch?;
        let looked_at = (batch.images.len() + batch.bad.len()) as u64;
        countdown.advance(looked_at)?;
        meter.iter().for_each(|meter| meter.advance(looked_at));
        features.append(of_batch(batch, size, info, device, &mut forward));
    }
    Ok(features)
}

/// What `forward` makes of the pictures of one batch, which may be none.
pub(super) fn of_batch(
    batch: EvaluationBatch,
    size: usize,
    info: &EncoderInfo,
    device: &Device,
    forward: &mut impl FnMut(Tensor<4>) -> Tensor<2>,
) -> Features {
    let EvaluationBatch { pixels, images, labels, bad } = batch;
    if images.is_empty() {
        return Features { bad, ..Features::none(size) };
    }
    let (side, channels) = (info.preprocessing.size_px, info.channels());
    let values = forward(Tensor::from_data(TensorData::new(pixels, [images.len(), side, side, channels]), device));
    let count = values.shape().num_elements();
    Features { values: to_vec(values.reshape([count])), size, images, labels, bad }
}
