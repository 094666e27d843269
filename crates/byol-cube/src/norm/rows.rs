//! How the rows of a pass are shared among units.

use cubecl::prelude::*;

use crate::tile::UNITS;

/// How rows are shared: a cube has a part of them and some neighbouring vectors of channels, and each of its units one of these vectors in
/// every `down`-th row, so that what belongs to a channel is loaded once.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) rows: usize,
    pub(super) parts: usize,
    pub(super) rows_per_part: usize,
    pub(super) across: usize,
    pub(super) blocks: usize,
    pub(super) channel_vectors: usize,
}

impl Rows {
    pub(super) fn cut(rows: usize, channel_vectors: usize, most_parts: usize) -> Self {
        let across = channel_vectors.min(UNITS);
        let rows_per_part = rows.div_ceil(rows.div_ceil(UNITS / across).min(most_parts));
        let blocks = channel_vectors.div_ceil(across);
        Self { rows, parts: rows.div_ceil(rows_per_part), rows_per_part, across, blocks, channel_vectors }
    }

    pub(super) fn cubes(&self) -> CubeCount {
        CubeCount::Static(self.parts as u32, self.blocks as u32, 1)
    }

    pub(super) fn launch(&self) -> RowsOfUnitsLaunch {
        let &Self { rows, rows_per_part, across, channel_vectors, .. } = self;
        RowsOfUnitsLaunch::new(rows as u32, rows_per_part as u32, across as u32, channel_vectors as u32)
    }
}

/// [`Rows`] on the device.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub(super) struct RowsOfUnits {
    pub(super) rows: u32,
    pub(super) rows_per_part: u32,
    pub(super) across: u32,
    pub(super) channel_vectors: u32,
}

/// What is this unit's of [`RowsOfUnits`]: rows from `first` in steps of `down` before `end`, in vector `channel`; none if not `works`.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Own {
    pub(super) first: u32,
    pub(super) down: u32,
    pub(super) end: u32,
    pub(super) channel: u32,
    pub(super) works: bool,
}

#[cube]
pub(super) fn own_rows(rows: &RowsOfUnits) -> Own {
    let down = comptime!(UNITS as u32) / rows.across;
    let row = UNIT_POS / rows.across;
    let channel = CUBE_POS_Y * rows.across + UNIT_POS % rows.across;
    let first = CUBE_POS_X * rows.rows_per_part;
    Own {
        first: first + row,
        down,
        end: (first + rows.rows_per_part).min(rows.rows),
        channel,
        works: channel < rows.channel_vectors && row < down,
    }
}
