//! `byol eval knn` and `byol eval linear`: protocols on frozen representations.

use std::path::{Path, PathBuf};

use byol_eval::classifier::{ClassifierInfo, LinearClassifier};
use byol_eval::comparison::{Draws, Origin, ToDo};
use byol_eval::knn::{self, KnnOptions};
use byol_eval::linear::{self, Augmentation, LinearOptions, LinearReport, LinearWeights, LogitRegularisation};
use byol_eval::pace::{self, Pace};
use byol_eval::{Countdown, Evaluation, HeldOut, Outcome, fingerprint};
use byol_nn::files::{check_outside, check_writable};
use byol_nn::{Error, Result};

use super::numbers::{HeldOutFlag, positive, whole_number};
use super::plan::Measurement;
use super::session::{Common, Grids, Session, grid_in_words};
use crate::screen::{paragraph, state};

/// Steps of a linear classifier at least, where no flag says how long it trains: with fewer it has not converged.
const LEAST_LINEAR_STEPS: usize = 1000;

/// Neighbours that vote in k-NN, where the smallest class is large enough.
const NEIGHBOURS: usize = 200;

#[derive(clap::Args)]
pub struct KnnArguments {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub options: KnnFlags,
}

#[derive(clap::Args)]
#[command(next_help_heading = "k-NN")]
pub struct KnnFlags {
    /// Neighbours that vote; several give a row each [default: 200, at most the pictures of the smallest class]
    #[arg(long, value_name = "K,…", value_delimiter = ',', value_parser = whole_number)]
    k: Vec<usize>,
    /// Temperatures T of the votes exp(cosine / T); several give a row each
    #[arg(long, value_name = "T,…", value_delimiter = ',', default_values_t = [0.1], value_parser = positive::<f32>)]
    temperature: Vec<f32>,
}

#[derive(clap::Args)]
pub struct LinearArguments {
    #[command(flatten)]
    pub common: Common,
    /// Write the encoder's classifier to this file, for `byol predict`
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    #[command(flatten)]
    pub options: LinearFlags,
    #[command(flatten)]
    pub choice: HeldOutFlag,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Linear evaluation")]
pub struct LinearFlags {
    /// Passes over the training pictures [default: 80, and more where those are fewer than 1000 steps, but not with --paper or
    /// --augmentation]
    #[arg(long, value_name = "N", value_parser = whole_number)]
    epochs: Option<usize>,
    /// Pictures per step
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = whole_number)]
    batch_size: usize,
    /// Base learning rates to choose from, each times batch / 256 [default: the paper's 0.4, 0.3, 0.2, 0.1, 0.05, which train side
    /// by side]
    #[arg(long, value_name = "RATE,…", value_delimiter = ',', value_parser = positive::<f64>)]
    learning_rates: Vec<f64>,
    /// What pictures go through while the classifier trains. Anything but `none` passes every picture through the encoder
    /// in every epoch
    #[arg(long, value_enum, default_value_t = AugmentationFlag::None)]
    augmentation: AugmentationFlag,
    /// Clip and penalise logits, as in the paper's improved variant
    #[arg(long)]
    logit_regularisation: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AugmentationFlag {
    /// Representations are computed once
    None,
    /// Random crops and flips: the paper's protocol
    CropFlip,
    /// The views of the run's pretraining: the paper's improved variant
    Pretraining,
}

/// Weighted k-NN accuracy.
struct Knn {
    options: KnnOptions,
}

/// Weighted k-NN accuracy.
pub fn knn(session: &Session, flags: &KnnFlags) -> Box<dyn Measurement> {
    let smallest = knn::smallest_class(&session.parts.train).max(1);
    let ks = match &flags.k[..] {
        [] if smallest < NEIGHBOURS => {
            paragraph(&format!(
                "k-NN: k {smallest}, the pictures of the smallest class, instead of {NEIGHBOURS}; --k sets another"
            ));
            vec![smallest]
        }
        [] => vec![NEIGHBOURS],
        given => given.to_vec(),
    };
    if let Some(k) = flags.k.iter().find(|&&k| k > smallest) {
        paragraph(&format!(
            "k-NN: k {k} is more than the smallest class has pictures ({smallest}): larger classes can outvote it whatever is near"
        ));
    }
    Box::new(Knn { options: KnnOptions { ks, temperatures: flags.temperature.clone() } })
}

impl Measurement for Knn {
    fn name(&self) -> String {
        "knn".to_owned()
    }

    fn to_do(&self, session: &mut Session) -> ToDo {
        let parts = [session.parts.train.clone(), session.parts.test.clone()];
        session.comparison.frozen_to_do(&parts, Draws::Nothing, &format!("knn {:?}", self.options))
    }

    /// Sorting the neighbours of a few thousand pictures takes no time to speak of.
    fn outcome_secs(&self, _: &Session, _: &Pace) -> Result<f64> {
        Ok(0.1)
    }

    fn trains(&self) -> bool {
        false
    }

    fn run(&self, session: &mut Session) -> Result<(Evaluation, Origin)> {
        let options = &self.options;
        let parts = [session.parts.train.clone(), session.parts.test.clone()];
        let device = session.comparison.device.clone();
        let several = options.ks.len() * options.temperatures.len() > 1;
        let terms = format!("knn {options:?}");
        let frozen = session.comparison.frozen(&parts, Draws::Nothing, &terms, |_, features, _| {
            let reports = knn::evaluate(&features[0], &features[1], options, &device)?;
            Ok(reports.into_iter().map(|report| report.outcome(several)).collect())
        })?;
        let (origin, repeat) = (frozen.origin, Some(session.repeat(options)));
        Ok((Evaluation { repeat, ..session.frozen("knn", options.protocol(), frozen) }, origin))
    }
}

/// Linear evaluation.
struct Linear {
    options: LinearOptions,
    augmentation: Option<Augmentation>,
    protocol: String,
    save: Option<PathBuf>,
}

/// Linear evaluation; the classifier of the encoder goes to `save`.
pub fn linear(
    session: &Session,
    flags: &LinearFlags,
    held_out: HeldOut,
    save: Option<&Path>,
) -> Result<Box<dyn Measurement>> {
    let augmentation = match (flags.augmentation, session.config()) {
        (AugmentationFlag::None, _) => None,
        (AugmentationFlag::CropFlip, _) => Some(Augmentation::CropFlip(session.crop_area_min())),
        (AugmentationFlag::Pretraining, Some(config)) => {
            Some(Augmentation::Pretraining(Box::new(config.views.clone())))
        }
        (AugmentationFlag::Pretraining, None) => {
            return Err(Error::Flag {
                flag: "--augmentation",
                expected: "none or crop-flip for an encoder that is no run folder (its views are not known)".to_owned(),
                got: "pretraining".to_owned(),
            });
        }
    };
    let mut options = LinearOptions {
        batch_size: flags.batch_size,
        held_out,
        logit_regularisation: flags.logit_regularisation.then(LogitRegularisation::default),
        ..Default::default()
    };
    if !flags.learning_rates.is_empty() {
        options.base_learning_rates.clone_from(&flags.learning_rates);
    }
    let images = session.parts.train.len();
    // Before the time is spent on representations.
    held_out.count(images)?;
    match flags.epochs {
        Some(epochs) => options.epochs = epochs,
        None if session.grids == Grids::Narrow && augmentation.is_none() => {
            let before = options.epochs;
            options = options.with_steps_of_at_least(LEAST_LINEAR_STEPS, images)?;
            if options.epochs > before {
                paragraph(&format!(
                    "linear: {} epochs instead of {before}, so that {images} pictures give {LEAST_LINEAR_STEPS} steps; --epochs \
                     sets another number",
                    options.epochs
                ));
            }
        }
        None => {}
    }
    if let Some(path) = save {
        check_free(path, &session.data)?;
    }
    let rates: Vec<String> = options.base_learning_rates.iter().map(f64::to_string).collect();
    // All of them in one pass: there is no narrower grid.
    let grid = grid_in_words(&format!("rates {}", rates.join(", ")), !flags.learning_rates.is_empty(), Grids::Paper);
    let protocol = options.protocol(augmentation.as_ref()) + &grid;
    Ok(Box::new(Linear { options, augmentation, protocol, save: save.map(Path::to_owned) }))
}

/// Whether a classifier may be written there, before it is trained.
fn check_free(path: &Path, data: &[PathBuf]) -> Result<()> {
    if path.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(Error::path(path, "expected a file name that ends in .safetensors; give another --save"));
    }
    data.iter().try_for_each(|data| check_outside(path, data))?;
    if path.symlink_metadata().is_ok() {
        return Err(Error::path(path, "already exists and is not overwritten; give another --save"));
    }
    check_writable(path)
}

impl Linear {
    /// What fixes an outcome.
    fn terms(&self) -> String {
        format!("linear {:?} {:?}", self.options, self.augmentation)
    }

    /// The classifier with what must travel with it.
    fn classifier(
        &self,
        session: &Session,
        fitted: (LinearReport, LinearWeights),
        images: [usize; 2],
    ) -> LinearClassifier {
        let (report, weights) = fitted;
        let encoder = &session.comparison.encoder;
        let classes = weights.bias.len();
        let info = ClassifierInfo {
            classes: session.parts.train.classes()[..classes].to_vec(),
            encoder: fingerprint(encoder),
            arch: encoder.info.arch,
            training: encoder.info.training.clone(),
            steps: encoder.info.steps,
            preprocessing: encoder.info.preprocessing.clone(),
            representation: encoder.info.representation.clone(),
            standardised: "nothing: logits are weight · representation + bias".to_owned(),
            logit_clip: self.options.logit_regularisation.map(|regularisation| regularisation.clip),
            protocol: self.protocol.clone(),
            data: session.parts.description.clone(),
            train_images: images[0],
            test_images: images[1],
            top1: report.top1,
            seed: session.comparison.seeds[0],
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        LinearClassifier::new(weights, info)
    }
}

impl Measurement for Linear {
    fn name(&self) -> String {
        "linear".to_owned()
    }

    fn to_do(&self, session: &mut Session) -> ToDo {
        let parts = [session.parts.train.clone(), session.parts.test.clone()];
        session.comparison.frozen_to_do(&parts, Draws::Something, &self.terms())
    }

    fn outcome_secs(&self, session: &Session, pace: &Pace) -> Result<f64> {
        let (images, classes) = (session.parts.train.len(), session.parts.train.classes().len());
        let (size, device) = (session.comparison.encoder.info.representation_size, &session.comparison.device);
        let through_encoder = match self.augmentation {
            None => 0.0,
            Some(_) => pace.represent_secs * linear::fitted_pictures(&self.options, images)? as f64,
        };
        Ok(through_encoder + pace::linear_secs(&self.options, images, size, classes, device)?)
    }

    fn trains(&self) -> bool {
        false
    }

    fn run(&self, session: &mut Session) -> Result<(Evaluation, Origin)> {
        let parts = [session.parts.train.clone(), session.parts.test.clone()];
        let (device, stop) = (session.comparison.device.clone(), session.comparison.stop);
        let mut of_encoder: Option<(LinearReport, LinearWeights)> = None;
        // Kept are numbers, no classifiers.
        let kept = self.save.is_some().then(|| std::mem::take(&mut session.comparison.kept));
        let frozen = session.comparison.frozen(&parts, Draws::Something, &self.terms(), |encoder, features, seed| {
            let options = LinearOptions { seed, ..self.options.clone() };
            let (train, test) = (&features[0], &features[1]);
            let mut countdown = Countdown::start(linear::fitted_pictures(&options, train.len())?).stopped_by(stop);
            countdown.name("linear, all rates side by side, then the best on all pictures".to_owned());
            let fitted = match &self.augmentation {
                None => linear::fit(train, test, &options, &device, &mut countdown)?,
                Some(augmentation) => {
                    let train_set = &parts[0];
                    let countdown = &mut countdown;
                    linear::fit_augmented(encoder, train_set, train, test, augmentation, &options, &device, countdown)?
                }
            };
            let outcome = Outcome::from(fitted.0.clone());
            // The encoder comes first.
            of_encoder.get_or_insert(fitted);
            Ok(vec![outcome])
        });
        if let Some(kept) = kept {
            session.comparison.kept = kept;
        }
        let frozen = frozen?;
        let origin = frozen.origin;
        if let (Some(path), Some(fitted)) = (&self.save, of_encoder) {
            let images = [frozen.images[0], frozen.images[1]];
            self.classifier(session, fitted, images).save(path)?;
            state!(
                "wrote the classifier of the encoder: {0}\nnext: byol predict {1} {0} DATA -o predictions.csv",
                path.display(),
                session.encoder_name
            );
        }
        // Views are drawn anew in every epoch: that takes too long to be done for a check.
        let repeat = self.augmentation.is_none().then(|| session.repeat(&self.options));
        Ok((Evaluation { repeat, ..session.frozen("linear", self.protocol.clone(), frozen) }, origin))
    }
}
