//! Equal and similar pictures.
//!
//! Similar are two pictures whose difference hashes are at most [`HASH_BITS`] bits apart and whose thumbnails in colour, freed
//! of their brightness, differ by at most [`THUMBNAIL_RMS`] and correlate by at least [`LEAST_SIMILARITY`]: the first tells an
//! orange from a grey ball, the second two pale pictures of different things. The hash finds candidates without
//! comparing all pairs: of five parts of it, two hashes at most four bits apart share at least one.

use std::collections::{BTreeMap, HashMap};

use super::picture::Thumbnail;

/// Largest difference of the hashes.
const HASH_BITS: u32 = 4;

/// Largest root mean square difference of the thumbnails, of 255.
const THUMBNAIL_RMS: f64 = 6.0;

/// Smallest correlation of the thumbnails.
const LEAST_SIMILARITY: f64 = 0.95;

/// Parts of the hash: one more than bits may differ.
const PARTS: u32 = HASH_BITS + 1;

/// Bits of a part; the last has fewer.
const PART_BITS: u32 = u64::BITS.div_ceil(PARTS);

/// Pictures that share a part beyond this many are compared with their next neighbours only: a featureless kind of picture must
/// not cost hours.
const CROWD: usize = 2000;

/// What pictures are compared by.
#[derive(Clone, Debug)]
pub(super) struct Print {
    pub place: u32,
    pub content: u64,
    pub hash: u64,
    pub thumbnail: Thumbnail,
}

/// Two pictures that look the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similar {
    /// Place of the one.
    pub first: u32,
    /// Place of the other; in another part of the data where two are compared.
    pub second: u32,
    /// Correlation of their thumbnails in colour, at most 1.
    pub similarity: f64,
}

/// Pictures that two parts of the data share: (place in the first, place in the second).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlap {
    /// With equal content.
    pub equal: Vec<(u32, u32)>,
    /// That look the same.
    pub similar: Vec<Similar>,
}

/// Sets of two or more with equal content.
pub(super) fn equal(prints: &[Print]) -> Vec<Vec<u32>> {
    let mut sets: HashMap<u64, Vec<u32>> = HashMap::new();
    for print in prints {
        sets.entry(print.content).or_default().push(print.place);
    }
    let mut sets: Vec<Vec<u32>> = sets.into_values().filter(|set| set.len() > 1).collect();
    sets.sort_unstable();
    sets
}

/// Pairs that look the same without being equal.
pub(super) fn similar(prints: &[Print]) -> Vec<Similar> {
    let prints: Vec<&Print> = prints.iter().collect();
    in_places(&prints, candidates(&prints, |_, _| true))
}

fn in_places(prints: &[&Print], pairs: BTreeMap<(usize, usize), f64>) -> Vec<Similar> {
    let pair = |((a, b), similarity)| {
        let (a, b): (&Print, &Print) = (prints[a], prints[b]);
        Similar { first: a.place, second: b.place, similarity }
    };
    pairs.into_iter().map(pair).collect()
}

pub(super) fn overlap(first: &[Print], second: &[Print]) -> Overlap {
    let mut by_content: HashMap<u64, u32> = HashMap::new();
    for print in first.iter().rev() {
        by_content.insert(print.content, print.place);
    }
    let equal = second.iter().filter_map(|print| Some((*by_content.get(&print.content)?, print.place))).collect();
    let all: Vec<&Print> = first.iter().chain(second).collect();
    let border = first.len();
    let pairs = candidates(&all, |a, b| a < border && b >= border);
    Overlap { equal, similar: in_places(&all, pairs) }
}

/// Pairs `a < b` of similar, unequal pictures for which `wanted(a, b)`, with their similarity.
fn candidates(prints: &[&Print], wanted: impl Fn(usize, usize) -> bool) -> BTreeMap<(usize, usize), f64> {
    let mut pairs = BTreeMap::new();
    for part in 0..PARTS {
        let part_of = |hash: u64| (hash >> (part * PART_BITS)) & ((1 << PART_BITS) - 1);
        let mut sharing: HashMap<u64, Vec<usize>> = HashMap::new();
        for (place, print) in prints.iter().enumerate() {
            sharing.entry(part_of(print.hash)).or_default().push(place);
        }
        for mut places in sharing.into_values() {
            // Within a crowd, neighbours by the whole hash are the likeliest.
            if places.len() > CROWD {
                places.sort_by_key(|&place| prints[place].hash);
            }
            for (from, &a) in places.iter().enumerate() {
                for &b in places[from + 1..].iter().take(CROWD) {
                    let (a, b) = (a.min(b), a.max(b));
                    if wanted(a, b)
                        && prints[a].content != prints[b].content
                        && let Some(similarity) = similarity(prints[a], prints[b])
                    {
                        pairs.insert((a, b), similarity);
                    }
                }
            }
        }
    }
    pairs
}

/// How much two pictures look the same, if they do.
fn similarity(a: &Print, b: &Print) -> Option<f64> {
    if (a.hash ^ b.hash).count_ones() > HASH_BITS {
        return None;
    }
    let count = a.thumbnail.len() as f64;
    let mean = |thumbnail: &Thumbnail| thumbnail.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let (mean_a, mean_b) = (mean(&a.thumbnail), mean(&b.thumbnail));
    let (mut squares_a, mut squares_b, mut products) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.thumbnail.iter().zip(&b.thumbnail) {
        let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
        squares_a += a * a;
        squares_b += b * b;
        products += a * b;
    }
    let rms = ((squares_a + squares_b - 2.0 * products).max(0.0) / count).sqrt();
    let correlation = products / (squares_a * squares_b).sqrt();
    (rms <= THUMBNAIL_RMS && correlation >= LEAST_SIMILARITY).then_some(correlation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Random, Stream};

    fn print(place: u32, content: u64, hash: u64, thumbnail: Thumbnail) -> Print {
        Print { place, content, hash, thumbnail }
    }

    fn noise(seed: u64) -> Thumbnail {
        let mut random = Random::new(seed, Stream::Drawing, 0, 0);
        (0..81).map(|_| random.below(200) as u8).collect()
    }

    #[test]
    fn equal_content_makes_sets_and_similar_looks_make_pairs() {
        let base = noise(1);
        let brighter = base.iter().map(|grey| grey + 30).collect();
        let mut hash = 0x0123_4567_89AB_CDEF;
        let first = print(0, 10, hash, base.clone());
        let copy = print(1, 10, hash, base.clone());
        hash ^= 0b1000_0000_0000_0000_0100_0000_0001_0000_0001;
        let close = print(2, 11, hash, brighter);
        let five_bits_away = print(3, 12, 0x0123_4567_89AB_CDEF ^ 0b11111, base.clone());
        let other_look = print(4, 13, 0x0123_4567_89AB_CDEF, noise(2));
        let all = [first, copy, close, five_bits_away, other_look];
        assert_eq!(equal(&all), [vec![0, 1]]);
        let pairs: Vec<(u32, u32)> = similar(&all).iter().map(|pair| (pair.first, pair.second)).collect();
        assert!(pairs.contains(&(0, 2)) && pairs.contains(&(1, 2)) && !pairs.contains(&(0, 1)), "{pairs:?}");
        assert!(pairs.iter().all(|pair| pair.1 != 4 && *pair != (0, 3)), "{pairs:?}");
        let overlap = overlap(&all[..1], &all[1..]);
        assert_eq!(overlap.equal, [(0, 1)]);
        assert_eq!(overlap.similar, [Similar { first: 0, second: 2, similarity: 1.0 }]);
    }

    #[test]
    fn colour_and_contrast_tell_things_of_one_shape_apart() {
        let ball = |colour: [f64; 3], noise_seed: u64| -> Thumbnail {
            let mut random = Random::new(noise_seed, Stream::Drawing, 0, 0);
            let radius = |place: usize| ((place % 9) as f64 - 4.0).hypot((place / 9) as f64 - 4.0);
            (0..81)
                .flat_map(|place| colour.map(|full| if radius(place) < 3.0 { full } else { 240.0 }))
                .map(|value| (value + random.below(5) as f64) as u8)
                .collect()
        };
        let (orange, grey, pale) = ([230.0, 120.0, 20.0], [123.0; 3], [238.0, 239.0, 240.0]);
        let pairs = |a: [f64; 3], b: [f64; 3]| similar(&[print(0, 1, 7, ball(a, 1)), print(1, 2, 7, ball(b, 2))]);
        assert!(pairs(orange, orange)[0].similarity > 0.99);
        assert_eq!(pairs(orange, grey), []);
        // Pale on white: what is left are the encoder's errors.
        assert_eq!(pairs(pale, pale), []);
    }

    #[test]
    fn every_pair_within_four_bits_is_found() {
        let mut random = Random::new(3, Stream::Drawing, 0, 0);
        let base = noise(5);
        for _ in 0..200 {
            let hash = random.bits();
            let flipped = (0..HASH_BITS).fold(hash, |hash, _| hash ^ 1 << random.below(64));
            assert_eq!(similar(&[print(0, 1, hash, base.clone()), print(1, 2, flipped, base.clone())]).len(), 1);
        }
    }
}
