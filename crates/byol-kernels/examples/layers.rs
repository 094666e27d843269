//! Speed of every convolution of a network, as a Markdown table: forward (of convolutions with batch statistics), input
//! gradient and weight gradient in GFLOP/s and as shares of what the machine's registers can do, and milliseconds of each per
//! training step.
//!
//! Counted are the multiply-adds of the direct sum. Products by tiles (3×3, stride 1) need a quarter of them and can
//! exceed the machine's peak.
//!
//! usage: `cargo run --release -p byol-kernels --example layers -- [resnet18|resnet18x0.25|resnet50] [f32|bf16] [ISA] [BATCH] [same]`

use std::time::Instant;

use byol_kernels::{
    ConvShape, Element, Isa, Padding, ReusingAllocator, Write, bf16, conv2d, conv2d_input_gradient,
    conv2d_weight_gradient, conv2d_with_moments, peak_bf16_flops, peak_f32_flops,
};

#[global_allocator]
static ALLOCATOR: ReusingAllocator = ReusingAllocator::new();

/// Passes of each kind per BYOL step: two views through both networks, two backwards through one.
const PASSES: [f64; 3] = [4.0, 2.0, 2.0];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &'static str| arguments.get(i).map_or(default, String::as_str);
    let isa: Isa = argument(2, Isa::best().name()).parse().expect("an instruction set");
    let network = argument(0, "resnet18");
    let batch = argument(3, if network == "resnet50" { "16" } else { "128" }).parse().expect("a batch size");
    let mut shapes = match network {
        "resnet18" => resnet18(batch, 32, 64),
        "resnet18x0.25" => resnet18(batch, 24, 16),
        "resnet50" => resnet50(batch),
        other => panic!("no layers are known of {other}"),
    };
    if argument(4, "symmetric") == "same" {
        shapes.iter_mut().for_each(|(_, shape)| shape.padding = Padding::Same);
    }
    let threads = rayon::current_num_threads();
    match argument(1, "f32") {
        "bf16" => {
            let peak = peak_bf16_flops(isa, threads).unwrap_or_else(|| peak_f32_flops(isa, threads));
            measure::<bf16>(isa, &shapes, peak);
        }
        _ => measure::<f32>(isa, &shapes, peak_f32_flops(isa, threads)),
    }
}

fn measure<E: Element>(isa: Isa, shapes: &[(usize, ConvShape)], peak: f64) {
    println!("{isa}, {} threads, peak {:.0} GFLOP/s\n", rayon::current_num_threads(), peak / 1e9);
    println!("| layer | count | forward | | input gradient | | weight gradient | | ms per step |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut total = [0.0; 3];
    let mut flop = [0.0; 3];
    for (count, shape) in shapes {
        let mut secs = time::<E>(isa, shape).map(|secs| secs * *count as f64);
        if shape.inputs == 3 {
            secs[1] = f64::NAN; // nobody asks for the gradient of the pictures
        }
        let layer_flop = 2.0 * shape.multiply_adds() as f64 * *count as f64;
        row(&name(shape), &count.to_string(), [layer_flop; 3], secs, peak);
        for ((total, flop), secs) in total.iter_mut().zip(&mut flop).zip(secs).filter(|(_, secs)| !secs.is_nan()) {
            *total += secs;
            *flop += layer_flop;
        }
    }
    row("all", "", flop, total, peak);
}

/// Seconds of forward pass, input gradient and weight gradient.
fn time<E: Element>(isa: Isa, shape: &ConvShape) -> [f64; 3] {
    let x = vec![E::from_f32(0.5); shape.input_len()];
    let weight = vec![0.1; shape.weight_len()];
    let mut y = vec![E::from_f32(0.5); shape.output_len()];
    let mut dx = x.clone();
    let mut dw = weight.clone();
    let dy = y.clone();
    let (mut mean, mut variance) = (vec![0.0; shape.outputs], vec![0.0; shape.outputs]);
    [
        median(|| match shape.height {
            1 => conv2d(isa, shape, &x, &weight, &mut y),
            _ => conv2d_with_moments(isa, shape, &x, &weight, &mut y, &mut mean, &mut variance),
        }),
        median(|| conv2d_input_gradient(isa, shape, &weight, &dy, Write::Overwrite, &mut dx)),
        median(|| conv2d_weight_gradient(isa, shape, &x, &dy, &mut dw)),
    ]
}

fn name(shape: &ConvShape) -> String {
    let ConvShape { height: size, inputs, outputs, kernel, stride, .. } = *shape;
    match (size, stride) {
        (1, _) => format!("linear {inputs}→{outputs}"),
        (_, 1) => format!("{kernel}×{kernel} {inputs}→{outputs} {size} px"),
        _ => format!("{kernel}×{kernel}/{stride} {inputs}→{outputs} {size} px"),
    }
}

fn row(name: &str, count: &str, flop: [f64; 3], secs: [f64; 3], peak: f64) {
    let speeds = flop.iter().zip(secs).map(|(flop, secs)| match secs.is_nan() {
        true => "| ".to_owned(),
        false => format!("{:.0} | {:.0} %", flop / secs / 1e9, 100.0 * flop / secs / peak),
    });
    let speeds = speeds.collect::<Vec<_>>().join(" | ");
    let step_secs: f64 =
        secs.iter().zip(PASSES).map(|(secs, passes)| secs * passes).filter(|secs| !secs.is_nan()).sum();
    println!("| {name} | {count} | {speeds} | {:.1} |", step_secs * 1e3);
}

fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut secs: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    secs.sort_by(f64::total_cmp);
    secs[2]
}

fn layer(batch: usize, size: usize, inputs: usize, outputs: usize, kernel: usize, stride: usize) -> ConvShape {
    ConvShape {
        batch,
        height: size,
        width: size,
        inputs,
        outputs,
        kernel,
        stride,
        padding: Padding::Symmetric(kernel / 2),
    }
}

/// ResNet-18 of so many channels in its stem, at so many pixels, with heads of 4096 and 256: how often each layer occurs.
fn resnet18(batch: usize, size: usize, stem: usize) -> Vec<(usize, ConvShape)> {
    let mut layers = vec![(1, layer(batch, size, 3, stem, 3, 1)), (4, layer(batch, size, stem, stem, 3, 1))];
    for group in 1..4 {
        let (size, inputs) = (size >> (group - 1), stem << (group - 1));
        layers.push((1, layer(batch, size, inputs, 2 * inputs, 3, 2)));
        layers.push((1, layer(batch, size, inputs, 2 * inputs, 1, 2)));
        layers.push((3, layer(batch, size / 2, 2 * inputs, 2 * inputs, 3, 1)));
    }
    layers.push((1, ConvShape::linear(batch, 8 * stem, 4096)));
    layers.push((2, ConvShape::linear(batch, 4096, 256)));
    layers.push((1, ConvShape::linear(batch, 256, 4096)));
    layers
}

/// The convolutions of ResNet-50 at 224 px.
fn resnet50(batch: usize) -> Vec<(usize, ConvShape)> {
    let mut layers = vec![(1, layer(batch, 224, 3, 64, 7, 2))];
    let mut inputs = 64;
    for (group, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (size, inner) = (56 >> group, 64 << group);
        let (before, stride) = if group == 0 { (size, 1) } else { (2 * size, 2) };
        layers.push((1, layer(batch, before, inputs, inner, 1, 1)));
        if stride == 2 {
            layers.push((1, layer(batch, before, inner, inner, 3, 2)));
        }
        let (shortcut, expansions) = if inputs == inner { (0, blocks + 1) } else { (1, blocks) };
        if shortcut == 1 {
            layers.push((1, layer(batch, before, inputs, 4 * inner, 1, stride)));
        }
        layers.push((blocks - 1, layer(batch, size, 4 * inner, inner, 1, 1)));
        layers.push((blocks - usize::from(stride == 2), layer(batch, size, inner, inner, 3, 1)));
        layers.push((expansions, layer(batch, size, inner, 4 * inner, 1, 1)));
        inputs = 4 * inner;
    }
    layers
}
