//! Whether a bundle is what was bundled, and whether its numbers come out again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use byol_data::Dataset;
use byol_eval::comparison::{Comparison, Draws, Frozen};
use byol_eval::knn::{self, KnnOptions};
use byol_eval::linear::{self, LinearOptions};
use byol_eval::{
    Countdown, Evaluation, KeptOutcomes, LabelledParts, Network, Outcome, PartsRequest, Repeat, Row, Stop, fingerprint,
    fingerprint_text, open_parts,
};
use byol_nn::dist::Alone;
use byol_nn::encoder::Encoder;
use byol_nn::ops::Device;
use byol_nn::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::archive::{Archive, damaged};
use super::{ABOUT, About, FORMAT};

/// What to check.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// The archive.
    pub bundle: PathBuf,
    /// Pictures to measure on again; none checks the sums alone.
    pub data: Vec<PathBuf>,
    /// Those to test on, where they had a place of their own.
    pub test: Vec<PathBuf>,
    /// How far a number may be from the one in the bundle, in points.
    pub tolerance: f64,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// Files in the bundle.
    pub files: usize,
    /// How the encoder was trained, in one line.
    pub training: String,
    /// SPDX expression.
    pub license: Option<String>,
    /// Version that bundled.
    pub version: String,
    /// Each evaluation in the bundle; empty where no pictures were given.
    pub evaluations: Vec<Measured>,
}

/// One evaluation in the bundle.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Its protocol's name.
    pub eval: String,
    /// What it was of, as recorded.
    pub data: String,
    /// Its numbers beside those of now; empty where it was not measured again.
    pub numbers: Vec<Compared>,
    /// Rows or all of it that were not measured again, and why.
    pub left_out: Vec<String>,
}

/// A number of the bundle beside that of now.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// Whose: `pretrained`, `random`.
    pub network: &'static str,
    /// See [`Row::setting`].
    pub setting: String,
    /// Which number.
    pub metric: String,
    /// As in the bundle.
    pub recorded: f64,
    /// As it came out.
    pub now: f64,
    /// Whether they are as near as asked for.
    pub is_same: bool,
}

impl Verified {
    /// Whether any number came out otherwise.
    pub fn differs(&self) -> bool {
        self.evaluations.iter().flat_map(|measured| &measured.numbers).any(|number| !number.is_same)
    }
}

/// Checks the sums of a bundle and, with pictures, its numbers of k-NN and linear evaluation.
///
/// # Errors
/// [`Error::Path`] for a damaged bundle and for pictures that no evaluation in it took; those of the data and of the protocols;
/// [`Error::Interrupted`].
pub fn verify(request: &VerifyRequest, stop: Stop, device: &Device) -> Result<Verified> {
    let archive = Archive::open(&request.bundle)?;
    let about: About = json(&archive, request, ABOUT)?;
    if about.format != FORMAT {
        let problem = format!(
            "its form is {:?}, expected {FORMAT:?}: another version of byol made it, use that one",
            about.format
        );
        return Err(Error::path(&request.bundle, problem));
    }
    let mut verified = Verified {
        files: archive.files.len(),
        training: about.encoder.training.clone(),
        license: about.license.clone(),
        version: about.version.clone(),
        evaluations: Vec::new(),
    };
    let encoder = encoder(&archive, request, device)?;
    if fingerprint(&encoder) != about.encoder.fingerprint {
        return Err(damaged(&request.bundle, "the encoder is another than bundle.json says"));
    }
    if request.data.is_empty() {
        return Ok(verified);
    }
    let recorded = match archive.files.contains_key("evaluation.json") {
        true => json::<Recorded>(&archive, request, "evaluation.json")?.evaluations,
        false => Vec::new(),
    };
    if recorded.is_empty() {
        let problem =
            "no evaluation is in it, so that there is nothing to measure again; leave --data away to check its sums";
        return Err(Error::path(&request.bundle, problem));
    }
    for evaluation in &recorded {
        verified.evaluations.push(again(evaluation, &encoder, request, stop, device)?);
    }
    if verified.evaluations.iter().all(|measured| measured.numbers.is_empty()) {
        let reason = |measured: &Measured| format!("{}: {}", measured.eval, measured.left_out.join("; "));
        let reasons: Vec<String> = verified.evaluations.iter().map(reason).collect();
        let problem = format!(
            "nothing in it could be measured again; give the pictures of its evaluations. {}",
            reasons.join(". ")
        );
        return Err(Error::path(&request.bundle, problem));
    }
    Ok(verified)
}

/// `evaluation.json`.
#[derive(serde::Deserialize)]
struct Recorded {
    evaluations: Vec<Evaluation>,
}

fn json<T: DeserializeOwned>(archive: &Archive, request: &VerifyRequest, name: &str) -> Result<T> {
    serde_json::from_slice(archive.bytes(name)?).map_err(|error| damaged(&request.bundle, &format!("{name}: {error}")))
}

/// The encoder in the archive, which stays packed.
fn encoder(archive: &Archive, request: &VerifyRequest, device: &Device) -> Result<Encoder> {
    let path = request.bundle.join("encoder.safetensors");
    Encoder::from_files(archive.bytes("encoder.json")?, &archive.read("encoder.safetensors")?, &path, device)
}

/// Measures one evaluation again, if that is possible.
fn again(
    recorded: &Evaluation,
    encoder: &Encoder,
    request: &VerifyRequest,
    stop: Stop,
    device: &Device,
) -> Result<Measured> {
    let mut measured = Measured {
        eval: recorded.eval.clone(),
        data: recorded.data.clone(),
        numbers: Vec::new(),
        left_out: Vec::new(),
    };
    let plan = plan(recorded, encoder, request)?;
    let (repeat, parts) = match plan {
        Ok(plan) => plan,
        Err(reason) => {
            measured.left_out.push(reason);
            return Ok(measured);
        }
    };
    let frozen = measure(recorded, repeat, &parts, encoder, stop, device)?;
    for row in &recorded.rows {
        let name = row.network.short_name();
        match frozen.rows.iter().find(|now| (now.network, &now.setting) == (row.network, &row.setting)) {
            Some(now) => measured.numbers.extend(compared(row, now, request.tolerance)),
            None => measured.left_out.push(format!("{name}: its weights are not in the bundle")),
        }
    }
    Ok(measured)
}

type Plan<'a> = std::result::Result<(&'a Repeat, LabelledParts), String>;

/// The pictures of an evaluation, or why it is not measured again.
fn plan<'a>(recorded: &'a Evaluation, encoder: &Encoder, request: &VerifyRequest) -> Result<Plan<'a>> {
    let Some(repeat) = &recorded.repeat else {
        return Ok(Err(
            "it does not say its options: `byol verify` repeats knn and linear without augmentation".to_owned()
        ));
    };
    if recorded.step != encoder.info.steps {
        let (then, now) = (recorded.step, encoder.info.steps);
        return Ok(Err(format!("it is of the encoder at step {then}, the bundle has that of step {now}")));
    }
    let pictures = &repeat.pictures;
    if pictures.separate_test == request.test.is_empty() {
        return Ok(Err(match pictures.separate_test {
            true => "it was tested on pictures of their own place; give --test".to_owned(),
            false => "it was tested on a part of DATA; leave --test away".to_owned(),
        }));
    }
    let parts = PartsRequest {
        data: request.data.clone(),
        test: request.test.clone(),
        split: pictures.split.clone(),
        test_split: pictures.test_split.clone(),
    };
    let parts = open_parts(&parts, &pictures.reading)?;
    let is_other = |dataset: &Dataset, expected: &String| fingerprint_text(dataset) != *expected;
    let (train, test) =
        (is_other(&parts.train, &pictures.train_fingerprint), is_other(&parts.test, &pictures.test_fingerprint));
    Ok(match (train, test) {
        (false, false) => Ok((repeat, parts)),
        _ => {
            let which =
                ["training", "test"].into_iter().zip([train, test]).filter_map(|(name, other)| other.then_some(name));
            let which: Vec<&str> = which.collect();
            Err(format!("the {} pictures are others than it was made of ({})", which.join(" and "), recorded.data))
        }
    })
}

fn measure(
    recorded: &Evaluation,
    repeat: &Repeat,
    parts: &LabelledParts,
    encoder: &Encoder,
    stop: Stop,
    device: &Device,
) -> Result<Frozen> {
    let of = |network: Network| recorded.rows.iter().filter(move |row| row.network == network);
    let seeds = recorded.rows.iter().map(|row| &row.seeds).max_by_key(|seeds| seeds.len()).cloned().unwrap_or_default();
    let mut comparison = Comparison {
        encoder: encoder.clone(),
        with_random: of(Network::Random).next().is_some(),
        supervised: Vec::new(),
        reference: None,
        seeds,
        cache: None,
        kept: KeptOutcomes::default(),
        stop,
        device: device.clone(),
        ranks: Arc::new(Alone),
    };
    let pictures = [parts.train.clone(), parts.test.clone()];
    let name = &recorded.eval;
    match name.as_str() {
        "knn" => {
            let options: KnnOptions = options(repeat, name)?;
            let is_one = options.ks.len() * options.temperatures.len() == 1;
            comparison.frozen(&pictures, Draws::Nothing, name, |_, features, _| {
                let reports = knn::evaluate(&features[0], &features[1], &options, device)?;
                Ok(reports.into_iter().map(|report| report.outcome(!is_one)).collect())
            })
        }
        "linear" => {
            let options: LinearOptions = options(repeat, name)?;
            comparison.frozen(&pictures, Draws::Something, name, |_, features, seed| {
                let options = LinearOptions { seed, ..options.clone() };
                let mut countdown =
                    Countdown::start(linear::fitted_pictures(&options, features[0].len())?).stopped_by(stop);
                countdown.name("linear".to_owned());
                let (report, _) = linear::fit(&features[0], &features[1], &options, device, &mut countdown)?;
                Ok(vec![Outcome::from(report)])
            })
        }
        _ => Err(damaged(Path::new("evaluation.json"), &format!("{name} has options that only knn and linear have"))),
    }
}

fn options<T: DeserializeOwned>(repeat: &Repeat, eval: &str) -> Result<T> {
    serde_json::from_value(repeat.options.clone())
        .map_err(|error| damaged(Path::new("evaluation.json"), &format!("the options of {eval}: {error}")))
}

fn compared(recorded: &Row, now: &Row, tolerance: f64) -> Vec<Compared> {
    let both = recorded.numbers.iter().map(|(metric, number)| {
        let (recorded_mean, now_mean) = (number.mean, now.numbers.get(metric).map_or(f64::NAN, |number| number.mean));
        Compared {
            network: recorded.network.short_name(),
            setting: recorded.setting.clone(),
            metric: metric.clone(),
            recorded: recorded_mean,
            now: now_mean,
            is_same: (recorded_mean - now_mean).abs() <= tolerance,
        }
    });
    both.collect()
}
