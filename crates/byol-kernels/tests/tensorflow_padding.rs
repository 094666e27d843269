//! TensorFlow's "SAME" padding against numbers of JAX 0.10.2, whose padding that of Haiku is, and with it that of the reference
//! of the paper.
//!
//! Inputs, weights and output gradients are 1, 2, 3, … in their order in memory. One image and one channel of
//! `height`×`width` (`pool`: its own values), in float32 on the CPU:
//!
//! ```python
//! y, vjp = jax.vjp(lambda x, w: lax.conv_general_dilated(
//!     x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")), x, w)
//! y, vjp = jax.vjp(lambda x: lax.reduce_window(
//!     x, -jnp.inf, lax.max, (1, kernel, kernel, 1), (1, stride, stride, 1), "SAME"), x)
//! ```

use byol_kernels::{
    ConvShape, Isa, MaxPool, Padding, Write, conv2d, conv2d_input_gradient, conv2d_weight_gradient, max_pool,
    max_pool_gradient,
};

/// 1, 2, 3, …
fn ramp(len: usize) -> Vec<f32> {
    (1..=len).map(|i| i as f32).collect()
}

fn check_convolution(size: (usize, usize), kernel: usize, stride: usize, y: &[f32], dx: &[f32], dw: &[f32]) {
    let (height, width) = size;
    let padding = Padding::Same;
    let shape = ConvShape { batch: 1, height, width, inputs: 1, outputs: 1, kernel, stride, padding };
    let (x, weight, dy) = (ramp(shape.input_len()), ramp(shape.weight_len()), ramp(shape.output_len()));
    for isa in Isa::available() {
        let mut result = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()], vec![f32::NAN; weight.len()]);
        conv2d(isa, &shape, &x, &weight, &mut result.0);
        conv2d_input_gradient(isa, &shape, &weight, &dy, Write::Overwrite, &mut result.1);
        conv2d_weight_gradient(isa, &shape, &x, &dy, &mut result.2);
        assert_eq!(result, (y.to_vec(), dx.to_vec(), dw.to_vec()), "{isa} {shape:?}");
    }
}

/// By hand, too: nothing is before and one pixel after, so that `y[0, 0]` sees rows and columns 0 to 2 and is
/// 1·1 + 2·2 + 3·3 + 5·4 + 6·5 + 7·6 + 9·7 + 10·8 + 11·9 = 348. With one pixel on each side it would be 1·5 + 2·6 + 5·8 + 6·9.
#[test]
fn a_3x3_convolution_of_stride_2_starts_at_the_first_pixel_of_an_even_image() {
    let y = [348.0, 252.0, 274.0, 175.0];
    let dx = [1.0, 2.0, 5.0, 4.0, 4.0, 5.0, 14.0, 10.0, 10.0, 14.0, 36.0, 24.0, 12.0, 15.0, 34.0, 20.0];
    let dw = [78.0, 88.0, 36.0, 118.0, 128.0, 52.0, 31.0, 34.0, 11.0];
    check_convolution((4, 4), 3, 2, &y, &dx, &dw);
}

#[test]
fn height_and_width_are_padded_each_by_its_own_parity() {
    let y = [276.0, 456.0, 318.0, 240.0, 352.0, 220.0];
    let dx = [
        2.0, 5.0, 4.0, 9.0, 6.0, 5.0, 14.0, 10.0, 24.0, 15.0, 16.0, 40.0, 26.0, 60.0, 36.0, 20.0, 44.0, 25.0, 54.0,
        30.0,
    ];
    let dw = [160.0, 221.0, 128.0, 240.0, 326.0, 188.0, 66.0, 82.0, 40.0];
    check_convolution((4, 5), 3, 2, &y, &dx, &dw);
}

#[test]
fn even_kernels_are_padded_after() {
    let y = [44.0, 64.0, 124.0, 144.0, 53.0, 59.0];
    let dx = [1.0, 2.0, 2.0, 4.0, 3.0, 4.0, 6.0, 8.0, 3.0, 6.0, 4.0, 8.0, 9.0, 12.0, 12.0, 16.0, 5.0, 10.0, 6.0, 12.0];
    check_convolution((5, 4), 2, 2, &y, &dx, &[277.0, 298.0, 118.0, 128.0]);
    let y = [44.0, 54.0, 64.0, 28.0, 84.0, 94.0, 104.0, 44.0, 124.0, 134.0, 144.0, 60.0, 41.0, 44.0, 47.0, 16.0];
    let dx = [1.0, 4.0, 7.0, 10.0, 8.0, 26.0, 36.0, 46.0, 24.0, 66.0, 76.0, 86.0, 40.0, 106.0, 116.0, 126.0];
    check_convolution((4, 4), 2, 1, &y, &dx, &[1496.0, 1112.0, 962.0, 696.0]);
}

fn check_pool(size: (usize, usize), kernel: usize, stride: usize, x: &[f32], y: &[f32], dx: &[f32]) {
    let (height, width) = size;
    let pool = MaxPool { batch: 1, height, width, channels: 1, kernel, stride, padding: Padding::Same };
    for isa in Isa::available() {
        let (mut pooled, mut gradient) = (vec![f32::NAN; y.len()], vec![f32::NAN; x.len()]);
        max_pool(isa, &pool, x, &mut pooled);
        max_pool_gradient(isa, &pool, x, &pooled, &ramp(y.len()), &mut gradient);
        assert_eq!((&pooled[..], &gradient[..]), (y, dx), "{isa} {pool:?}");
    }
}

/// All values are negative: zeros around them would win.
#[test]
fn max_pools_start_at_the_first_pixel_of_an_even_image_and_see_no_padding() {
    let x = [
        -7.0, -14.0, -21.0, -6.0, -13.0, -20.0, -5.0, -12.0, -19.0, -4.0, -11.0, -18.0, -3.0, -10.0, -17.0, -2.0, -9.0,
        -16.0, -1.0, -8.0,
    ];
    let mut dx = [0.0; 20];
    (dx[6], dx[9], dx[12], dx[15], dx[18]) = (1.0, 3.0, 2.0, 4.0, 11.0);
    check_pool((4, 5), 3, 2, &x, &[-5.0, -3.0, -4.0, -2.0, -1.0, -1.0], &dx);
    let x = [-7.0, -14.0, -4.0, -11.0, -1.0, -8.0, -15.0, -5.0, -12.0, -2.0, -9.0, -16.0, -6.0, -13.0, -3.0, -10.0];
    let y = [-1.0, -4.0, -4.0, -5.0, -1.0, -2.0, -5.0, -5.0, -2.0, -2.0, -3.0, -10.0, -6.0, -3.0, -3.0, -10.0];
    let dx = [0.0, 0.0, 5.0, 0.0, 6.0, 0.0, 0.0, 19.0, 0.0, 25.0, 0.0, 0.0, 13.0, 0.0, 40.0, 28.0];
    check_pool((4, 4), 2, 1, &x, &y, &dx);
}
