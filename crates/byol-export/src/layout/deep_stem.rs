//! The 7×7 convolution of stride 2 as the three 3×3 ones of timm's deep stem: the same numbers.
//!
//! timm's plain stem has 64 channels whatever the blocks have; its deep one has as many as it is told. The first convolution, of stride 2, copies the
//! nine pixels of its window, each with both signs, so that ReLU keeps one of the two; the second passes them on; the third weighs them: its tap `t` of unit `p`
//! sees pixel `2t + p` of the 7×7 window.

use byol_nn::model::Norm;
use byol_nn::weights::{StoredTensor, StoredTensors, Values};

/// Which unit and which tap of the third convolution a row (or column) of the 7×7 window is seen by.
const PLACES: [(usize, usize); 7] = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (1, 2), (2, 2)];

/// Units that the copies of so many channels take.
pub fn units(channels: usize) -> usize {
    channels * 9 * 2
}

/// The unit that holds the pixel at `(p, q)` of the window, with this sign.
fn unit(channel: usize, [p, q]: [usize; 2], negative: bool) -> usize {
    ((channel * 3 + p) * 3 + q) * 2 + usize::from(negative)
}

/// Where the weights of the third convolution, `[outputs, width, 3, 3]`, are those of `conv1.weight [outputs, channels, 7, 7]`: both places and
/// whether the sign is turned.
fn places(outputs: usize, channels: usize, width: usize) -> impl Iterator<Item = (usize, usize, bool)> {
    let all = (0..outputs).flat_map(move |output| (0..channels).map(move |channel| (output, channel)));
    all.flat_map(move |(output, channel)| {
        (0..49).flat_map(move |tap| {
            let ((p, row), (q, column)) = (PLACES[tap / 7], PLACES[tap % 7]);
            [false, true].map(|negative| {
                let place = (output * width + unit(channel, [p, q], negative)) * 9 + row * 3 + column;
                ((output * channels + channel) * 49 + tap, place, negative)
            })
        })
    })
}

/// Replaces `conv1.weight` by the three, the first two of `width` channels.
pub fn split(tensors: &mut StoredTensors, width: usize) {
    let Some(StoredTensor { shape, values: Values::F32(seven) }) = tensors.remove("conv1.weight") else { return };
    let (outputs, channels) = (shape[0], shape[1]);
    let mut insert = |name: &str, shape: &[usize], values: Values| {
        tensors.insert(format!("conv1.{name}"), StoredTensor { shape: shape.to_vec(), values });
    };
    let mut copy = vec![0.0; width * channels * 9];
    let mut pass = vec![0.0; width * width * 9];
    for channel in 0..channels {
        for (at, negative) in (0..9).flat_map(|at| [(at, false), (at, true)]) {
            let unit = unit(channel, [at / 3, at % 3], negative);
            copy[(unit * channels + channel) * 9 + at] = if negative { -1.0 } else { 1.0 };
            pass[(unit * width + unit) * 9 + 4] = 1.0;
        }
    }
    let mut weigh = vec![0.0; outputs * width * 9];
    places(outputs, channels, width)
        .for_each(|(from, to, negative)| weigh[to] = if negative { -seven[from] } else { seven[from] });
    insert("0.weight", &[width, channels, 3, 3], Values::F32(copy));
    insert("3.weight", &[width, width, 3, 3], Values::F32(pass));
    insert("6.weight", &[outputs, width, 3, 3], Values::F32(weigh));
    for norm in ["1", "4"] {
        // With ε the variance is 1.
        for (part, value) in
            [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0 - Norm::EPSILON)]
        {
            insert(&format!("{norm}.{part}"), &[width], Values::F32(vec![value; width]));
        }
        insert(&format!("{norm}.num_batches_tracked"), &[], Values::I64(vec![0]));
    }
}

/// Undoes [`split`], for `channels` of the pictures.
pub fn join(tensors: &mut StoredTensors, channels: usize) {
    let Some(StoredTensor { shape, values: Values::F32(weigh) }) = tensors.remove("conv1.6.weight") else { return };
    let (outputs, width) = (shape[0], shape[1]);
    let mut seven = vec![0.0; outputs * channels * 49];
    places(outputs, channels, width)
        .for_each(|(to, from, negative)| seven[to] = if negative { -weigh[from] } else { weigh[from] });
    let shape = vec![outputs, channels, 7, 7];
    tensors.insert("conv1.weight".to_owned(), StoredTensor { shape, values: Values::F32(seven) });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[inputs, side, side]` → `[outputs, …]` by loops.
    fn conv(x: &[f32], [inputs, side]: [usize; 2], weight: &[f32], kernel: usize, stride: usize) -> (Vec<f32>, usize) {
        let outputs = weight.len() / (inputs * kernel * kernel);
        let (pad, out) = (kernel / 2, side.div_ceil(stride));
        let mut y = vec![0.0; outputs * out * out];
        for (at, value) in y.iter_mut().enumerate() {
            let (output, row, column) = (at / (out * out), at / out % out, at % out);
            for tap in 0..inputs * kernel * kernel {
                let (input, i, j) = (tap / (kernel * kernel), tap / kernel % kernel, tap % kernel);
                let (i, j) = ((row * stride + i).wrapping_sub(pad), (column * stride + j).wrapping_sub(pad));
                if i < side && j < side {
                    *value += weight[output * inputs * kernel * kernel + tap] * x[(input * side + i) * side + j];
                }
            }
        }
        (y, out)
    }

    #[test]
    fn three_small_convolutions_with_relu_are_the_large_one() {
        let (channels, width, outputs) = (2, units(2) + 1, 3);
        let number = |i: usize| ((i * 7919 + 13) % 97) as f32 / 48.0 - 1.0;
        let seven: Vec<f32> = (0..outputs * channels * 49).map(number).collect();
        let tensor = StoredTensor { shape: vec![outputs, channels, 7, 7], values: Values::F32(seven.clone()) };
        let mut tensors = StoredTensors::from([("conv1.weight".to_owned(), tensor.clone())]);
        split(&mut tensors, width);
        let weight = |name: &str| match &tensors[name].values {
            Values::F32(values) => values.clone(),
            Values::I64(_) => panic!("{name}"),
        };
        for side in [8, 9] {
            let x: Vec<f32> = (0..channels * side * side).map(|i| number(i * 31 + 5)).collect();
            let (expected, _) = conv(&x, [channels, side], &seven, 7, 2);
            let relu = |(x, side): (Vec<f32>, usize)| (x.into_iter().map(|x| x.max(0.0)).collect::<Vec<_>>(), side);
            let (y, half) = relu(conv(&x, [channels, side], &weight("conv1.0.weight"), 3, 2));
            let (y, _) = relu(conv(&y, [width, half], &weight("conv1.3.weight"), 3, 1));
            let (y, _) = conv(&y, [width, half], &weight("conv1.6.weight"), 3, 1);
            assert_eq!(y.len(), expected.len());
            assert!(y.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{side} px");
        }
        join(&mut tensors, channels);
        assert_eq!(tensors["conv1.weight"], tensor);
    }
}
