//! How a product is cut: which part of the output one cube (workgroup) computes, and with what.

use cubecl::client::Client;
use cubecl::features::MmaConfig;
use cubecl::ir::ElemType;
use cubecl::ir::FloatKind;
use cubecl::prelude::{CubeCount, CubeDim};

use crate::array::Kind;

/// Rows × columns of the output per cube, and how deep one step of the sum is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Terms of the sum in one step.
    pub depth: usize,
    /// Groups of rows and of columns, one for each plane (warp); with matrix units only.
    pub planes: [usize; 2],
    /// Products of 16×16×16 by the device's matrix units, else one by one.
    pub matrix_units: bool,
}

/// Units (threads) of a cube, with and without matrix units.
pub(crate) const UNITS: usize = 256;

impl Tile {
    /// A tile for `columns` columns of values of `kind` in vectors of `vector`.
    pub(crate) fn choose(client: &Client, kind: Kind, columns: usize) -> Self {
        if has_matrix_units(client, kind) {
            let columns = if columns <= 64 { 64 } else { 128 };
            let planes = if columns == 64 { [4, 2] } else { [2, 4] };
            Self { rows: 128, columns, depth: 32, planes, matrix_units: true }
        } else {
            Self { rows: 64, columns: 64, depth: 16, planes: [1, 1], matrix_units: false }
        }
    }

    /// Fragments of 16 that a plane has along rows (0) or columns (1).
    pub(crate) fn fragments(&self, axis: usize) -> usize {
        [self.rows, self.columns][axis] / self.planes[axis] / 16
    }

    pub(crate) fn dim(&self) -> CubeDim {
        CubeDim::new_2d(32, (UNITS / 32) as u32)
    }
}

/// Whether the device multiplies matrices of `kind`, summing in `f32`, by planes of 32 units.
pub fn has_matrix_units(client: &Client, kind: Kind) -> bool {
    let hardware = &client.properties().hardware;
    let wanted = MmaConfig {
        a_type: kind.elem(),
        b_type: kind.elem(),
        cd_type: ElemType::Float(FloatKind::F32),
        m: 16,
        n: 16,
        k: 16,
    };
    let planes_of_32 = hardware.plane_size_min == 32 && hardware.plane_size_max == 32;
    planes_of_32 && client.features().matmul.cmma.contains(&wanted)
}

/// `total` cubes in a grid whose sides no device finds too long.
pub(crate) fn grid(total: usize, layers: usize) -> CubeCount {
    let x = total.min(32768);
    CubeCount::Static(x as u32, total.div_ceil(x) as u32, layers as u32)
}
