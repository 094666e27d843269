//! What one instruction set offers: its inner loops and how their operands are packed.

use super::block::{Columns, Rows};
#[cfg(target_arch = "x86_64")]
use crate::isa::Isa;

/// The inner loops of one instruction set and element type. All function pointers need the instruction set they belong to.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// For panels of so many outputs, widest first.
    pub(crate) rows: &'static [RowsKernel],
    /// Units of a panel that all rows of a group are multiplied with before the next; a multiple of every panel's width.
    pub(crate) chunk_len: usize,
    /// For panels of so many right columns, widest first.
    pub(crate) columns: &'static [ColumnsKernel],
    /// How the left operand of all `columns` is packed.
    pub(crate) left: LeftLayout,
}

impl Kernels {
    /// Keeps this thread's registers set up until the value is dropped; a kernel that finds them so starts faster.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn hold_registers(&self) -> Option<crate::amx::Hardware> {
        // Tests give every machine kernels with this layout, on emulated tiles.
        let has_tiles = self.left == LeftLayout::Tiles && Isa::Amx.is_available();
        // SAFETY: the machine has tile registers.
        #[expect(unsafe_code, reason = "configures tile registers")]
        has_tiles.then(|| unsafe { crate::amx::Tiles::configure() })
    }

    /// Nothing to keep here.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn hold_registers(&self) -> Option<()> {
        None
    }
}

/// Multiplies rows that lie anywhere in memory with a packed panel.
#[derive(Clone, Copy)]
pub(crate) struct RowsKernel {
    /// Outputs of a panel.
    pub(crate) width: usize,
    /// See [`Rows`].
    pub(crate) run: unsafe fn(&Rows),
}

/// Multiplies two packed operands along their first axis.
#[derive(Clone, Copy)]
pub(crate) struct ColumnsKernel {
    /// Columns of a panel of the right operand.
    pub(crate) width: usize,
    /// See [`Columns`].
    pub(crate) run: unsafe fn(&Columns),
}

/// Layout of one [`LEFT_BLOCK`] of the left operand of [`Columns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftLayout {
    /// `[units, LEFT_BLOCK]`.
    UnitsFirst,
    /// Tiles `[16 columns, 16 units]` of 1 KiB: `[units / 16, LEFT_BLOCK / 16]` of them; `units` is a multiple of 16.
    #[cfg(target_arch = "x86_64")]
    Tiles,
}

impl LeftLayout {
    /// The units of both operands are a multiple of this.
    pub(crate) fn units(self) -> usize {
        match self {
            Self::UnitsFirst => 1,
            #[cfg(target_arch = "x86_64")]
            Self::Tiles => 16,
        }
    }
}

/// 64 KiB of a panel: vectors find it in the second cache early enough, and sums are loaded and stored seldom.
pub(crate) const VECTOR_CHUNK_LEN: usize = 16 * 1024;

/// The panels `(first column, kernel)` that cover `columns`: the widest kernel as often as it fits, then the narrowest
/// that covers the rest.
pub(crate) fn panels<K: Copy>(kernels: &[K], width: impl Fn(&K) -> usize, columns: usize) -> Vec<(usize, K)> {
    let mut panels = Vec::new();
    let mut first = 0;
    while first < columns {
        let rest = columns - first;
        let fitting = kernels.iter().rev().find(|kernel| width(kernel) >= rest);
        let kernel = *fitting.unwrap_or(&kernels[0]);
        panels.push((first, kernel));
        first += width(&kernel);
    }
    panels
}
