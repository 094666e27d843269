//! How the kernels pass over rows of channels.

use crate::lanes::LANES;

/// What a kernel does with `W` channels from `c` on of `ROWS` rows from `row` on. What belongs to the channels alone is read once
/// for all of these rows.
pub(super) trait Block {
    /// Rows at a time where there are many channels. Rows that are written come one by one, in the order of memory.
    const ROWS: usize;

    /// Called in code compiled for the instruction set.
    fn run<const ROWS: usize, const W: usize>(&mut self, row: usize, c: usize);
}

/// Up to so many channels, rows are taken [`NARROW_ROWS`] at a time: what belongs to the channels is then most of what is read.
const NARROW: usize = 4 * LANES;
const NARROW_ROWS: usize = 8;

/// Hands all rows to `work`, block by block.
#[inline(always)]
pub(super) fn in_blocks<B: Block>(rows: usize, channels: usize, work: &mut B) {
    let rows_at_once = if channels <= NARROW { NARROW_ROWS } else { B::ROWS };
    let grouped = rows / rows_at_once * rows_at_once;
    for row in (0..grouped).step_by(rows_at_once) {
        match rows_at_once {
            NARROW_ROWS => one_block::<NARROW_ROWS>(row, channels, work),
            4 => one_block::<4>(row, channels, work),
            _ => one_block::<1>(row, channels, work),
        }
    }
    for row in grouped..rows {
        one_block::<1>(row, channels, work);
    }
}

#[inline(always)]
fn one_block<const ROWS: usize>(row: usize, channels: usize, work: &mut impl Block) {
    let whole = channels / LANES * LANES;
    for c in (0..whole).step_by(LANES) {
        work.run::<ROWS, LANES>(row, c);
    }
    for c in whole..channels {
        work.run::<ROWS, 1>(row, c);
    }
}
