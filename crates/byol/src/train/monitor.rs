//! What a run measures on itself while it trains: every number a function of the state, none of them felt by the encoder.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use byol_data::views::{ViewScratch, Views};
use byol_data::{
    Batch, Dataset, EvaluationBatch, EvaluationLoader, EvaluationOptions, Image, LoaderOptions, PairLoader, Random,
    Stream,
};
use byol_eval::{Features, geometry, knn};
use byol_nn::dist::{Communicator, agree, gathered, part_of};
use byol_nn::model::{BatchNormMode, FrozenResNet};
use byol_nn::weights::to_vec;
use byol_nn::{Error, Result};
use serde::Serialize;

use super::rhythm::MEASURING_SHARE;
use super::state::TrainState;
use super::together::loader_threads;
use super::weights::{encoder_norm, target_distance};
use crate::config::{Config, MonitorConfig, Rhythm};
use crate::method::Online;

/// A line of `metrics.jsonl`: one measurement with its protocol.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnlineLine {
    /// `online`.
    pub eval: &'static str,
    /// Optimiser steps taken.
    pub step: u64,
    /// Passes over the data, as a fraction.
    pub epoch: f64,
    /// What was found.
    #[serde(flatten)]
    pub numbers: OnlineNumbers,
    /// Pictures of the numbers without labels.
    pub images: usize,
    /// Neighbours that voted.
    pub k: usize,
    /// `T` of the votes.
    pub temperature: f32,
    /// The probe's learning rate as a multiple of the run's.
    pub probe_rate_factor: f64,
    /// Pictures that voted; 0 without labels.
    pub train_images: usize,
    /// Pictures that k-NN and probe were tested on; 0 without labels.
    pub test_images: usize,
    /// Share of these that are of the largest class, in percent: what an encoder that knows nothing reaches; only with labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub majority_top1: Option<f64>,
    /// Share of the measured pictures that are equal, pixel by pixel, to another one before them, 0 to 1.
    pub equal_share: f64,
    /// Share of the measured pictures that are of one colour, 0 to 1.
    pub flat_share: f64,
    /// Everything else that fixes the numbers.
    pub protocol: &'static str,
}

/// The numbers of one measurement; accuracies in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnlineNumbers {
    /// See [`geometry::rank_me`], of the representations `y`.
    pub rank_me: f64,
    /// See [`geometry::alignment`], of the projections `z` of two views.
    pub alignment: f64,
    /// See [`geometry::uniformity`], of the projections `z`, mean of both views.
    pub uniformity: f64,
    /// Weighted k-NN; only with labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_top1: Option<f64>,
    /// The online linear probe; only with labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear_probe_top1: Option<f64>,
    /// See [`encoder_norm`].
    pub encoder_norm: f64,
    /// See [`target_distance`].
    pub target_distance: f64,
    /// Time it took.
    pub seconds: f64,
}

const PROTOCOL: &str = "a fixed choice of training pictures, batch norm frozen; RankMe on representations before the projector; alignment \
    (α 2) and uniformity (t 2) on unit-length online projections of two fixed random views; k-NN weighted by exp(cos/T), and \
    the linear probe that learns beside the encoder, both tested on held-out training pictures with as many of each class as \
    there are: their labels are not learned from, but the encoder is pretrained on them without labels";

/// Pictures per forward pass of the views.
const BATCH_SIZE: usize = 256;

/// The pictures and the rhythm of the measurements of a run.
pub struct Monitor {
    settings: MonitorConfig,
    /// Passes over the data per step.
    epochs_per_step: f64,
    /// All pictures that representations are computed of.
    pictures: Arc<Dataset>,
    /// Places of them in the dataset, ascending.
    places: Vec<u32>,
    /// Which of them are for what.
    choice: Choice,
    unlabelled: Arc<Dataset>,
}

/// Places in the dataset, each list ascending.
#[derive(Clone, Debug, Default, PartialEq)]
struct Choice {
    unlabelled: Vec<u32>,
    voting: Vec<u32>,
    held_out: Vec<u32>,
}

impl Monitor {
    /// Chooses the pictures; `None` when nothing shall be measured.
    pub fn new(config: &Config, dataset: &Dataset) -> Option<Self> {
        let settings = config.eval.clone();
        if !settings.is_on() {
            return None;
        }
        let labels: Vec<Option<u32>> = (0..dataset.len()).map(|place| dataset.label(place)).collect();
        let mut choice = Choice::new(&settings, &labels, config.seed);
        if settings.every_epochs == Rhythm::Auto {
            let trained = config.schedule(dataset.len()).total_steps * config.train.batch_size as u64;
            choice = Choice::new(&choice.affordable(&settings, trained), &labels, config.seed);
        }
        let places = choice.places();
        Some(Self {
            settings,
            epochs_per_step: config.train.batch_size as f64 / dataset.len() as f64,
            pictures: Arc::new(dataset.subset(&places)),
            places,
            unlabelled: Arc::new(dataset.subset(&choice.unlabelled)),
            choice,
        })
    }

    /// Passes over the data per step.
    pub fn epochs_per_step(&self) -> f64 {
        self.epochs_per_step
    }

    /// The labels of a batch that the probe may learn from.
    pub fn labels(&self, batch: &Batch) -> Vec<Option<u32>> {
        let pictures = batch.images.iter().zip(&batch.labels);
        pictures.map(|(image, label)| label.filter(|_| self.choice.held_out.binary_search(image).is_err())).collect()
    }

    /// Measures `state`. Of several ranks, each passes a part of the pictures, and all come to the same numbers.
    ///
    /// # Errors
    /// Data errors, but for single pictures that cannot be read: these are left out. The ranks cannot talk to each other.
    pub fn measure(
        &self,
        state: &TrainState,
        config: &Config,
        device: &Device,
        ranks: &dyn Communicator,
    ) -> Result<OnlineLine> {
        let started = Instant::now();
        let mut online = state.byol.online.valid();
        let (features, looks) = self.representations(&mut online, config, device, ranks)?;
        // Pictures that cannot be read are missing among the features.
        let rows_of = |places: &[u32]| -> Vec<usize> {
            let place_of = |row: &usize| self.places[features.images[*row] as usize];
            (0..features.len()).filter(|row| places.binary_search(&place_of(row)).is_ok()).collect()
        };
        let unlabelled = features.select(&rows_of(&self.choice.unlabelled));
        let voting = features.select(&rows_of(&self.choice.voting));
        let held_out = features.select(&rows_of(&self.choice.held_out));
        let [z1, z2] = self.projections(&mut online, config, device, ranks)?;
        let size = config.model.projection_size;
        let has_labels = !voting.is_empty() && !held_out.is_empty();
        let numbers = OnlineNumbers {
            rank_me: geometry::rank_me(&unlabelled.values, unlabelled.size),
            alignment: geometry::alignment(&z1, &z2, size),
            uniformity: (geometry::uniformity(&z1, size) + geometry::uniformity(&z2, size)) / 2.0,
            knn_top1: has_labels.then(|| self.knn(&voting, &held_out, device)).transpose()?,
            linear_probe_top1: state.probe.as_ref().filter(|_| has_labels).map(|probe| probe.top1(&held_out, device)),
            encoder_norm: encoder_norm(&online),
            target_distance: target_distance(&state.byol),
            seconds: started.elapsed().as_secs_f64(),
        };
        Ok(OnlineLine {
            eval: "online",
            step: state.step,
            epoch: state.step as f64 * self.epochs_per_step,
            numbers,
            images: unlabelled.len(),
            k: self.settings.k.min(voting.len()),
            temperature: self.settings.temperature,
            probe_rate_factor: self.settings.probe_rate_factor,
            train_images: voting.len(),
            test_images: held_out.len(),
            majority_top1: has_labels.then(|| majority_top1(&held_out.labels)),
            equal_share: looks.equal() as f64 / features.len().max(1) as f64,
            flat_share: looks.flat as f64 / features.len().max(1) as f64,
            protocol: PROTOCOL,
        })
    }

    fn knn(&self, voting: &Features, held_out: &Features, device: &Device) -> Result<f64> {
        let options = knn::KnnOptions { ks: vec![self.settings.k], temperatures: vec![self.settings.temperature] };
        Ok(knn::evaluate(voting, held_out, &options, device)?[0].top1)
    }

    /// Online projections of two random views of each picture, the same ones every time; a picture that cannot be read is
    /// replaced by another.
    fn projections(
        &self,
        online: &mut Online,
        config: &Config,
        device: &Device,
        ranks: &dyn Communicator,
    ) -> Result<[Vec<f32>; 2]> {
        let options = LoaderOptions {
            seed: config.seed,
            batch_size: BATCH_SIZE,
            first_sample: 0,
            total_samples: self.unlabelled.len() as u64,
            rank: ranks.rank(),
            ranks: ranks.ranks(),
            threads: loader_threads(config, ranks),
            prefetch_batches: 2,
            max_bad_fraction: 1.0,
        };
        let views = Views::new(config.views.clone()).map_err(Error::from)?;
        let Online { encoder, projector, .. } = online;
        let mut encoder = FrozenResNet::new(encoder, config.precision);
        let mut project = |pixels: &[f32]| {
            let y = encoder.forward(images(pixels, config, device));
            flat(projector.forward(y, &BatchNormMode::Running, config.precision))
        };
        let (mut z1, mut z2) = (Vec::new(), Vec::new());
        let mut take = |batch: Batch| {
            if !batch.images.is_empty() {
                z1.extend(project(&batch.view1));
                z2.extend(project(&batch.view2));
            }
        };
        let mut batches = PairLoader::start(self.unlabelled.clone(), views, options);
        let passed = batches.try_for_each(|batch| batch.map(&mut take));
        agree(ranks, passed.map_err(Error::from))?;
        let size = config.model.projection_size;
        Ok([self.in_order(ranks, z1, size)?, self.in_order(ranks, z2, size)?])
    }

    /// The rows of all ranks as one process would have them: of every batch each rank has made a stretch.
    fn in_order(&self, ranks: &dyn Communicator, rows: Vec<f32>, size: usize) -> Result<Vec<f32>> {
        let mut parts: Vec<_> = gathered(ranks, &rows)?.into_iter().map(Vec::into_iter).collect();
        let mut all = Vec::with_capacity(self.unlabelled.len() * size);
        for start in (0..self.unlabelled.len()).step_by(BATCH_SIZE) {
            let batch = BATCH_SIZE.min(self.unlabelled.len() - start);
            for (rank, part) in parts.iter_mut().enumerate() {
                all.extend(part.take(part_of(batch, rank, ranks.ranks()).len() * size));
            }
        }
        Ok(all)
    }

    /// Representations of all pictures, prepared as for evaluation. (`eval::extract` would end the run where too many of
    /// these few cannot be read.)
    fn representations(
        &self,
        online: &mut Online,
        config: &Config,
        device: &Device,
        ranks: &dyn Communicator,
    ) -> Result<(Features, Looks)> {
        let preprocessing = config.preprocessing();
        let values = preprocessing.size_px * preprocessing.size_px * config.data.channels;
        let threads = loader_threads(config, ranks);
        let (max_bad_fraction, total) = (1.0, self.pictures.len());
        let options =
            EvaluationOptions { batch_size: BATCH_SIZE, threads, prefetch_batches: 2, max_bad_fraction, total };
        let render =
            move |image: &Image, _, out: &mut [f32], scratch: &mut _| preprocessing.render(image, out, scratch);
        let size = config.model.arch.representation_size();
        let mut features = Features::none(size);
        let mut looks = Looks::default();
        let part = part_of(self.pictures.len(), ranks.rank(), ranks.ranks());
        let places: Vec<u32> = part.clone().map(|place| place as u32).collect();
        let pictures = Arc::new(self.pictures.subset(&places));
        let mut encoder = FrozenResNet::new(&mut online.encoder, config.precision);
        let mut take = |batch: EvaluationBatch| {
            if !batch.images.is_empty() {
                batch.pixels.chunks_exact(values).for_each(|picture| looks.add(picture, config.data.channels));
                let pixels = images(&batch.pixels, config, device);
                features.values.extend(flat(encoder.forward(pixels)));
                features.images.extend(batch.images.iter().map(|&image| image + part.start as u32));
                features.labels.extend(batch.labels);
            }
        };
        // A rank may have none.
        let passed = match pictures.is_empty() {
            true => Ok(()),
            false => EvaluationLoader::start_with::<ViewScratch, _>(pictures, values, options, render)
                .try_for_each(|batch| batch.map(&mut take)),
        };
        agree(ranks, passed.map_err(Error::from))?;
        Ok((features.of_all(&self.pictures, ranks)?, looks.of_all(ranks)?))
    }
}

/// What the measured pictures look like.
#[derive(Default)]
struct Looks {
    /// A hash of each picture.
    seen: Vec<u64>,
    /// Of one colour.
    flat: usize,
}

impl Looks {
    /// Looks at a prepared picture, `[pixels, channels]`.
    fn add(&mut self, picture: &[f32], channels: usize) {
        /// About three of 256 levels, in the units of normalised pixels.
        const ONE_COLOUR: f32 = 0.05;
        let mut hasher = DefaultHasher::new();
        picture.iter().for_each(|value| hasher.write_u32(value.to_bits()));
        self.seen.push(hasher.finish());
        let near = |pixel: &[f32]| pixel.iter().zip(picture).all(|(value, first)| (value - first).abs() <= ONE_COLOUR);
        self.flat += usize::from(picture.chunks_exact(channels).all(near));
    }

    /// How many are equal to one before them.
    fn equal(&self) -> usize {
        self.seen.len() - self.seen.iter().collect::<HashSet<_>>().len()
    }

    /// At the pictures of all ranks.
    fn of_all(self, ranks: &dyn Communicator) -> Result<Self> {
        let mut flat = [self.flat as f64];
        ranks.sum(&mut flat)?;
        Ok(Self { seen: gathered(ranks, &self.seen)?.concat(), flat: flat[0] as usize })
    }
}

/// Share of the most frequent label, in percent.
fn majority_top1(labels: &[Option<u32>]) -> f64 {
    let mut counts = BTreeMap::new();
    for label in labels.iter().flatten() {
        *counts.entry(label).or_insert(0) += 1;
    }
    100.0 * f64::from(counts.into_values().max().unwrap_or(0)) / labels.len().max(1) as f64
}

/// `[batch, height, width, channels]`.
fn images(pixels: &[f32], config: &Config, device: &Device) -> Tensor<4> {
    let (side, channels) = (config.views.size_px, config.data.channels);
    let shape = [pixels.len() / (side * side * channels), side, side, channels];
    Tensor::from_data(TensorData::new(pixels.to_vec(), shape), device)
}

fn flat(rows: Tensor<2>) -> Vec<f32> {
    let count = rows.shape().num_elements();
    to_vec(rows.reshape([count]))
}

impl Choice {
    /// All pictures, ascending.
    fn places(&self) -> Vec<u32> {
        let mut places = [&self.unlabelled[..], &self.voting, &self.held_out].concat();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Smaller counts where four measurements of this choice would take more than [`MEASURING_SHARE`] of a run on so many
    /// `trained` pictures; a function of the run, so that its numbers do not depend on the clock.
    ///
    /// The unit is one picture through one network. A training picture takes 8 of them: two views, each through the online
    /// network, back (twice) and through the target; a measured one 1, and 2 more for views.
    fn affordable(&self, settings: &MonitorConfig, trained: u64) -> MonitorConfig {
        const TRAINING_UNITS: f64 = 8.0;
        const MEASUREMENTS: f64 = 4.0;
        // Fewer would say nothing.
        const LEAST: [usize; 3] = [256, 1000, 500];
        let units = self.places().len() + 2 * self.unlabelled.len();
        let affordable = MEASURING_SHARE * TRAINING_UNITS * trained as f64 / MEASUREMENTS;
        let share = (affordable / units.max(1) as f64).min(1.0);
        let fewer = |there: usize, least: usize, wanted: usize| match share < 1.0 {
            true => ((there as f64 * share) as usize).max(least).min(wanted),
            false => wanted,
        };
        MonitorConfig {
            images: fewer(self.unlabelled.len(), LEAST[0], settings.images),
            knn_images: fewer(self.voting.len(), LEAST[1], settings.knn_images),
            held_out_images: fewer(self.held_out.len(), LEAST[2], settings.held_out_images),
            ..settings.clone()
        }
    }

    /// Chooses by `seed` among pictures with these labels.
    fn new(settings: &MonitorConfig, labels: &[Option<u32>], seed: u64) -> Self {
        // Coordinates that no other evaluation draws from.
        const MONITOR: u64 = u64::MAX - 1;
        let mut order: Vec<u32> = (0..labels.len() as u32).collect();
        Random::new(seed, Stream::Evaluation, MONITOR, 0).shuffle(&mut order);
        let unlabelled = &order[..settings.images.min(order.len())];

        // The first of every class, the second of every class and so on.
        let mut seen = BTreeMap::new();
        let mut dealt: Vec<(u32, u32, u32)> = Vec::new();
        for &place in &order {
            if let Some(class) = labels[place as usize] {
                let round = seen.entry(class).or_insert(0);
                dealt.push((*round, class, place));
                *round += 1;
            }
        }
        dealt.sort_unstable();
        if seen.len() < 2 {
            dealt.clear();
        }
        let held_out = settings.held_out_images.min(dealt.len() / 5);
        let voting = if held_out == 0 { 0 } else { settings.knn_images.min(dealt.len() - held_out) };
        let sorted = |places: &mut dyn Iterator<Item = u32>| {
            let mut places: Vec<u32> = places.collect();
            places.sort_unstable();
            places
        };
        Self {
            unlabelled: sorted(&mut unlabelled.iter().copied()),
            held_out: sorted(&mut dealt[..held_out].iter().map(|deal| deal.2)),
            voting: sorted(&mut dealt[held_out..held_out + voting].iter().map(|deal| deal.2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_chosen_by_seed_and_class_and_no_one_is_tested_on_that_votes() {
        // Class 0 is rare, a tenth has no label.
        let labels: Vec<Option<u32>> =
            (0..1000).map(|place| (place % 10 != 9).then_some(if place < 60 { 0 } else { 1 + place % 2 })).collect();
        let settings = MonitorConfig { images: 100, knn_images: 120, held_out_images: 30, ..MonitorConfig::default() };
        let choice = Choice::new(&settings, &labels, 7);
        assert_eq!(choice, Choice::new(&settings, &labels, 7));
        assert_ne!(choice.unlabelled, Choice::new(&settings, &labels, 8).unlabelled);
        assert_eq!((choice.unlabelled.len(), choice.voting.len(), choice.held_out.len()), (100, 120, 30));
        assert!(choice.held_out.iter().all(|place| !choice.voting.contains(place)));
        for (places, each) in [(&choice.held_out, 10), (&choice.voting, 40)] {
            for class in 0..3 {
                let count = places.iter().filter(|&&place| labels[place as usize] == Some(class)).count();
                assert_eq!(count, each, "class {class}");
            }
        }
        let small = Choice::new(&MonitorConfig::default(), &labels[..20], 0);
        assert_eq!((small.unlabelled.len(), small.voting.len(), small.held_out.len()), (20, 0, 0), "one class");
        let none = Choice::new(&MonitorConfig::default(), &[None; 50], 0);
        assert_eq!((none.unlabelled.len(), none.voting.len(), none.held_out.len()), (50, 0, 0));
        let few = Choice::new(&MonitorConfig::default(), &labels[40..100], 0);
        assert_eq!(few.held_out.len() + few.voting.len(), 54, "what is there is used");
        assert_eq!(few.held_out.len(), 10);
    }

    fn drawn(with_labels: bool) -> Dataset {
        let (images, labels): (Vec<_>, Vec<_>) = byol_data::drawn::draw(50, 0, 8).into_iter().unzip();
        let names = (0..50).map(|index| index.to_string()).collect();
        let classes = byol_data::drawn::CLASSES.map(str::to_owned).to_vec();
        Dataset::from_images(images, with_labels.then_some(labels), classes, names)
    }

    fn config(every: &str) -> Config {
        let settings = ["train.batch_size=16".to_owned(), format!("eval.every_epochs={every}")];
        crate::Preset::Cifar10.resolve(&settings).unwrap()
    }

    #[test]
    fn the_probe_gets_every_label_but_those_it_is_tested_on() {
        let dataset = drawn(true);
        let monitor = Monitor::new(&config("1"), &dataset).unwrap();
        // A picture that stands in for a bad one comes with its own place and label.
        let images = vec![3, 49, 3, 17, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30];
        let labels: Vec<Option<u32>> = images.iter().map(|&image| dataset.label(image as usize)).collect();
        let batch = Batch { images: images.clone(), labels: labels.clone(), ..Batch::default() };
        let given = monitor.labels(&batch);
        assert!(given.contains(&None) && given.iter().any(Option::is_some));
        for ((image, label), given) in images.iter().zip(labels).zip(given) {
            assert_eq!(given, if monitor.choice.held_out.contains(image) { None } else { label });
        }
    }

    #[test]
    fn a_short_run_is_measured_on_fewer_pictures_and_a_long_one_on_all() {
        let labels: Vec<Option<u32>> = (0..20_000).map(|place| Some(place % 10)).collect();
        let settings = MonitorConfig::default();
        let choice = Choice::new(&settings, &labels, 0);
        let counts = |trained| {
            let MonitorConfig { images, knn_images, held_out_images, .. } = choice.affordable(&settings, trained);
            [images, knn_images, held_out_images]
        };
        assert_eq!(counts(1_000_000), [2048, 5000, 2000]);
        assert_eq!(counts(1000), [256, 1000, 500]);
        let [images, knn_images, held_out_images] = counts(60_000);
        assert!((500..1200).contains(&images) && knn_images > 2 * images && held_out_images < knn_images / 2);
        // A twentieth of the time in four measurements; fewer pictures of one kind are among those of another than of all, which
        // costs a little.
        let fewer = Choice::new(&choice.affordable(&settings, 60_000), &labels, 0);
        let units = fewer.places().len() + 2 * fewer.unlabelled.len();
        assert!(4.0 * units as f64 <= 1.05 * 8.0 * 60_000.0 / 20.0, "{units}");
    }

    #[test]
    fn equal_pictures_and_those_of_one_colour_are_counted() {
        let mut looks = Looks::default();
        for picture in [[0.1, 0.2, 0.12, 0.21], [0.1, 0.2, 0.9, 0.2], [0.1, 0.2, 0.9, 0.2], [0.3, 0.3, 0.3, 0.3]] {
            looks.add(&picture, 2);
        }
        assert_eq!((looks.equal(), looks.flat), (1, 2));
        assert_eq!(majority_top1(&[Some(1), Some(2), Some(1), Some(1)]), 75.0);
        assert_eq!(majority_top1(&[]), 0.0);
    }
}
