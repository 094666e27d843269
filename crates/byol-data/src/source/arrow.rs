//! Data sets in Arrow files, as `save_to_disk` of Hugging Face `datasets` writes them and as its cache has them: one file, a
//! folder of them, or one such folder per split.
//!
//! The columns are those of Parquet files. Batches are not compressed, so each picture is read from its place in the file; only
//! these places, 16 bytes each, are in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::arrow_file::{ArrowFile, Place, json};
pub(crate) use super::arrow_messages::looks_like_arrow;
use super::column_labels::{self, Files, choose_split};
use super::columns;
use super::read_at::read_exact_at;
use crate::limits::check_file_size;
use crate::splits::{self, Groups, Layout, sort_splits};
use crate::{DataConfig, DataError};

const NULL: &str = "there is no picture in this row (null)";

/// The pictures of one split.
#[derive(Debug)]
pub(crate) struct Arrow {
    /// Each file with its name below the data.
    files: Vec<(PathBuf, String)>,
    /// The picture before which each file ends, ascending.
    file_ends: Vec<usize>,
    places: Vec<Place>,
    /// Files of pictures that are not in the Arrow files.
    paths: Vec<PathBuf>,
}

/// Whether a file of this name is an Arrow file.
pub(crate) fn is_part(base: &str) -> bool {
    base.rsplit_once('.').is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("arrow"))
}

/// Opens the file at `path`.
pub(crate) fn open_file(
    path: &Path,
    base: &str,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Arrow, Layout), DataError> {
    let file = ArrowFile::open(path.into(), base.into(), config.image_key.as_deref())?;
    let files = Files { used: vec![file], others: Vec::new(), chosen: None, splits_present: Vec::new() };
    finish(path, &files, split, config)
}

/// Opens the files below the folder `path` that have the sorted `names`.
pub(crate) fn open_folder(
    path: &Path,
    names: &[String],
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Arrow, Layout), DataError> {
    let mut notes = Vec::new();
    let names = data_files(path, names, &mut notes)?;
    let of = splits_of(path, &names, config, &mut notes);
    let mut splits_present: Vec<String> = of.iter().flatten().cloned().collect();
    sort_splits(&mut splits_present);
    let chosen = if splits_present.is_empty() { None } else { Some(choose_split(path, &splits_present, split)?) };
    let (mut used, mut others) = (Vec::new(), Vec::new());
    for (name, of) in names.into_iter().zip(of) {
        if of.is_none() && chosen.is_some() {
            continue;
        }
        let file = ArrowFile::open(path.join(&name), name, config.image_key.as_deref())?;
        if of == chosen { used.push(file) } else { others.push(file) }
    }
    let (arrow, mut layout) = finish(path, &Files { used, others, chosen, splits_present }, split, config)?;
    layout.notes.extend(notes);
    Ok((arrow, layout))
}

fn finish(
    path: &Path,
    files: &Files<ArrowFile>,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Arrow, Layout), DataError> {
    // First, because it bounds the number of rows by what the files hold.
    let (mut places, mut paths, mut file_ends) = (Vec::new(), Vec::new(), Vec::new());
    for file in &files.used {
        places.extend(file.pictures(&mut paths)?);
        file_ends.push(places.len());
    }
    let layout = column_labels::layout(path, files, split, config)?;
    let files = files.used.iter().map(|file| (file.path.clone(), file.name.clone())).collect();
    Ok((Arrow { files, file_ends, places, paths }, layout))
}

/// The files that hold the data: in each folder those that its `state.json` lists; without one all but what `map` and `filter`
/// of `datasets` left there.
fn data_files(path: &Path, names: &[String], notes: &mut Vec<String>) -> Result<Vec<String>, DataError> {
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let (folder, base) = name.rsplit_once('/').unwrap_or(("", name));
        folders.entry(folder).or_default().push(base);
    }
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for (folder, bases) in folders {
        let join = |base: &str| if folder.is_empty() { base.to_owned() } else { format!("{folder}/{base}") };
        let state = path.join(folder).join("state.json");
        let listed = json(&state).and_then(|json| {
            if json
                .get("_indices_data_files")
                .is_some_and(|files| files.as_array().is_some_and(|files| !files.is_empty()))
            {
                return Some(Err(()));
            }
            let files = json.get("_data_files")?.as_array()?.iter();
            Some(Ok(files.map(|file| Some(file.get("filename")?.as_str()?.to_owned())).collect::<Option<Vec<_>>>()?))
        });
        let used: Vec<String> = match listed {
            Some(Err(())) => {
                let found = "rows of a data set that are chosen by a second file, as old versions of datasets wrote it; in Python, \
                             datasets.load_from_disk(OLD).flatten_indices().save_to_disk(NEW) writes just these rows";
                return Err(DataError::Unsupported { path: state, found: found.into() });
            }
            Some(Ok(files)) => {
                if let Some(missing) = files.iter().find(|file| !bases.contains(&file.as_str())) {
                    let expected = format!("{missing} beside it, which it lists");
                    return Err(DataError::Malformed { path: state, expected, got: bases.join(", ") });
                }
                files
            }
            None => {
                let is_data = |base: &&&str| !base.starts_with("cache-") && !base.starts_with("tmp");
                let data: Vec<String> = bases.iter().filter(is_data).map(|&base| base.to_owned()).collect();
                if data.is_empty() { bases.iter().map(|&base| base.to_owned()).collect() } else { data }
            }
        };
        left_out.extend(bases.iter().filter(|base| !used.iter().any(|used| used == *base)).map(|base| join(base)));
        kept.extend(used.iter().map(|base| join(base)));
    }
    if let Some(first) = left_out.first() {
        notes.push(format!(
            "{} Arrow files are no part of the data set but left there by map or filter, and left out (the first is {first}); \
             given alone, such a file is read",
            left_out.len()
        ));
    }
    Ok(kept)
}

/// The split of each file: by the `dataset_dict.json` above its folder, by the splits that `dataset_info.json` beside it names,
/// or else by the words in its name.
fn splits_of(path: &Path, names: &[String], config: &DataConfig, notes: &mut Vec<String>) -> Vec<Option<String>> {
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let of: Vec<Option<String>> = names
        .iter()
        .map(|name| {
            let (folder, base) = name.rsplit_once('/').unwrap_or(("", name));
            let (above, last) = folder.rsplit_once('/').unwrap_or(("", folder));
            let listed = known.entry(above.to_owned()).or_insert_with(|| listed_splits(&path.join(above)));
            if !folder.is_empty() && listed.iter().any(|split| split == last) {
                return Some(last.to_owned());
            }
            split_of_base(&path.join(folder), base)
        })
        .collect();
    for (above, listed) in &known {
        let missing = |split: &&String| !of.iter().flatten().any(|there| there == *split);
        let missing: Vec<&str> = listed.iter().filter(missing).map(String::as_str).collect();
        if !missing.is_empty() {
            let folder = if above.is_empty() { String::new() } else { format!("{above}/") };
            notes.push(format!("{folder}dataset_dict.json lists {}, of which there are no files", missing.join(", ")));
        }
    }
    if of.iter().any(Option::is_some) {
        let named = |(name, of): (&String, Option<String>)| match splits::mapped(name, &config.split_map) {
            Some(split) => Some(split.to_owned()),
            None => of.map(|split| columns::split_name(&split, config)),
        };
        let of: Vec<Option<String>> = names.iter().zip(of).map(named).collect();
        notes.extend(outside(names, of.iter().map(Option::is_none)));
        return of;
    }
    let Some(Groups { splits, of, notes: more }) = splits::split_files(names, &config.split_map) else { return of };
    notes.extend(more);
    notes.extend(outside(names, of.iter().map(Option::is_none)));
    of.into_iter().map(|place| place.map(|place| splits[place].clone())).collect()
}

/// Says which files are in no split.
fn outside(names: &[String], is_outside: impl Iterator<Item = bool>) -> Option<String> {
    let outside: Vec<&String> = names.iter().zip(is_outside).filter(|(_, is)| *is).map(|(name, _)| name).collect();
    let first = outside.first()?;
    let count = outside.len();
    Some(format!(
        "{count} Arrow files are in no split and left out (the first is {first}); --split-map NAME=train takes one in"
    ))
}

/// The splits of a `DatasetDict` in `folder`.
fn listed_splits(folder: &Path) -> Vec<String> {
    let json = json(&folder.join("dataset_dict.json"));
    let splits = json.as_ref().and_then(|json| json.get("splits")?.as_array());
    splits.into_iter().flatten().filter_map(|split| Some(split.as_str()?.to_owned())).collect()
}

/// The split in the name of a file of the cache, `beans-train.arrow` or `beans-train-00000-of-00002.arrow`, if
/// `dataset_info.json` beside it has such a split.
fn split_of_base(folder: &Path, base: &str) -> Option<String> {
    let stem = base.rsplit_once('.').map_or(base, |(stem, _)| stem);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let stem = stem
        .rsplit_once("-of-")
        .filter(|(_, count)| digits(count))
        .and_then(|(before, _)| before.rsplit_once('-').filter(|(_, number)| digits(number)))
        .map_or(stem, |(stem, _)| stem);
    let (_, split) = stem.rsplit_once('-')?;
    json(&folder.join("dataset_info.json"))?.get("splits")?.get(split).map(|_| split.to_owned())
}

impl Arrow {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Memory for the places of the pictures.
    pub fn index_bytes(&self) -> usize {
        let paths = self.paths.iter().map(|path| size_of::<PathBuf>() + path.capacity());
        self.places.capacity() * size_of::<Place>() + paths.sum::<usize>()
    }

    /// `train/data-00000-of-00002.arrow#17`: the file and the row within it, from 0.
    pub fn name(&self, index: usize) -> String {
        let file = self.file_of(index);
        let start = file.checked_sub(1).map_or(0, |before| self.file_ends[before]);
        format!("{}#{}", self.files[file].1, index - start)
    }

    pub fn size_bytes(&self, index: usize) -> u64 {
        match self.places[index] {
            Place::Nowhere => 0,
            Place::Within { bytes, .. } => bytes.into(),
            Place::Beside(path) => self.paths[path as usize].metadata().map_or(0, |metadata| metadata.len()),
        }
    }

    /// Reads the encoded picture into `bytes`, unless it has more than `max_bytes`.
    pub fn read(&self, index: usize, max_bytes: u64, bytes: &mut Vec<u8>) -> Result<(), String> {
        let (start, length) = match self.places[index] {
            Place::Nowhere => return Err(NULL.into()),
            Place::Within { start, bytes } => (start, bytes),
            Place::Beside(path) => {
                let path = &self.paths[path as usize];
                let folder = path.parent().unwrap_or(Path::new(""));
                let name = path.file_name().unwrap_or_default().as_encoded_bytes();
                return super::folder::read(folder, name, max_bytes, bytes)
                    .map_err(|why| format!("its row has no bytes but names {}, which {why}", path.display()));
            }
        };
        check_file_size(length.into(), max_bytes)?;
        bytes.clear();
        bytes.resize(length as usize, 0);
        let path = &self.files[self.file_of(index)].0;
        let read = File::open(path).and_then(|file| read_exact_at(&file, bytes, start));
        read.map_err(|error| format!("cannot be read from {}: {error}", path.display()))
    }

    fn file_of(&self, index: usize) -> usize {
        self.file_ends.partition_point(|&end| end <= index)
    }
}
