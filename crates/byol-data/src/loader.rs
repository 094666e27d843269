//! Batches of pairs of views, for pretraining.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::bad::BadImages;
use crate::order::{Order, Sample};
use crate::prefetch::{Prefetch, in_parallel, one_per_thread};
use crate::views::{ViewScratch, Views};
use crate::{BadImage, DataError, Dataset, Image, LoadMemory};

/// What a [`PairLoader`] delivers and with what means.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Seed of the order of the pictures.
    pub seed: u64,
    /// Pictures per batch, at least 1.
    pub batch_size: usize,
    /// Number of the first sample, counted over all epochs: `step · batch_size` to go on at `step`.
    pub first_sample: u64,
    /// Samples of the whole run: the loader ends before the sample of this number. If what is left is no multiple of
    /// `batch_size`, the last batch is shorter.
    pub total_samples: u64,
    /// Threads that decode and augment; 0 for as many as the machine runs at once.
    pub threads: usize,
    /// Finished batches kept waiting; memory is bounded by this many and two more.
    pub prefetch_batches: usize,
    /// Largest share of bad pictures, see [`crate::DataConfig::max_bad_fraction`].
    pub max_bad_fraction: f64,
}

/// One batch of pairs of views.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// First views, `[batch, height, width, channels]`.
    pub view1: Vec<f32>,
    /// Second views, same shape.
    pub view2: Vec<f32>,
    /// Place in the dataset of each picture.
    pub images: Vec<u32>,
    /// Label of each picture.
    pub labels: Vec<Option<u32>>,
    /// Bad pictures met in this batch for the first time in this run.
    pub bad: Vec<BadImage>,
}

/// Delivers the batches of a run in order, made ahead by threads.
///
/// Content is a function of dataset, seed and first sample; the number of threads changes nothing. A bad picture is
/// replaced by the next good one (by place, after the last comes the first) with that one's own randomness.
/// Dropping the loader stops its threads.
pub struct PairLoader {
    batches: Prefetch<Batch>,
}

impl PairLoader {
    /// Starts loading pairs of `views`.
    ///
    /// # Panics
    /// When the dataset is empty or `batch_size` is 0.
    pub fn start(dataset: Arc<Dataset>, views: Views, options: LoaderOptions) -> Self {
        let (values, seed) = (views.values(), options.seed);
        let render = move |image: &Image, sample: Sample, view1: &mut [f32], view2: &mut [f32], scratch: &mut _| {
            views.pair(image, seed, sample.epoch, sample.image.into(), view1, view2, scratch);
        };
        Self::start_with::<ViewScratch, _>(dataset, values, options, render)
    }

    /// Starts loading pairs of whatever `render(image, sample, view1, view2, scratch)` writes: `values_per_view`
    /// = height · width · channels values each. `scratch` is the calling thread's own.
    ///
    /// # Panics
    /// When the dataset is empty or `batch_size` or `values_per_view` is 0.
    pub fn start_with<S, R>(dataset: Arc<Dataset>, values_per_view: usize, options: LoaderOptions, render: R) -> Self
    where
        S: Default + Send + 'static,
        R: Fn(&Image, Sample, &mut [f32], &mut [f32], &mut S) + Send + Sync + 'static,
    {
        assert!(options.batch_size > 0 && values_per_view > 0, "a batch has pictures and a picture has values");
        let order = Order::new(options.seed, dataset_len(&dataset));
        let bad = BadImages::new(options.max_bad_fraction);
        let scratches = one_per_thread(options.threads);
        let mut maker = PairMaker { dataset, order, bad, values_per_view, render, scratches };
        let mut at = options.first_sample;
        let make = move |used: Option<Batch>, stop: &AtomicBool| {
            let samples = at..options.total_samples.min(at.saturating_add(options.batch_size as u64));
            at = samples.end.max(at);
            (!samples.is_empty()).then(|| maker.make(samples, used.unwrap_or_default(), stop))
        };
        Self { batches: Prefetch::new(options.prefetch_batches, make) }
    }

    /// Gives a batch back so that its memory is used again.
    pub fn recycle(&self, batch: Batch) {
        self.batches.recycle(batch);
    }
}

/// The batches; after an error there are no more.
///
/// # Errors
/// [`DataError::TooManyBad`] above the limit; [`DataError::WorkerFailed`] after a panic in a thread.
impl Iterator for PairLoader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next()
    }
}

/// Number of pictures; sources hold at most `u32::MAX`.
pub(crate) fn dataset_len(dataset: &Dataset) -> u32 {
    u32::try_from(dataset.len()).unwrap_or(u32::MAX)
}

struct PairMaker<S, R> {
    dataset: Arc<Dataset>,
    order: Order,
    bad: BadImages,
    values_per_view: usize,
    render: R,
    scratches: Vec<(LoadMemory, S)>,
}

impl<S: Send, R: Fn(&Image, Sample, &mut [f32], &mut [f32], &mut S) + Sync> PairMaker<S, R> {
    fn make(&mut self, samples: std::ops::Range<u64>, mut batch: Batch, stop: &AtomicBool) -> Result<Batch, DataError> {
        let Self { dataset, order, bad, values_per_view, render, scratches } = self;
        let samples: Vec<Sample> = samples.map(|g| order.sample(g)).collect();
        let values = samples.len() * *values_per_view;
        batch.view1.resize(values, 0.0);
        batch.view2.resize(values, 0.0);
        batch.images.resize(samples.len(), 0);
        let views = batch.view1.chunks_exact_mut(*values_per_view).zip(batch.view2.chunks_exact_mut(*values_per_view));
        let jobs = samples.into_iter().zip(views).zip(&mut batch.images);
        let give_up = AtomicBool::new(false);
        in_parallel(jobs, scratches, &give_up, |((sample, (view1, view2)), used), (memory, scratch)| {
            match first_good(dataset, bad, sample.image, stop, memory) {
                Some((image, index)) => {
                    *used = index;
                    render(&image, Sample { image: index, ..sample }, view1, view2, scratch);
                    memory.recycle(image);
                }
                // Too many are bad, or the loader is being dropped: the batch will not be delivered.
                None => give_up.store(true, Ordering::Relaxed),
            }
        })?;
        batch.bad = bad.report(dataset)?;
        batch.labels.clear();
        batch.labels.extend(batch.images.iter().map(|&image| dataset.label(image as usize)));
        Ok(batch)
    }
}

/// The first good picture from `start` on, with its place; `None` if too many are bad or `stop` is set.
fn first_good(
    dataset: &Dataset,
    bad: &BadImages,
    start: u32,
    stop: &AtomicBool,
    memory: &mut LoadMemory,
) -> Option<(Image, u32)> {
    let len = dataset_len(dataset);
    let mut index = start;
    while !stop.load(Ordering::Relaxed) {
        if let Some(image) = bad.load(dataset, index, memory) {
            return Some((image, index));
        }
        if bad.too_many(dataset) {
            return None;
        }
        index = (index + 1) % len;
    }
    None
}
