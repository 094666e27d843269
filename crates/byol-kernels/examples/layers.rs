//! Speed of every convolution of a network, as a Markdown table: forward with batch statistics, input gradient and weight
//! gradient in GFLOP/s and as shares of what the machine's registers can do, and milliseconds of each per training step.
//!
//! Counted are the multiply-adds of the direct sum. Products by tiles (3×3, stride 1) need a quarter of them and can
//! exceed the machine's peak.
//!
//! usage: `cargo run --release -p byol-kernels --example layers -- [resnet18|resnet50] [f32|bf16] [ISA] [BATCH] [same]`

use std::time::Instant;

use byol_kernels::{
    ConvShape, Element, Isa, Padding, ReusingAllocator, Write, bf16, conv2d_input_gradient, conv2d_weight_gradient,
    conv2d_with_moments, peak_bf16_flops, peak_f32_flops,
};

#[global_allocator]
static ALLOCATOR: ReusingAllocator = ReusingAllocator::new();

/// Passes of each kind per BYOL step: two views through both networks, two backwards through one.
const PASSES: [f64; 3] = [4.0, 2.0, 2.0];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &'static str| arguments.get(i).map_or(default, String::as_str);
    let isa: Isa = argument(2, Isa::best().name()).parse().expect("an instruction set");
    let is_resnet50 = argument(0, "resnet18") == "resnet50";
    let batch = argument(3, if is_resnet50 { "16" } else { "128" }).parse().expect("a batch size");
    let mut shapes = if is_resnet50 { resnet50_at_224(batch) } else { resnet18_at_32(batch) };
    if argument(4, "symmetric") == "same" {
        shapes.iter_mut().for_each(|(_, _, shape)| shape.padding = Padding::Same);
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

fn measure<E: Element>(isa: Isa, shapes: &[(&str, usize, ConvShape)], peak: f64) {
    println!("{isa}, {} threads, peak {:.0} GFLOP/s\n", rayon::current_num_threads(), peak / 1e9);
    println!("| layer | count | forward | | input gradient | | weight gradient | | ms per step |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut total = [0.0; 3];
    let mut flop = [0.0; 3];
    for (name, count, shape) in shapes {
        let mut secs = time::<E>(isa, shape).map(|secs| secs * *count as f64);
        if shape.inputs == 3 {
            secs[1] = f64::NAN; // nobody asks for the gradient of the pictures
        }
        let layer_flop = 2.0 * shape.multiply_adds() as f64 * *count as f64;
        row(name, &count.to_string(), [layer_flop; 3], secs, peak);
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
        median(|| conv2d_with_moments(isa, shape, &x, &weight, &mut y, &mut mean, &mut variance)),
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

fn resnet18_at_32(batch: usize) -> Vec<(&'static str, usize, ConvShape)> {
    vec![
        ("stem 3×3 3→64 32 px", 1, layer(batch, 32, 3, 64, 3, 1)),
        ("3×3 64→64 32 px", 4, layer(batch, 32, 64, 64, 3, 1)),
        ("3×3/2 64→128 32 px", 1, layer(batch, 32, 64, 128, 3, 2)),
        ("1×1/2 64→128 32 px", 1, layer(batch, 32, 64, 128, 1, 2)),
        ("3×3 128→128 16 px", 3, layer(batch, 16, 128, 128, 3, 1)),
        ("3×3/2 128→256 16 px", 1, layer(batch, 16, 128, 256, 3, 2)),
        ("1×1/2 128→256 16 px", 1, layer(batch, 16, 128, 256, 1, 2)),
        ("3×3 256→256 8 px", 3, layer(batch, 8, 256, 256, 3, 1)),
        ("3×3/2 256→512 8 px", 1, layer(batch, 8, 256, 512, 3, 2)),
        ("1×1/2 256→512 8 px", 1, layer(batch, 8, 256, 512, 1, 2)),
        ("3×3 512→512 4 px", 3, layer(batch, 4, 512, 512, 3, 1)),
        ("linear 512→4096", 1, ConvShape::linear(batch, 512, 4096)),
        ("linear 4096→256", 2, ConvShape::linear(batch, 4096, 256)),
        ("linear 256→4096", 1, ConvShape::linear(batch, 256, 4096)),
    ]
}

fn resnet50_at_224(batch: usize) -> Vec<(&'static str, usize, ConvShape)> {
    vec![
        ("stem 7×7/2 3→64 224 px", 1, layer(batch, 224, 3, 64, 7, 2)),
        ("1×1 64→64 56 px", 1, layer(batch, 56, 64, 64, 1, 1)),
        ("1×1 256→64 56 px", 2, layer(batch, 56, 256, 64, 1, 1)),
        ("3×3 64→64 56 px", 3, layer(batch, 56, 64, 64, 3, 1)),
        ("1×1 64→256 56 px", 4, layer(batch, 56, 64, 256, 1, 1)),
        ("1×1 256→128 56 px", 1, layer(batch, 56, 256, 128, 1, 1)),
        ("3×3/2 128→128 56 px", 1, layer(batch, 56, 128, 128, 3, 2)),
        ("1×1/2 256→512 56 px", 1, layer(batch, 56, 256, 512, 1, 2)),
        ("1×1 512→128 28 px", 3, layer(batch, 28, 512, 128, 1, 1)),
        ("3×3 128→128 28 px", 3, layer(batch, 28, 128, 128, 3, 1)),
        ("1×1 128→512 28 px", 4, layer(batch, 28, 128, 512, 1, 1)),
        ("1×1 512→256 28 px", 1, layer(batch, 28, 512, 256, 1, 1)),
        ("3×3/2 256→256 28 px", 1, layer(batch, 28, 256, 256, 3, 2)),
        ("1×1/2 512→1024 28 px", 1, layer(batch, 28, 512, 1024, 1, 2)),
        ("1×1 1024→256 14 px", 5, layer(batch, 14, 1024, 256, 1, 1)),
        ("3×3 256→256 14 px", 5, layer(batch, 14, 256, 256, 3, 1)),
        ("1×1 256→1024 14 px", 6, layer(batch, 14, 256, 1024, 1, 1)),
        ("1×1 1024→512 14 px", 1, layer(batch, 14, 1024, 512, 1, 1)),
        ("3×3/2 512→512 14 px", 1, layer(batch, 14, 512, 512, 3, 2)),
        ("1×1/2 1024→2048 14 px", 1, layer(batch, 14, 1024, 2048, 1, 2)),
        ("1×1 2048→512 7 px", 2, layer(batch, 7, 2048, 512, 1, 1)),
        ("3×3 512→512 7 px", 2, layer(batch, 7, 512, 512, 3, 1)),
        ("1×1 512→2048 7 px", 3, layer(batch, 7, 512, 2048, 1, 1)),
    ]
}
