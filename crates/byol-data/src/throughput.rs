//! How fast pictures become batches of views: the figures behind `byol bench input`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::prefetch::one_per_thread;
use crate::views::{Stage, ViewScratch, Views};
use crate::{DataError, Dataset, LoadMemory, LoaderOptions, PairLoader};

/// What a measurement found.
#[derive(Clone, Debug)]
pub struct Throughput {
    /// Pictures read, decoded and rendered as two views per second, by the loader of a training run.
    pub images_per_second: f64,
    /// Pictures read and decoded per second, by the same loader.
    pub decode_images_per_second: f64,
    /// Threads that worked.
    pub threads: usize,
    /// Milliseconds per picture of each stage, both views together, measured on one thread.
    pub stage_ms: Vec<(Stage, f64)>,
}

/// Measures loading `dataset` and rendering `views`, for about `duration` each.
///
/// # Errors
/// [`DataError`] as for a training run: too many bad pictures.
pub fn measure(
    dataset: &Arc<Dataset>,
    views: &Views,
    threads: usize,
    duration: Duration,
) -> Result<Throughput, DataError> {
    let threads = one_per_thread::<()>(threads).len();
    // Large enough that starting a batch costs nothing to speak of, small enough that many fit into the duration.
    let batch_size = (1 << 22) / views.values();
    let options = LoaderOptions {
        seed: 0,
        batch_size: batch_size.clamp(8 * threads, 1024),
        first_sample: 0,
        total_samples: u64::MAX,
        rank: 0,
        ranks: 1,
        threads,
        prefetch_batches: 1,
        max_bad_fraction: dataset.config().max_bad_fraction,
    };
    let decoding = PairLoader::start_with::<(), _>(dataset.clone(), 1, options.clone(), |_, _, _, _, ()| {});
    let decode_images_per_second = rate(decoding, duration)?;
    let loader = PairLoader::start(dataset.clone(), views.clone(), options);
    let images_per_second = rate(loader, duration)?;
    let stage_ms = stages(dataset, views, duration);
    Ok(Throughput { images_per_second, decode_images_per_second, threads, stage_ms })
}

/// Pictures per second after the first batch, which fills the memory and the caches.
fn rate(mut loader: PairLoader, duration: Duration) -> Result<f64, DataError> {
    let mut next = || -> Result<usize, DataError> {
        let batch = loader.next().expect("a loader of 2⁶⁴ samples does not end")?;
        let images = batch.images.len();
        loader.recycle(batch);
        Ok(images)
    };
    next()?;
    let (start, mut images) = (Instant::now(), 0);
    while start.elapsed() < duration {
        images += next()?;
    }
    Ok(images as f64 / start.elapsed().as_secs_f64())
}

fn stages(dataset: &Dataset, views: &Views, duration: Duration) -> Vec<(Stage, f64)> {
    let mut memory = LoadMemory::default();
    let mut scratch = ViewScratch::default();
    let [mut view1, mut view2] = [(), ()].map(|()| vec![0.0; views.values()]);
    let (begin, mut images) = (Instant::now(), 0);
    for index in (0..dataset.len()).cycle() {
        if begin.elapsed() > duration {
            break;
        }
        let clock = scratch.clock.get_or_insert_default();
        clock.start();
        let Ok(image) = dataset.load_timed(index, &mut memory, clock) else { continue };
        views.pair(&image, 0, 0, index as u64, &mut view1, &mut view2, &mut scratch);
        memory.recycle(image);
        images += 1;
    }
    let clock = scratch.clock.unwrap_or_default();
    Stage::ALL.map(|stage| (stage, clock.sum(stage).as_secs_f64() * 1e3 / f64::from(images.max(1)))).to_vec()
}
