//! Memory that a thread uses again from picture to picture.

use crate::image::{Image, Samples};

/// What loading a picture needs; grows to the largest picture met, then nothing is allocated for the common ones.
#[derive(Debug, Default)]
pub struct LoadMemory {
    /// The bytes of the file.
    pub(crate) file: Vec<u8>,
    /// Samples of an earlier picture.
    pub(crate) samples: Option<Samples>,
}

impl LoadMemory {
    /// Takes the memory of a picture that is no longer needed.
    pub fn recycle(&mut self, image: Image) {
        self.samples = Some(image.into_samples());
    }
}
