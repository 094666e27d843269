//! The order is a function: of random seeds, lengths, batch sizes, threads, ranks and stops, nothing but the seed and the
//! length decides which picture comes when, and what its views are.

use std::io::Cursor;
use std::sync::{Arc, LazyLock};
use std::thread;

use byol_data::views::{ViewParameters, ViewScratch, Views, ViewsConfig};
use byol_data::{Batch, DataConfig, Dataset, Image, LoaderOptions, PairLoader, Sample};
use proptest::prelude::*;
use tempfile::TempDir;

const MAX_LEN: u32 = 24;
const BAD: [u32; 4] = [3, 4, 11, 23];

/// Pictures that all differ, in a folder that is kept as long as this lives. Those in `BAD` are text.
static FOLDER: LazyLock<(TempDir, Dataset)> = LazyLock::new(|| {
    let folder = TempDir::new().unwrap();
    for place in 0..MAX_LEN {
        let mut bytes = b"no picture".to_vec();
        if !BAD.contains(&place) {
            bytes.clear();
            let pixel = |x, y| image::Rgb([place as u8 * 10, x as u8 * 80, y as u8 * 60]);
            let picture = image::RgbImage::from_fn(3, 4, pixel);
            picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        }
        std::fs::write(folder.path().join(format!("{place:02}.png")), bytes).unwrap();
    }
    let dataset = Dataset::open(folder.path(), None, &DataConfig::default()).unwrap();
    (folder, dataset)
});

#[derive(Clone, Debug)]
struct Run {
    seed: u64,
    len: u32,
    batch_size: usize,
    epochs: u64,
    threads: usize,
    ranks: usize,
    /// Part of the steps after which the run stops.
    stop: f64,
}

fn runs() -> impl Strategy<Value = Run> {
    (any::<u64>(), 1..=MAX_LEN, 1..=17usize, 1..=3u64, 1..=4usize, 1..=4usize, 0.0..1.0).prop_map(
        |(seed, len, batch_size, epochs, threads, ranks, stop)| Run {
            seed,
            len,
            batch_size,
            epochs,
            threads,
            ranks,
            stop,
        },
    )
}

impl Run {
    fn samples(&self) -> u64 {
        self.epochs * u64::from(self.len)
    }

    fn options(&self) -> LoaderOptions {
        LoaderOptions {
            seed: self.seed,
            batch_size: self.batch_size,
            first_sample: 0,
            total_samples: self.samples(),
            rank: 0,
            ranks: 1,
            threads: 1,
            prefetch_batches: 1,
            max_bad_fraction: 1.0,
        }
    }

    /// Pairs of views, each with its epoch and its picture in front.
    fn load(&self, options: LoaderOptions) -> PairLoader {
        let places: Vec<u32> = (0..self.len).collect();
        let views = views();
        let seed = self.seed;
        let render =
            move |image: &Image, sample: Sample, one: &mut [f32], two: &mut [f32], scratch: &mut ViewScratch| {
                for view in [&mut *one, &mut *two] {
                    view[..2].copy_from_slice(&[sample.epoch as f32, sample.image as f32]);
                }
                views.pair(image, seed, sample.epoch, sample.image.into(), &mut one[2..], &mut two[2..], scratch);
            };
        PairLoader::start_with(Arc::new(FOLDER.1.subset(&places)), 2 + self::views().values(), options, render)
    }

    fn all(&self, options: LoaderOptions) -> Vec<Batch> {
        self.load(options).map(Result::unwrap).collect()
    }
}

fn views() -> Views {
    Views::new(ViewsConfig { size_px: 20, ..ViewsConfig::default() }).unwrap()
}

/// All but the bad pictures, which each process reports by itself.
fn content(batch: &Batch) -> Batch {
    Batch { bad: Vec::new(), ..batch.clone() }
}

fn bad_names(batches: &[Batch]) -> Vec<&str> {
    let mut names: Vec<_> = batches.iter().flat_map(|batch| &batch.bad).map(|bad| bad.name.as_str()).collect();
    names.sort_unstable();
    names
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ranks_together_make_the_batches_of_one_process(run in runs()) {
        let whole = run.all(run.options());
        let parts: Vec<Vec<Batch>> = (0..run.ranks)
            .map(|rank| run.all(LoaderOptions { rank, ranks: run.ranks, threads: run.threads, ..run.options() }))
            .collect();
        for (step, batch) in whole.iter().enumerate() {
            let lengths: Vec<usize> = parts.iter().map(|part| part[step].images.len()).collect();
            prop_assert!(lengths.iter().max().unwrap() - lengths.iter().min().unwrap() <= 1, "{:?}", lengths);
            let mut joined = Batch::default();
            for part in &parts {
                joined.view1.extend(&part[step].view1);
                joined.view2.extend(&part[step].view2);
                joined.images.extend(&part[step].images);
                joined.labels.extend(&part[step].labels);
            }
            prop_assert_eq!(content(&joined), content(batch), "step {}", step);
        }
        prop_assert!(parts.iter().all(|part| part.len() == whole.len()), "every rank makes every step");
        let bad = parts.concat();
        let mut bad = bad_names(&bad);
        bad.dedup();
        prop_assert_eq!(bad, bad_names(&whole));
    }

    #[test]
    fn threads_change_nothing(run in runs()) {
        let one = run.all(run.options());
        prop_assert_eq!(run.all(LoaderOptions { threads: run.threads, ..run.options() }), one);
    }

    #[test]
    fn a_stopped_run_goes_on_with_the_samples_it_has_not_seen(run in runs()) {
        let whole = run.all(run.options());
        let stop = (run.stop * (whole.len() + 1) as f64) as usize;
        let mut steps: Vec<Batch> = run.load(run.options()).take(stop).map(Result::unwrap).collect();
        let first_sample = (stop * run.batch_size) as u64;
        steps.extend(run.all(LoaderOptions { first_sample, threads: run.threads, ..run.options() }));
        prop_assert_eq!(steps.len(), whole.len());
        for (got, expected) in steps.iter().zip(&whole) {
            prop_assert_eq!(content(got), content(expected));
        }
    }

    #[test]
    fn every_epoch_shows_every_picture_once(run in runs()) {
        // In memory, where none is bad: replaced ones are shown more often.
        let images = (0..run.len).map(|_| Image::rgb8(1, 1, vec![0; 3])).collect();
        let names = (0..run.len).map(|place| place.to_string()).collect();
        let dataset = Arc::new(Dataset::from_images(images, None, Vec::new(), names));
        let mut seen = vec![vec![0; run.len as usize]; run.epochs as usize];
        for rank in 0..run.ranks {
            let options = LoaderOptions { rank, ranks: run.ranks, threads: run.threads, ..run.options() };
            let render = |_: &Image, sample: Sample, one: &mut [f32], _: &mut [f32], _: &mut ()| one[0] = sample.epoch as f32;
            for batch in PairLoader::start_with(Arc::clone(&dataset), 1, options, render).map(Result::unwrap) {
                for (epoch, &image) in batch.view1.iter().zip(&batch.images) {
                    seen[*epoch as usize][image as usize] += 1;
                }
            }
        }
        prop_assert!(seen.iter().flatten().all(|&times| times == 1), "{:?}", seen);
    }

    #[test]
    fn a_view_is_drawn_from_seed_epoch_image_and_view_alone(
        coordinates in prop::collection::hash_set((any::<u64>(), 0..100u64, 0..100u64, 0..2u8), 2..20),
        size in (100..400usize, 100..400usize),
    ) {
        let coordinates: Vec<_> = coordinates.into_iter().collect();
        let picture = |value| Image::rgb8(size.0, size.1, vec![value; size.0 * size.1 * 3]);
        let draw = |views: &Views, image: &Image, &(seed, epoch, index, view): &(u64, u64, u64, u8)| {
            views.draw(image, view, seed, epoch, index)
        };
        let (base, image) = (views(), picture(0));
        let drawn: Vec<ViewParameters> = coordinates.iter().map(|at| draw(&base, &image, at)).collect();
        // In another order, by another thread, from other pixels.
        let (other, image) = (views(), picture(200));
        let again: Vec<ViewParameters> = thread::scope(|scope| {
            scope.spawn(|| coordinates.iter().rev().map(|at| draw(&other, &image, at)).collect()).join().unwrap()
        });
        prop_assert!(drawn.iter().eq(again.iter().rev()));
        for (place, one) in drawn.iter().enumerate() {
            prop_assert!(!drawn[..place].contains(one), "two coordinates gave {:?}", one);
        }
    }
}
