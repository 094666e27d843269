//! The layers of known networks, for the tables of speeds.

use byol_kernels::{ConvShape, Padding};

/// How often each layer occurs in a network that sees `batch` pictures of its usual size.
pub fn layers(network: &str, batch: usize) -> Option<Vec<(usize, ConvShape)>> {
    match network {
        "resnet18" => Some(resnet18(batch, 32, 64)),
        "resnet18x0.25" => Some(resnet18(batch, 24, 16)),
        "resnet50" => Some(resnet50(batch)),
        _ => None,
    }
}

/// A layer as tables call it.
pub fn name(shape: &ConvShape) -> String {
    let ConvShape { height: size, inputs, outputs, kernel, stride, .. } = *shape;
    match (size, stride) {
        (1, _) => format!("linear {inputs}→{outputs}"),
        (_, 1) => format!("{kernel}×{kernel} {inputs}→{outputs} {size} px"),
        _ => format!("{kernel}×{kernel}/{stride} {inputs}→{outputs} {size} px"),
    }
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
