//! The pictures that embeddings are of.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use byol_data::{DataConfig, Dataset};
use byol_eval::{Meter, waiting};
use byol_index::Embeddings;
use byol_nn::{Error, Result};
use byol_report::{Frame, Tile};
use rayon::prelude::*;

use crate::data::tell_notes;
use crate::screen::say;

/// Pictures by the rows of embeddings.
pub struct Pictures {
    dataset: Arc<Dataset>,
    /// The place of every row's picture in the data.
    places: Vec<Option<u32>>,
}

/// Size of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub width_px: usize,
    pub height_px: usize,
    /// Of its file.
    pub bytes: u64,
}

impl Pictures {
    /// Those called as `embeddings` say, in `data` or else where the file says they were.
    pub fn find(embeddings: &Embeddings, data: &[PathBuf]) -> Result<Self> {
        let roots = if data.is_empty() { &embeddings.origin.roots[..] } else { data };
        let path = &embeddings.path;
        if roots.is_empty() {
            return Err(Error::path(path, "does not say where its pictures are; name the place with --data DATA"));
        }
        let shown = || roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(", ");
        // What can no longer be read is a grey square.
        let value_range = embeddings.origin.value_range;
        let limits = DataConfig { max_bad_fraction: 1.0, value_range, ..DataConfig::default() };
        let opened = waiting("opening the pictures", || Dataset::open_all(roots, Some("all"), &limits));
        let dataset = match opened {
            Ok(dataset) => dataset,
            Err(error) if data.is_empty() => {
                let problem = format!(
                    "its pictures cannot be opened where they were ({error}); if they moved, name the place with --data DATA"
                );
                return Err(Error::path(path, problem));
            }
            Err(error) => return Err(error.into()),
        };
        tell_notes([&dataset]);
        let mut by_name: HashMap<String, Option<u32>> = HashMap::new();
        for index in 0..dataset.len() {
            // Of several pictures of one name, which is meant cannot be told.
            by_name.entry(dataset.name(index)).and_modify(|place| *place = None).or_insert(Some(index as u32));
        }
        let places: Vec<Option<u32>> =
            embeddings.names.iter().map(|name| by_name.get(name).copied().flatten()).collect();
        let missing: Vec<&String> =
            embeddings.names.iter().zip(&places).filter(|(_, place)| place.is_none()).map(|(name, _)| name).collect();
        if missing.len() == places.len() {
            let example = if dataset.is_empty() { "nothing".to_owned() } else { dataset.name(0) };
            let problem = format!(
                "not one of its pictures is in {}: expected names like {}, got {example}; give the same DATA as to byol embed",
                shown(),
                embeddings.names[0]
            );
            return Err(Error::path(path, problem));
        }
        if let Some(first) = missing.first() {
            let place = shown();
            let (count, all) = (missing.len(), places.len());
            say!(
                "note: {count} of {all} pictures are not in {place}, or share their name with others there, for example {first}"
            );
        }
        Ok(Self { dataset: Arc::new(dataset), places })
    }

    /// The picture of a row.
    pub fn tile(&self, embeddings: &Embeddings, row: u32, frame: Frame, lines: Vec<String>) -> Tile {
        let picture = self.places[row as usize].map(|place| (Arc::clone(&self.dataset), place as usize));
        Tile { picture, name: embeddings.names[row as usize].clone(), lines, frame }
    }

    /// Width, height and bytes of the pictures of `rows`, by decoding them; `None` for those that cannot be read.
    pub fn sizes(&self, rows: &[u32]) -> HashMap<u32, Size> {
        let meter = Meter::start("sizes of pictures", rows.len() as u64);
        let size = |&row: &u32| {
            let place = self.places[row as usize]? as usize;
            let image = self.dataset.load(place).ok();
            meter.advance(1);
            let image = image?;
            let bytes = self.dataset.size_bytes(place);
            Some((row, Size { width_px: image.width_px(), height_px: image.height_px(), bytes }))
        };
        rows.par_iter().filter_map(size).collect()
    }
}

/// The lines of a tile: its class, if it is known, then others.
pub fn lines<const N: usize>(embeddings: &Embeddings, row: u32, others: [String; N]) -> Vec<String> {
    embeddings.labels.of(row as usize).map(str::to_owned).into_iter().chain(others).collect()
}
