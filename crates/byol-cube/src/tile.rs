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
    /// What multiplies.
    pub units: Units,
}

/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Units {
    /// Every unit by itself.
    OneByOne,
    /// Matrix units as every vendor has them: fragments of 16×16 whose layout is the device's secret.
    Fragments,
    /// Matrix units as NVIDIA documents them: registers of 16×8, loaded eight values at a time (`ldmatrix`), twice as fast.
    Registers,
}

/// Units (threads) of a cube of kernels without products.
pub(crate) const UNITS: usize = 256;

impl Tile {
    /// The tile for a product with so many columns.
    pub(crate) fn choose(client: &Client, kind: Kind, columns: usize) -> Self {
        let units = units(client, kind);
        if units == Units::OneByOne {
            return Self { rows: 64, columns: 64, depth: 16, planes: [1, 8], units };
        }
        match columns {
            ..=64 => Self { rows: 128, columns: 64, depth: 32, planes: [4, 2], units },
            _ => Self { rows: 128, columns: 128, depth: 32, planes: [2, 4], units },
        }
    }

    /// Whether rows of shared memory with the depth inside are swizzled.
    pub(crate) fn swizzles(&self) -> bool {
        assert!(self.units != Units::Registers || self.depth == 32, "rows of 32 values are swizzled: {self:?}");
        self.units == Units::Registers
    }

    /// Units (threads) of its cube.
    pub(crate) fn units(&self) -> usize {
        self.planes[0] * self.planes[1] * 32
    }

    /// Fragments of 16 that a plane has along rows (0) or columns (1).
    pub(crate) fn fragments(&self, axis: usize) -> usize {
        [self.rows, self.columns][axis] / self.planes[axis] / 16
    }

    pub(crate) fn dim(&self) -> CubeDim {
        CubeDim::new_2d(32, (self.planes[0] * self.planes[1]) as u32)
    }
}

/// The fastest that multiplies `kind` with sums of `f32`, by planes of 32 units.
pub(crate) fn units(client: &Client, kind: Kind) -> Units {
    let hardware = &client.properties().hardware;
    let shape = |n: u32| MmaConfig {
        a_type: kind.elem(),
        b_type: kind.elem(),
        cd_type: ElemType::Float(FloatKind::F32),
        m: 16,
        n,
        k: 16,
    };
    let matmul = &client.features().matmul;
    if hardware.plane_size_min != 32 || hardware.plane_size_max != 32 {
        Units::OneByOne
    } else if matmul.mma.contains(&shape(8)) && matmul.ldmatrix.contains(&kind.elem()) {
        Units::Registers
    } else if matmul.cmma.contains(&shape(16)) {
        Units::Fragments
    } else {
        Units::OneByOne
    }
}

/// Whether the device multiplies matrices of `kind` by units of their own.
pub fn has_matrix_units(client: &Client, kind: Kind) -> bool {
    units(client, kind) != Units::OneByOne
}

/// `total` cubes in a grid whose sides no device finds too long.
pub(crate) fn grid(total: usize, layers: usize) -> CubeCount {
    let x = total.min(32768);
    CubeCount::Static(x as u32, total.div_ceil(x) as u32, layers as u32)
}
