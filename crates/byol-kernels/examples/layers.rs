//! Speed of every convolution of a network, as a Markdown table: forward (of convolutions with batch statistics), input
//! gradient and weight gradient in GFLOP/s and as shares of what the machine's registers can do, and milliseconds of each per
//! training step.
//!
//! Counted are the multiply-adds of the direct sum. Products by tiles (3×3, stride 1) need a quarter of them and can
//! exceed the machine's peak.
//!
//! usage: `cargo run --release -p byol-kernels --example layers -- [resnet18|resnet18x0.25|resnet50] [f32|bf16] [ISA] [BATCH] [same]`

mod networks;

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
    let mut shapes = networks::layers(network, batch).unwrap_or_else(|| panic!("no layers are known of {network}"));
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
        row(&networks::name(shape), &count.to_string(), [layer_flop; 3], secs, peak);
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
