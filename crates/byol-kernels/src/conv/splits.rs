//! How a sum along the positions is cut into tasks: the frame of both weight gradients.

use std::ops::Range;

use rayon::prelude::*;

use crate::buffer::arbitrary;
use crate::vector::LEFT_BLOCK;

/// Blocks of outputs per task; what a task prepares of the input is multiplied with all of them.
const TASK_BLOCKS: usize = 4;

/// Parts of the positions times groups of [`TASK_BLOCKS`] blocks of [`LEFT_BLOCK`] outputs. Every part sums in a buffer of its
/// own, `[blocks, block_len]`.
pub(super) struct Splits {
    parts: usize,
    chunks: usize,
    blocks: usize,
    block_len: usize,
}

impl Splits {
    /// For `chunks` chunks of positions, at least one, and blocks of `block_len` values: enough parts for every thread to have
    /// two tasks, as long as their buffers stay below 32 MiB and every part has a chunk.
    pub(super) fn new(chunks: usize, outputs: usize, block_len: usize) -> Self {
        const BUFFERS_LEN: usize = 8 * 1024 * 1024;
        let blocks = outputs.div_ceil(LEFT_BLOCK);
        let wanted = (2 * rayon::current_num_threads()).div_ceil(blocks.div_ceil(TASK_BLOCKS));
        let parts = wanted.min(BUFFERS_LEN / (blocks * block_len)).min(chunks).max(1);
        Self { parts, chunks, blocks, block_len }
    }

    /// Values in the buffer of one part.
    pub(super) fn buffer_len(&self) -> usize {
        self.blocks * self.block_len
    }

    /// Calls `sum(chunks, first_output, sums)` for every task; it overwrites `sums`, `[blocks of the task, block_len]`. Returns
    /// the buffers of all parts.
    pub(super) fn run(&self, sum: impl Fn(Range<usize>, usize, &mut [f32]) + Sync) -> Vec<f32> {
        let mut sums = arbitrary::<f32>(self.parts * self.buffer_len());
        let tasks: Vec<_> = sums
            .chunks_exact_mut(self.buffer_len())
            .enumerate()
            .flat_map(|(part, sums)| {
                let tasks = sums.chunks_mut(TASK_BLOCKS * self.block_len).enumerate();
                tasks.map(move |(task, sums)| (part, task * TASK_BLOCKS * LEFT_BLOCK, sums))
            })
            .collect();
        let bound = |part: usize| self.chunks * part / self.parts;
        tasks
            .into_par_iter()
            .for_each(|(part, first_output, sums)| sum(bound(part)..bound(part + 1), first_output, sums));
        sums
    }
}
