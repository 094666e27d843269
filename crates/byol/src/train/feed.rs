//! Batches on the device, the next one on its way while the device computes.

use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use byol_data::{Batch, DataError, PairLoader};
use byol_nn::ops::{self, Precision};

use super::stager::{Staged, Stager, data};
use crate::config::Config;

/// What a micro-batch is made of.
pub struct Meal {
    /// Names, labels and bad pictures; its pixels are on the device.
    pub batch: Batch,
    /// Both views `[batch, height, width, channels]`.
    pub views: [Tensor<4>; 2],
}

/// The batches of a run, in order.
///
/// A graphics card computes behind the calls: while it does, [`Feed::prepare`] brings it the next batch, which a [`Stager`] has made ready. On
/// the processor that would only hold memory.
pub struct Feed {
    batches: Batches,
    next: Option<Result<Meal, DataError>>,
    device: Device,
    left: u64,
    /// How long [`Feed::prepare`] waited for pictures since it was last asked.
    waited: Duration,
}

/// Where batches come from.
enum Batches {
    /// For the processor, with pictures of this height, width and channels.
    Loaded(PairLoader, [usize; 3]),
    /// For a card.
    Staged(Stager),
}

impl Feed {
    /// The batches of `loader`, of which `count` will be asked for.
    pub fn start(loader: PairLoader, count: u64, config: &Config, device: &Device) -> Self {
        let (size, channels) = (config.views.size_px, config.data.channels);
        let picture = [size, size, channels];
        let batches = match ops::is_processor(device) {
            true => Batches::Loaded(loader, picture),
            false => Batches::Staged(Stager::start(loader, count, picture, config.precision)),
        };
        Self { batches, next: None, device: device.clone(), left: count, waited: Duration::ZERO }
    }

    /// The next batch. What went wrong while it was prepared is said here, when it is needed.
    ///
    /// # Errors
    /// Those of the loader.
    pub fn take(&mut self) -> Result<Meal, DataError> {
        self.next.take().unwrap_or_else(|| self.load().map(|(meal, _)| meal))
    }

    /// Brings the batch after this one to a device that is busy by now.
    pub fn prepare(&mut self) {
        if self.next.is_none() && self.left > 0 && matches!(self.batches, Batches::Staged(_)) {
            self.next = Some(self.load().map(|(meal, waited)| {
                self.waited += waited;
                meal
            }));
        }
    }

    /// How long the device had nothing to do because the next batch was not there, if it was found idle after [`Feed::prepare`].
    pub fn waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// Gives a batch back so that its memory is used again.
    pub fn recycle(&self, batch: Batch) {
        if let Batches::Loaded(loader, _) = &self.batches {
            loader.recycle(batch);
        }
    }

    /// The next batch on the device, and how long the pictures took to come.
    fn load(&mut self) -> Result<(Meal, Duration), DataError> {
        self.left = self.left.saturating_sub(1);
        let start = Instant::now();
        let (batch, waited, views) = match &mut self.batches {
            Batches::Loaded(loader, picture) => {
                let batch = loader.next().expect(EVERY_SAMPLE)?;
                let views = [&batch.view1, &batch.view2].map(|pixels| data(pixels, *picture, Precision::F32));
                (batch, start.elapsed(), views)
            }
            Batches::Staged(stager) => {
                let Staged { batch, views } = stager.next().expect(EVERY_SAMPLE)?;
                (batch, start.elapsed(), views)
            }
        };
        let views = views.map(|view| brought(view, &self.device));
        Ok((Meal { batch, views }, waited))
    }
}

/// On the device in the type that it has; Burn would make its default type of it, here and not there.
fn brought(view: TensorData, device: &Device) -> Tensor<4> {
    let dtype = view.dtype();
    Tensor::from_data(view, (device, dtype))
}

/// See [`start_loader`](super::start_loader).
const EVERY_SAMPLE: &str = "the loader holds every sample of the schedule";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_keep_the_type_that_they_were_rounded_to() {
        for precision in [Precision::F32, Precision::Bf16] {
            let view = data(&[0.5; 12], [2, 2, 3], precision);
            let dtype = view.dtype();
            assert_eq!(brought(view, &Device::flex()).dtype(), dtype, "{precision}");
        }
    }
}
