//! The networks of one table: the encoder beside its baselines, over several seeds.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use byol_data::{BadImage, Dataset};
use byol_nn::dist::Ranks;
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};

use super::cache::{CacheUse, cached_or, entry_name};
use super::errand::extract_by_all;
use super::features::Features;
use super::kept::KeptOutcomes;
use super::progress::{Countdown, Stop};
use super::record::{Network, Outcome, Row, rows};

/// What is compared. Every protocol measures all of them alike.
pub struct Comparison {
    /// The encoder that was asked about.
    pub encoder: Encoder,
    /// Whether random weights of the same architecture stand beside it.
    pub with_random: bool,
    /// The same architecture trained with all labels from random weights, one for each seed there is.
    pub supervised: Vec<(u64, Encoder)>,
    /// Other weights with their name, for example torchvision's of ImageNet.
    pub reference: Option<(String, Encoder)>,
    /// Seeds that every number is averaged over.
    pub seeds: Vec<u64>,
    /// Where representations are kept, if anywhere.
    pub cache: Option<PathBuf>,
    /// Finished outcomes of earlier evaluations.
    pub kept: KeptOutcomes,
    /// Whether to stop.
    pub stop: Stop,
    /// Where it computes.
    pub device: Device,
    /// Who computes representations; the others are in [`help`](crate::help).
    pub ranks: Ranks,
}

/// What [`Comparison::trained`] found.
#[derive(Default)]
pub struct Trained {
    /// The table.
    pub rows: Vec<Row>,
    /// Where its outcomes are from.
    pub origin: Origin,
}

/// How many outcomes of a table were computed now, and how many are kept from before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Computed now.
    pub computed: usize,
    /// From before: the same weights, pictures, options and seed.
    pub kept: usize,
}

/// What is still to be computed for a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToDo {
    /// Pictures to represent: the file they will be kept in, and their number.
    pub representations: Vec<(String, u64)>,
    /// Outcomes to compute.
    pub outcomes: u64,
}

/// What [`Comparison::frozen`] found.
#[derive(Default)]
pub struct Frozen {
    /// The table.
    pub rows: Vec<Row>,
    /// Where its outcomes are from.
    pub origin: Origin,
    /// Readable pictures of each part.
    pub images: Vec<usize>,
    /// Pictures that could not be read.
    pub bad: Vec<BadImage>,
    /// Why representations could not be kept in the cache; the numbers are as good without.
    pub not_kept: Option<Error>,
    /// Why other ranks did not help with representations.
    pub not_shared: Option<String>,
}

/// What a protocol on frozen representations draws from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draws {
    /// Nothing: one network has one number, however many seeds there are.
    Nothing,
    /// An order or held-out pictures.
    Something,
}

/// A row of a table: whose numbers, its name, and an encoder for each seed, or one for all.
type FrozenNetwork = (Network, String, Vec<(u64, Encoder)>);

/// Representations of several parts under one encoder, in the order of the parts.
pub type FeatureParts = Vec<Features>;

impl Comparison {
    /// Rows of a protocol on frozen representations: the encoder, random weights, supervised and other weights.
    ///
    /// `protocol` gets an encoder, its representations of `parts` and a seed; `options` is everything else that fixes what it gives.
    ///
    /// # Errors
    /// Data errors and those of the protocol.
    pub fn frozen(
        &mut self,
        parts: &[Arc<Dataset>],
        draws: Draws,
        options: &str,
        mut protocol: impl FnMut(&mut Encoder, &FeatureParts, u64) -> Result<Vec<Outcome>>,
    ) -> Result<Frozen> {
        let mut frozen = Frozen::default();
        for (network, name, mut encoders) in self.frozen_networks() {
            let mut by_seed = Vec::new();
            let mut features: Option<FeatureParts> = None;
            for (seed, which, is_first) in self.cells(&encoders, draws) {
                let encoder = &mut encoders[which].1;
                if is_first {
                    features = None;
                }
                // How many pictures could be read is said of the encoder, whatever is kept.
                if network == Network::Encoder && is_first {
                    let of_parts = self.represent(encoder, parts, network, &mut frozen)?;
                    frozen.images = of_parts.iter().map(Features::len).collect();
                    frozen.bad = of_parts.iter().flat_map(|part| part.bad.iter().cloned()).collect();
                    features = Some(of_parts);
                }
                let key = self.key(encoder, parts, options, seed);
                if let Some(outcomes) = key.as_ref().and_then(|key| self.kept.get(key)) {
                    frozen.origin.kept += 1;
                    by_seed.push((seed, outcomes));
                    continue;
                }
                self.stop.check()?;
                let of_parts = match features.take() {
                    Some(of_parts) => of_parts,
                    None => self.represent(encoder, parts, network, &mut frozen)?,
                };
                let outcomes = protocol(encoder, features.insert(of_parts), seed)?;
                frozen.origin.computed += 1;
                if let Some(Err(error)) = key.map(|key| self.kept.put(&key, &outcomes)) {
                    frozen.not_kept = Some(error);
                }
                by_seed.push((seed, outcomes));
            }
            frozen.rows.extend(rows(network, &name, by_seed));
        }
        Ok(frozen)
    }

    /// Rows of a protocol that trains all weights: from the encoder, from random weights (another draw for each seed), and
    /// from other weights.
    ///
    /// `protocol` gets the start, its name and a seed; `parts` and `options` are everything else that fixes what it gives.
    ///
    /// # Errors
    /// Data errors and those of the protocol.
    pub fn trained(
        &self,
        parts: &[Arc<Dataset>],
        options: &str,
        mut protocol: impl FnMut(&Encoder, &str, u64) -> Result<Vec<Outcome>>,
    ) -> Result<Trained> {
        let mut table = Trained::default();
        for (network, name) in self.starts() {
            let mut by_seed = Vec::new();
            for &seed in &self.seeds {
                let start = self.start(network, seed);
                let key = self.key(&start, parts, options, seed);
                let outcomes = match key.as_ref().and_then(|key| self.kept.get(key)) {
                    Some(outcomes) => {
                        table.origin.kept += 1;
                        outcomes
                    }
                    None => {
                        self.stop.check()?;
                        let outcomes = protocol(&start, network.short_name(), seed)?;
                        table.origin.computed += 1;
                        if let Some(key) = key {
                            // Not being able to keep it is no reason to lose it.
                            let _ = self.kept.put(&key, &outcomes);
                        }
                        outcomes
                    }
                };
                by_seed.push((seed, outcomes));
            }
            table.rows.extend(rows(network, &name, by_seed));
        }
        Ok(table)
    }

    /// What [`Self::frozen`] has still to compute.
    pub fn frozen_to_do(&self, parts: &[Arc<Dataset>], draws: Draws, options: &str) -> ToDo {
        let mut to_do = ToDo::default();
        for (network, _, encoders) in self.frozen_networks() {
            for (seed, which, is_first) in self.cells(&encoders, draws) {
                let encoder = &encoders[which].1;
                let is_kept = self.key(encoder, parts, options, seed).is_some_and(|key| self.kept.get(&key).is_some());
                to_do.outcomes += u64::from(!is_kept);
                if is_first && (!is_kept || network == Network::Encoder) {
                    let entries = parts.iter().map(|part| (entry_name(encoder, part), part.len() as u64));
                    let is_missing = |name: &str| self.cache.as_ref().is_none_or(|folder| !folder.join(name).exists());
                    to_do.representations.extend(entries.filter(|(name, _)| is_missing(name)));
                }
            }
        }
        to_do
    }

    /// What [`Self::trained`] has still to compute.
    pub fn trained_to_do(&self, parts: &[Arc<Dataset>], options: &str) -> ToDo {
        let mut outcomes = 0;
        for (network, _) in self.starts() {
            for &seed in &self.seeds {
                let key = self.key(&self.start(network, seed), parts, options, seed);
                outcomes += u64::from(key.is_none_or(|key| self.kept.get(&key).is_none()));
            }
        }
        ToDo { representations: Vec::new(), outcomes }
    }

    /// Seeds of a row with the encoder of each, and whether that is another than before.
    fn cells(&self, encoders: &[(u64, Encoder)], draws: Draws) -> Vec<(u64, usize, bool)> {
        let cell = |(place, &seed): (usize, &u64)| {
            let which = place.min(encoders.len() - 1);
            (seed, which, place == which)
        };
        let is_measured = |(_, _, is_first): &(u64, usize, bool)| *is_first || draws == Draws::Something;
        self.seeds.iter().enumerate().map(cell).take_while(is_measured).collect()
    }

    fn key(&self, encoder: &Encoder, parts: &[Arc<Dataset>], options: &str, seed: u64) -> Option<String> {
        self.kept.is_on().then(|| KeptOutcomes::key(encoder, parts, options, seed))
    }

    fn represent(
        &self,
        encoder: &mut Encoder,
        parts: &[Arc<Dataset>],
        network: Network,
        frozen: &mut Frozen,
    ) -> Result<FeatureParts> {
        let pictures: usize = parts.iter().map(|part| part.len()).sum();
        let mut countdown = Countdown::start(pictures as u64).stopped_by(self.stop);
        countdown.name(format!("representations, {}", network.short_name()));
        let mut represent = |part| {
            let extract = |encoder: &mut Encoder, countdown: &mut Countdown| {
                let by_all = extract_by_all(encoder, part, &self.device, countdown, &*self.ranks)?;
                frozen.not_shared = frozen.not_shared.take().or(by_all.alone);
                Ok(by_all.features)
            };
            let extracted = cached_or(encoder, part, self.cache.as_deref(), &mut countdown, extract)?;
            if let CacheUse::NotWritten(error) = extracted.cache {
                frozen.not_kept = Some(error);
            }
            Ok(extracted.features)
        };
        parts.iter().map(&mut represent).collect()
    }

    /// Lets no protocol cut off the border of pictures, as transfer (D.2) does not; gives back what was cut before.
    pub fn whole_pictures(&mut self) -> Vec<f32> {
        self.encoders_mut()
            .map(|encoder| std::mem::replace(&mut encoder.info.preprocessing.crop_fraction, 1.0))
            .collect()
    }

    /// Undoes [`Self::whole_pictures`].
    pub fn restore(&mut self, crop_fractions: Vec<f32>) {
        for (encoder, crop_fraction) in self.encoders_mut().zip(crop_fractions) {
            encoder.info.preprocessing.crop_fraction = crop_fraction;
        }
    }

    fn encoders_mut(&mut self) -> impl Iterator<Item = &mut Encoder> {
        let Self { encoder, supervised, reference, .. } = self;
        let supervised = supervised.iter_mut().map(|(_, encoder)| encoder);
        std::iter::once(encoder).chain(supervised).chain(reference.as_mut().map(|(_, encoder)| encoder))
    }

    /// The rows of [`Self::trained`] with what stands in them.
    fn starts(&self) -> Vec<(Network, String)> {
        let mut starts = vec![(Network::Encoder, self.encoder.info.training.clone())];
        if self.with_random {
            starts.push((Network::Supervised, "from random weights, the same labels".to_owned()));
        }
        starts.extend(self.reference.as_ref().map(|(name, _)| (Network::Reference, name.clone())));
        starts
    }

    fn start(&self, network: Network, seed: u64) -> Encoder {
        match (network, &self.reference) {
            (Network::Random | Network::Supervised, _) => Encoder::random_like(&self.encoder.info, seed, &self.device),
            (Network::Reference, Some((_, reference))) => reference.clone(),
            (Network::Encoder | Network::Reference, _) => self.encoder.clone(),
        }
    }

    fn frozen_networks(&self) -> Vec<FrozenNetwork> {
        let info = &self.encoder.info;
        let mut networks = vec![(Network::Encoder, info.training.clone(), vec![(0, self.encoder.clone())])];
        if self.with_random {
            let random = |&seed: &u64| (seed, Encoder::random_like(info, seed, &self.device));
            networks.push((Network::Random, "random weights".to_owned(), self.seeds.iter().map(random).collect()));
        }
        if let Some((_, first)) = self.supervised.first() {
            networks.push((Network::Supervised, first.info.training.clone(), self.supervised.clone()));
        }
        if let Some((name, reference)) = &self.reference {
            networks.push((Network::Reference, name.clone(), vec![(0, reference.clone())]));
        }
        networks
    }
}
