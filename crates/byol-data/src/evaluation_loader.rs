//! Batches of pictures in the order of the dataset, for evaluation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bad::BadImages;
use crate::loader::{AHEAD, dataset_len};
use crate::prefetch::{Prefetch, in_parallel, one_per_thread};
use crate::views::{EvaluationConfig, ViewScratch};
use crate::{BadImage, DataError, Dataset, Image, LoadMemory};

/// What an [`EvaluationLoader`] delivers and with what means.
#[derive(Clone, Debug)]
pub struct EvaluationOptions {
    /// Places of the dataset per batch, at least 1.
    pub batch_size: usize,
    /// Threads that decode and render; 0 for as many as the machine runs at once.
    pub threads: usize,
    /// Finished batches kept waiting; memory is bounded by this many and two more.
    pub prefetch_batches: usize,
    /// Largest share of bad pictures, see [`crate::DataConfig::max_bad_fraction`].
    pub max_bad_fraction: f64,
    /// Pictures that it is a share of: those of the dataset, or of a larger one of which it is a part.
    pub total: usize,
}

impl EvaluationOptions {
    /// For all of `dataset`, with the limit on bad pictures it was opened with.
    pub fn of(dataset: &Dataset, batch_size: usize, threads: usize) -> Self {
        let max_bad_fraction = dataset.config().max_bad_fraction;
        Self { batch_size, threads, prefetch_batches: 2, max_bad_fraction, total: dataset.len() }
    }
}

/// One batch of pictures. Bad ones are left out, so it may hold fewer than were asked for, even none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluationBatch {
    /// Pixels, `[images.len(), height, width, channels]`.
    pub pixels: Vec<f32>,
    /// Place in the dataset of each picture, ascending.
    pub images: Vec<u32>,
    /// Label of each picture.
    pub labels: Vec<Option<u32>>,
    /// The bad pictures left out.
    pub bad: Vec<BadImage>,
}

/// Goes through a dataset once, in order; batches are made ahead by threads. Dropping it stops them.
pub struct EvaluationLoader {
    batches: Prefetch<EvaluationBatch>,
}

impl EvaluationLoader {
    /// Starts loading with the given preprocessing.
    ///
    /// # Panics
    /// When `batch_size` is 0.
    pub fn start(dataset: Arc<Dataset>, preprocessing: EvaluationConfig, options: EvaluationOptions) -> Self {
        let values = preprocessing.size_px * preprocessing.size_px * preprocessing.mean.len();
        let render =
            move |image: &Image, _: u32, out: &mut [f32], scratch: &mut _| preprocessing.render(image, out, scratch);
        Self::start_with::<ViewScratch, _>(dataset, values, options, render)
    }

    /// Starts loading whatever `render(image, index, out, scratch)` writes: `values_per_image` = height · width ·
    /// channels values. `scratch` is the calling thread's own.
    ///
    /// # Panics
    /// When `batch_size` or `values_per_image` is 0.
    pub fn start_with<S, R>(
        dataset: Arc<Dataset>,
        values_per_image: usize,
        options: EvaluationOptions,
        render: R,
    ) -> Self
    where
        S: Default + Send + 'static,
        R: Fn(&Image, u32, &mut [f32], &mut S) + Send + Sync + 'static,
    {
        assert!(options.batch_size > 0 && values_per_image > 0, "a batch has pictures and a picture has values");
        let bad = BadImages::new(options.max_bad_fraction, options.total);
        let mut scratches: Vec<(LoadMemory, S)> = one_per_thread(options.threads);
        let batch_size = u32::try_from(options.batch_size).unwrap_or(u32::MAX);
        let mut start = 0u32;
        let make = move |used: Option<EvaluationBatch>, stop: &AtomicBool| {
            let end = start.saturating_add(batch_size).min(dataset_len(&dataset));
            let places = start..end;
            start = end;
            if places.is_empty() {
                return None;
            }
            let mut batch = used.unwrap_or_default();
            batch.pixels.resize(places.len() * values_per_image, 0.0);
            let mut good = vec![false; places.len()];
            dataset.announce(places.clone().take(AHEAD));
            let next = |place: &u32| dataset.announce(place.checked_add(AHEAD as u32).filter(|next| *next < end));
            let slots =
                places.clone().inspect(next).zip(batch.pixels.chunks_exact_mut(values_per_image)).zip(&mut good);
            let give_up = AtomicBool::new(false);
            let done = in_parallel(slots, &mut scratches, &give_up, |((index, out), good), (memory, scratch)| {
                if let Some(image) = bad.load(&dataset, index, memory) {
                    render(&image, index, out, scratch);
                    memory.recycle(image);
                    *good = true;
                }
                if stop.load(Ordering::Relaxed) || (!*good && bad.must_end()) {
                    give_up.store(true, Ordering::Relaxed);
                }
            });
            Some(done.and_then(|()| bad.report()).map(|bad| {
                close_gaps(&mut batch.pixels, &good, values_per_image);
                batch.images = places.zip(&good).filter(|&(_, &good)| good).map(|(index, _)| index).collect();
                batch.labels = batch.images.iter().map(|&index| dataset.label(index as usize)).collect();
                batch.bad = bad;
                batch
            }))
        };
        Self { batches: Prefetch::new(options.prefetch_batches, make) }
    }

    /// Gives a batch back so that its memory is used again.
    pub fn recycle(&self, batch: EvaluationBatch) {
        self.batches.recycle(batch);
    }
}

/// The batches; after an error there are no more.
///
/// # Errors
/// [`DataError::TooManyBad`] above the limit; [`DataError::WorkerFailed`] after a panic in a thread.
impl Iterator for EvaluationLoader {
    type Item = Result<EvaluationBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next()
    }
}

/// Moves the good chunks to the front and cuts off the rest.
fn close_gaps(pixels: &mut Vec<f32>, good: &[bool], chunk: usize) {
    let mut kept = 0;
    for from in good.iter().enumerate().filter_map(|(place, good)| good.then_some(place)) {
        pixels.copy_within(from * chunk..(from + 1) * chunk, kept * chunk);
        kept += 1;
    }
    pixels.truncate(kept * chunk);
}
