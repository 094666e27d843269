//! Finished outcomes that stay on disk, so that an interrupted evaluation goes on from there.
//!
//! An outcome is one network under one protocol with one seed: the smallest piece whose loss costs little. Its file is
//! `KEY.json`; the key is a hash of the encoder's [fingerprint], the fingerprints of the pictures and how they are read, the
//! options, the seed, the instruction set and the version of the program. Files may be deleted at any time.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use byol_data::Dataset;
use byol_nn::encoder::Encoder;
use byol_nn::files::write_atomically;
use byol_nn::ops::isa;
use byol_nn::{Error, Result};
use serde_json::{Value, json};
use twox_hash::xxhash3_128;

use super::cache::fingerprint;
use super::record::Outcome;

/// Version of the files and of what is computed: to be raised when the same options give other numbers.
const FORMAT: &str = "byol outcomes 1";

/// Marks a number that is written as text, since the reader of JSON may miss its last bit.
const EXACT: &str = "exact ";

/// A folder of finished outcomes, or none.
#[derive(Clone, Debug, Default)]
pub struct KeptOutcomes(Option<PathBuf>);

impl KeptOutcomes {
    /// Those in `folder`, which is made when the first is kept; without a folder nothing is kept.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// Names what `encoder` scores on `parts` under `options` (everything else that fixes the numbers, as text) with `seed`.
    pub(super) fn key(encoder: &Encoder, parts: &[Arc<Dataset>], options: &str, seed: u64) -> String {
        let of_part = |part: &Arc<Dataset>| json!([part.fingerprint(), part.len(), format!("{:?}", part.config())]);
        let parts: Vec<Value> = parts.iter().map(of_part).collect();
        let version = env!("CARGO_PKG_VERSION");
        let described = json!([FORMAT, version, isa().name(), fingerprint(encoder), parts, options, seed]);
        let mut hash = xxhash3_128::Hasher::new();
        hash.write(described.to_string().as_bytes());
        format!("{:032x}", hash.finish_128())
    }

    /// Whether there is a folder.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// What was kept under `key`, if it is there and whole.
    pub(super) fn get(&self, key: &str) -> Option<Vec<Outcome>> {
        let text = fs::read_to_string(path(self.0.as_ref()?, key)).ok()?;
        serde_json::from_value(restored(serde_json::from_str(&text).ok()?)?).ok()
    }

    /// Keeps `outcomes` under `key`.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written, which is no reason to lose them.
    pub(super) fn put(&self, key: &str, outcomes: &[Outcome]) -> Result<()> {
        let Some(folder) = &self.0 else { return Ok(()) };
        let json = exact(serde_json::to_value(outcomes).expect("plain fields have a JSON form"));
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        write_atomically(&path(folder, key), |writer| writeln!(writer, "{json}"))
    }
}

fn path(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.json"))
}

/// Fractions as text with all their digits.
fn exact(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => Value::String(format!("{EXACT}{number}")),
        Value::Array(values) => values.into_iter().map(exact).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, exact(value))).collect(),
        other => other,
    }
}

/// Undoes [`exact`]; nothing for a number that is none.
fn restored(value: Value) -> Option<Value> {
    Some(match value {
        Value::String(text) => match text.strip_prefix(EXACT) {
            Some(number) => json!(number.parse::<f64>().ok()?),
            None => Value::String(text),
        },
        Value::Array(values) => values.into_iter().map(restored).collect::<Option<_>>()?,
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| Some((key, restored(value)?)));
            Value::Object(fields.collect::<Option<_>>()?)
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_back_with_every_bit_and_damaged_files_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptOutcomes::new(Some(folder.path().join("outcomes")));
        let values = [100.0 / 3.0, 0.1 + 0.2, 1e-300, 7.0, 2.2250738585072014e-308];
        let numbers = values.iter().enumerate().map(|(place, &value)| (format!("number {place}"), value)).collect();
        let chosen = json!({"rate": 1.0 / 3.0, "held_out": [[0.1, 99.99999999999999]], "steps": 5, "none": null});
        let outcome = Outcome { setting: "1 %".to_owned(), numbers, chosen, confusion: Some(vec![vec![1, 2]]) };
        assert_eq!(kept.get("a"), None);
        kept.put("a", std::slice::from_ref(&outcome)).unwrap();
        let back = kept.get("a").unwrap().remove(0);
        for (a, b) in back.numbers.values().zip(outcome.numbers.values()) {
            assert_eq!(a.to_bits(), b.to_bits());
        }
        assert_eq!(back, outcome);
        fs::write(folder.path().join("outcomes/a.json"), "[{\"setting\":").unwrap();
        assert_eq!(kept.get("a"), None);
        let off = KeptOutcomes::default();
        off.put("a", &[outcome]).unwrap();
        assert_eq!(off.get("a"), None);
    }
}
