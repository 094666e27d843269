//! What a cube sums: products of two tiles in shared memory, by matrix units or one by one.
//!
//! A tile is stored by rows of the output with the depth inside (`depth_inside`), or by depth with the rows inside. Offsets and strides
//! count vectors of `V` values.

#![expect(unsafe_code, reason = "a fragment is declared before it is loaded")]

use cubecl::cmma::{self, Matrix, MatrixIdent, MatrixLayout};
use cubecl::prelude::*;

use crate::tile::{Tile, Units};

/// The sums of the matrix units, all 0: `[rows, columns]` of the plane in fragments of 16×16.
#[cube]
pub(super) fn fragments(#[comptime] tile: Tile) -> Sequence<Matrix<f32>> {
    let mut sums = Sequence::<Matrix<f32>>::new();
    if comptime!(tile.units == Units::Fragments) {
        #[unroll]
        for _ in 0..comptime!(tile.fragments(0) * tile.fragments(1)) {
            sums.push(Matrix::<f32>::from_value(
                MatrixIdent::Accumulator,
                16usize,
                16usize,
                16usize,
                MatrixLayout::Undefined,
                0.0f32,
            ));
        }
    }
    sums
}

/// Two sums side by side.
type Pair = Vector<f32, Const<2>>;

/// The sums of [`Units::Registers`], all 0, in pieces of 16×8: unit `lane` has two neighbours of row `lane / 4` and two of row `lane / 4 + 8`,
/// from column `lane % 4 · 2` on.
#[cube]
pub(super) fn registers(#[comptime] tile: Tile) -> Sequence<Array<Pair>> {
    let mut sums = Sequence::<Array<Pair>>::new();
    if comptime!(tile.units == Units::Registers) {
        #[unroll]
        for _ in 0..comptime!(tile.fragments(0) * tile.fragments(1) * 2) {
            let mut piece = Array::<Pair>::new(2usize);
            piece[0] = Pair::new(0.0f32);
            piece[1] = Pair::new(0.0f32);
            sums.push(piece);
        }
    }
    sums
}

/// Where vector `place` of a row of 32 values lies: its four pieces of 16 bytes change places with the row, so that eight rows of one
/// piece, and two rows of all, lie in different banks.
#[cube]
pub(super) fn swizzled<V: Size>(place: u32, row: u32) -> u32 {
    let v = V::value();
    let vectors = comptime!((8 / v) as u32);
    (place / vectors ^ row / 2 % 4) * vectors + place % vectors
}

/// `sums += lhs · rhs` by [`Units::Registers`]. With the depth inside, rows are [`swizzled`].
#[cube]
pub(super) fn add_by_registers<F: Float, V: Size, U: Size>(
    lhs: &[Vector<F, U>],
    rhs: &[Vector<F, V>],
    lhs_at: u32,
    rhs_at: u32,
    sums: &mut Sequence<Array<Pair>>,
    #[comptime] lhs_stride: usize,
    #[comptime] rhs_stride: usize,
    #[comptime] depth_inside: bool,
    #[comptime] tile: Tile,
) {
    let v = V::value();
    let u = U::value();
    let lane = UNIT_POS_X;
    let (row, column) = plane_origin(tile);
    let product = cmma::MmaDefinition::<F, F, f32>::new(16usize, 8usize, 16usize);
    #[unroll]
    for k in 0..comptime!(tile.depth / 16) {
        let mut lhs_registers = Sequence::<Array<Vector<F, Const<2>>>>::new();
        #[unroll]
        for i in 0..comptime!(tile.fragments(0)) {
            let row = row + comptime!((i * 16) as u32);
            let at = if comptime!(depth_inside) {
                let place = lane / 16 * comptime!((8 / u) as u32) + comptime!((k * 16 / u) as u32);
                (row + lane % 16) * comptime!(lhs_stride as u32) + swizzled::<U>(place, lane)
            } else {
                (lane % 8 + lane / 16 * 8 + comptime!((k * 16) as u32)) * comptime!(lhs_stride as u32)
                    + (row + lane / 8 % 2 * 8) / comptime!(u as u32)
            };
            let at = (lhs_at + at) as usize;
            lhs_registers.push(product.load_matrix::<Vector<F, U>, Const<2>>(
                &lhs[at..lhs.len()],
                MatrixIdent::A,
                4usize,
                comptime!(!depth_inside),
            ));
        }
        #[unroll]
        for j in 0..comptime!(tile.fragments(1)) {
            let column = column + comptime!((j * 16) as u32);
            let at = if comptime!(depth_inside) {
                let place = lane / 8 % 2 * comptime!((8 / v) as u32) + comptime!((k * 16 / v) as u32);
                (column + lane / 16 * 8 + lane % 8) * comptime!(rhs_stride as u32) + swizzled::<V>(place, lane)
            } else {
                (lane % 16 + comptime!((k * 16) as u32)) * comptime!(rhs_stride as u32)
                    + (column + lane / 16 * 8) / comptime!(v as u32)
            };
            let at = (rhs_at + at) as usize;
            let both = product.load_matrix::<Vector<F, V>, Const<2>>(
                &rhs[at..rhs.len()],
                MatrixIdent::B,
                4usize,
                comptime!(!depth_inside),
            );
            #[unroll]
            for half in 0..2usize {
                let mut rhs_registers = Array::<Vector<F, Const<2>>>::new(2usize);
                rhs_registers[0] = both[comptime!(half * 2)];
                rhs_registers[1] = both[comptime!(half * 2 + 1)];
                #[unroll]
                for i in 0..comptime!(tile.fragments(0)) {
                    let piece = comptime!((i * tile.fragments(1) + j) * 2 + half);
                    product.execute_inplace(lhs_registers.index(i), &rhs_registers, sums.index_mut(piece));
                }
            }
        }
    }
}

/// The first row and column of this plane's part of the tile.
#[cube]
pub(super) fn plane_origin(#[comptime] tile: Tile) -> (u32, u32) {
    let planes_across = comptime!(tile.planes[1] as u32);
    let row = UNIT_POS_Y / planes_across * comptime!((tile.rows / tile.planes[0]) as u32);
    let column = UNIT_POS_Y % planes_across * comptime!((tile.columns / tile.planes[1]) as u32);
    (row, column)
}

/// `sums += lhs · rhs` by matrix units.
#[cube]
pub(super) fn add_by_matrix_units<F: Float, V: Size, U: Size>(
    lhs: &[Vector<F, U>],
    rhs: &[Vector<F, V>],
    lhs_at: u32,
    rhs_at: u32,
    sums: &Sequence<Matrix<f32>>,
    #[comptime] lhs_stride: usize,
    #[comptime] rhs_stride: usize,
    #[comptime] depth_inside: bool,
    #[comptime] tile: Tile,
) {
    let v = V::value();
    let u = U::value();
    let (row, column) = plane_origin(tile);
    let [lhs_layout, rhs_layout] = comptime!(if depth_inside {
        [MatrixLayout::RowMajor, MatrixLayout::ColMajor]
    } else {
        [MatrixLayout::ColMajor, MatrixLayout::RowMajor]
    });
    #[unroll]
    for k in 0..comptime!(tile.depth / 16) {
        let mut lhs_fragments = Sequence::<Matrix<F>>::new();
        #[unroll]
        for i in 0..comptime!(tile.fragments(0)) {
            let row = row + comptime!((i * 16) as u32);
            let at = if comptime!(depth_inside) {
                row * comptime!(lhs_stride as u32) + comptime!((k * 16 / u) as u32)
            } else {
                row / comptime!(u as u32) + comptime!((k * 16 * lhs_stride) as u32)
            };
            let at = (lhs_at + at) as usize;
            // SAFETY: loaded in the next line.
            let mut fragment =
                unsafe { Matrix::<F>::uninitialized(MatrixIdent::A, 16usize, 16usize, 16usize, lhs_layout) };
            cmma::load(&mut fragment, &lhs[at..lhs.len()], comptime!((lhs_stride * u) as u32));
            lhs_fragments.push(fragment);
        }
        #[unroll]
        for j in 0..comptime!(tile.fragments(1)) {
            let column = column + comptime!((j * 16) as u32);
            let at = if comptime!(depth_inside) {
                column * comptime!(rhs_stride as u32) + comptime!((k * 16 / v) as u32)
            } else {
                column / comptime!(v as u32) + comptime!((k * 16 * rhs_stride) as u32)
            };
            let at = (rhs_at + at) as usize;
            // SAFETY: loaded in the next line.
            let mut fragment =
                unsafe { Matrix::<F>::uninitialized(MatrixIdent::B, 16usize, 16usize, 16usize, rhs_layout) };
            cmma::load(&mut fragment, &rhs[at..rhs.len()], comptime!((rhs_stride * v) as u32));
            #[unroll]
            for i in 0..comptime!(tile.fragments(0)) {
                let sum = sums.index(comptime!(i * tile.fragments(1) + j));
                cmma::execute(lhs_fragments.index(i), &fragment, sum, sum);
            }
        }
    }
}

/// Row or column `index` of the 4 that unit `lane` of 16 sums without matrix units.
#[cube]
pub(super) fn own(
    lane: u32,
    #[comptime] index: usize,
    #[comptime] vector: usize,
    #[comptime] depth_inside: bool,
) -> u32 {
    if comptime!(depth_inside) {
        lane + comptime!((16 * index) as u32)
    } else {
        (lane + comptime!((16 * (index / vector)) as u32)) * comptime!(vector as u32)
            + comptime!((index % vector) as u32)
    }
}

/// `sums += lhs · rhs` one by one: 4×4 for each unit.
#[cube]
pub(super) fn add_one_by_one<F: Float, V: Size, U: Size>(
    lhs: &[Vector<F, U>],
    rhs: &[Vector<F, V>],
    lhs_at: u32,
    rhs_at: u32,
    sums: &mut Array<f32>,
    #[comptime] lhs_stride: usize,
    #[comptime] rhs_stride: usize,
    #[comptime] depth_inside: bool,
    #[comptime] tile: Tile,
) {
    let v = V::value();
    let u = U::value();
    let row = UNIT_POS / 16;
    let column = UNIT_POS % 16;
    let mut a = Array::<f32>::new(4usize);
    let mut b = Array::<f32>::new(4usize);
    if comptime!(depth_inside) {
        for k in 0..comptime!((tile.depth / v) as u32) {
            #[unroll]
            for e in 0..v {
                #[unroll]
                for i in 0..4usize {
                    let at = own(row, i, u, true) * comptime!(lhs_stride as u32) + k;
                    a[i] = f32::cast_from(lhs[(lhs_at + at) as usize].extract(e));
                    let at = own(column, i, v, true) * comptime!(rhs_stride as u32) + k;
                    b[i] = f32::cast_from(rhs[(rhs_at + at) as usize].extract(e));
                }
                add_outer(&a, &b, sums);
            }
        }
    } else {
        for k in 0..comptime!(tile.depth as u32) {
            #[unroll]
            for i in 0..4usize {
                let at = own(row, i, u, false) / comptime!(u as u32) + k * comptime!(lhs_stride as u32);
                a[i] = f32::cast_from(lhs[(lhs_at + at) as usize].extract(comptime!(i % u)));
                let at = own(column, i, v, false) / comptime!(v as u32) + k * comptime!(rhs_stride as u32);
                b[i] = f32::cast_from(rhs[(rhs_at + at) as usize].extract(comptime!(i % v)));
            }
            add_outer(&a, &b, sums);
        }
    }
}

#[cube]
fn add_outer(a: &Array<f32>, b: &Array<f32>, sums: &mut Array<f32>) {
    #[unroll]
    for i in 0..4usize {
        #[unroll]
        for j in 0..4usize {
            sums[i * 4 + j] += a[i] * b[j];
        }
    }
}
