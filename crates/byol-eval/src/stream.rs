//! Representations batch by batch, in the order of the data set: for more pictures than memory holds representations of.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Device;
use byol_data::{Dataset, EvaluationLoader, EvaluationOptions};
use byol_nn::dist::{Communicator, agree, threads_of};
use byol_nn::encoder::Encoder;
use byol_nn::{Error, Result};

use super::features::{BATCH_SIZE, Features, of_batch};
use super::meter::Meter;
use super::progress::Stop;

/// Passes the pictures of `dataset` from place `from` on, which is the end of an earlier batch or 0, and hands `take` on rank 0 the places and
/// representations of one stretch after the other. Memory holds a few batches.
///
/// Batches begin at multiples of their size whatever `from` is and however many ranks share them, so that a picture passes with the same
/// others, and has the same bits, in a pass that was interrupted and in one that was not.
///
/// # Errors
/// Data errors, those of `take`, and [`Error::Interrupted`] once `stop` says so on any rank, after `take` has got all that is complete; the same
/// on all ranks.
///
/// # Panics
/// When `from` lies within a batch.
pub fn extract_in_order(
    encoder: &mut Encoder,
    dataset: &Arc<Dataset>,
    from: usize,
    stop: Stop,
    device: &Device,
    ranks: &dyn Communicator,
    mut take: impl FnMut(Range<usize>, Features) -> Result<()>,
) -> Result<()> {
    assert!(from.is_multiple_of(BATCH_SIZE) || from == dataset.len(), "a batch is passed as a whole");
    let info = encoder.info.clone();
    let size = info.representation_size;
    let batches: Vec<Range<usize>> =
        (from..dataset.len()).step_by(BATCH_SIZE).map(|start| start..(start + BATCH_SIZE).min(dataset.len())).collect();
    let own: Vec<u32> =
        batches.iter().skip(ranks.rank()).step_by(ranks.ranks()).cloned().flatten().map(|place| place as u32).collect();
    let mut loader = (!own.is_empty()).then(|| {
        let pictures = Arc::new(dataset.subset(&own));
        let options = EvaluationOptions {
            total: dataset.len(),
            ..EvaluationOptions::of(&pictures, BATCH_SIZE, threads_of(ranks))
        };
        EvaluationLoader::start(pictures, info.preprocessing.clone(), options)
    });
    let mut encoder = encoder.frozen();
    let meter = ranks.is_first().then(|| Meter::start("representations", (dataset.len() - from) as u64));
    for round in batches.chunks(ranks.ranks()) {
        let batch = round.get(ranks.rank()).and(loader.as_mut()).and_then(Iterator::next).transpose();
        let made = batch.map_err(Error::from).map(|batch| match batch {
            Some(batch) => {
                let mut made = of_batch(batch, size, &info, device, &mut |images| encoder.forward(images));
                made.images.iter_mut().for_each(|image| *image = own[*image as usize]);
                made
            }
            None => Features::none(size),
        });
        let made = agree(ranks, made)?.of_all(dataset, ranks)?;
        let places = round[0].start..round[round.len() - 1].end;
        meter.iter().for_each(|meter| meter.advance(places.len() as u64));
        let is_last = places.end == dataset.len();
        agree(ranks, if ranks.is_first() { take(places, made) } else { Ok(()) })?;
        let mut asked = [f64::from(u8::from(stop.check().is_err()))];
        ranks.sum(&mut asked)?;
        if asked[0] > 0.0 && !is_last {
            return Err(Error::Interrupted);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::{Barrier, Mutex};

    use byol_data::Image;
    use byol_nn::dist::{Alone, Ranks, Summing, Watchdog};
    use byol_nn::ops::open_device;

    use super::*;

    /// Ranks that are threads of this process: as much of them as is needed here.
    #[derive(Debug)]
    struct Threads {
        rank: usize,
        shared: Arc<(Barrier, Mutex<Vec<Vec<u8>>>)>,
    }

    impl Threads {
        fn start(ranks: usize) -> Vec<Self> {
            let shared = Arc::new((Barrier::new(ranks), Mutex::new(vec![Vec::new(); ranks])));
            (0..ranks).map(|rank| Self { rank, shared: shared.clone() }).collect()
        }
    }

    impl Communicator for Threads {
        fn rank(&self) -> usize {
            self.rank
        }

        fn ranks(&self) -> usize {
            self.shared.1.lock().unwrap().len()
        }

        fn local_ranks(&self) -> usize {
            self.ranks()
        }

        fn sum(&self, values: &mut [f64]) -> Result<()> {
            let own: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            values.fill(0.0);
            for bytes in self.gather(&own)? {
                let numbers = bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
                values.iter_mut().zip(numbers).for_each(|(sum, value)| *sum += value);
            }
            Ok(())
        }

        fn start_sum(&self, _: Vec<f32>) -> Result<Summing> {
            unimplemented!("nothing is trained")
        }

        fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()> {
            *bytes = self.gather(bytes)?.swap_remove(0);
            Ok(())
        }

        fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
            let (barrier, all) = &*self.shared;
            all.lock().unwrap()[self.rank] = bytes.to_vec();
            barrier.wait();
            let gathered = all.lock().unwrap().clone();
            barrier.wait();
            Ok(gathered)
        }

        fn wait_patiently(&self) -> Result<()> {
            self.shared.0.wait();
            Ok(())
        }

        fn group(&self, _: usize) -> Result<Ranks> {
            unimplemented!("no group is asked for")
        }

        fn watchdog(&self) -> Option<&Watchdog> {
            None
        }

        fn abort(&self, _: i32) -> ! {
            panic!("rank {} ends all", self.rank)
        }
    }

    fn pictures(count: usize) -> Arc<Dataset> {
        let images = (0..count).map(|index| Image::rgb8(4, 4, (0..48).map(|at| (index * 7 + at) as u8).collect()));
        let names = (0..count).map(|index| index.to_string()).collect();
        Arc::new(Dataset::from_images(images.collect(), None, vec![], names))
    }

    /// What rank 0 is handed: places and representations; and how each rank ends.
    fn passed(ranks: Vec<Threads>, from: usize, stops: &[Stop]) -> (Vec<Range<usize>>, Features, Vec<bool>) {
        let device = open_device("cpu").unwrap();
        let dataset = pictures(1100);
        let encoder = Encoder::open("random:resnet18x0.0625:cifar:8", &device).unwrap();
        let size = encoder.info.representation_size;
        let one = |communicator: &dyn Communicator, stop: Stop| {
            let (mut places, mut all) = (Vec::new(), Features::none(size));
            let mut encoder = encoder.clone();
            let ended = extract_in_order(&mut encoder, &dataset, from, stop, &device, communicator, |at, features| {
                places.push(at);
                all.append(features);
                Ok(())
            });
            (places, all, ended.is_ok())
        };
        if ranks.is_empty() {
            let (places, all, is_ok) = one(&Alone, stops[0]);
            return (places, all, vec![is_ok]);
        }
        let mut ended: Vec<_> = std::thread::scope(|scope| {
            let one = &one;
            let start = |(rank, &stop): (Threads, &Stop)| scope.spawn(move || one(&rank, stop));
            let running: Vec<_> = ranks.into_iter().zip(stops).map(start).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ended[1..].iter().all(|(places, ..)| places.is_empty()), "rank 0 alone takes");
        let oks = ended.iter().map(|(.., is_ok)| *is_ok).collect();
        let (places, all, _) = ended.swap_remove(0);
        (places, all, oks)
    }

    #[test]
    fn ranks_and_a_later_start_give_the_bits_of_one_pass_in_the_same_order() {
        let (places, alone, oks) = passed(Vec::new(), 0, &[Stop::default()]);
        assert_eq!((places.len(), alone.len(), &oks[..]), (5, 1100, &[true][..]));
        let (places, three, oks) = passed(Threads::start(3), 0, &[Stop::default(); 3]);
        assert_eq!((&places[..], &oks[..]), (&[0..768, 768..1100][..], &[true; 3][..]));
        assert!(three.images == alone.images && three.values == alone.values);
        let (places, two, _) = passed(Threads::start(2), 512, &[Stop::default(); 2]);
        assert_eq!(places, [512..1024, 1024..1100]);
        assert!(two.images == alone.images[512..] && two.values == alone.values[512 * alone.size..]);
    }

    #[test]
    fn a_stop_on_any_rank_ends_all_of_them_after_what_is_complete_was_taken() {
        static ASKED: AtomicBool = AtomicBool::new(true);
        let stops = [Stop::default(), Stop::on(&ASKED), Stop::default()];
        let (places, taken, oks) = passed(Threads::start(3), 0, &stops);
        assert!(places.len() == 1 && places[0] == (0..768), "{places:?}");
        assert_eq!((taken.len(), oks), (768, vec![false; 3]));
    }
}
