//! Batches made ready for a graphics card by a thread of their own.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use burn::tensor::{TensorData, bf16, f16};
use byol_data::{Batch, DataError, PairLoader};
use byol_nn::ops::Precision;
use half::slice::HalfFloatSliceExt;

/// A batch whose pixels are as the card takes them.
pub struct Staged {
    /// Names, labels and bad pictures; without pixels.
    pub batch: Batch,
    /// Both views `[batch, height, width, channels]`, of the type of activations.
    pub views: [TensorData; 2],
}

/// Takes batches from the loader ahead of the training thread and rounds their pixels, which halves what is brought to the card and is the same
/// rounding that the card would do.
///
/// Dropping it waits for the batch that is being made.
pub struct Stager {
    /// Nothing once the thread is waited for.
    staged: Option<Receiver<Result<Staged, DataError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Stager {
    /// For `count` batches of pictures of `[height, width, channels]`. One is ready while the next is made.
    pub fn start(mut loader: PairLoader, count: u64, picture: [usize; 3], precision: Precision) -> Self {
        let (sender, staged) = sync_channel(1);
        // Not in the pool of compute threads, where with one thread nobody would go on.
        let staging = move || {
            for _ in 0..count {
                let Some(batch) = loader.next() else { return };
                let staged = batch.map(|batch| stage(batch, &loader, picture, precision));
                let is_last = staged.is_err();
                // Nobody takes it when the run has ended.
                if sender.send(staged).is_err() || is_last {
                    return;
                }
            }
        };
        match thread::Builder::new().spawn(staging) {
            Ok(thread) => Self { staged: Some(staged), thread: Some(thread) },
            Err(error) => {
                let (sender, staged) = sync_channel(1);
                let message = format!("the system starts no more threads ({error}); see `ulimit -u`");
                // There is room for it, and its reader is right here.
                let _ = sender.send(Err(DataError::WorkerFailed { message }));
                Self { staged: Some(staged), thread: None }
            }
        }
    }
}

impl Drop for Stager {
    fn drop(&mut self) {
        drop(self.staged.take());
        // A panic of it was passed on where its batch was missed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Ends with the last batch, or the one that failed.
impl Iterator for Stager {
    type Item = Result<Staged, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.staged.as_ref()?.recv().ok();
        if next.is_none()
            && let Some(Err(panicked)) = self.thread.take().map(JoinHandle::join)
        {
            resume_unwind(panicked);
        }
        next
    }
}

fn stage(batch: Batch, loader: &PairLoader, picture: [usize; 3], precision: Precision) -> Staged {
    let Batch { view1, view2, images, labels, bad } = batch;
    let views = [&view1, &view2].map(|pixels| data(pixels, picture, precision));
    loader.recycle(Batch { view1, view2, images: Vec::new(), labels: Vec::new(), bad: Vec::new() });
    Staged { batch: Batch { view1: Vec::new(), view2: Vec::new(), images, labels, bad }, views }
}

/// Pictures of `[height, width, channels]` one after the other as data of this type.
pub fn data(pixels: &[f32], [height, width, channels]: [usize; 3], precision: Precision) -> TensorData {
    let shape = [pixels.len() / (height * width * channels), height, width, channels];
    match precision {
        Precision::F32 => TensorData::new(pixels.to_vec(), shape),
        Precision::Bf16 => TensorData::new(rounded::<bf16>(pixels), shape),
        Precision::F16 => TensorData::new(rounded::<f16>(pixels), shape),
    }
}

fn rounded<T: Copy + Default>(pixels: &[f32]) -> Vec<T>
where
    [T]: HalfFloatSliceExt,
{
    let mut rounded = vec![T::default(); pixels.len()];
    rounded.convert_from_f32_slice(pixels);
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_rounded_to_the_nearest_number_of_their_type() {
        let pixels = [1.0, -0.3, 1e-9, 1.003_906_3, 70000.0, 0.1];
        let rounded = |precision| {
            let data = data(&pixels, [1, 2, 3], precision);
            assert_eq!(data.shape().dims(), [1, 1, 2, 3]);
            data.convert::<f32>().try_into_vec::<f32>().unwrap()
        };
        assert_eq!(rounded(Precision::F32), pixels);
        assert_eq!(rounded(Precision::Bf16), pixels.map(|x| bf16::from_f32(x).to_f32()));
        assert_eq!(rounded(Precision::F16), pixels.map(|x| f16::from_f32(x).to_f32()));
    }
}
