//! Several ranks against the golden values of one process, how often they talk, and ranks that drift apart. Each test starts itself again under
//! Open MPI's `mpirun`: one process has one backward pass at a time, so that threads cannot stand for ranks.
#![cfg(feature = "mpi")]

mod values;

use std::process::Command;
use std::sync::{Arc, Mutex};

use burn::tensor::{Device, Tensor};
use byol::Preset;
use byol::method::{Byol, ModelConfig, Part, PassModes, TargetKind};
use byol::run::{RunFolder, RunInfo};
use byol::train::{Outcome, Requests, train_on_ranks};
use byol_data::{Dataset, drawn};
use byol_nn::dist::{Communicator, GradientSums, Launch, Ranks, Summing, Watchdog, part_of, start};
use byol_nn::model::{BatchNormMode, NamedGradients, NamedTensor, Role, Stem, visit_tensors};
use byol_nn::ops::Precision;
use byol_nn::weights::to_vec;
use byol_nn::{Error, Result};
use values::{filled, input, norm, relative_error, sample, tensors, values};

const TINY_SIDE: usize = 16;
const TINY_BATCH: usize = 8;

/// Runs the ignored test `name` by so many ranks; MPIRUN may name another launcher of Open MPI.
fn on_ranks(ranks: usize, name: &str) {
    let mut command = Command::new(std::env::var_os("MPIRUN").unwrap_or_else(|| "mpirun".into()));
    command.args(["--oversubscribe", "--bind-to", "none", "-n", &ranks.to_string()]);
    command.arg(std::env::current_exe().unwrap()).args(["--ignored", "--exact", name, "--nocapture"]);
    // A test in a container is root, and may not read the memory of other processes.
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("OMPI_MCA_btl_vader_single_copy_mechanism", "none");
    let output = command.output().expect("Open MPI's mpirun, of the package openmpi-bin");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.matches("1 passed").count() == ranks, "{said}");
}

/// Ranks that count how often they talk, and may compute wrongly.
#[derive(Debug)]
struct Watched {
    ranks: Ranks,
    /// Sums, and buckets of gradients.
    talked: Mutex<[usize; 2]>,
    /// What is added to sums of gradients here.
    wrong: f32,
}

impl Communicator for Watched {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn ranks(&self) -> usize {
        self.ranks.ranks()
    }

    fn local_ranks(&self) -> usize {
        self.ranks.local_ranks()
    }

    fn sum(&self, values: &mut [f64]) -> Result<()> {
        self.talked.lock().unwrap()[0] += 1;
        self.ranks.sum(values)
    }

    fn start_sum(&self, values: Vec<f32>) -> Result<Summing> {
        self.talked.lock().unwrap()[1] += 1;
        let mut sums = self.ranks.start_sum(values)?.finish(&*self.ranks)?;
        sums.iter_mut().for_each(|sum| *sum += self.wrong);
        Ok(Summing::done(Ok(sums)))
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()> {
        self.ranks.broadcast(bytes)
    }

    fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.ranks.gather(bytes)
    }

    fn wait_patiently(&self) -> Result<()> {
        self.ranks.wait_patiently()
    }

    fn group(&self, size: usize) -> Result<Ranks> {
        self.ranks.group(size)
    }

    fn watchdog(&self) -> Option<&Watchdog> {
        None
    }

    fn abort(&self, code: i32) -> ! {
        self.ranks.abort(code)
    }
}

impl Watched {
    fn of(ranks: &Ranks) -> Self {
        Self { ranks: ranks.clone(), talked: Mutex::default(), wrong: 0.0 }
    }
}

fn model(arch: &str) -> ModelConfig {
    ModelConfig {
        arch: arch.parse().unwrap(),
        stem: Stem::Cifar,
        projector_hidden: 32,
        predictor_hidden: 32,
        projection_size: 16,
        zero_init_residual: false,
        target: TargetKind::MovingAverage,
        ..Preset::Imagenet1000.config().model
    }
}

/// This rank's part of the loss of a batch, and the gradients of all of it; the networks see a pass.
fn gradients(byol: &mut Byol, views: &[Tensor<4>; 2], ranks: &Ranks) -> (f64, NamedGradients) {
    let [batch, ..] = views[0].dims();
    let own = part_of(batch, ranks.rank(), ranks.ranks());
    let views = views.clone().map(|view| view.narrow(0, own.start, own.len()));
    let share = own.len() as f32 / batch as f32;
    let sums = Arc::new(GradientSums::new(ranks.clone()));
    let part = Part { ranks: ranks.clone(), statistics: Some(ranks.clone()), share, sums: Some(sums.clone()) };
    let mode = BatchNormMode::batch(1.0);
    let mut sum = NamedGradients::new();
    let modes = PassModes { first: mode.clone(), second: mode };
    let losses = byol.add_gradients(views, modes, &part, 1.0, &mut sum).unwrap();
    drop(part);
    let sum = Arc::into_inner(sums).unwrap().finish(sum).unwrap();
    (f64::from(losses.loss.into_scalar::<f32>() * share), sum)
}

#[test]
fn gradients_over_ranks_are_the_golden_ones_of_one_process() {
    on_ranks(3, "golden_gradients_by_parts");
}

#[test]
#[ignore = "started by mpirun"]
fn golden_gradients_by_parts() {
    let session = start(Launch::of_this_process().as_ref()).unwrap();
    let golden = tensors("byol_step.safetensors");
    let device = Device::flex();
    let mut byol = Byol::new(&model("resnet18x0.125"), 3, Precision::F32, 0, &device);
    byol.online = filled(byol.online, "online.");
    byol.target = filled(byol.target, "target.");
    let mut alone = byol.clone();
    let views = ["input.view1", "input.view2"].map(|name| input(name, TINY_BATCH, TINY_SIDE, &device));
    let (loss, sum) = gradients(&mut byol, &views, &session.ranks);
    let mut loss = [loss];
    session.ranks.sum(&mut loss).unwrap();
    let expected = f64::from(values(&golden, "loss")[0]);
    assert!((loss[0] - expected).abs() <= 1e-3 * expected, "{loss:?} {expected}");
    let mut compared = 0;
    visit_tensors(&byol.online, |tensor| {
        // The gradient of a bias before a batch norm is 0.
        if tensor.role == Role::Buffer || tensor.name.ends_with("linear1.bias") {
            return;
        }
        let gradient = to_vec(sum[tensor.name].clone());
        let expected_norm = f64::from(values(&golden, &format!("norm.online.{}", tensor.name))[0]);
        let error = relative_error(&sample(&gradient), &values(&golden, &format!("grad.online.{}", tensor.name)));
        assert!(error <= 1e-3, "{}: {error}", tensor.name);
        assert!((norm(&gradient) / expected_norm - 1.0).abs() <= 1e-3, "{}", tensor.name);
        compared += 1;
    });
    assert!(compared > 60, "only {compared} tensors were compared");

    // Running averages of online and target network, whose second pass runs beside its first.
    let mode = BatchNormMode::batch(1.0);
    let modes = PassModes { first: mode.clone(), second: mode };
    alone.add_gradients(views, modes, &Part::whole(), 1.0, &mut NamedGradients::new()).unwrap();
    let buffers = |byol: &Byol| {
        let mut buffers = Vec::new();
        let mut keep = |tensor: NamedTensor| {
            if tensor.role == Role::Buffer {
                buffers.extend(to_vec(tensor.values));
            }
        };
        visit_tensors(&byol.online, &mut keep);
        visit_tensors(&byol.target, &mut keep);
        buffers
    };
    let (expected, got) = (buffers(&alone), buffers(&byol));
    assert!(relative_error(&got, &expected) < 1e-5 && got.len() > 1000, "{}", got.len());
}

/// Of a ResNet-50: 53 norms in the encoder, one in each head. The target's passes and the online network's first share their sums.
#[test]
fn a_step_of_a_resnet50_talks_220_times_about_statistics() {
    on_ranks(2, "count_sums");
}

#[test]
#[ignore = "started by mpirun"]
fn count_sums() {
    let session = start(Launch::of_this_process().as_ref()).unwrap();
    let device = Device::flex();
    let mut byol = Byol::new(&model("resnet50x0.0625"), 3, Precision::F32, 0, &device);
    let views = ["input.view1", "input.view2"].map(|name| input(name, 4, 32, &device));
    let watched = Arc::new(Watched::of(&session.ranks));
    gradients(&mut byol, &views, &(watched.clone() as Ranks));
    assert_eq!(*watched.talked.lock().unwrap(), [55 + 55 + 2 * 55, 2]);
}

#[test]
fn ranks_that_drift_apart_end_the_run_before_anything_is_saved() {
    on_ranks(3, "drift_apart");
}

#[test]
#[ignore = "started by mpirun"]
fn drift_apart() {
    const IMAGES: usize = 12;
    let session = start(Launch::of_this_process().as_ref()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "model.arch=resnet18x0.0625",
        "model.projector_hidden=8",
        "model.predictor_hidden=8",
        "model.projection_size=8",
        "views.size_px=16",
        "train.batch_size=6",
        "schedule.epochs=2",
        "schedule.warmup_epochs=0",
        "train.checkpoint_every_steps=3",
        "eval.every_epochs=0",
    ];
    let config = Preset::Cifar10.resolve(&settings.map(str::to_owned)).unwrap();
    let pictures = drawn::draw(IMAGES, 7, 16).into_iter().map(|(picture, _)| picture).collect();
    let names = (0..IMAGES).map(|index| index.to_string()).collect();
    let dataset = Arc::new(Dataset::from_images(pictures, None, Vec::new(), names));
    let train = |out: &str, wrong: f32| {
        let info = RunInfo {
            data: Vec::new(),
            split: None,
            data_fingerprint: 0,
            images: IMAGES,
            input: String::new(),
            device: "cpu".to_owned(),
            version: String::new(),
            preset: None,
            warm_start: None,
            earlier_data: Vec::new(),
        };
        let run = RunFolder::create(&folder.path().join(out), &config, &info).unwrap();
        let wrong = if session.ranks.rank() == 1 { wrong } else { 0.0 };
        let ranks: Ranks = Arc::new(Watched { wrong, ..Watched::of(&session.ranks) });
        let own = session.ranks.is_first().then_some(&run);
        let ended = train_on_ranks(own, &config, dataset.clone(), &Device::flex(), &Requests::new(), &ranks);
        (ended, run)
    };
    let (ended, run) = train("well", 0.0);
    let report = ended.unwrap();
    assert_eq!(report.map(|report| report.outcome), session.ranks.is_first().then_some(Outcome::Finished));
    assert!(!session.ranks.is_first() || std::fs::read_dir(run.checkpoints()).unwrap().count() > 0);

    let (ended, run) = train("ill", 1e-6);
    let error = ended.unwrap_err();
    match session.ranks.rank() {
        0 => {
            assert!(matches!(error, Error::OnRank { rank: 0, .. }), "{error}");
            let expected = "the weights of rank 1 are no longer those of rank 0 after step 3";
            assert!(error.to_string().contains(expected), "{error}");
        }
        _ => assert!(matches!(error, Error::Elsewhere { rank: 0 }), "{error}"),
    }
    assert_eq!(std::fs::read_dir(run.checkpoints()).unwrap().count(), 0);
}
