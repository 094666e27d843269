//! Batches of pairs of views, for pretraining.

use std::ops::Range;
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
    /// Pictures per batch of all ranks together, at least 1.
    pub batch_size: usize,
    /// Number of the first sample, counted over all epochs: `step · batch_size` to go on at `step`.
    pub first_sample: u64,
    /// Samples of the whole run: the loader ends before the sample of this number. If what is left is no multiple of
    /// `batch_size`, the last batch is shorter.
    pub total_samples: u64,
    /// Which of the processes that share the run this one is, below `ranks`; 0 if there is one.
    pub rank: usize,
    /// Processes that share the run, at least 1. Each delivers its part of every batch, see [`PairLoader`].
    pub ranks: usize,
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
    /// Second views, same shape; empty from [`PairLoader::start_single`].
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
///
/// # Ranks
/// All ranks follow the same order and count steps and samples alike. Of every batch, each rank makes a part that is one
/// stretch of it: the parts one after the other, from rank 0 on, are the batch that a single process would make. Their
/// lengths differ by at most one, the longer ones first; a part is empty only if the batch has fewer samples than there
/// are ranks. Ranks do not talk to each other: each replaces bad pictures alike, but reports those it met itself and
/// compares their number with the limit, so that one rank may end with an error before the others.
pub struct PairLoader {
    batches: Prefetch<Batch>,
}

impl PairLoader {
    /// Starts loading pairs of `views`.
    ///
    /// # Panics
    /// When the dataset is empty, `batch_size` is 0 or `rank` is not below `ranks`.
    pub fn start(dataset: Arc<Dataset>, views: Views, options: LoaderOptions) -> Self {
        let (values, seed) = (views.values(), options.seed);
        let render = move |image: &Image, sample: Sample, view1: &mut [f32], view2: &mut [f32], scratch: &mut _| {
            views.pair(image, seed, sample.epoch, sample.image.into(), view1, view2, scratch);
        };
        Self::start_with::<ViewScratch, _>(dataset, values, options, render)
    }

    /// Starts loading one view per picture, for training with labels: the first of `views` in even epochs, the second in odd.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_single(dataset: Arc<Dataset>, views: Views, options: LoaderOptions) -> Self {
        let (values, seed) = (views.values(), options.seed);
        let render = move |image: &Image, sample: Sample, view1: &mut [f32], _: &mut [f32], scratch: &mut _| {
            let view = (sample.epoch % 2) as u8;
            let parameters = views.draw(image, view, seed, sample.epoch, sample.image.into());
            views.render(image, &parameters, view1, scratch);
        };
        Self::start_views::<ViewScratch, _>(dataset, [values, 0], options, render)
    }

    /// Starts loading pairs of whatever `render(image, sample, view1, view2, scratch)` writes: `values_per_view`
    /// = height · width · channels values each. `scratch` is the calling thread's own.
    ///
    /// # Panics
    /// When the dataset is empty, `batch_size` or `values_per_view` is 0 or `rank` is not below `ranks`.
    pub fn start_with<S, R>(dataset: Arc<Dataset>, values_per_view: usize, options: LoaderOptions, render: R) -> Self
    where
        S: Default + Send + 'static,
        R: Fn(&Image, Sample, &mut [f32], &mut [f32], &mut S) + Send + Sync + 'static,
    {
        Self::start_views(dataset, [values_per_view; 2], options, render)
    }

    /// As [`Self::start_with`]; the second view may have no values.
    fn start_views<S, R>(dataset: Arc<Dataset>, values: [usize; 2], options: LoaderOptions, render: R) -> Self
    where
        S: Default + Send + 'static,
        R: Fn(&Image, Sample, &mut [f32], &mut [f32], &mut S) + Send + Sync + 'static,
    {
        assert!(options.batch_size > 0 && values[0] > 0, "a batch has pictures and a picture has values");
        assert!(options.rank < options.ranks, "rank {} of {}: ranks count from 0", options.rank, options.ranks);
        let order = Order::new(options.seed, dataset_len(&dataset));
        let bad = BadImages::new(options.max_bad_fraction, dataset.len());
        let scratches = one_per_thread(options.threads);
        let mut maker = PairMaker { dataset, order, bad, values, render, scratches };
        let mut at = options.first_sample;
        let make = move |used: Option<Batch>, stop: &AtomicBool| {
            let batch = at..options.total_samples.min(at.saturating_add(options.batch_size as u64));
            at = batch.end.max(at);
            let samples = part_of(&batch, options.rank as u64, options.ranks as u64);
            (!batch.is_empty()).then(|| maker.make(samples, used.unwrap_or_default(), stop))
        };
        Self { batches: Prefetch::new(options.prefetch_batches, make) }
    }

    /// Gives a batch back so that its memory is used again.
    pub fn recycle(&self, batch: Batch) {
        self.batches.recycle(batch);
    }
}

/// Pictures behind URLs that are asked for before their turn comes: a request takes longer than decoding.
pub(crate) const AHEAD: usize = 64;

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

/// The stretch of `batch` that `rank` of `ranks` makes. What is left when the batch does not divide goes to the first ranks.
pub fn part_of(batch: &Range<u64>, rank: u64, ranks: u64) -> Range<u64> {
    let len = batch.end.saturating_sub(batch.start);
    let start = |rank: u64| batch.start + len / ranks * rank + rank.min(len % ranks);
    start(rank)..start(rank + 1)
}

struct PairMaker<S, R> {
    dataset: Arc<Dataset>,
    order: Order,
    bad: BadImages,
    /// Of each view; the second may have none.
    values: [usize; 2],
    render: R,
    scratches: Vec<(LoadMemory, S)>,
}

impl<S: Send, R: Fn(&Image, Sample, &mut [f32], &mut [f32], &mut S) + Sync> PairMaker<S, R> {
    fn make(&mut self, samples: Range<u64>, mut batch: Batch, stop: &AtomicBool) -> Result<Batch, DataError> {
        let Self { dataset, order, bad, values: [values1, values2], render, scratches } = self;
        let samples: Vec<Sample> = samples.map(|g| order.sample(g)).collect();
        batch.view1.resize(samples.len() * *values1, 0.0);
        batch.view2.resize(samples.len() * *values2, 0.0);
        batch.images.resize(samples.len(), 0);
        let mut second = batch.view2.chunks_exact_mut((*values2).max(1));
        let views = batch.view1.chunks_exact_mut(*values1).map(|view1| (view1, second.next().unwrap_or_default()));
        let ahead: Vec<u32> = samples.iter().map(|sample| sample.image).collect();
        dataset.announce(ahead.iter().copied().take(AHEAD));
        // As a picture is begun, one more is asked for.
        let begin = |(place, sample): (usize, Sample)| {
            dataset.announce(ahead.get(place + AHEAD).copied());
            sample
        };
        let jobs = samples.into_iter().enumerate().map(begin).zip(views).zip(&mut batch.images);
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
        batch.bad = bad.report()?;
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
        if bad.must_end() {
            return None;
        }
        index = (index + 1) % len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_ranks_are_the_batch() {
        let parts = |batch: Range<u64>, ranks| (0..ranks).map(|rank| part_of(&batch, rank, ranks)).collect::<Vec<_>>();
        assert_eq!(parts(8..18, 1), vec![8..18; 1]);
        assert_eq!(parts(8..18, 4), [8..11, 11..14, 14..16, 16..18]);
        assert_eq!(parts(5..7, 3), [5..6, 6..7, 7..7]);
        assert_eq!(parts(u64::MAX - 1..u64::MAX, 2), [u64::MAX - 1..u64::MAX, u64::MAX..u64::MAX]);
    }
}
