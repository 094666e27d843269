//! Speed of every convolution of a network on a graphics card, as a Markdown table: forward, input gradient and weight gradient in TFLOP/s,
//! and milliseconds of each per training step; then of the batch norms, in GB/s.
//!
//! usage: `cargo run --release -p byol-cube --features cuda --example gpu_layers -- [DEVICE] [resnet18|resnet18x0.25|resnet50] [f32|bf16] [BATCH]`

#[path = "../../byol-kernels/examples/networks/mod.rs"]
mod networks;

use std::time::Instant;

use byol_cube::{Affine, Array, Client, Kind};
use byol_kernels::ConvShape;

/// Passes of each kind per BYOL step: two views through both networks, two backwards through one.
const PASSES: [f64; 3] = [4.0, 2.0, 2.0];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &'static str| arguments.get(i).map_or(default, String::as_str);
    let client =
        byol_cube::open(argument(0, "gpu")).unwrap_or_else(|expected| panic!("expected {expected}")).0.client();
    let network = argument(1, "resnet50");
    let kind = if argument(2, "bf16") == "f32" { Kind::F32 } else { Kind::Bf16 };
    let batch = argument(3, "256").parse().expect("a batch size");
    let shapes = networks::layers(network, batch).unwrap_or_else(|| panic!("no layers are known of {network}"));
    let values = Values::new(&client, &shapes, kind);
    println!("| layer | count | forward | input gradient | weight gradient | ms per step |\n|---|---|---|---|---|---|");
    let mut total = [0.0; 3];
    let mut flop = 0.0;
    for (count, shape) in &shapes {
        let mut secs = convolution(&client, shape, kind, &values);
        let layer_flop = 2.0 * shape.multiply_adds() as f64;
        if shape.inputs == 3 {
            secs[1] = 0.0; // nobody asks for the gradient of the pictures
        }
        let speeds = secs.map(|secs| format!("{:.0} | ", layer_flop / secs / 1e12)).concat();
        let step = secs.iter().zip(PASSES).map(|(secs, passes)| secs * passes * *count as f64).sum::<f64>();
        println!("| {} | {count} | {speeds}{:.2} |", networks::name(shape), step * 1e3);
        for (total, secs) in total.iter_mut().zip(secs) {
            *total += secs * *count as f64;
        }
        flop += layer_flop * *count as f64;
    }
    let step: f64 = total.iter().zip(PASSES).map(|(secs, passes)| secs * passes).sum();
    let speeds = total.map(|secs| format!("{:.0} | ", flop / secs / 1e12)).concat();
    println!("| all | | {speeds}{:.1} |\n", step * 1e3);

    println!("| batch norm of | count | statistics | normalise | gradient | ms per step |\n|---|---|---|---|---|---|");
    let mut all = 0.0;
    for (count, shape) in shapes.iter().filter(|(_, shape)| shape.height > 1) {
        let (secs, bytes) = batch_norm(&client, shape, kind, &values);
        let speeds: String =
            secs.iter().zip(bytes).map(|(secs, bytes)| format!("{:.0} | ", bytes / secs / 1e9)).collect();
        let step = (4.0 * secs[0] + 4.0 * secs[1] + 2.0 * secs[2]) * *count as f64;
        println!("| {} | {count} | {speeds}{:.2} |", networks::name(shape), step * 1e3);
        all += step;
    }
    println!("| all | | | | | {:.1} |", all * 1e3);
}

/// Values that every layer takes its own from.
struct Values {
    activations: Array,
    weights: Array,
}

impl Values {
    fn new(client: &Client, shapes: &[(usize, ConvShape)], kind: Kind) -> Self {
        let most = |len: fn(&ConvShape) -> usize| shapes.iter().map(|(_, shape)| len(shape)).max().unwrap_or(0);
        let some = |len: usize| -> Vec<f32> { (0..len).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect() };
        let activations = some(most(|shape| shape.input_len().max(shape.output_len())));
        Self {
            activations: byol_cube::cast(&Array::from_f32(client, &activations), kind),
            weights: Array::from_f32(client, &some(most(|shape| shape.weight_len().max(shape.outputs)))),
        }
    }

    fn activations(&self, len: usize) -> Array {
        Array { len, ..self.activations.clone() }
    }

    fn weights(&self, len: usize) -> Array {
        Array { len, ..self.weights.clone() }
    }
}

/// Seconds of forward pass, input gradient and weight gradient.
fn convolution(client: &Client, shape: &ConvShape, kind: Kind, values: &Values) -> [f64; 3] {
    let (x, dy) = (values.activations(shape.input_len()), values.activations(shape.output_len()));
    let weight = values.weights(shape.weight_len());
    let affine = Affine { bias: None, residual: None, relu: false };
    [
        secs(client, || match shape.height {
            1 => drop(byol_cube::forward(&x, &weight, shape, kind, &affine)),
            _ => drop(byol_cube::forward_with_statistics(&x, &weight, shape)),
        }),
        secs(client, || drop(byol_cube::input_gradient(&dy, &weight, shape, kind))),
        secs(client, || drop(byol_cube::weight_gradient(&x, None, &dy, shape))),
    ]
}

/// Seconds and bytes of statistics, normalise and gradient.
fn batch_norm(client: &Client, shape: &ConvShape, kind: Kind, values: &Values) -> ([f64; 3], [f64; 3]) {
    let (z, dy) = (values.activations(shape.output_len()), values.activations(shape.output_len()));
    let [gamma, beta] = [(); 2].map(|()| values.weights(shape.outputs));
    let statistics = byol_cube::statistics(&z, shape.outputs);
    let folded = byol_cube::fold(&statistics, &gamma, &beta, 1e-5);
    let pass = (shape.output_len() * kind.bytes()) as f64;
    let secs = [
        secs(client, || drop(byol_cube::statistics(&z, shape.outputs))),
        secs(client, || drop(byol_cube::normalise(&z, &folded, None, true))),
        secs(client, || drop(byol_cube::norm_gradient(&z, &dy, None, &statistics, &gamma, &beta, true, 1e-5))),
    ];
    (secs, [pass, 2.0 * pass, 5.0 * pass])
}

/// Seconds of one call, of many in a row.
fn secs(client: &Client, run: impl Fn()) -> f64 {
    const CALLS: usize = 10;
    let probe = Array::from_f32(client, &[1.0]);
    let wait = || drop(probe.to_f32());
    run();
    wait();
    let start = Instant::now();
    (0..CALLS).for_each(|_| run());
    wait();
    start.elapsed().as_secs_f64() / CALLS as f64
}
