//! The ResNet and its heads as operations, one for each layer, under torchvision's names.

use byol_nn::encoder::EncoderInfo;
use byol_nn::model::{BlockKind, Norm, NormKind, Stem};
use byol_nn::weights::{StoredTensors, Values};

use super::graph::Graph;
use super::messages::Attribute;

/// Writes the layers of one encoder into a graph.
pub struct Layers<'a> {
    pub graph: &'a mut Graph,
    info: &'a EncoderInfo,
    tensors: &'a StoredTensors,
}

/// Feature maps: the name of their values, their channels and their side in pixels.
struct Maps {
    name: String,
    channels: usize,
    side_px: usize,
}

/// The values of an `f32` tensor.
fn floats(values: &Values) -> &[f32] {
    match values {
        Values::F32(values) => values,
        Values::I64(_) => unreachable!("weights are f32"),
    }
}

impl<'a> Layers<'a> {
    pub fn new(graph: &'a mut Graph, info: &'a EncoderInfo, tensors: &'a StoredTensors) -> Self {
        Self { graph, info, tensors }
    }

    /// `[batch, channels, height, width]` → `[batch, size]`, called `embedding`.
    pub fn encoder(&mut self, images: &str) -> String {
        let resnet = self.info.resnet();
        let (window, stride) = match resnet.stem {
            Stem::Imagenet => (7, 2),
            Stem::Cifar => (3, 1),
        };
        let images =
            Maps { name: images.to_owned(), channels: self.info.channels(), side_px: self.info.preprocessing.size_px };
        let stem = resnet.arch.stem_channels();
        let mut x = self.conv_norm("conv1", "bn1", &images, stem, window, stride);
        x = self.relu(x);
        if resnet.stem == Stem::Imagenet {
            x = self.max_pool(&x);
        }
        let expansion = resnet.arch.block_kind().expansion();
        for (group, blocks) in resnet.arch.blocks().into_iter().enumerate() {
            for block in 0..blocks {
                let stride = if group > 0 && block == 0 { 2 } else { 1 };
                let inner = stem << group;
                x = self.block(&format!("layer{}.{block}", group + 1), x, [inner, inner * expansion], stride);
            }
        }
        let pooled = self.graph.named("avgpool", "GlobalAveragePool", &[&x.name], vec![]);
        self.graph.named("embedding", "Flatten", &[&pooled], vec![Attribute::int("axis", 1)])
    }

    fn block(&mut self, name: &str, x: Maps, [inner, outputs]: [usize; 2], stride: usize) -> Maps {
        let part = |part: &str| format!("{name}.{part}");
        let shortcut = match self.tensors.contains_key(&part("downsample.0.weight")) {
            true => self.conv_norm(&part("downsample.0"), &part("downsample.1"), &x, outputs, 1, stride).name,
            false => x.name.clone(),
        };
        let y = match self.info.arch.block_kind() {
            BlockKind::Basic => {
                let y = self.conv_norm(&part("conv1"), &part("bn1"), &x, inner, 3, stride);
                let y = self.relu(y);
                self.conv_norm(&part("conv2"), &part("bn2"), &y, outputs, 3, 1)
            }
            BlockKind::Bottleneck => {
                let y = self.conv_norm(&part("conv1"), &part("bn1"), &x, inner, 1, 1);
                let y = self.relu(y);
                let y = self.conv_norm(&part("conv2"), &part("bn2"), &y, inner, 3, stride);
                let y = self.relu(y);
                self.conv_norm(&part("conv3"), &part("bn3"), &y, outputs, 1, 1)
            }
        };
        let sum = self.graph.named(&part("add"), "Add", &[&y.name, &shortcut], vec![]);
        self.relu(Maps { name: sum, ..y })
    }

    fn relu(&mut self, x: Maps) -> Maps {
        Maps { name: self.graph.op("Relu", &[&x.name], vec![]), ..x }
    }

    fn conv_norm(&mut self, conv: &str, norm: &str, x: &Maps, outputs: usize, window: usize, stride: usize) -> Maps {
        let weight = &self.tensors[&format!("{conv}.weight")];
        let values = floats(&weight.values);
        let name = match self.info.norm {
            NormKind::Batch => self.graph.weight(&format!("{conv}.weight"), &weight.shape, values),
            NormKind::Group => {
                let standardised = standardised(values, outputs);
                self.graph.weight(&format!("{conv}.weight"), &weight.shape, &standardised)
            }
        };
        let (pads, side_px) = self.pads(x.side_px, window, stride);
        let attributes = vec![
            Attribute::ints("kernel_shape", &[window as i64; 2]),
            Attribute::ints("strides", &[stride as i64; 2]),
            pads,
        ];
        let y = self.graph.named(conv, "Conv", &[&x.name, &name], attributes);
        let y = Maps { name: y, channels: outputs, side_px };
        Maps { name: self.norm(norm, &y), ..y }
    }

    fn norm(&mut self, norm: &str, x: &Maps) -> String {
        let Self { graph, tensors, .. } = self;
        let mut parameter = |part: &str, shape: &[usize]| {
            let name = format!("{norm}.{part}");
            let values = floats(&tensors[&name].values);
            graph.floats(&name, shape, values)
        };
        match self.info.norm {
            NormKind::Batch => {
                let [scale, bias, mean, variance] =
                    ["weight", "bias", "running_mean", "running_var"].map(|part| parameter(part, &[x.channels]));
                let epsilon = vec![Attribute::float("epsilon", Norm::EPSILON)];
                self.graph.named(norm, "BatchNormalization", &[&x.name, &scale, &bias, &mean, &variance], epsilon)
            }
            NormKind::Group => {
                let [scale, bias] = ["weight", "bias"].map(|part| parameter(part, &[x.channels, 1, 1]));
                let back = [0, x.channels, x.side_px, x.side_px].map(|side| side as i64);
                self.by_groups(norm, &x.name, x.channels, &back, [scale, bias])
            }
        }
    }

    /// Group norm from older operations, which every runtime has: each group is one channel of an instance norm.
    fn by_groups(&mut self, name: &str, x: &str, channels: usize, back: &[i64], [scale, bias]: [String; 2]) -> String {
        let graph = &mut *self.graph;
        let groups = Norm::groups(channels);
        let shape = graph.ints(&[3], &[0, groups as i64, -1]);
        let grouped = graph.op("Reshape", &[x, &shape], vec![]);
        let ones = graph.floats(&format!("ones_{groups}"), &[groups], &vec![1.0; groups]);
        let zeros = graph.floats(&format!("zeros_{groups}"), &[groups], &vec![0.0; groups]);
        let epsilon = vec![Attribute::float("epsilon", Norm::EPSILON)];
        let normalised = graph.op("InstanceNormalization", &[&grouped, &ones, &zeros], epsilon);
        let shape = graph.ints(&[back.len()], back);
        let normalised = graph.op("Reshape", &[&normalised, &shape], vec![]);
        let scaled = graph.op("Mul", &[&normalised, &scale], vec![]);
        graph.named(name, "Add", &[&scaled, &bias], vec![])
    }

    fn max_pool(&mut self, x: &Maps) -> Maps {
        let (pads, side_px) = self.pads(x.side_px, 3, 2);
        let attributes = vec![Attribute::ints("kernel_shape", &[3, 3]), Attribute::ints("strides", &[2, 2]), pads];
        Maps { name: self.graph.named("maxpool", "MaxPool", &[&x.name], attributes), side_px, ..*x }
    }

    /// The padding of a square window over a square map, and the side that results.
    fn pads(&self, side_px: usize, window: usize, stride: usize) -> (Attribute, usize) {
        let padding = self.info.padding.of(window);
        let (before, after) = padding.around(side_px, window, stride);
        let pads = [before, before, after, after].map(|pixels| pixels as i64);
        (Attribute::ints("pads", &pads), padding.output_size(side_px, window, stride))
    }

    /// A projector or predictor, whose tensors begin with `prefix`: `[batch, inputs]` → `[batch, outputs]`, called `name`.
    pub fn head(&mut self, name: &str, prefix: &str, x: &str) -> String {
        let mut x = x.to_owned();
        for layer in 1.. {
            let part = |part: &str| format!("{prefix}linear{layer}.{part}");
            let Some(weight) = self.tensors.get(&part("weight")) else { break };
            let stored = self.graph.weight(&part("weight"), &weight.shape, floats(&weight.values));
            let mut inputs = vec![x.clone(), stored];
            if let Some(bias) = self.tensors.get(&part("bias")) {
                inputs.push(self.graph.floats(&part("bias"), &bias.shape, floats(&bias.values)));
            }
            let is_last = !self.tensors.contains_key(&format!("{prefix}linear{}.weight", layer + 1));
            let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
            let output = if is_last { name.to_owned() } else { part("output") };
            x = self.graph.named(&output, "Gemm", &inputs, vec![Attribute::int("transB", 1)]);
            if !is_last {
                let norm = if layer == 1 { "bn".to_owned() } else { format!("bn{layer}") };
                x = self.head_norm(&format!("{prefix}{norm}"), &x, weight.shape[0]);
                x = self.graph.op("Relu", &[&x], vec![]);
            }
        }
        x
    }

    fn head_norm(&mut self, norm: &str, x: &str, units: usize) -> String {
        let values = |part: &str| floats(&self.tensors[&format!("{norm}.{part}")].values);
        match self.info.norm {
            NormKind::Group => {
                let (scale, bias) = (values("weight"), values("bias"));
                let scale = self.graph.floats(&format!("{norm}.weight"), &[units], scale);
                let bias = self.graph.floats(&format!("{norm}.bias"), &[units], bias);
                self.by_groups(norm, x, units, &[0, units as i64], [scale, bias])
            }
            // With running statistics it is an affine map.
            NormKind::Batch => {
                let (mean, variance) = (values("running_mean"), values("running_var"));
                let scale: Vec<f32> =
                    values("weight").iter().zip(variance).map(|(w, v)| w / (v + Norm::EPSILON).sqrt()).collect();
                let shift: Vec<f32> =
                    values("bias").iter().zip(mean).zip(&scale).map(|((b, m), scale)| b - m * scale).collect();
                let scale = self.graph.floats(&format!("{norm}.scale"), &[units], &scale);
                let shift = self.graph.floats(&format!("{norm}.shift"), &[units], &shift);
                let scaled = self.graph.op("Mul", &[x, &scale], vec![]);
                self.graph.named(norm, "Add", &[&scaled, &shift], vec![])
            }
        }
    }
}

/// The weights of each output less their mean, divided by `√(variance + 1e-10)`, as [`byol_nn::ops::standardise_weight`].
fn standardised(values: &[f32], outputs: usize) -> Vec<f32> {
    let count = values.len() / outputs;
    let standardise = |row: &[f32]| {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count as f64;
        let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count as f64;
        let deviation = (variance + 1e-10).sqrt();
        row.iter().map(|&x| ((f64::from(x) - mean) / deviation) as f32).collect::<Vec<_>>()
    };
    values.chunks_exact(count).flat_map(standardise).collect()
}
