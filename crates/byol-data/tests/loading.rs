//! The loaders: order, determinism, bad pictures, stopping.

use std::fs;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use byol_data::views::{EvaluationConfig, Views, ViewsConfig};
use byol_data::{
    Batch, DataConfig, DataError, Dataset, EvaluationLoader, EvaluationOptions, Image, LoaderOptions, Order,
    PairLoader, Sample,
};
use tempfile::TempDir;

/// `len` pictures of one pixel, whose red is their place.
fn dataset(len: u8) -> Arc<Dataset> {
    let images = (0..len).map(|red| Image::rgb8(1, 1, vec![red, 0, 0])).collect();
    let labels = (0..u32::from(len)).map(|place| place % 3).collect();
    let classes = vec!["a".into(), "b".into(), "c".into()];
    Arc::new(Dataset::from_images(images, Some(labels), classes, (0..len).map(|i| i.to_string()).collect()))
}

/// A folder of PNG files `00.png`, … of which those in `bad` are text.
fn folder(len: u8, bad: &[u8]) -> (TempDir, Arc<Dataset>) {
    let folder = TempDir::new().unwrap();
    for place in 0..len {
        let mut bytes = b"no picture".to_vec();
        if !bad.contains(&place) {
            bytes.clear();
            let pixel = image::RgbImage::from_pixel(1, 1, image::Rgb([place, 0, 0]));
            pixel.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        }
        fs::write(folder.path().join(format!("{place:02}.png")), bytes).unwrap();
    }
    let dataset = Dataset::open(folder.path(), None, &DataConfig::default()).unwrap();
    (folder, Arc::new(dataset))
}

fn config(batch_size: usize, total_samples: u64, threads: usize) -> LoaderOptions {
    LoaderOptions {
        seed: 5,
        batch_size,
        first_sample: 0,
        total_samples,
        rank: 0,
        ranks: 1,
        threads,
        prefetch_batches: 2,
        max_bad_fraction: 0.01,
    }
}

/// Writes red, epoch and place into the first view, and the same and 1000 into the second.
fn render(image: &Image, sample: Sample, view1: &mut [f32], view2: &mut [f32], _: &mut ()) {
    let values = [f32::from(image.to_rgb8()[0]), sample.epoch as f32, sample.image as f32];
    view1.copy_from_slice(&values);
    view2.copy_from_slice(&values.map(|value| value + 1000.0));
}

fn all(dataset: &Arc<Dataset>, config: &LoaderOptions) -> Vec<Batch> {
    PairLoader::start_with(Arc::clone(dataset), 3, config.clone(), render).map(Result::unwrap).collect()
}

#[test]
fn batches_follow_the_order_across_epochs() {
    let batches = all(&dataset(10), &config(4, 30, 2));
    assert_eq!(batches.iter().map(|batch| batch.images.len()).collect::<Vec<_>>(), [4, 4, 4, 4, 4, 4, 4, 2]);
    let mut order = Order::new(5, 10);
    for (step, batch) in batches.iter().enumerate() {
        for (row, &image) in batch.images.iter().enumerate() {
            let sample = order.sample((step * 4 + row) as u64);
            assert_eq!(image, sample.image);
            assert_eq!(batch.view1[row * 3..][..3], [image as f32, sample.epoch as f32, image as f32]);
            assert_eq!(batch.view2[row * 3], image as f32 + 1000.0);
            assert_eq!(batch.labels[row], Some(image % 3));
        }
    }
}

#[test]
fn threads_and_the_starting_step_change_nothing() {
    // Bad pictures included: what replaces them must not depend on who meets them.
    let (_folder, dataset) = folder(20, &[3, 4, 19]);
    let one = LoaderOptions { max_bad_fraction: 0.5, ..config(6, 60, 1) };
    let expected = all(&dataset, &one);
    for threads in [2, 4] {
        assert_eq!(all(&dataset, &LoaderOptions { threads, ..one.clone() }), expected);
    }
    let late = all(&dataset, &LoaderOptions { first_sample: 24, threads: 2, ..one });
    for (late, whole) in late.iter().zip(&expected[4..]) {
        assert_eq!((&late.view1, &late.view2, &late.images), (&whole.view1, &whole.view2, &whole.images));
    }
    assert_eq!(late.len(), 6);
}

#[test]
fn a_bad_picture_is_replaced_by_the_next_good_one_and_told_once() {
    let (_folder, dataset) = folder(8, &[2, 3, 7]);
    let batches = all(&dataset, &LoaderOptions { max_bad_fraction: 0.4, ..config(8, 24, 2) });
    let mut order = Order::new(5, 8);
    for (g, image) in batches.iter().flat_map(|batch| &batch.images).enumerate() {
        let expected = [0, 1, 4, 4, 4, 5, 6, 0][order.sample(g as u64).image as usize];
        assert_eq!(*image, expected);
    }
    assert!(batches.iter().all(|batch| batch.view1.chunks(3).zip(&batch.images).all(|(v, &i)| v[2] == i as f32)));
    let names: Vec<_> = batches[0].bad.iter().map(|bad| bad.name.as_str()).collect();
    assert_eq!(names, ["02.png", "03.png", "07.png"]);
    assert!(batches[0].bad[0].reason.contains("not a picture"));
    assert!(batches[1..].iter().all(|batch| batch.bad.is_empty()));
}

#[test]
fn too_many_bad_pictures_end_the_run_with_a_list() {
    let (_folder, dataset) = folder(8, &[2, 3, 7]);
    let mut loader = PairLoader::start_with(
        Arc::clone(&dataset),
        3,
        LoaderOptions { max_bad_fraction: 0.25, ..config(8, 80, 2) },
        render,
    );
    let error = loader.next().unwrap().unwrap_err();
    let message = error.to_string();
    assert!(message.contains("3 of 8") && message.contains("02.png (not a picture"), "{message}");
    assert!(message.contains("data.max_bad_fraction = 0.25"), "{message}");
    assert!(loader.next().is_none());
}

#[test]
fn without_one_good_picture_even_a_limit_of_all_ends_the_run() {
    let (_folder, dataset) = folder(5, &[0, 1, 2, 3, 4]);
    let mut loader = PairLoader::start_with(
        Arc::clone(&dataset),
        3,
        LoaderOptions { max_bad_fraction: 1.0, ..config(2, 9, 2) },
        render,
    );
    assert!(matches!(loader.next(), Some(Err(DataError::TooManyBad { bad, total: 5, .. })) if bad.len() == 5));
}

#[test]
fn dropping_a_loader_stops_its_threads_at_once() {
    let started = Instant::now();
    let rendered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&rendered);
    let slow = move |_: &Image, _: Sample, _: &mut [f32], _: &mut [f32], _: &mut ()| {
        count.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
    };
    // A batch alone would take 5 s.
    let loader = PairLoader::start_with(dataset(100), 3, config(2000, 1_000_000, 2), slow);
    std::thread::sleep(Duration::from_millis(50));
    drop(loader);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let seen = rendered.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(rendered.load(Ordering::Relaxed), seen);

    // Full channel: the maker waits for room and must wake up.
    let mut loader = PairLoader::start_with(dataset(100), 3, config(2, 1_000_000, 2), render);
    loader.next().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    drop(loader);
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn memory_is_bounded_by_the_depth() {
    let rendered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&rendered);
    let counting = move |_: &Image, _: Sample, _: &mut [f32], _: &mut [f32], _: &mut ()| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let loader = PairLoader::start_with(dataset(10), 3, config(4, 1_000_000, 2), counting);
    // Two in waiting and one that waits for room.
    let started = Instant::now();
    while rendered.load(Ordering::Relaxed) < 3 * 4 && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(rendered.load(Ordering::Relaxed), 3 * 4);
    drop(loader);
}

#[test]
fn a_recycled_batch_is_filled_anew() {
    let dataset = dataset(10);
    let fresh = all(&dataset, &config(4, 40, 2));
    let mut loader = PairLoader::start_with(dataset, 3, config(4, 40, 2), render);
    for expected in fresh {
        let batch = loader.next().unwrap().unwrap();
        assert_eq!(batch, expected);
        loader.recycle(batch);
    }
    assert!(loader.next().is_none());
}

#[test]
fn a_panic_in_a_thread_is_an_error_not_a_hang() {
    let failing = |image: &Image, _: Sample, _: &mut [f32], _: &mut [f32], _: &mut ()| {
        assert!(image.to_rgb8()[0] != 6, "picture six");
    };
    let mut loader = PairLoader::start_with(dataset(10), 3, config(10, 100, 2), failing);
    assert!(matches!(loader.next(), Some(Err(DataError::WorkerFailed { message })) if message.contains("picture six")));
    assert!(loader.next().is_none());
}

#[test]
fn evaluation_goes_through_the_data_once_in_order_and_leaves_bad_pictures_out() {
    let (_folder, dataset) = folder(10, &[0, 4, 5]);
    let render = |image: &Image, index: u32, out: &mut [f32], (): &mut ()| {
        out.copy_from_slice(&[f32::from(image.to_rgb8()[0]), index as f32, 0.0]);
    };
    for threads in [1, 2, 4] {
        let config =
            EvaluationOptions { batch_size: 4, threads, prefetch_batches: 1, max_bad_fraction: 0.3, total: 10 };
        let mut loader = EvaluationLoader::start_with(Arc::clone(&dataset), 3, config.clone(), render);
        let (mut images, mut bad) = (Vec::<u32>::new(), Vec::new());
        while let Some(batch) = loader.next() {
            let batch = batch.unwrap();
            assert_eq!(batch.pixels.len(), batch.images.len() * 3);
            assert_eq!(batch.labels.len(), batch.images.len());
            let expected = batch.images.iter().flat_map(|&index| [index as f32, index as f32, 0.0]);
            assert!(batch.pixels.iter().copied().eq(expected));
            images.extend(&batch.images);
            bad.extend(batch.bad.iter().map(|bad| bad.name.clone()));
            loader.recycle(batch);
        }
        assert_eq!(images, [1, 2, 3, 6, 7, 8, 9]);
        assert_eq!(bad, ["00.png", "04.png", "05.png"]);
        let strict = EvaluationOptions { max_bad_fraction: 0.29, ..config.clone() };
        let last = EvaluationLoader::start_with(Arc::clone(&dataset), 3, strict, render).last().unwrap();
        assert!(matches!(last, Err(DataError::TooManyBad { bad, .. }) if bad.len() == 3));
        // Three of ten are too many, three of twelve are not, of which these are a part.
        let part = EvaluationOptions { max_bad_fraction: 0.29, total: 12, ..config };
        assert!(EvaluationLoader::start_with(Arc::clone(&dataset), 3, part, render).all(|batch| batch.is_ok()));
    }
}

#[test]
fn views_and_evaluation_preprocessing_are_what_the_loaders_deliver() {
    let pixels = |seed: u8| (0..12 * 12 * 3).map(|i: u32| (i * 7 % 251) as u8 ^ seed).collect::<Vec<_>>();
    let images: Vec<Image> = (0..5).map(|seed| Image::rgb8(12, 12, pixels(seed))).collect();
    let names = (0..5).map(|i| i.to_string()).collect();
    let dataset = Arc::new(Dataset::from_images(images.clone(), None, vec![], names));
    let views = Views::new(ViewsConfig { size_px: 20, ..ViewsConfig::default() }).unwrap();
    let (mut first, mut second, mut scratch) =
        (vec![0.0; views.values()], vec![0.0; views.values()], Default::default());
    for batch in PairLoader::start(Arc::clone(&dataset), views.clone(), config(3, 12, 0)).map(Result::unwrap).take(1) {
        for (row, &place) in batch.images.iter().enumerate() {
            views.pair(&images[place as usize], 5, 0, place.into(), &mut first, &mut second, &mut scratch);
            let range = row * first.len()..(row + 1) * first.len();
            assert_eq!((&batch.view1[range.clone()], &batch.view2[range]), (&first[..], &second[..]));
        }
    }
    let preprocessing = EvaluationConfig { size_px: 20, ..EvaluationConfig::default() };
    let batches: Vec<_> =
        EvaluationLoader::start(dataset.clone(), preprocessing.clone(), EvaluationOptions::of(&dataset, 2, 0))
            .map(Result::unwrap)
            .collect();
    assert_eq!(batches.iter().map(|batch| batch.images.len()).collect::<Vec<_>>(), [2, 2, 1]);
    preprocessing.render(&images[3], &mut first, &mut scratch);
    assert_eq!(batches[1].pixels[first.len()..], first);
}
