//! The linear maps of F(4×4, 3×3), one axis at a time, on the channels of a vector at once.
//!
//! Interpolation points are 0, ±√½, ±√2 and ∞. Their squares are ½ and 2, so that even and odd parts are shared; the error
//! in `f32` is half that of the usual points 0, ±1, ±2 and about twice that of the direct sum.

#![expect(clippy::needless_range_loop, reason = "one index runs along several arrays")]

use crate::lanes::{LANES, Lanes};

/// Side of a tile of outputs.
pub(super) const OUT: usize = 4;
/// Side of the kernel.
pub(super) const KERNEL: usize = 3;
/// Side of a tile of inputs, and number of interpolation points.
pub(super) const POINTS: usize = OUT + KERNEL - 1;
/// Products per channel of a tile.
pub(super) const PRODUCTS: usize = POINTS * POINTS;

const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
const B: f32 = std::f32::consts::SQRT_2;

/// Room for a square of which one axis is mapped.
pub(super) type Half = [[Lanes; POINTS]; POINTS];

/// Nothing yet.
pub(super) const EMPTY: Half = [[[0.0; LANES]; POINTS]; POINTS];

/// Applies `map` of one axis to the columns and then to the rows of a square that `load(row, column)` reads and
/// `store(row, column, values)` takes. Nothing but `half` is held in memory on the way.
#[inline(always)]
pub(super) fn both_axes<const FROM: usize, const TO: usize>(
    half: &mut Half,
    load: impl Fn(usize, usize) -> Lanes,
    map: impl Fn([Lanes; FROM]) -> [Lanes; TO],
    mut store: impl FnMut(usize, usize, Lanes),
) {
    for column in 0..FROM {
        let mut line = [[0.0; LANES]; FROM];
        for row in 0..FROM {
            line[row] = load(row, column);
        }
        let mapped = map(line);
        for row in 0..TO {
            half[row][column] = mapped[row];
        }
    }
    for row in 0..TO {
        let mut line = [[0.0; LANES]; FROM];
        line.copy_from_slice(&half[row][..FROM]);
        let mapped = map(line);
        for column in 0..TO {
            store(row, column, mapped[column]);
        }
    }
}

/// `Bᵀ`: values of the input polynomial.
#[inline(always)]
pub(super) fn input(d: [Lanes; POINTS]) -> [Lanes; POINTS] {
    let mut t = [[0.0; LANES]; POINTS];
    for i in 0..LANES {
        let even_a = d[4][i] - 2.0 * d[2][i];
        let odd_a = A * (d[3][i] - 2.0 * d[1][i]);
        let even_b = d[4][i] - 0.5 * d[2][i];
        let odd_b = B * (d[3][i] - 0.5 * d[1][i]);
        t[0][i] = d[0][i] + d[4][i] - 2.5 * d[2][i];
        t[1][i] = even_a + odd_a;
        t[2][i] = even_a - odd_a;
        t[3][i] = even_b + odd_b;
        t[4][i] = even_b - odd_b;
        t[5][i] = d[1][i] + d[5][i] - 2.5 * d[3][i];
    }
    t
}

/// `G`: values of the kernel polynomial, divided by what the interpolation needs.
#[inline(always)]
pub(super) fn kernel(g: [Lanes; KERNEL]) -> [Lanes; POINTS] {
    let mut t = [[0.0; LANES]; POINTS];
    for i in 0..LANES {
        let even_a = (g[0][i] + 0.5 * g[2][i]) * (-1.0 / 1.5);
        let odd_a = g[1][i] * (-A / 1.5);
        let even_b = (g[0][i] + 2.0 * g[2][i]) * (1.0 / 6.0);
        let odd_b = g[1][i] * (B / 6.0);
        t[0][i] = g[0][i];
        t[1][i] = even_a + odd_a;
        t[2][i] = even_a - odd_a;
        t[3][i] = even_b + odd_b;
        t[4][i] = even_b - odd_b;
        t[5][i] = g[2][i];
    }
    t
}

/// `Aᵀ`: outputs from the products.
#[inline(always)]
pub(super) fn output(m: [Lanes; POINTS]) -> [Lanes; OUT] {
    let mut y = [[0.0; LANES]; OUT];
    for i in 0..LANES {
        let (even_a, odd_a) = (m[1][i] + m[2][i], A * (m[1][i] - m[2][i]));
        let (even_b, odd_b) = (m[3][i] + m[4][i], B * (m[3][i] - m[4][i]));
        y[0][i] = m[0][i] + even_a + even_b;
        y[1][i] = odd_a + odd_b;
        y[2][i] = 0.5 * even_a + 2.0 * even_b;
        y[3][i] = 0.5 * odd_a + 2.0 * odd_b + m[5][i];
    }
    y
}

/// `A`, the transpose of [`output`]: gradients of the products from those of the outputs.
#[inline(always)]
pub(super) fn output_gradient(y: [Lanes; OUT]) -> [Lanes; POINTS] {
    let mut m = [[0.0; LANES]; POINTS];
    for i in 0..LANES {
        let (even_a, odd_a) = (y[0][i] + 0.5 * y[2][i], A * (y[1][i] + 0.5 * y[3][i]));
        let (even_b, odd_b) = (y[0][i] + 2.0 * y[2][i], B * (y[1][i] + 2.0 * y[3][i]));
        m[0][i] = y[0][i];
        m[1][i] = even_a + odd_a;
        m[2][i] = even_a - odd_a;
        m[3][i] = even_b + odd_b;
        m[4][i] = even_b - odd_b;
        m[5][i] = y[3][i];
    }
    m
}

/// `Gᵀ`, the transpose of [`kernel`]: the gradient of the kernel from those of its values.
#[inline(always)]
pub(super) fn kernel_gradient(u: [Lanes; POINTS]) -> [Lanes; KERNEL] {
    let mut g = [[0.0; LANES]; KERNEL];
    for i in 0..LANES {
        let (even_a, odd_a) = ((u[1][i] + u[2][i]) * (-1.0 / 1.5), (u[1][i] - u[2][i]) * (-A / 1.5));
        let (even_b, odd_b) = ((u[3][i] + u[4][i]) * (1.0 / 6.0), (u[3][i] - u[4][i]) * (B / 6.0));
        g[0][i] = u[0][i] + even_a + even_b;
        g[1][i] = odd_a + odd_b;
        g[2][i] = 0.5 * even_a + 2.0 * even_b + u[5][i];
    }
    g
}
