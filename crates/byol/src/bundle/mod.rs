//! A run in one file: all that somebody else needs to use its encoder, to judge it, and to check what is said of it.

mod archive;
mod card;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use byol_eval::{Evaluation, fingerprint, read_evaluations};
use byol_nn::encoder::{Encoder, EncoderInfo};
use byol_nn::files::{check_outside, check_writable};
use byol_nn::ops::Device;
use byol_nn::{Error, Result, weights};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;
use crate::heads::heads;
use crate::run::{RunFolder, RunInfo, Session, SessionLine};
use archive::Content;
pub use verify::{Compared, Measured, Verified, VerifyRequest, verify};

/// Version of what is in a bundle.
const FORMAT: &str = "byol bundle 1";

/// What a bundle is of.
const ABOUT: &str = "bundle.json";

/// What to bundle.
#[derive(Clone, Debug)]
pub struct BundleRequest {
    /// Run folder.
    pub run: PathBuf,
    /// Archive to write.
    pub out: PathBuf,
    /// SPDX expression of the licence that the weights are under.
    pub license: Option<String>,
    /// A page that `byol report` wrote.
    pub report: Option<PathBuf>,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Bundled {
    /// Names of the files in it.
    pub files: Vec<String>,
    /// What is not in it, and why; what it says of this machine.
    pub notes: Vec<String>,
    /// Bytes of the archive.
    pub bytes: u64,
}

/// `bundle.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct About {
    format: String,
    /// Version of the program that bundled.
    version: String,
    /// SPDX expression; nothing is stated where there is none.
    license: Option<String>,
    encoder: AboutEncoder,
    data: AboutData,
    environment: Environment,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct AboutEncoder {
    /// See [`fingerprint`].
    fingerprint: String,
    arch: String,
    representation_size: usize,
    training: String,
    steps: u64,
}

/// The pictures it was trained on.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct AboutData {
    /// Of names, sizes and labels, 16 hexadecimal digits.
    fingerprint: String,
    images: usize,
    split: Option<String>,
}

/// What trained it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Environment {
    /// Version that began the run.
    version: String,
    device: String,
    preset: Option<String>,
    /// What decodes, resizes and augments.
    input: String,
    /// One entry for every process that trained it.
    sessions: Vec<Session>,
}

/// All that is known of a run, for its card.
struct Facts {
    name: String,
    config: Config,
    info: RunInfo,
    encoder: EncoderInfo,
    evaluations: Vec<Evaluation>,
    /// The last line that the run wrote about itself.
    online: Option<Value>,
    about: About,
}

impl BundleRequest {
    /// Checks what can be checked before anything is read.
    ///
    /// # Errors
    /// [`Error::Path`] for a place that cannot be written to, [`Error::Flag`] for a licence that is no SPDX expression.
    fn check(&self, info: &RunInfo) -> Result<()> {
        if self.out.extension().is_none_or(|extension| extension != "tar") {
            return Err(Error::path(&self.out, "expected a file name that ends in .tar; give another -o"));
        }
        info.data.iter().try_for_each(|data| check_outside(&self.out, data))?;
        if self.out.symlink_metadata().is_ok() {
            return Err(Error::path(&self.out, "already exists and is not overwritten; give another -o"));
        }
        if let Some(license) = self.license.as_deref().filter(|license| !is_expression(license)) {
            let expected = "an SPDX expression such as MIT, CC-BY-4.0 or \"MIT OR Apache-2.0\"".to_owned();
            return Err(Error::Flag { flag: "--license", expected, got: format!("{license:?}") });
        }
        if let Some(report) = &self.report {
            let text = fs::read_to_string(report).map_err(Error::io("read", report))?;
            if !text.trim_start().to_lowercase().starts_with("<!doctype html") {
                return Err(Error::path(report, "expected an HTML page that `byol report` wrote"));
            }
        }
        check_writable(&self.out)
    }

    /// Writes the bundle.
    ///
    /// # Errors
    /// [`Error::Path`] for a folder that is no run or has no encoder yet, and for one that is being trained; those of [`Error::Io`].
    pub fn write(&self, device: &Device) -> Result<Bundled> {
        let run = RunFolder::open(&self.run)?;
        let info = run.info()?;
        self.check(&info)?;
        let _lock = run.lock()?;
        let encoder = Encoder::open(&self.run.to_string_lossy(), device)?;
        let evaluations = read_evaluations(&run.evaluations())?;
        let mut notes = Vec::new();
        let mut files = BTreeMap::new();
        for (name, is_needed) in FILES {
            let path = run.path().join(name);
            if is_needed || path.exists() {
                files.insert(name.to_owned(), Content::File(path));
            }
        }
        match heads(&run, encoder.info.steps)? {
            Ok(tensors) => {
                let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
                let bytes = weights::to_bytes(&tensors, metadata);
                files.insert("heads.safetensors".to_owned(), Content::Bytes(bytes));
            }
            Err(reason) => notes.push(format!("the projector and the predictor are not in it: {reason}")),
        }
        if let Some(report) = &self.report {
            files.insert("report.html".to_owned(), Content::File(report.clone()));
        }
        let lines = lines(&run)?;
        let facts = Facts {
            name: name_of(run.path()),
            about: About::new(&encoder, &info, self.license.clone(), &lines),
            config: run.config()?,
            encoder: encoder.info,
            online: lines.into_iter().rfind(|line| line["eval"] == "online"),
            evaluations,
            info,
        };
        if facts.evaluations.is_empty() {
            let run = self.run.display();
            notes.push(format!(
                "nothing says how good the encoder is: `byol eval knn {run} LABELLED` measures it, before bundling"
            ));
        }
        if self.license.is_none() {
            notes.push("no licence is stated, so that nobody may assume one; --license MIT states it".to_owned());
        }
        notes.push(
            "run.json, config.toml and the .json and .jsonl files beside them name folders and pictures of this machine; look at them before you \
             give the bundle away"
                .to_owned(),
        );
        let about = serde_json::to_string_pretty(&facts.about).expect("plain fields have a JSON form") + "\n";
        files.insert(ABOUT.to_owned(), Content::Bytes(about.into_bytes()));
        let names: Vec<String> = files.keys().cloned().collect();
        files.insert("MODEL_CARD.md".to_owned(), Content::Bytes(card::text(&facts, &names).into_bytes()));
        let names: Vec<String> = files.keys().cloned().chain([archive::SUMS.to_owned()]).collect();
        archive::write(&self.out, &facts.name, files)?;
        let bytes = fs::metadata(&self.out).map_err(Error::io("read", &self.out))?.len();
        Ok(Bundled { files: names, notes, bytes })
    }
}

/// Files of a run folder that go in as they are, and whether there is no bundle without.
const FILES: [(&str, bool); 9] = [
    ("config.toml", true),
    ("run.json", true),
    ("metrics.jsonl", true),
    ("encoder.safetensors", true),
    ("encoder.json", true),
    ("best.safetensors", false),
    ("best.json", false),
    ("evaluation.json", false),
    ("bad_images.jsonl", false),
];

impl About {
    fn new(encoder: &Encoder, info: &RunInfo, license: Option<String>, lines: &[Value]) -> Self {
        let sessions = lines.iter().filter_map(|line| serde_json::from_value::<SessionLine>(line.clone()).ok());
        Self {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            license,
            encoder: AboutEncoder {
                fingerprint: fingerprint(encoder),
                arch: encoder.info.arch.to_string(),
                representation_size: encoder.info.representation_size,
                training: encoder.info.training.clone(),
                steps: encoder.info.steps,
            },
            data: AboutData {
                fingerprint: format!("{:016x}", info.data_fingerprint),
                images: info.images,
                split: info.split.clone(),
            },
            environment: Environment {
                version: info.version.clone(),
                device: info.device.clone(),
                preset: info.preset.clone(),
                input: info.input.clone(),
                sessions: sessions.map(|line| line.session).collect(),
            },
        }
    }
}

/// The lines of `metrics.jsonl`, torn ones left out.
fn lines(run: &RunFolder) -> Result<Vec<Value>> {
    let text = fs::read(run.metrics()).map_err(Error::io("read", &run.metrics()))?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// The name of a folder, however it was written.
fn name_of(run: &Path) -> String {
    let full = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    let name = full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned();
    // It becomes a folder in the archive and stands in Markdown.
    name.chars().map(|c| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '_' }).collect()
}

/// Whether `text` has the form of an SPDX expression; whether its licences exist is not looked up.
fn is_expression(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-.+:() ".contains(c);
    let words: Vec<&str> = text.split([' ', '(', ')']).filter(|word| !word.is_empty()).collect();
    let is_operator = |word: &str| ["AND", "OR", "WITH"].contains(&word);
    let alternate = words.iter().enumerate().all(|(place, word)| is_operator(word) == (place % 2 == 1));
    text.chars().all(is_allowed) && words.len() % 2 == 1 && alternate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_has_the_form_of_an_expression() {
        for good in ["MIT", "CC-BY-4.0", "MIT OR Apache-2.0", "(MIT OR GPL-3.0-only) AND LicenseRef-mine", "GPL-2.0+"] {
            assert!(is_expression(good), "{good}");
        }
        for bad in ["", "do what you want", "MIT, Apache", "MIT OR", "MIT\nOR Apache-2.0", "OR"] {
            assert!(!is_expression(bad), "{bad}");
        }
    }
}
