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
        let (mut sums, mut doubled) = (vec![0u32; self.width], Vec::new());
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
                    doubled.resize(2 * sums.len(), 0);
                    double(&sums, biases, shift, &mut doubled);
                    out.extend_from_slice(&doubled[..width]);
                }
            }
        }
        out
    }
}

/// Puts two samples in the place of each, which lie towards its left and its right neighbour; the first and the last are their own.
fn double(sums: &[u32], biases: [u32; 2], shift: u32, out: &mut [u16]) {
    let pair = |left: u32, own: u32, right: u32| {
        [(3 * own + left + biases[0]) >> shift, (3 * own + right + biases[1]) >> shift].map(|sum| sum as u16)
    };
    let (out, last) = (out.as_chunks_mut::<2>().0, sums.len() - 1);
    for (out, around) in out[1..].iter_mut().zip(sums.windows(3)) {
        *out = pair(around[0], around[1], around[2]);
    }
    out[0] = pair(sums[0], sums[0], sums[last.min(1)]);
    out[last] = pair(sums[last.saturating_sub(1)], sums[last], sums[last]);
}

/// Interleaved grey or RGB samples of planes of equal size.
pub(super) fn pixels(planes: &[Plane], colours: Colours, bits: u8) -> Vec<u16> {
    let largest = (1i32 << bits) - 1;
    let sample = |plane: usize, place: usize| i32::from(planes[plane].samples[place]);
    let from_ycc = |place| rgb_of_ycc([0, 1, 2].map(|plane| sample(plane, place)), largest);
    // Adobe's values are inverted, as those of all programs that write CMYK; Pillow takes all of them for that.
    let with_black = |ink: [i32; 3], place| ink.map(|ink| (ink * sample(3, place) + largest / 2) / largest);
    let places = 0..planes[0].samples.len();
    match colours {
        Colours::Grey => planes[0].samples.clone(),
        Colours::Rgb => interleaved(planes),
        Colours::YCbCr => {
            let mut out = vec![0; 3 * places.len()];
            let [y, cb, cr] = [0, 1, 2].map(|plane| &planes[plane].samples);
            for (((out, &y), &cb), &cr) in out.as_chunks_mut::<3>().0.iter_mut().zip(y).zip(cb).zip(cr) {
                *out = rgb_of_ycc([y, cb, cr].map(i32::from), largest).map(|value| value as u16);
            }
            out
        }
        Colours::Cmyk => places
            .flat_map(|place| with_black([0, 1, 2].map(|plane| sample(plane, place)), place).map(|value| value as u16))
            .collect(),
        Colours::Ycck => places
            .flat_map(|place| with_black(from_ycc(place).map(|value| largest - value), place).map(|value| value as u16))
            .collect(),
    }
}

/// By 1.402, 0.34414, 0.71414 and 1.772 times 2¹⁶, rounded.
#[inline(always)]
fn rgb_of_ycc([y, cb, cr]: [i32; 3], largest: i32) -> [i32; 3] {
    let (centre, half) = ((largest + 1) / 2, 1 << 15);
    let (cb, cr) = (cb - centre, cr - centre);
    let r = y + ((91_881 * cr + half) >> 16);
    let g = y + ((-22_554 * cb - 46_802 * cr + half) >> 16);
    let b = y + ((116_130 * cb + half) >> 16);
    [r, g, b].map(|value| value.clamp(0, largest))
}

/// The samples of planes of equal size, pixel by pixel.
pub(super) fn interleaved(planes: &[Plane]) -> Vec<u16> {
    let places = 0..planes[0].samples.len();
    places.flat_map(|place| planes.iter().map(move |plane| plane.samples[place])).collect()
}
