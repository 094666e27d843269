//! Batches on the device, the next one on its way while the device computes.

use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use byol_data::{Batch, DataError, PairLoader};
use byol_nn::ops;

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
/// A graphics card computes behind the calls: while it does, [`Feed::prepare`] brings it the next batch. On the processor that would only
/// hold memory.
pub struct Feed {
    loader: PairLoader,
    next: Option<Result<Meal, DataError>>,
    device: Device,
    /// Height, width and channels.
    picture: [usize; 3],
    left: u64,
    /// How long [`Feed::prepare`] waited for pictures since it was last asked.
    waited: Duration,
}

impl Feed {
    /// The batches of `loader`, of which `count` will be asked for.
    pub fn start(loader: PairLoader, count: u64, config: &Config, device: &Device) -> Self {
        let (size, channels) = (config.views.size_px, config.data.channels);
        Self {
            loader,
            next: None,
            device: device.clone(),
            picture: [size, size, channels],
            left: count,
            waited: Duration::ZERO,
        }
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
        if self.next.is_none() && self.left > 0 && !ops::is_processor(&self.device) {
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
        self.loader.recycle(batch);
    }

    /// The next batch on the device, and how long the pictures took to come.
    fn load(&mut self) -> Result<(Meal, Duration), DataError> {
        self.left = self.left.saturating_sub(1);
        let start = Instant::now();
        let batch = self.loader.next().expect("the loader holds every sample of the schedule")?;
        let waited = start.elapsed();
        let views = [&batch.view1, &batch.view2].map(|pixels| self.tensor(pixels));
        Ok((Meal { batch, views }, waited))
    }

    fn tensor(&self, pixels: &[f32]) -> Tensor<4> {
        let [height, width, channels] = self.picture;
        let shape = [pixels.len() / (height * width * channels), height, width, channels];
        Tensor::from_data(TensorData::new(pixels.to_vec(), shape), &self.device)
    }
}
