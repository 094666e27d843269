//! Sums of two terms over the rows of a chunk.
#![expect(unsafe_code, reason = "reads rows without a check at every vector")]

use super::blocks::{Block, in_blocks};
use crate::element::Element;
use crate::lanes::{load, load_unchecked, prefetch, store};

/// Two terms of `x`, `y` and `dy` of one lane of the channels from `c` on.
pub(super) trait Terms<E> {
    fn of<const W: usize>(&self, c: usize) -> impl Fn(usize, f32, f32, f32) -> [f32; 2];
}

/// Adds the two terms of every value of `arrays` (`x`, `y`, `dy`, `[rows, channels]`) to `first` and `second`, channel by channel.
/// Some rows are added in registers first, which rounds less. Always inlined into code compiled for the instruction set.
#[inline(always)]
pub(super) fn add_rows<E: Element>(
    channels: usize,
    arrays: (&[E], &[E], &[E]),
    [first, second]: [&mut [f32]; 2],
    terms: &impl Terms<E>,
) {
    let rows = arrays.0.len() / channels;
    in_blocks(rows, channels, &mut AddRows { channels, arrays, first, second, terms });
}

struct AddRows<'a, E, T> {
    channels: usize,
    arrays: (&'a [E], &'a [E], &'a [E]),
    first: &'a mut [f32],
    second: &'a mut [f32],
    terms: &'a T,
}

impl<E: Element, T: Terms<E>> Block for AddRows<'_, E, T> {
    const ROWS: usize = 4;

    #[inline(always)]
    fn run<const ROWS: usize, const W: usize>(&mut self, row: usize, c: usize) {
        let (x, y, dy) = self.arrays;
        let (end, terms) = ((row + ROWS) * self.channels, self.terms.of::<W>(c));
        assert!(end <= x.len().min(y.len()).min(dy.len()) && c + W <= self.channels);
        let (mut firsts, mut seconds) = ([0.0; W], [0.0; W]);
        for row in row..row + ROWS {
            let at = row * self.channels + c;
            // Of the next rows: these are more streams than the hardware foresees.
            for array in [x, y, dy] {
                prefetch(array.as_ptr().wrapping_add(at + ROWS * self.channels));
            }
            // SAFETY: the block's channels lie in the row, and the rows in all three arrays.
            let x: [f32; W] = unsafe { load_unchecked(x, at) };
            // SAFETY: as above.
            let y: [f32; W] = unsafe { load_unchecked(y, at) };
            // SAFETY: as above.
            let dy: [f32; W] = unsafe { load_unchecked(dy, at) };
            for i in 0..W {
                let [first, second] = terms(i, x[i], y[i], dy[i]);
                firsts[i] += first;
                seconds[i] += second;
            }
        }
        add(firsts, self.first, c);
        add(seconds, self.second, c);
    }
}

/// Adds `sums` to the values from `c` on.
#[inline(always)]
fn add<const W: usize>(sums: [f32; W], values: &mut [f32], c: usize) {
    let mut totals = load::<f32, W>(values, c);
    for i in 0..W {
        totals[i] += sums[i];
    }
    store(totals, values, c);
}
