//! `byol eval knn` and `byol eval linear`: protocols on frozen representations.

use byol_eval::comparison::Draws;
use byol_eval::linear::{self, Augmentation, LinearOptions, LogitRegularisation};
use byol_eval::{Countdown, Evaluation, HeldOut, Outcome, knn};
use byol_nn::{Error, Result};

use super::numbers::{HeldOutFlag, positive, whole_number};
use super::session::{Common, Session};

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
    /// Neighbours that vote; several give a row each
    #[arg(long, value_name = "K,…", value_delimiter = ',', default_values_t = [200], value_parser = whole_number)]
    k: Vec<usize>,
    /// Temperatures T of the votes exp(cosine / T); several give a row each
    #[arg(long, value_name = "T,…", value_delimiter = ',', default_values_t = [0.1], value_parser = positive::<f32>)]
    temperature: Vec<f32>,
}

#[derive(clap::Args)]
pub struct LinearArguments {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub options: LinearFlags,
    #[command(flatten)]
    pub choice: HeldOutFlag,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Linear evaluation")]
pub struct LinearFlags {
    /// Passes over the training pictures
    #[arg(long, value_name = "N", default_value_t = 80, value_parser = whole_number)]
    epochs: usize,
    /// Pictures per step
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = whole_number)]
    batch_size: usize,
    /// Base learning rates to choose from, each times batch / 256
    #[arg(long, value_name = "RATE,…", value_delimiter = ',', default_values_t = [0.4, 0.3, 0.2, 0.1, 0.05], value_parser = positive::<f64>)]
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
pub fn knn(session: &mut Session, flags: &KnnFlags) -> Result<Evaluation> {
    let options = knn::KnnOptions { ks: flags.k.clone(), temperatures: flags.temperature.clone() };
    let parts = [session.parts.train.clone(), session.parts.test.clone()];
    let device = session.comparison.device.clone();
    let several = flags.k.len() * flags.temperature.len() > 1;
    let frozen = session.comparison.frozen(&parts, Draws::Nothing, |_, features, _| {
        let reports = knn::evaluate(&features[0], &features[1], &options, &device)?;
        Ok(reports.into_iter().map(|report| report.outcome(several)).collect())
    })?;
    Ok(session.frozen("knn", options.protocol(), frozen))
}

/// Linear evaluation.
pub fn linear(session: &mut Session, flags: &LinearFlags, held_out: HeldOut) -> Result<Evaluation> {
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
    let options = LinearOptions {
        epochs: flags.epochs,
        batch_size: flags.batch_size,
        base_learning_rates: flags.learning_rates.clone(),
        held_out,
        logit_regularisation: flags.logit_regularisation.then(LogitRegularisation::default),
        ..Default::default()
    };
    let parts = [session.parts.train.clone(), session.parts.test.clone()];
    // Before the time is spent on representations.
    held_out.count(parts[0].len())?;
    let device = session.comparison.device.clone();
    let frozen = session.comparison.frozen(&parts, Draws::Something, |encoder, features, seed| {
        let options = LinearOptions { seed, ..options.clone() };
        let (train, test) = (&features[0], &features[1]);
        let report = match &augmentation {
            None => linear::evaluate(train, test, &options, &device)?,
            Some(augmentation) => {
                let mut countdown = Countdown::start(linear::augmented_pictures(&options, train.len())?);
                let train_set = &parts[0];
                linear::evaluate_augmented(
                    encoder,
                    train_set,
                    train,
                    test,
                    augmentation,
                    &options,
                    &device,
                    &mut countdown,
                )?
            }
        };
        Ok(vec![Outcome::from(report)])
    })?;
    Ok(session.frozen("linear", options.protocol(augmentation.as_ref()), frozen))
}
