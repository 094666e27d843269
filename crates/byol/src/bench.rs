//! How fast this machine trains and embeds: the figures behind `byol bench`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use byol_data::{Random, Stream};
use byol_kernels::peak_memory_bytes;
use byol_nn::dist::{GradientSums, Ranks, part_of};
use byol_nn::model::{Arch, BatchNormMode, FrozenResNet, NamedGradients, ResNet, ResNetConfig, Stem, initialize};
use byol_nn::ops::{self, KernelTime, Precision, kernel_times};
use byol_nn::optim::{Optimizer, OptimizerConfig, OptimizerKind};
use byol_nn::{Error, Result};
use serde::Serialize;

use crate::method::{Byol, ModelConfig, Part, PassModes};
use crate::preset::Preset;

/// What is timed.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Architecture of the encoder; pictures of up to 64 px get the CIFAR stem.
    pub arch: Arch,
    /// Side of the square pictures in pixels.
    pub size_px: usize,
    /// Pictures per step.
    pub batch_size: usize,
    /// Type of activations and matrix operands.
    pub precision: Precision,
    /// Timed repetitions, 1 or more, after two that are not.
    pub iterations: usize,
    /// A step lets the views pass as one of so many pictures does, and takes memory per picture as that does.
    pub like_batch_size: usize,
    /// Whether the kernels of one more repetition are timed one by one, on a graphics card.
    pub kernels: bool,
}

/// Sizes of projector and predictor, written `hidden/size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Heads {
    /// Units of the hidden layers.
    pub hidden: usize,
    /// Size of a projection.
    pub size: usize,
}

impl Heads {
    /// The paper's.
    pub const PAPER: Self = Self { hidden: 4096, size: 256 };
}

impl fmt::Display for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.hidden, self.size)
    }
}

impl FromStr for Heads {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        /// Weights of a layer between the two beyond which a benchmark only measures how memory runs out.
        const MAX_WEIGHTS: usize = 1 << 26;
        let size = |text: &str| text.parse().ok().filter(|size| (1..=MAX_WEIGHTS).contains(size));
        let heads = text.split_once('/').and_then(|(hidden, projection)| Some((size(hidden)?, size(projection)?)));
        let (hidden, size) = heads.filter(|(hidden, size)| hidden * size <= MAX_WEIGHTS).ok_or_else(|| {
            format!("expected HIDDEN/SIZE, like 4096/256, with a product of at most {MAX_WEIGHTS}; got {text:?}")
        })?;
        Ok(Self { hidden, size })
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchReport {
    /// Architecture of the encoder.
    pub arch: Arch,
    /// Side of the square pictures in pixels.
    pub size_px: usize,
    /// Pictures per step.
    pub batch_size: usize,
    /// Type of activations and matrix operands.
    pub precision: Precision,
    /// Sizes of projector and predictor; absent for inference.
    pub heads: Option<Heads>,
    /// Instruction set of the kernels, or the graphics card.
    pub isa: String,
    /// Threads that computed, of each rank.
    pub threads: usize,
    /// Processes that computed together.
    pub ranks: usize,
    /// Pictures (a pair of views counts once) per second, by the median.
    pub images_per_second: f64,
    /// Median of one repetition.
    pub seconds_median: f64,
    /// Useful arithmetic per second in 10⁹; two operations per multiply-add of a convolution or linear layer.
    pub gflops_per_second: f64,
    /// Largest memory of the process so far, in bytes; absent where the system does not tell.
    pub peak_rss_bytes: Option<u64>,
    /// Loss of the last step; absent for inference.
    pub loss: Option<f32>,
    /// The kernels of one more repetition, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernels: Option<Vec<KernelTime>>,
}

/// Pixels per step beyond which a benchmark only measures how memory runs out.
const MAX_PIXELS: usize = 1 << 26;

impl Workload {
    /// # Errors
    /// [`Error::Flag`] for more pixels than a benchmark should ask memory for, and for a type that the device does not have.
    pub fn validate(&self) -> Result<()> {
        if !ops::has_precision(self.precision) {
            let expected = format!("{}, since {} has no {}", ops::precisions(), ops::engine(), self.precision);
            return Err(Error::Flag { flag: "--precision", expected, got: self.precision.to_string() });
        }
        let pixels = self.batch_size * self.size_px * self.size_px;
        if pixels <= MAX_PIXELS {
            return Ok(());
        }
        Err(Error::Flag {
            flag: "--batch",
            expected: format!("at most {} pictures of {} px", MAX_PIXELS / (self.size_px * self.size_px), self.size_px),
            got: self.batch_size.to_string(),
        })
    }

    fn stem(&self) -> Stem {
        if self.size_px <= 64 { Stem::Cifar } else { Stem::Imagenet }
    }

    fn images(&self, view: u64, device: &Device) -> Tensor<4> {
        let mut random = Random::new(0, Stream::Drawing, 0, view);
        let pixels: Vec<f32> =
            (0..self.batch_size * self.size_px * self.size_px * 3).map(|_| random.normal()).collect();
        Tensor::from_data(TensorData::new(pixels, [self.batch_size, self.size_px, self.size_px, 3]), device)
    }

    fn report(&self, seconds_median: f64, multiply_adds: u64, step: Option<(Heads, f32)>, ranks: usize) -> BenchReport {
        BenchReport {
            arch: self.arch,
            size_px: self.size_px,
            batch_size: self.batch_size,
            precision: self.precision,
            heads: step.map(|(heads, _)| heads),
            isa: ops::engine(),
            threads: rayon::current_num_threads(),
            ranks,
            images_per_second: self.batch_size as f64 / seconds_median,
            seconds_median,
            gflops_per_second: 2.0 * multiply_adds as f64 * self.batch_size as f64 / seconds_median / 1e9,
            peak_rss_bytes: peak_memory_bytes(),
            loss: step.map(|(_, loss)| loss),
            kernels: None,
        }
    }
}

/// Times one training step as every tool must do it: online network forward and backward and target network forward on
/// two ready-made views, SGD with momentum, target update.
///
/// Counted per picture and view: one forward pass of online network, predictor and target network, and twice the online
/// forward pass backwards, but for the first convolution, whose input needs no gradient.
///
/// Of several ranks each takes its part of the batch.
///
/// # Errors
/// The ranks cannot talk to each other.
pub fn step(workload: &Workload, heads: Heads, device: &Device, ranks: &Ranks) -> Result<BenchReport> {
    let config = ModelConfig {
        arch: workload.arch,
        stem: workload.stem(),
        projector_hidden: heads.hidden,
        predictor_hidden: heads.hidden,
        projection_size: heads.size,
        ..Preset::Imagenet1000.config().model
    };
    step_of(&config, workload, device, ranks)
}

/// [`step`] with the heads and the stem of `config`.
///
/// # Errors
/// Those of [`step`].
pub fn step_of(config: &ModelConfig, workload: &Workload, device: &Device, ranks: &Ranks) -> Result<BenchReport> {
    let pictures = part_of(workload.batch_size, ranks.rank(), ranks.ranks()).len();
    let part = Part {
        ranks: ranks.clone(),
        statistics: (!ranks.is_alone()).then(|| ranks.clone()),
        share: pictures as f32 / workload.batch_size as f32,
        sums: None,
    };
    let own = Workload { batch_size: pictures, ..*workload };
    let mut byol = Byol::new(config, 3, workload.precision, 0, device);
    // No step is to be lost to finding the scale.
    byol.loss_scale = byol.loss_scale.min(1024.0);
    let rule = OptimizerConfig { kind: OptimizerKind::Sgd, weight_decay: 1e-6, ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(rule);
    let views = [1, 2].map(|view| own.images(view, device));
    let mode = BatchNormMode::batch(0.1);
    let mut loss = 0.0;
    let passes = byol.passes(workload.like_batch_size, workload.size_px);
    let mut step = || {
        let mut gradients = NamedGradients::new();
        let modes = PassModes { first: mode.clone(), second: mode.clone() };
        let sums = Arc::new(GradientSums::new(ranks.clone()));
        let part = Part { sums: (!ranks.is_alone()).then(|| sums.clone()), ..part.clone() };
        let losses = byol.add_gradients_by(passes, views.clone(), modes, &part, 1.0, &mut gradients)?;
        drop(part);
        let gradients = Arc::into_inner(sums).expect("the pass has ended").finish(gradients)?;
        loss = ops::read_one(losses.loss);
        optimizer.step(&mut byol.online, gradients, 0.01);
        byol.update_target(0.996);
        Ok::<_, Error>(())
    };
    let seconds = median(workload.iterations, &mut step)?;
    let kernels = workload.kernels.then(|| {
        let mut done = Ok(());
        let times = kernel_times(|| done = step());
        done.map(|()| times)
    });
    let kernels = kernels.transpose()?;
    let (stem, encoder) = byol.online.encoder.multiply_adds(workload.size_px);
    let size = workload.arch.representation_size();
    let projector = ((size + config.projection_size) * config.projector_hidden) as u64;
    let predictor = (2 * config.projection_size * config.predictor_hidden) as u64;
    let (online, target) = (encoder + projector + predictor, encoder + projector);
    let heads = Heads { hidden: config.projector_hidden, size: config.projection_size };
    let report = workload.report(seconds, 2 * (3 * online - stem + target), Some((heads, loss)), ranks.ranks());
    Ok(BenchReport { kernels, ..report })
}

/// Times inference of the encoder: batch norm by running statistics, ready-made pictures.
pub fn embed(workload: &Workload, device: &Device) -> BenchReport {
    let mut network = initialize(
        ResNet::new(&ResNetConfig::torchvision(workload.arch, workload.stem()), 3, device),
        0,
        "online.encoder",
    );
    let images = workload.images(1, device);
    let mut frozen = FrozenResNet::new(&mut network, workload.precision);
    let mut pass = || {
        let features = frozen.forward(images.clone());
        ops::read_one(features.sum());
        Ok::<_, Infallible>(())
    };
    let Ok(seconds) = median(workload.iterations, &mut pass);
    let kernels = workload.kernels.then(|| {
        kernel_times(|| {
            let Ok(()) = pass();
        })
    });
    let (_, multiply_adds) = network.multiply_adds(workload.size_px);
    BenchReport { kernels, ..workload.report(seconds, multiply_adds, None, 1) }
}

fn median<E>(iterations: usize, mut run: impl FnMut() -> std::result::Result<(), E>) -> std::result::Result<f64, E> {
    for _ in 0..2 {
        run()?;
    }
    let mut seconds: Vec<f64> = (0..iterations)
        .map(|_| {
            let start = Instant::now();
            run()?;
            Ok(start.elapsed().as_secs_f64())
        })
        .collect::<std::result::Result<_, E>>()?;
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[iterations / 2])
}
