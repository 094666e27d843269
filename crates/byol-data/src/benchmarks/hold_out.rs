//! Which pictures are held out for validation: a function of the seed 0, the benchmark, the class and the list's order.

use super::facts::Benchmark;
use crate::{Random, Stream};

const SEED: u64 = 0;

/// Puts `places` in random order. The benchmark enters by its place in [`Benchmark::ALL`], so that order must stay.
pub(super) fn shuffle(benchmark: Benchmark, class: u64, places: &mut [u32]) {
    Random::new(SEED, Stream::HeldOut, benchmark as u64, class).shuffle(places);
}

/// The places to keep and those held out, both in ascending order.
pub(super) type Parted = (Vec<u32>, Vec<u32>);

/// Holds out `val` of each `of` among `count` pictures, whatever their class; the official sizes give the official share.
pub(super) fn share(benchmark: Benchmark, count: u32, val: u32, of: u32) -> Parted {
    let held_out = (u64::from(count) * u64::from(val) + u64::from(of) / 2) / u64::from(of);
    let mut order: Vec<u32> = (0..count).collect();
    shuffle(benchmark, 0, &mut order);
    let mut kept = order.split_off(usize::try_from(held_out).map_or(order.len(), |held_out| held_out.min(order.len())));
    kept.sort_unstable();
    order.sort_unstable();
    (kept, order)
}

/// A class that has too few pictures to hold any out and keep one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooFew {
    pub class: usize,
    pub held_out: usize,
    pub found: usize,
}

/// Holds out `held_out(class)` pictures of each of `classes` classes.
pub(super) fn per_class(
    benchmark: Benchmark,
    labels: &[u32],
    classes: usize,
    held_out: impl Fn(usize) -> usize,
) -> Result<Parted, TooFew> {
    let mut of_class = vec![Vec::new(); classes];
    for (place, &label) in (0u32..).zip(labels) {
        of_class[label as usize].push(place);
    }
    let (mut kept, mut parted) = (Vec::new(), Vec::new());
    for (class, mut places) in of_class.into_iter().enumerate() {
        let held_out = held_out(class);
        if places.len() <= held_out {
            return Err(TooFew { class, held_out, found: places.len() });
        }
        shuffle(benchmark, class as u64, &mut places);
        kept.extend(places.split_off(held_out));
        parted.extend(places);
    }
    kept.sort_unstable();
    parted.sort_unstable();
    Ok((kept, parted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn union((kept, held_out): &Parted) -> Vec<u32> {
        let mut all = [&kept[..], held_out].concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn the_official_sizes_give_the_paper_s_shares() {
        for (benchmark, count, val) in
            [(Benchmark::Cifar10, 50_000, 5_000), (Benchmark::Cifar100, 50_000, 5_067), (Benchmark::Cars, 8_144, 1_650)]
        {
            let parted = share(benchmark, count, val, count);
            assert_eq!((parted.0.len(), parted.1.len()), ((count - val) as usize, val as usize));
            assert_eq!(union(&parted), (0..count).collect::<Vec<_>>());
        }
        assert_eq!(share(Benchmark::Cars, 3, 1, 10), (vec![0, 1, 2], vec![]));
    }

    #[test]
    fn each_class_gives_its_count_and_classes_are_drawn_apart() {
        let labels: Vec<u32> = (0..60).map(|place| place % 2).collect();
        let parted = per_class(Benchmark::Pets, &labels, 2, |class| 5 + class).unwrap();
        assert_eq!(union(&parted), (0..60).collect::<Vec<_>>());
        let of =
            |class| parted.1.iter().filter(|&&place| place % 2 == class).map(|place| place / 2).collect::<Vec<_>>();
        assert_eq!((of(0).len(), of(1).len()), (5, 6));
        assert_ne!(of(0), of(1)[..5]);
        assert_ne!(parted, per_class(Benchmark::Sun397, &labels, 2, |class| 5 + class).unwrap());
        let few = per_class(Benchmark::Pets, &labels, 3, |_| 2);
        assert_eq!(few, Err(TooFew { class: 2, held_out: 2, found: 0 }));
    }
}
