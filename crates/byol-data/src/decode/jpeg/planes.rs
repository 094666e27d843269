//! Samples of components → pixels, as libjpeg makes them: chroma of half the size is interpolated (`jdsample.c`), other
//! ratios are repeated, and colours are converted in 16-bit fixed point (`jdcolor.c`).

use super::entropy::Blocks;
use super::transform;

/// A component at some size.
pub(super) struct Plane {
    width: usize,
    samples: Vec<u16>,
}

/// What the components of a picture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

impl Plane {
    /// The samples of a component that has `width × height` of them.
    pub fn of(blocks: &Blocks, [width, height]: [usize; 2], bits: u8) -> Self {
        let quantiser = blocks.quantiser.unwrap_or([1; 64]);
        let mut samples = vec![0; width * height];
        for down in 0..height.div_ceil(8) {
            for across in 0..width.div_ceil(8) {
                let block = transform::samples(&blocks.coefficients[down * blocks.row + across], &quantiser, bits);
                let columns = (width - 8 * across).min(8);
                for row in 0..(height - 8 * down).min(8) {
                    let start = (8 * down + row) * width + 8 * across;
                    samples[start..start + columns].copy_from_slice(&block[8 * row..8 * row + columns]);
                }
            }
        }
        Self { width, samples }
    }

    fn height(&self) -> usize {
        self.samples.len() / self.width
    }

    fn row(&self, row: usize) -> &[u16] {
        &self.samples[row * self.width..(row + 1) * self.width]
    }

    /// The plane `across` times as wide and `down` times as high, cut to `width × height`.
    pub fn enlarged(self, [across, down]: [usize; 2], [width, height]: [usize; 2]) -> Self {
        // Like libjpeg, which has no use for interpolation across one or two columns.
        let smooth_across = across == 2 && self.width > 2;
        let samples = match (across, down) {
            (1, 1) => return self,
            (2, 1) if smooth_across => self.rows(width, height, |row| (row, row), 1, 2),
            (2, 2) if smooth_across => self.rows(width, height, |row| self.neighbours(row), 2, 2),
            (1, 2) => self.rows(width, height, |row| self.neighbours(row), 2, 1),
            _ => (0..height)
                .flat_map(|row| {
                    let row = self.row(row / down);
                    (0..width).map(move |column| row[column / across])
                })
                .collect(),
        };
        Self { width, samples }
    }

    /// The row that an output row lies in when there are twice as many, and the one it lies next to.
    fn neighbours(&self, row: usize) -> (usize, usize) {
        let near = row / 2;
        let far = if row.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(self.height() - 1) };
        (near, far)
    }

    /// Interpolates by ¾ and ¼, each direction that is doubled; rounding alternates, or the mean would rise.
    fn rows(
        &self,
        width: usize,
        height: usize,
        sources: impl Fn(usize) -> (usize, usize),
        down: usize,
        across: usize,
    ) -> Vec<u16> {
        let mut out = Vec::with_capacity(width * height);
        let mut sums = vec![0u32; self.width];
        for row in 0..height {
            let (near, far) = sources(row);
            for ((sum, &near), &far) in sums.iter_mut().zip(self.row(near)).zip(self.row(far)) {
                *sum = if down == 2 { 3 * u32::from(near) + u32::from(far) } else { near.into() };
            }
            match (down, across) {
                (2, 1) => {
                    let bias = 1 + (row % 2) as u32;
                    out.extend(sums.iter().take(width).map(|sum| ((sum + bias) >> 2) as u16));
                }
                _ => {
                    let (biases, shift) = if down == 2 { ([8, 7], 4) } else { ([1, 2], 2) };
                    let last = self.width - 1;
                    out.extend((0..width).map(|column| {
                        let (place, right) = (column / 2, column % 2);
                        let beside = if right == 0 { place.saturating_sub(1) } else { (place + 1).min(last) };
                        ((3 * sums[place] + sums[beside] + biases[right]) >> shift) as u16
                    }));
                }
            }
        }
        out
    }
}

/// Interleaved grey or RGB samples of planes of equal size.
pub(super) fn pixels(planes: &[Plane], colours: Colours, bits: u8) -> Vec<u16> {
    let largest = (1i32 << bits) - 1;
    let sample = |plane: usize, place: usize| i32::from(planes[plane].samples[place]);
    let from_ycc = |place| {
        let centre = (largest + 1) / 2;
        let (y, cb, cr) = (sample(0, place), sample(1, place) - centre, sample(2, place) - centre);
        let half = 1 << 15;
        // 1.402, 0.34414, 0.71414 and 1.772 times 2¹⁶.
        let r = y + ((91_881 * cr + half) >> 16);
        let g = y + ((-22_554 * cb - 46_802 * cr + half) >> 16);
        let b = y + ((116_130 * cb + half) >> 16);
        [r, g, b].map(|value| value.clamp(0, largest))
    };
    // Adobe's values are inverted, as those of all programs that write CMYK; Pillow takes all of them for that.
    let with_black = |ink: [i32; 3], place| ink.map(|ink| (ink * sample(3, place) + largest / 2) / largest);
    let places = 0..planes[0].samples.len();
    match colours {
        Colours::Grey => planes[0].samples.clone(),
        Colours::Rgb => interleaved(planes),
        Colours::YCbCr => places.flat_map(|place| from_ycc(place).map(|value| value as u16)).collect(),
        Colours::Cmyk => places
            .flat_map(|place| with_black([0, 1, 2].map(|plane| sample(plane, place)), place).map(|value| value as u16))
            .collect(),
        Colours::Ycck => places
            .flat_map(|place| with_black(from_ycc(place).map(|value| largest - value), place).map(|value| value as u16))
            .collect(),
    }
}

/// The samples of planes of equal size, pixel by pixel.
pub(super) fn interleaved(planes: &[Plane]) -> Vec<u16> {
    let places = 0..planes[0].samples.len();
    places.flat_map(|place| planes.iter().map(move |plane| plane.samples[place])).collect()
}
