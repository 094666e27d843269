//! Turning square planes.

use super::plane::Plane;

/// Side of the squares in which a plane is transposed: two of them stay in the nearest cache.
const BLOCK_PX: usize = 16;

/// `out[y][x] = in[x][y]`, in place.
#[inline(always)]
pub(super) fn transpose(planes: &mut [Plane], size_px: usize) {
    for plane in planes {
        for top in (0..size_px).step_by(BLOCK_PX) {
            for left in (top..size_px).step_by(BLOCK_PX) {
                for y in top..size_px.min(top + BLOCK_PX) {
                    for x in left.max(y + 1)..size_px.min(left + BLOCK_PX) {
                        plane.swap(y * size_px + x, x * size_px + y);
                    }
                }
            }
        }
    }
}

/// Turns planes about their centre, counterclockwise, as torchvision's `rotate` does. A value is bilinear between the four around
/// the place it comes from; beyond the border the plane is reflected with its edge repeated (`…b a | a b c…`).
///
/// The pixel at `(dx, dy)` from the centre, downwards, comes from `(c·dx − s·dy, s·dx + c·dy)` with `c` and `s` the cosine and sine
/// of the angle.
#[inline(always)]
pub(super) fn rotate(planes: &mut [Plane], unturned: &mut Plane, size_px: usize, degrees: f32) {
    let (sine, cosine) = f64::from(degrees).to_radians().sin_cos();
    let (sine, cosine) = (sine as f32, cosine as f32);
    let middle = 0.5 * size_px as f32 - 0.5;
    let side = size_px as i32;
    // A place is less than a side away from the border, so that one reflection leads back.
    let inside = |i: i32| {
        let i = if i < 0 { -1 - i } else { i };
        let i = if i >= side { 2 * side - 1 - i } else { i };
        i.clamp(0, side - 1) as usize
    };
    unturned.resize(size_px * size_px);
    for plane in planes {
        unturned.copy_from_slice(plane);
        let from = &unturned[..size_px * size_px];
        for (y, row) in plane.chunks_exact_mut(size_px).enumerate() {
            let dy = y as f32 - middle;
            for (x, value) in row.iter_mut().enumerate() {
                let dx = x as f32 - middle;
                let (across, down) = (cosine * dx - sine * dy + middle, sine * dx + cosine * dy + middle);
                let (left, top) = (across.floor(), down.floor());
                let (right_share, low_share) = (across - left, down - top);
                let (x0, y0) = (left as i32, top as i32);
                let columns = [inside(x0), inside(x0 + 1)];
                let rows = [inside(y0) * size_px, inside(y0 + 1) * size_px];
                let between = |row: usize| {
                    let (a, b) = (from[row + columns[0]], from[row + columns[1]]);
                    a + right_share * (b - a)
                };
                let (high, low) = (between(rows[0]), between(rows[1]));
                *value = high + low_share * (low - high);
            }
        }
    }
}
