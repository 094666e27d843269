//! Pooling of pictures `[images, height, width, channels]`.

use byol_kernels::MaxPool;
use cubecl::prelude::*;

use crate::array::{Array, Kind};
use crate::tile::{UNITS, grid};

/// The windows of a pooling; channels in vectors.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
struct Windows {
    channels: u32,
    height: u32,
    width: u32,
    out_height: u32,
    out_width: u32,
    before_y: u32,
    before_x: u32,
}

/// The numbers of the windows, and how many channels a vector holds.
fn windows(pool: &MaxPool, kind: Kind) -> (WindowsLaunch, usize) {
    let vector = kind.vector(pool.channels);
    let [before_y, before_x] =
        [pool.height, pool.width].map(|size| pool.padding.around(size, pool.kernel, pool.stride).0 as u32);
    let windows = WindowsLaunch::new(
        (pool.channels / vector) as u32,
        pool.height as u32,
        pool.width as u32,
        pool.output_height() as u32,
        pool.output_width() as u32,
        before_y,
        before_x,
    );
    (windows, vector)
}

/// The maximum of each window.
pub fn max_pool(x: &Array, pool: &MaxPool) -> Array {
    assert_eq!(x.len, pool.input_len(), "the input of {pool:?}");
    let out = Array::empty(&x.client, pool.output_len(), x.kind);
    let (windows, vector) = windows(pool, x.kind);
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        max_of_windows::launch_unchecked(
            &x.client,
            grid((out.len / vector).div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            vector,
            x.arg(),
            out.arg(),
            windows,
            pool.kernel as u32,
            pool.stride as u32,
            x.kind.elem(),
        );
    }
    out
}

/// The gradient of [`max_pool`]: all of it to the first maximum of each window.
pub fn max_pool_gradient(x: &Array, out: &Array, dy: &Array, pool: &MaxPool) -> Array {
    assert_eq!((x.len, dy.len), (pool.input_len(), pool.output_len()), "input and gradient of {pool:?}");
    let dx = Array::empty(&x.client, x.len, x.kind);
    let (windows, vector) = windows(pool, x.kind);
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        max_gradient::launch_unchecked(
            &x.client,
            grid((x.len / vector).div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            vector,
            x.arg(),
            out.arg(),
            dy.arg(),
            dx.arg(),
            windows,
            pool.kernel as u32,
            pool.stride as u32,
            x.kind.elem(),
        );
    }
    dx
}

/// Mean over all positions of a picture, `f32`: `[images, positions, channels]` → `[images, channels]`.
pub fn average_pool(x: &Array, positions: usize, channels: usize) -> Array {
    let out = Array::empty(&x.client, x.len / positions, Kind::F32);
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        mean_of_positions::launch_unchecked(
            &x.client,
            grid(out.len.div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            x.arg(),
            out.arg(),
            positions as u32,
            channels as u32,
            x.kind.elem(),
        );
    }
    out
}

/// The gradient of [`average_pool`], of type `kind`.
pub fn average_pool_gradient(dy: &Array, positions: usize, channels: usize, kind: Kind) -> Array {
    let dx = Array::empty(&dy.client, dy.len * positions, kind);
    // SAFETY: the kernel checks its index.
    #[expect(unsafe_code, reason = "bounds are checked by shape, not for every access")]
    unsafe {
        spread_over_positions::launch_unchecked(
            &dy.client,
            grid(dx.len.div_ceil(UNITS), 1),
            CubeDim::new_1d(UNITS as u32),
            dy.arg(),
            dx.arg(),
            positions as u32,
            channels as u32,
            kind.elem(),
        );
    }
    dx
}

#[cube(launch_unchecked)]
fn max_of_windows<F: Float, V: Size>(
    x: &[Vector<F, V>],
    out: &mut [Vector<F, V>],
    windows: &Windows,
    #[comptime] kernel: u32,
    #[comptime] step: u32,
    #[define(F)] _type: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= out.len() {
        terminate!();
    }
    let channel = at as u32 % windows.channels;
    let position = at as u32 / windows.channels;
    let left = position % windows.out_width * step;
    let top = position / windows.out_width % windows.out_height * step;
    let first_row = position / windows.out_width / windows.out_height * windows.height;
    let mut largest = Vector::<F, V>::min_value();
    #[unroll]
    for i in 0..kernel {
        #[unroll]
        for j in 0..kernel {
            // Wraps to a large number outside above and to the left.
            let y = top + i - windows.before_y;
            let column = left + j - windows.before_x;
            if y < windows.height && column < windows.width {
                let from = ((first_row + y) * windows.width + column) * windows.channels + channel;
                largest = largest.max(x[from as usize]);
            }
        }
    }
    out[at] = largest;
}

/// A position takes the gradient of every window around it whose maximum it is, if no position before it in the window is as large.
#[cube(launch_unchecked)]
fn max_gradient<F: Float, V: Size>(
    x: &[Vector<F, V>],
    out: &[Vector<F, V>],
    dy: &[Vector<F, V>],
    dx: &mut [Vector<F, V>],
    windows: &Windows,
    #[comptime] kernel: u32,
    #[comptime] step: u32,
    #[define(F)] _type: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= dx.len() {
        terminate!();
    }
    let channel = at as u32 % windows.channels;
    let position = at as u32 / windows.channels;
    let image = position / windows.width / windows.height;
    let own = x[at];
    let mut sum = Vector::<f32, V>::new(0.0f32);
    // Windows whose row i and column j is this position.
    #[unroll]
    for i in 0..kernel {
        #[unroll]
        for j in 0..kernel {
            let top = position / windows.width % windows.height + windows.before_y - i;
            let left = position % windows.width + windows.before_x - j;
            let window_y = top / step;
            let window_x = left / step;
            let is_window = top % step == 0 && left % step == 0;
            if is_window && window_y < windows.out_height && window_x < windows.out_width {
                let from = (image * windows.out_height + window_y) * windows.out_width + window_x;
                let from = (from * windows.channels + channel) as usize;
                let largest = out[from];
                let mut share = where_equal(own, largest, Vector::<f32, V>::new(1.0f32), Vector::<f32, V>::new(0.0f32));
                #[unroll]
                for earlier in 0..comptime!(i * kernel + j) {
                    let y = top + comptime!(earlier / kernel) - windows.before_y;
                    let column = left + comptime!(earlier % kernel) - windows.before_x;
                    if y < windows.height && column < windows.width {
                        let other = (image * windows.height + y) * windows.width + column;
                        let other = x[(other * windows.channels + channel) as usize];
                        share = where_equal(other, largest, Vector::<f32, V>::new(0.0f32), share);
                    }
                }
                sum += Vector::<f32, V>::cast_from(dy[from]) * share;
            }
        }
    }
    dx[at] = Vector::<F, V>::cast_from(sum);
}

/// `yes` where `a` and `b` are equal, else `no`.
#[cube]
fn where_equal<F: Float, V: Size>(
    a: Vector<F, V>,
    b: Vector<F, V>,
    yes: Vector<f32, V>,
    no: Vector<f32, V>,
) -> Vector<f32, V> {
    let v = V::value();
    let mut chosen = Vector::<f32, V>::empty();
    #[unroll]
    for e in 0..v {
        chosen.insert(e, select(a.extract(e) == b.extract(e), yes.extract(e), no.extract(e)));
    }
    chosen
}

#[cube(launch_unchecked)]
fn mean_of_positions<F: Float>(x: &[F], out: &mut [f32], positions: u32, channels: u32, #[define(F)] _type: ElemType) {
    let at = ABSOLUTE_POS;
    if at >= out.len() {
        terminate!();
    }
    let first = at as u32 / channels * positions * channels + at as u32 % channels;
    let mut sum = 0.0f32;
    for position in 0..positions {
        sum += f32::cast_from(x[(first + position * channels) as usize]);
    }
    out[at] = sum / f32::cast_from(positions);
}

#[cube(launch_unchecked)]
fn spread_over_positions<F: Float>(
    dy: &[f32],
    dx: &mut [F],
    positions: u32,
    channels: u32,
    #[define(F)] _type: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= dx.len() {
        terminate!();
    }
    let from = at as u32 / channels / positions * channels + at as u32 % channels;
    dx[at] = F::cast_from(dy[from as usize] / f32::cast_from(positions));
}
