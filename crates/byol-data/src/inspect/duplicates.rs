//! Equal and similar pictures.
//!
//! Similar are two pictures whose difference hashes are at most [`HASH_BITS`] bits apart and whose thumbnails, freed of
//! their brightness, differ by at most [`THUMBNAIL_RMS`]. The hash finds candidates without comparing all pairs: of five
//! parts of it, two hashes at most four bits apart share at least one.

use std::collections::{BTreeSet, HashMap};

use super::picture::Thumbnail;

/// Largest difference of the hashes.
const HASH_BITS: u32 = 4;

/// Largest root mean square difference of the thumbnails, of 255.
const THUMBNAIL_RMS: f64 = 6.0;

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

/// Pictures that two parts of the data share: (place in the first, place in the second).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// With equal content.
    pub equal: Vec<(u32, u32)>,
    /// That look the same.
    pub similar: Vec<(u32, u32)>,
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
pub(super) fn similar(prints: &[Print]) -> Vec<(u32, u32)> {
    let prints: Vec<&Print> = prints.iter().collect();
    let pairs = candidates(&prints, |_, _| true);
    pairs.into_iter().map(|(a, b)| (prints[a].place, prints[b].place)).collect()
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
    let similar = pairs.into_iter().map(|(a, b)| (all[a].place, all[b].place)).collect();
    Overlap { equal, similar }
}

/// Pairs `a < b` of similar, unequal pictures for which `wanted(a, b)`.
fn candidates(prints: &[&Print], wanted: impl Fn(usize, usize) -> bool) -> BTreeSet<(usize, usize)> {
    let mut pairs = BTreeSet::new();
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
                    if wanted(a, b) && prints[a].content != prints[b].content && look_the_same(prints[a], prints[b]) {
                        pairs.insert((a, b));
                    }
                }
            }
        }
    }
    pairs
}

fn look_the_same(a: &Print, b: &Print) -> bool {
    if (a.hash ^ b.hash).count_ones() > HASH_BITS {
        return false;
    }
    let count = a.thumbnail.len() as f64;
    let differences = || a.thumbnail.iter().zip(&b.thumbnail).map(|(&a, &b)| f64::from(a) - f64::from(b));
    let brightness = differences().sum::<f64>() / count;
    let square = differences().map(|difference| (difference - brightness).powi(2)).sum::<f64>() / count;
    square.sqrt() <= THUMBNAIL_RMS
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
        std::array::from_fn(|_| random.below(200) as u8)
    }

    #[test]
    fn equal_content_makes_sets_and_similar_looks_make_pairs() {
        let base = noise(1);
        let brighter = base.map(|grey| grey + 30);
        let mut hash = 0x0123_4567_89AB_CDEF;
        let first = print(0, 10, hash, base);
        let copy = print(1, 10, hash, base);
        hash ^= 0b1000_0000_0000_0000_0100_0000_0001_0000_0001;
        let close = print(2, 11, hash, brighter);
        let five_bits_away = print(3, 12, 0x0123_4567_89AB_CDEF ^ 0b11111, base);
        let other_look = print(4, 13, 0x0123_4567_89AB_CDEF, noise(2));
        let all = [first, copy, close, five_bits_away, other_look];
        assert_eq!(equal(&all), [vec![0, 1]]);
        let pairs = similar(&all);
        assert!(pairs.contains(&(0, 2)) && pairs.contains(&(1, 2)) && !pairs.contains(&(0, 1)), "{pairs:?}");
        assert!(pairs.iter().all(|pair| pair.1 != 4 && *pair != (0, 3)), "{pairs:?}");
        let overlap = overlap(&all[..1], &all[1..]);
        assert_eq!(overlap.equal, [(0, 1)]);
        assert_eq!(overlap.similar, [(0, 2)]);
    }

    #[test]
    fn every_pair_within_four_bits_is_found() {
        let mut random = Random::new(3, Stream::Drawing, 0, 0);
        let base = noise(5);
        for _ in 0..200 {
            let hash = random.bits();
            let flipped = (0..HASH_BITS).fold(hash, |hash, _| hash ^ 1 << random.below(64));
            assert_eq!(similar(&[print(0, 1, hash, base), print(1, 2, flipped, base)]), [(0, 1)]);
        }
    }
}
