//! Files of representations, for whatever works with vectors: Parquet, NumPy's `.npy`, `.csv`.
//!
//! What is computed goes into a [`Journal`] beside the file, piece by piece, and the file is written from it in one go at the end. So memory
//! holds a part of the pictures, whoever is interrupted goes on from there, a file that is there is whole, and it has the same bytes however
//! often its making was interrupted. On the disk there is room for both meanwhile.

mod arrow_schema;
mod parquet;
mod table;

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use byol_data::views::EvaluationConfig;
use byol_data::{Dataset, ValueRange, check_bad, is_url};
use byol_eval::{Journal, Meter, Stop, fingerprint};
use byol_nn::encoder::Encoder;
use byol_nn::files::{check_outside, check_writable, free_bytes, write_atomically};
use byol_nn::{Error, Result};
use serde::Serialize;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// NumPy array `[pictures, size]`, with names and labels in a `.names.csv` beside it.
    Npy,
    /// `name,label,0,1,2,…`, one line per picture.
    Csv,
    /// Columns `name`, `label`, `split` and `embedding`, a list of fixed size; what they are of in the metadata.
    Parquet,
}

/// The type of the numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// As computed.
    F32,
    /// Half the bytes: 11 significant bits, at most [`LARGEST_F16`].
    F16,
}

/// Larger numbers have no [`Element::F16`].
pub const LARGEST_F16: f32 = 65504.0;

impl Element {
    fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// A file of representations that does not exist yet.
#[derive(Clone, Debug)]
pub struct EmbeddingFile {
    path: PathBuf,
    format: Format,
    element: Element,
}

/// What the numbers in a file are of; JSON under the key `byol` in the metadata of a Parquet file.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// Absolute paths or URLs of the pictures.
    pub roots: Vec<PathBuf>,
    /// The part of the data, if it has parts.
    pub split: Option<String>,
    /// The encoder as it was named.
    pub encoder: String,
    /// [`fingerprint`] of its weights and preprocessing.
    pub encoder_fingerprint: String,
    /// How it was trained, in one line.
    pub training: String,
    /// Fingerprint of names, sizes and labels of the pictures, 16 hexadecimal digits.
    pub data_fingerprint: String,
    /// Values of one representation.
    pub size: usize,
    /// Pictures that could not be read and are left out.
    pub bad: usize,
    /// How pictures were prepared.
    pub preprocessing: EvaluationConfig,
    /// Which sample values became black and white, if not the whole range.
    pub value_range: Option<ValueRange>,
    /// Version of this program.
    pub version: String,
}

impl About {
    /// That of representations of `dataset` by `encoder`, which was called `name`.
    ///
    /// # Errors
    /// [`Error::Io`] when a root is no longer there.
    pub fn new(name: &str, encoder: &Encoder, dataset: &Dataset, bad: usize) -> Result<Self> {
        let absolute = |root: &PathBuf| match is_url(root) {
            true => Ok(root.clone()),
            false => std::path::absolute(root).map_err(Error::io("resolve", root)),
        };
        Ok(Self {
            roots: dataset.roots().iter().map(absolute).collect::<Result<_>>()?,
            split: dataset.split().map(str::to_owned),
            encoder: name.to_owned(),
            encoder_fingerprint: fingerprint(encoder),
            training: encoder.info.training.clone(),
            data_fingerprint: format!("{:016x}", dataset.fingerprint()),
            size: encoder.info.representation_size,
            bad,
            preprocessing: encoder.info.preprocessing.clone(),
            value_range: dataset.config().value_range,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

/// Which part of the data pictures are of.
#[derive(Clone, Debug)]
pub enum Splits {
    /// All of one, or the data has none.
    One(Option<String>),
    /// By the names of pictures.
    ByName(HashMap<String, String>),
}

impl Splits {
    /// Those of `dataset`, which was opened as `asked`; of all splits together, each is listed once more.
    ///
    /// # Errors
    /// The data can no longer be opened.
    pub fn of(dataset: &Dataset, asked: Option<&str>) -> Result<Self> {
        if asked != Some("all") || dataset.roots().is_empty() {
            return Ok(Self::One(dataset.split().map(str::to_owned)));
        }
        let open = |split: Option<&str>| Dataset::open_all(dataset.roots(), split, dataset.config());
        let mut by_name = HashMap::new();
        for split in open(None)?.splits_present() {
            let part = open(Some(split))?;
            by_name.extend((0..part.len()).map(|index| (part.name(index), split.clone())));
        }
        Ok(Self::ByName(by_name))
    }

    fn of_picture(&self, name: &str) -> Option<&str> {
        match self {
            Self::One(split) => split.as_deref(),
            Self::ByName(by_name) => by_name.get(name).map(String::as_str),
        }
    }
}

impl EmbeddingFile {
    /// The file at `path`, whose ending names its form.
    ///
    /// # Errors
    /// [`Error::Path`] for other endings, [`Error::Flag`] for [`Element::F16`] in text.
    pub fn new(path: &Path, element: Element) -> Result<Self> {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Format::Npy,
            Some("csv") => Format::Csv,
            Some("parquet") => Format::Parquet,
            _ => {
                let problem = "expected a file name that ends in .parquet, .npy or .csv; give another -o";
                return Err(Error::path(path, problem));
            }
        };
        if format == Format::Csv && element == Element::F16 {
            let expected = "a file that ends in .parquet or .npy, whose numbers have a type".to_owned();
            return Err(Error::Flag { flag: "--half", expected, got: path.display().to_string() });
        }
        Ok(Self { path: path.to_owned(), format, element })
    }

    /// Every file that is written.
    pub fn files(&self) -> Vec<PathBuf> {
        match self.format {
            Format::Npy => vec![self.path.clone(), self.names()],
            Format::Csv | Format::Parquet => vec![self.path.clone()],
        }
    }

    /// Where names and labels of an array are.
    fn names(&self) -> PathBuf {
        self.path.with_extension("names.csv")
    }

    /// The folder of the [`Journal`], there until the file is.
    pub fn journal(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        self.path.with_file_name(name)
    }

    /// Checks that representations of `data` may be written, before hours are spent on computing them.
    ///
    /// # Errors
    /// [`Error::Path`] for an existing file or a place inside the data, [`Error::Io`] for a place that cannot be written to.
    pub fn check_free(&self, data: &[PathBuf]) -> Result<()> {
        data.iter().try_for_each(|data| check_outside(&self.path, data))?;
        let journal = self.journal();
        if self.path.symlink_metadata().is_ok() {
            let mut problem = "already exists and is not overwritten; give another -o".to_owned();
            if journal.exists() {
                problem += &format!(" (and delete {}, if this file is all you want)", journal.display());
            }
            return Err(Error::path(&self.path, problem));
        }
        // Names are written before the array: with a journal beside them, they are of a process that was killed in between.
        let names = self.names();
        if self.format == Format::Npy && names.symlink_metadata().is_ok() && !journal.exists() {
            return Err(Error::path(&names, "already exists and is not overwritten; give another -o"));
        }
        self.files().iter().try_for_each(|file| check_writable(file))
    }

    /// Checks that the disk has room for what is still to be written of so many pictures: the rest of the journal, and the file.
    ///
    /// # Errors
    /// [`Error::NoRoom`].
    pub fn check_room(&self, journal: &Journal, pictures: usize) -> Result<()> {
        // A number of seven digits with its comma, in text; 64 bytes of name and label.
        let element = if self.format == Format::Csv { 10 } else { self.element.bytes() };
        let per_picture = |bytes: u64| journal.size() as u64 * bytes + 64;
        let left = pictures.saturating_sub(journal.done()) as u64;
        let needed = left * per_picture(4) + pictures as u64 * per_picture(element);
        match free_bytes(journal.folder()) {
            Some(free) if free < needed => {
                let mebibytes = |bytes: u64| format!("{:.0} MiB", bytes as f64 / 2f64.powi(20));
                let shortage = format!(
                    "{} needed for {} and {} until it is whole, {} free",
                    mebibytes(needed),
                    self.path.display(),
                    journal.folder().display(),
                    mebibytes(free)
                );
                Err(Error::NoRoom { shortage, remedy: "free some space or choose another disk" })
            }
            _ => Ok(()),
        }
    }

    /// Writes the file from a complete `journal`; returns all files written.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses, [`Error::Flag`] for a number too large for [`Element::F16`], [`Error::Path`] for a journal that
    /// somebody changed, [`Error::Interrupted`] once `stop` says so. Nothing but the journal is left then.
    ///
    /// # Panics
    /// When the journal is not complete.
    pub fn write(
        &self,
        journal: &Journal,
        dataset: &Dataset,
        splits: &Splits,
        about: &About,
        stop: Stop,
    ) -> Result<Vec<PathBuf>> {
        assert!(journal.is_complete(), "a file is written from a whole journal");
        check_bad(journal.bad(), dataset.len(), dataset.config().max_bad_fraction)?;
        let rows = Rows { journal, dataset, splits, stop, path: &self.path };
        match self.format {
            Format::Npy => {
                whole(&self.names(), |to| table::write_names(&rows, to))?;
                whole(&self.path, |to| table::write_array(&rows, self.element, to))?;
            }
            Format::Csv => whole(&self.path, |to| table::write_values(&rows, to))?,
            Format::Parquet => whole(&self.path, |to| parquet::write(&rows, self.element, about, to))?,
        }
        Ok(self.files())
    }
}

/// [`write_atomically`] for a `write` that may fail of other things than the file.
fn whole(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let mut failure = None;
    let written = write_atomically(path, |to| {
        write(to).map_err(|error| {
            failure = Some(error);
            std::io::Error::other("see the failure")
        })
    });
    failure.map_or(written, Err)
}

/// All that is written, row by row.
struct Rows<'a> {
    journal: &'a Journal,
    dataset: &'a Dataset,
    splits: &'a Splits,
    stop: Stop,
    path: &'a Path,
}

/// One picture.
struct Row<'a> {
    name: String,
    label: Option<&'a str>,
    split: Option<&'a str>,
    values: &'a [f32],
}

impl Rows<'_> {
    fn len(&self) -> usize {
        self.journal.rows()
    }

    fn size(&self) -> usize {
        self.journal.size()
    }

    /// Hands every row to `take`, in the order of the data set.
    fn each(&self, mut take: impl FnMut(Row) -> Result<()>) -> Result<()> {
        let meter = Meter::start(&format!("writing {}", self.path.display()), self.len() as u64);
        for piece in self.journal.pieces() {
            self.stop.check()?;
            let features = piece?;
            for row in 0..features.len() {
                let label = features.labels[row].map(|label| &*self.dataset.classes()[label as usize]);
                let name = self.dataset.name(features.images[row] as usize);
                let split = self.splits.of_picture(&name);
                take(Row { name, label, split, values: features.row(row) })?;
            }
            meter.advance(features.len() as u64);
        }
        Ok(())
    }

    /// For `map_err` of what the system says.
    fn io(&self) -> impl FnOnce(std::io::Error) -> Error {
        Error::io("write", self.path)
    }
}

/// `value` in half the bits.
///
/// # Errors
/// [`Error::Flag`] where it would be infinite.
fn half_of(value: f32, name: impl FnOnce() -> String) -> Result<half::f16> {
    match value.abs() <= LARGEST_F16 {
        true => Ok(half::f16::from_f32(value)),
        false => Err(Error::Flag {
            flag: "--half",
            expected: format!("numbers of at most {LARGEST_F16}"),
            got: format!("{value} of {}; the same command without --half goes on from here", name()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_name_the_form_and_text_has_no_half() {
        let files = |name: &str| {
            let file = EmbeddingFile::new(Path::new(name), Element::F32).unwrap();
            let names: Vec<String> = file.files().iter().map(|file| file.display().to_string()).collect();
            (names.join(" "), file.journal().display().to_string())
        };
        assert_eq!(files("a/x.npy"), ("a/x.npy a/x.names.csv".to_owned(), "a/x.npy.part".to_owned()));
        assert_eq!(files("x.parquet"), ("x.parquet".to_owned(), "x.parquet.part".to_owned()));
        for name in ["x", "x.txt", "x.parquet.gz"] {
            let error = EmbeddingFile::new(Path::new(name), Element::F32).unwrap_err().to_string();
            assert!(error.contains("ends in .parquet, .npy or .csv"), "{error}");
        }
        let error = EmbeddingFile::new(Path::new("x.csv"), Element::F16).unwrap_err().to_string();
        assert!(error.contains("--half: expected a file that ends in .parquet or .npy"), "{error}");
    }

    #[test]
    fn a_number_that_half_the_bits_cannot_hold_is_refused() {
        assert_eq!(half_of(LARGEST_F16, || "a".to_owned()).unwrap().to_f32(), LARGEST_F16);
        assert_eq!(half_of(-0.1, || "a".to_owned()).unwrap().to_f32(), -0.099_975_586);
        let error = half_of(65520.0, || "a/1.png".to_owned()).unwrap_err().to_string();
        assert!(error.contains("65520 of a/1.png") && error.contains("without --half"), "{error}");
        assert!(half_of(f32::NAN, || "a".to_owned()).is_err());
    }
}
