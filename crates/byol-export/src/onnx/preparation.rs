//! Pictures of any size → what the network takes, inside the graph: the crop, the bicubic resize and the normalisation of
//! [`byol_data::views::EvaluationConfig::render`], with the same rounding.
//!
//! ONNX's own `Resize` has other edges and no shared antialias. A resize along one axis is a matrix `A [size, pixels]`, so that both are
//! `A_rows · X · A_columnsᵀ`. Output `i` and pixel `j` of a crop of `length` pixels that becomes `resized` pixels are
//! `d = ((2j + 1)·resized − (2i + 1)·length) / (2·resized)` pixels apart, of which the numerator is whole, so that no digit is lost in
//! large pictures; `A[i, j] = keys(|d| / stretch)`, divided by the sum of its row.

use byol_data::views::{EvaluationConfig, EvaluationResize, Semantics};
use byol_nn::{Error, Result};

use super::graph::Graph;
use super::messages::{Attribute, DataType};

/// Smallest crop fraction whose product with a number of pixels is rounded exactly.
const LEAST_CROP_FRACTION: f32 = 0.125;

/// Bits of each of the two halves of a crop fraction.
const HALF_BITS: i64 = 13;

/// One axis: all its pixels, where the crop begins, its length, what length it gets and which of the outputs are taken. Names of whole numbers.
struct Axis {
    pixels: String,
    start: String,
    length: String,
    resized: String,
    first_output: String,
}

/// Adds the preparation of `pixels`, `uint8 [batch, height, width, channels]`; the result is `[batch, channels, size, size]`.
///
/// # Errors
/// A crop fraction below 1/8.
pub fn prepare(graph: &mut Graph, config: &EvaluationConfig, pixels: &str) -> Result<String> {
    if config.crop_fraction < LEAST_CROP_FRACTION {
        return Err(Error::Evaluation(format!(
            "--with-preparation: expected a crop fraction of at least {LEAST_CROP_FRACTION}, got {}; export without it and prepare \
             pictures as encoder.json says",
            config.crop_fraction
        )));
    }
    let shape = graph.op("Shape", &[pixels], vec![]);
    let [height, width] = [1, 2].map(|axis| {
        let axis = graph.int(axis);
        graph.op("Gather", &[&shape, &axis], vec![])
    });
    let shorter = graph.op("Min", &[&height, &width], vec![]);
    let [rows, columns] = match config.resize {
        EvaluationResize::CropThenResize => {
            let side = centre_side(graph, config.crop_fraction, &shorter);
            [&height, &width].map(|length| cropped(graph, length, &side, config.size_px))
        }
        EvaluationResize::ResizeThenCrop => {
            let resized = (config.size_px as f64 / f64::from(config.crop_fraction)).round_ties_even() as usize;
            let resized = resized.max(config.size_px);
            [&height, &width].map(|length| resized_then_cropped(graph, length, &shorter, resized, config.size_px))
        }
    };
    let antialias = config.semantics == Semantics::Torchvision;
    let rows = matrix(graph, &rows, config.size_px, antialias);
    let columns = matrix(graph, &columns, config.size_px, antialias);
    let columns = graph.op("Transpose", &[&columns], vec![Attribute::ints("perm", &[1, 0])]);

    let x = graph.cast(pixels, DataType::F32);
    let x = graph.op("Transpose", &[&x], vec![Attribute::ints("perm", &[0, 3, 1, 2])]);
    let full = graph.float(255.0);
    let x = graph.op("Div", &[&x, &full], vec![]);
    let x = graph.op("MatMul", &[&rows, &x], vec![]);
    let x = graph.op("MatMul", &[&x, &columns], vec![]);
    let (black, white) = (graph.float(0.0), graph.float(1.0));
    let x = graph.op("Clip", &[&x, &black, &white], vec![]);
    let channels = [config.mean.len(), 1, 1];
    let mean = graph.floats("mean", &channels, &config.mean);
    let std = graph.floats("std", &channels, &config.std);
    let x = graph.op("Sub", &[&x, &mean], vec![]);
    Ok(graph.named("images", "Div", &[&x, &std], vec![]))
}

/// `⌊crop_fraction · shorter⌋`, at least 1, in whole numbers below 2³¹: the fraction is `(high·2¹³ + low) / 2²⁶`, and
/// `⌊(high·n + ⌊low·n / 2¹³⌋) / 2¹³⌋` is the same.
fn centre_side(graph: &mut Graph, crop_fraction: f32, shorter: &str) -> String {
    let scaled = (f64::from(crop_fraction) * f64::from(1 << (2 * HALF_BITS))) as i64;
    let [high, low, half] =
        [scaled >> HALF_BITS, scaled & ((1 << HALF_BITS) - 1), 1 << HALF_BITS].map(|x| graph.int(x));
    let low = graph.op("Mul", &[&low, shorter], vec![]);
    let low = graph.op("Div", &[&low, &half], vec![]);
    let high = graph.op("Mul", &[&high, shorter], vec![]);
    let sum = graph.op("Add", &[&high, &low], vec![]);
    let side = graph.op("Div", &[&sum, &half], vec![]);
    let one = graph.int(1);
    graph.op("Max", &[&side, &one], vec![])
}

/// The centre of an axis: an odd margin has one more pixel before it.
fn cropped(graph: &mut Graph, length: &str, side: &str, size_px: usize) -> Axis {
    let margin = graph.op("Sub", &[length, side], vec![]);
    let (one, two) = (graph.int(1), graph.int(2));
    let margin = graph.op("Add", &[&margin, &one], vec![]);
    Axis {
        pixels: length.to_owned(),
        start: graph.op("Div", &[&margin, &two], vec![]),
        length: side.to_owned(),
        resized: graph.int(size_px as i64),
        first_output: graph.int(0),
    }
}

/// The whole axis, of which the shorter one becomes `resized_px`; the outputs of its centre, a half margin rounded to even.
fn resized_then_cropped(graph: &mut Graph, length: &str, shorter: &str, resized_px: usize, size_px: usize) -> Axis {
    let (resized, size) = (graph.int(resized_px as i64), graph.int(size_px as i64));
    let product = graph.op("Mul", &[length, &resized], vec![]);
    let resized = graph.op("Div", &[&product, shorter], vec![]);
    let margin = graph.op("Sub", &[&resized, &size], vec![]);
    let two = graph.int(2);
    let half = graph.op("Div", &[&margin, &two], vec![]);
    let [odd_margin, odd_half] = [&margin, &half].map(|value| {
        let halved = graph.op("Div", &[value, &two], vec![]);
        let even = graph.op("Mul", &[&halved, &two], vec![]);
        graph.op("Sub", &[value, &even], vec![])
    });
    let up = graph.op("Mul", &[&odd_margin, &odd_half], vec![]);
    Axis {
        pixels: length.to_owned(),
        start: graph.int(0),
        length: length.to_owned(),
        resized,
        first_output: graph.op("Add", &[&half, &up], vec![]),
    }
}

/// `A [size, pixels]` of the head of this file.
fn matrix(graph: &mut Graph, axis: &Axis, size_px: usize, antialias: bool) -> String {
    let (zero, one, two) = (graph.int(0), graph.int(1), graph.int(2));
    // 2j + 1, [1, pixels]
    let all = graph.op("Range", &[&zero, &axis.pixels, &one], vec![]);
    let first_axis = graph.ints(&[1], &[0]);
    let all = graph.op("Unsqueeze", &[&all, &first_axis], vec![]);
    let pixel = graph.op("Sub", &[&all, &axis.start], vec![]);
    let pixel_centre = doubled_centre(graph, &pixel);
    // 2i + 1, [size, 1]
    let outputs: Vec<i64> = (0..size_px as i64).collect();
    let outputs = graph.ints(&[size_px, 1], &outputs);
    let output = graph.op("Add", &[&outputs, &axis.first_output], vec![]);
    let output_centre = doubled_centre(graph, &output);

    let left = graph.op("Mul", &[&pixel_centre, &axis.resized], vec![]);
    let right = graph.op("Mul", &[&output_centre, &axis.length], vec![]);
    let apart = graph.op("Sub", &[&left, &right], vec![]);
    let apart = graph.cast(&apart, DataType::F32);
    let apart = graph.op("Abs", &[&apart], vec![]);
    let unit = graph.op("Mul", &[&axis.resized, &two], vec![]);
    let unit = graph.cast(&unit, DataType::F32);
    let mut distance = graph.op("Div", &[&apart, &unit], vec![]);
    if antialias {
        let [length, resized] = [&axis.length, &axis.resized].map(|x| graph.cast(x, DataType::F32));
        let scale = graph.op("Div", &[&length, &resized], vec![]);
        let unstretched = graph.float(1.0);
        let stretch = graph.op("Max", &[&scale, &unstretched], vec![]);
        distance = graph.op("Div", &[&distance, &stretch], vec![]);
    }
    let weights = keys(graph, &distance);
    let is_after_start = graph.op("GreaterOrEqual", &[&pixel, &zero], vec![]);
    let is_before_end = graph.op("Less", &[&pixel, &axis.length], vec![]);
    let is_inside = graph.op("And", &[&is_after_start, &is_before_end], vec![]);
    let nothing = graph.float(0.0);
    let weights = graph.op("Where", &[&is_inside, &weights, &nothing], vec![]);
    let last_axis = graph.ints(&[1], &[1]);
    let total = graph.op("ReduceSum", &[&weights, &last_axis], vec![Attribute::int("keepdims", 1)]);
    graph.op("Div", &[&weights, &total], vec![])
}

/// `2x + 1`.
fn doubled_centre(graph: &mut Graph, x: &str) -> String {
    let (one, two) = (graph.int(1), graph.int(2));
    let doubled = graph.op("Mul", &[x, &two], vec![]);
    graph.op("Add", &[&doubled, &one], vec![])
}

/// The Keys cubic with `a = −1/2` of `x ≥ 0`.
fn keys(graph: &mut Graph, x: &str) -> String {
    // ((a·x + b)·x + c)·x + d
    let mut cubic = |coefficients: [f32; 4]| {
        let [first, others @ ..] = coefficients.map(|c| graph.float(c));
        others.iter().fold(first, |sum, coefficient| {
            let product = graph.op("Mul", &[&sum, x], vec![]);
            graph.op("Add", &[&product, coefficient], vec![])
        })
    };
    let (near, far) = (cubic([1.5, -2.5, 0.0, 1.0]), cubic([-0.5, 2.5, -4.0, 2.0]));
    let [one, two, nothing] = [1.0, 2.0, 0.0].map(|x| graph.float(x));
    let is_far = graph.op("Less", &[x, &two], vec![]);
    let far = graph.op("Where", &[&is_far, &far, &nothing], vec![]);
    let is_near = graph.op("Less", &[x, &one], vec![]);
    graph.op("Where", &[&is_near, &near, &far], vec![])
}
