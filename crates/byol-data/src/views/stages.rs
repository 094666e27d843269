//! Where the time of a view goes, for `byol bench input`.

use std::time::{Duration, Instant};

/// A part of the work on one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the file.
    Read,
    /// Decoding it.
    Decode,
    /// Cutting out, resizing and mirroring.
    CropResizeFlip,
    /// Quarter turns and turns by any angle.
    Turn,
    /// Brightness, contrast, saturation and hue; factors and offsets of channels.
    Jitter,
    /// Turning grey.
    Grayscale,
    /// Gaussian blur.
    Blur,
    /// Solarising.
    Solarise,
    /// Adding noise.
    Noise,
    /// Clipping, normalising, interleaving the channels, erasing.
    Normalise,
}

impl Stage {
    /// All stages, in the order of the work.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::Decode,
        Self::CropResizeFlip,
        Self::Turn,
        Self::Jitter,
        Self::Grayscale,
        Self::Blur,
        Self::Solarise,
        Self::Noise,
        Self::Normalise,
    ];

    /// Name for tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Decode => "decode",
            Self::CropResizeFlip => "crop_resize_flip",
            Self::Turn => "turn",
            Self::Jitter => "jitter",
            Self::Grayscale => "grayscale",
            Self::Blur => "blur",
            Self::Solarise => "solarise",
            Self::Noise => "noise",
            Self::Normalise => "normalise",
        }
    }
}

/// A stopwatch with one sum per [`Stage`].
#[derive(Clone, Debug)]
pub struct StageClock {
    last: Instant,
    sums: [Duration; Stage::ALL.len()],
}

impl Default for StageClock {
    fn default() -> Self {
        Self { last: Instant::now(), sums: Default::default() }
    }
}

impl StageClock {
    /// Starts the next interval; what has passed since the last one counts for nothing.
    pub fn start(&mut self) {
        self.last = Instant::now();
    }

    /// Adds the time since the last call to `stage`.
    pub fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        self.sums[stage as usize] += now - self.last;
        self.last = now;
    }

    /// The time that went into `stage` so far.
    pub fn sum(&self, stage: Stage) -> Duration {
        self.sums[stage as usize]
    }
}
