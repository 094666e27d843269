//! How a sum along the positions is cut into tasks: the frame of both weight gradients.

use std::ops::Range;

use rayon::prelude::*;

use crate::vector::LEFT_BLOCK;

/// Blocks of outputs per task, at most; what a task prepares of the input is multiplied with all of them.
const MAX_TASK_BLOCKS: usize = 4;

/// Parts of the positions times groups of blocks of [`LEFT_BLOCK`] outputs. Every part sums in a buffer of its own,
/// `[blocks, block_len]`.
pub(super) struct Splits {
    parts: usize,
    chunks: usize,
    blocks: usize,
    task_blocks: usize,
    block_len: usize,
}

impl Splits {
    /// For `chunks` chunks of positions, at least one, and blocks of `block_len` values: enough parts for every thread to have
    /// two tasks, as long as their buffers stay below 32 MiB and every part has a chunk; else smaller groups of blocks.
    pub(super) fn new(chunks: usize, outputs: usize, block_len: usize) -> Self {
        const BUFFERS_LEN: usize = 8 * 1024 * 1024;
        let blocks = outputs.div_ceil(LEFT_BLOCK);
        let tasks = 2 * rayon::current_num_threads();
        let wanted = tasks.div_ceil(blocks.div_ceil(MAX_TASK_BLOCKS));
        let parts = wanted.min(BUFFERS_LEN / (blocks * block_len)).min(chunks).max(1);
        let task_blocks = (blocks * parts / tasks).clamp(1, MAX_TASK_BLOCKS);
        Self { parts, chunks, blocks, task_blocks, block_len }
    }

    /// Values in the buffer of one part.
    pub(super) fn buffer_len(&self) -> usize {
        self.blocks * self.block_len
    }

    /// Values in the buffers of all parts.
    pub(super) fn len(&self) -> usize {
        self.parts * self.buffer_len()
    }

    /// Calls `sum(chunks, first_output, sums)` for every task; it overwrites `sums`, `[blocks of the task, block_len]`, a piece of
    /// `buffers`, which are those of all parts.
    pub(super) fn run(&self, buffers: &mut [f32], sum: impl Fn(Range<usize>, usize, &mut [f32]) + Sync) {
        assert_eq!(buffers.len(), self.len(), "length of the buffers");
        let tasks: Vec<_> = buffers
            .chunks_exact_mut(self.buffer_len())
            .enumerate()
            .flat_map(|(part, sums)| {
                let tasks = sums.chunks_mut(self.task_blocks * self.block_len).enumerate();
                tasks.map(move |(task, sums)| (part, task * self.task_blocks * LEFT_BLOCK, sums))
            })
            .collect();
        let bound = |part: usize| self.chunks * part / self.parts;
        tasks
            .into_par_iter()
            .for_each(|(part, first_output, sums)| sum(bound(part)..bound(part + 1), first_output, sums));
    }
}
