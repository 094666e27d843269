//! What happens to the sums of a product before they are written: its epilogues.

use crate::element::Element;
use crate::lanes::load;

/// What happens to the sums. Always inlined into code compiled for the instruction set.
pub(super) trait Finish<D: Element>: Sync {
    /// Called once before all others, with the number of groups to come; each has at most [`GROUP_ROWS`] positions.
    fn begin(&mut self, _groups: usize) {}

    /// An array like the destination that `values` reads at the same places.
    fn also_reads(&self) -> Option<&[D]> {
        None
    }

    /// Sees the sums `[positions, width]` of a group, of the outputs from `first_output` on.
    fn observe(&self, _group: usize, _first_output: usize, _width: usize, _sums: &[f32]) {}

    /// What is written for the sums of the outputs from `output` on; `y` is what the destination holds, `at` the place there.
    fn values<const W: usize>(&self, sums: [f32; W], y: impl Fn() -> [f32; W], output: usize, at: usize) -> [f32; W];
}

/// Writes the sums as they are.
pub(super) struct Store;

impl<D: Element> Finish<D> for Store {
    #[inline(always)]
    fn values<const W: usize>(&self, sums: [f32; W], _: impl Fn() -> [f32; W], _: usize, _: usize) -> [f32; W] {
        sums
    }
}

/// Adds the sums to what is there.
pub(super) struct Add;

impl<D: Element> Finish<D> for Add {
    #[inline(always)]
    fn values<const W: usize>(&self, mut sums: [f32; W], y: impl Fn() -> [f32; W], _: usize, _: usize) -> [f32; W] {
        let y = y();
        for i in 0..W {
            sums[i] += y[i];
        }
        sums
    }
}

/// Adds a bias of each output, an optional residual, and cuts below zero if asked.
pub(super) struct Affine<'a, D> {
    pub(super) bias: &'a [f32],
    pub(super) residual: Option<&'a [D]>,
    pub(super) relu: bool,
}

impl<D: Element> Finish<D> for Affine<'_, D> {
    fn also_reads(&self) -> Option<&[D]> {
        self.residual
    }

    #[inline(always)]
    fn values<const W: usize>(
        &self,
        mut sums: [f32; W],
        _: impl Fn() -> [f32; W],
        output: usize,
        at: usize,
    ) -> [f32; W] {
        let floor = if self.relu { 0.0 } else { f32::NEG_INFINITY };
        let bias = load::<f32, W>(self.bias, output);
        let residual = self.residual.map_or([0.0; W], |residual| load(residual, at));
        for i in 0..W {
            let value = sums[i] + bias[i] + residual[i];
            sums[i] = if value < floor { floor } else { value };
        }
        sums
    }
}
