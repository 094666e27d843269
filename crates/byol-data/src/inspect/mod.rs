//! Looking at every picture of a dataset once, before hours of training depend on it.
//!
//! # Layout
//! `picture` what is taken down of one picture · `range` which sample values are used · `duplicates` who equals whom · `direction` whether
//! there is an up · this file: the pass over the data.

mod direction;
mod duplicates;
mod picture;
mod range;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub use duplicates::{Overlap, Similar};
pub use range::Used;

use crate::error::Unread;
use crate::prefetch::{in_parallel, one_per_thread};
use crate::{BadImage, DataError, Dataset, Flaw, LoadMemory};
use picture::{Picture, Scratch};

/// What a pass over the data found.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Places that were looked at, ascending.
    pub images: Vec<u32>,
    /// Pictures that cannot be used.
    pub bad: Vec<BadImage>,
    /// How many of which format, channels and depth: `JPEG, 3 channels, 8 bits`.
    pub kinds: BTreeMap<String, usize>,
    /// Shorter sides in pixels, ascending.
    pub shorter_sides_px: Vec<u32>,
    /// Longer sides in pixels, ascending.
    pub longer_sides_px: Vec<u32>,
    /// Mean of each channel in `[0, 1]`, every picture counting the same: `views.mean`.
    pub mean: Vec<f64>,
    /// Standard deviation of each channel over all pixels of all pictures, which count the same: `views.std`.
    pub std: Vec<f64>,
    /// Pictures whose files lack their end though all data is there, by place.
    pub incomplete: Vec<u32>,
    /// Pictures that are read though their data contradicts itself, by place, with what was found.
    pub damaged: Vec<(u32, String)>,
    /// Which sample values pictures of 8 and 16 bits use, by bits.
    pub used: BTreeMap<u8, Used>,
    /// Pictures of one colour, by place.
    pub blank: Vec<u32>,
    /// Pictures without colours.
    pub grey: usize,
    /// How far the average picture is from itself turned, as a multiple of what chance leaves of pictures without an up: about 1
    /// for those, far above for photographs. Nothing for fewer than 100 pictures that are not of one colour.
    pub uprightness: Option<f64>,
    /// Sets of two or more pictures with equal content, by place.
    pub equal: Vec<Vec<u32>>,
    /// Pairs that look the same but are not equal, by place.
    pub similar: Vec<Similar>,
    /// For comparing with another part of the data.
    prints: Vec<duplicates::Print>,
}

/// Looks at `places` of `dataset`, on `threads` threads (0 for as many as the machine runs at once); `progress` is told how
/// many are done.
///
/// # Errors
/// [`DataError::WorkerFailed`] after a panic in a thread; [`DataError::Remote`] when a server is lost. Bad pictures are a result, not an error.
pub fn inspect(
    dataset: &Dataset,
    places: &[u32],
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Inspection, DataError> {
    Ok(summarise(look(dataset, places, threads, progress)?))
}

/// What [`inspect`] takes down of a part of the pictures, as bytes: for processes that share the work.
///
/// # Errors
/// Those of [`inspect`].
pub fn inspect_part(
    dataset: &Dataset,
    places: &[u32],
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<u8>, DataError> {
    let found = look(dataset, places, threads, progress)?;
    Ok(postcard::to_allocvec(&found).expect("plain fields have a form"))
}

/// A place, and what is there.
type Seen = (u32, Result<Picture, BadImage>);

fn look(
    dataset: &Dataset,
    places: &[u32],
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Seen>, DataError> {
    let mut scratches: Vec<(LoadMemory, Scratch)> = one_per_thread(threads);
    let found = Mutex::new(Vec::with_capacity(places.len()));
    let done = AtomicUsize::new(0);
    let (stop, lost) = (AtomicBool::new(false), Mutex::new(None));
    in_parallel(places.iter(), &mut scratches, &stop, |&place, (memory, scratch)| {
        let picture = match Picture::look(dataset, place, memory, scratch) {
            Ok(picture) => Ok(picture),
            Err(Unread::Bad(reason)) => Err(BadImage { name: dataset.name(place as usize), reason }),
            Err(Unread::Lost(error)) => {
                stop.store(true, Ordering::Relaxed);
                lost.lock().expect("no thread panics while it writes").get_or_insert(*error);
                return;
            }
        };
        found.lock().expect("no thread panics while it pushes").push((place, picture));
        progress(done.fetch_add(1, Ordering::Relaxed) + 1);
    })?;
    if let Some(error) = lost.into_inner().expect("no thread panics while it writes") {
        return Err(error);
    }
    let mut found = found.into_inner().expect("no thread panics while it pushes");
    found.sort_by_key(|&(place, _)| place);
    Ok(found)
}

impl Inspection {
    /// Of all parts that [`inspect_part`] took down, which follow each other.
    ///
    /// # Panics
    /// When the bytes are not from there.
    pub fn of_parts(parts: &[Vec<u8>]) -> Self {
        let found =
            |part: &Vec<u8>| -> Vec<Seen> { postcard::from_bytes(part).expect("what another process took down") };
        summarise(parts.iter().flat_map(found).collect())
    }

    /// Pictures of `other` (a test part) that this one (the training part) holds as well.
    pub fn overlap(&self, other: &Self) -> Overlap {
        duplicates::overlap(&self.prints, &other.prints)
    }

    /// A `data.value_range` for pictures that use a sliver of their range: 12 bits in files of 16, say. `None` where they use
    /// more than a quarter of it, and where pictures of 8 and 16 bits would need different ones.
    pub fn value_range_proposal(&self) -> Option<[f64; 2]> {
        let mut used = self.used.values();
        used.next().filter(|_| self.used.len() == 1)?.proposal()
    }

    /// Pictures whose shorter side is less than `size_px`.
    pub fn smaller_than(&self, size_px: usize) -> usize {
        self.shorter_sides_px.partition_point(|&side| (side as usize) < size_px)
    }
}

fn summarise(found: Vec<Seen>) -> Inspection {
    let mut inspection = Inspection::default();
    let mut sums: Vec<(f64, f64)> = Vec::new();
    let mut good = 0.0;
    for (place, picture) in found {
        inspection.images.push(place);
        let picture = match picture {
            Ok(picture) => picture,
            Err(bad) => {
                inspection.bad.push(bad);
                continue;
            }
        };
        good += 1.0;
        *inspection.kinds.entry(picture.kind).or_default() += 1;
        match picture.flaw {
            Some(Flaw::EndMissing) => inspection.incomplete.push(place),
            Some(Flaw::Damaged(reason)) => inspection.damaged.push((place, reason)),
            None => {}
        }
        inspection.used.entry(picture.used.bits).or_insert(picture.used).join(picture.used);
        let (width, height) = (picture.width_px, picture.height_px);
        inspection.shorter_sides_px.push(width.min(height));
        inspection.longer_sides_px.push(width.max(height));
        sums.resize(picture.moments.len(), (0.0, 0.0));
        for (sum, moments) in sums.iter_mut().zip(&picture.moments) {
            *sum = (sum.0 + moments.0, sum.1 + moments.1);
        }
        inspection.grey += usize::from(picture.grey);
        match picture.blank {
            true => inspection.blank.push(place),
            false => inspection.prints.push(duplicates::Print {
                place,
                content: picture.content,
                thumbnail: picture.thumbnail,
                hash: picture.hash,
            }),
        }
    }
    inspection.shorter_sides_px.sort_unstable();
    inspection.longer_sides_px.sort_unstable();
    inspection.mean = sums.iter().map(|sum| sum.0 / good).collect();
    // Over all pixels: E[x²] − E[x]².
    inspection.std = sums.iter().map(|sum| (sum.1 / good - (sum.0 / good).powi(2)).max(0.0).sqrt()).collect();
    inspection.uprightness = direction::uprightness(inspection.prints.iter().map(|print| &print.thumbnail));
    inspection.equal = duplicates::equal(&inspection.prints);
    inspection.similar = duplicates::similar(&inspection.prints);
    inspection
}
