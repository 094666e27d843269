//! The networks of one table: the encoder beside its baselines, over several seeds.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use byol_data::{BadImage, Dataset};
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};

use super::cache::{CacheUse, extract_cached};
use super::features::Features;
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
    /// Where it computes.
    pub device: Device,
}

/// What [`Comparison::frozen`] found.
pub struct Frozen {
    /// The table.
    pub rows: Vec<Row>,
    /// Readable pictures of each part.
    pub images: Vec<usize>,
    /// Pictures that could not be read.
    pub bad: Vec<BadImage>,
    /// Why representations could not be kept in the cache; the numbers are as good without.
    pub not_kept: Option<Error>,
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
    /// `protocol` gets an encoder, its representations of `parts` and a seed.
    ///
    /// # Errors
    /// Data errors and those of the protocol.
    pub fn frozen(
        &mut self,
        parts: &[Arc<Dataset>],
        draws: Draws,
        mut protocol: impl FnMut(&mut Encoder, &FeatureParts, u64) -> Result<Vec<Outcome>>,
    ) -> Result<Frozen> {
        let mut frozen = Frozen { rows: Vec::new(), images: Vec::new(), bad: Vec::new(), not_kept: None };
        for (network, name, mut encoders) in self.frozen_networks() {
            let mut by_seed = Vec::new();
            let mut features = Vec::new();
            for (place, &seed) in self.seeds.iter().enumerate() {
                let which = place.min(encoders.len() - 1);
                let encoder = &mut encoders[which].1;
                if place != which && draws == Draws::Nothing {
                    break;
                }
                if place == which {
                    features.clear();
                    for part in parts {
                        let extracted = extract_cached(encoder, part, self.cache.as_deref(), 0, &self.device)?;
                        features.push(extracted.features);
                        if let CacheUse::NotWritten(error) = extracted.cache {
                            frozen.not_kept = Some(error);
                        }
                    }
                }
                if network == Network::Encoder && place == 0 {
                    frozen.images = features.iter().map(Features::len).collect();
                    frozen.bad = features.iter().flat_map(|part| part.bad.iter().cloned()).collect();
                }
                by_seed.push((seed, protocol(encoder, &features, seed)?));
            }
            frozen.rows.extend(rows(network, &name, by_seed));
        }
        Ok(frozen)
    }

    /// Rows of a protocol that trains all weights: from the encoder, from random weights (another draw for each seed), and
    /// from other weights.
    ///
    /// `protocol` gets the start, its name and a seed.
    ///
    /// # Errors
    /// Data errors and those of the protocol.
    pub fn trained(&self, mut protocol: impl FnMut(&Encoder, &str, u64) -> Result<Vec<Outcome>>) -> Result<Vec<Row>> {
        let mut table = Vec::new();
        let mut add = |network, name: &str, start: &dyn Fn(u64) -> Encoder| -> Result<()> {
            let outcomes = self.seeds.iter().map(|&seed| Ok((seed, protocol(&start(seed), name, seed)?)));
            table.extend(rows(network, name, outcomes.collect::<Result<_>>()?));
            Ok(())
        };
        add(Network::Encoder, &self.encoder.info.training, &|_| self.encoder.clone())?;
        if self.with_random {
            let random = |seed| Encoder::random_like(&self.encoder.info, seed, &self.device);
            add(Network::Supervised, "from random weights, the same labels", &random)?;
        }
        if let Some((name, reference)) = &self.reference {
            add(Network::Reference, name, &|_| reference.clone())?;
        }
        Ok(table)
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

    /// How many starts [`Self::trained`] trains, seeds counted.
    pub fn starts(&self) -> u64 {
        let networks = 1 + u64::from(self.with_random) + u64::from(self.reference.is_some());
        networks * self.seeds.len() as u64
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
