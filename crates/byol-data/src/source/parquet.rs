//! Data sets in Parquet files, as the Hugging Face `datasets` library writes them: one file, or a folder of them.
//!
//! The encoded pictures are in a column `{bytes, path}` or plain bytes, labels in a column of numbers or text, and class
//! names in the file's metadata. Pictures are kept in memory if those of all files fit
//! `data.max_archive_memory_bytes`. Otherwise each is read when asked for, which costs its whole page: of pictures of
//! 80 KB, 83 ms in one group of 1000 rows, 12 ms in groups of 100 rows, as `datasets` writes them, and 1 to 2 ms
//! (decoding included) where a page is a picture: `pyarrow.parquet.write_table(…, data_page_size=65536,
//! write_batch_size=1, use_dictionary=False)`.

use std::path::Path;

use parquet::data_type::ByteArray;

use super::column_labels::{self, Columnar, Files, choose_split};
use super::parquet_columns::is_text;
use super::parquet_file::ParquetFile;
use super::parquet_values;
use super::place::Place;
use super::values::Values;
use crate::error::Unread;
use crate::limits::check_file_size;
use crate::splits::{Layout, SplitMap, mapped, sort_splits, word_of_part};
use crate::{DataConfig, DataError};

const NULL: &str = "there is no picture in this row (null)";

/// The pictures of one split.
#[derive(Debug)]
pub(crate) struct Parquet {
    files: Vec<ParquetFile>,
    /// The picture before which each file ends, ascending.
    file_ends: Vec<usize>,
    /// The encoded pictures, if they fit the memory for it.
    kept: Option<Vec<Option<ByteArray>>>,
}

/// Whether a file of this name is a Parquet file.
pub(crate) fn is_part(base: &str) -> bool {
    base.rsplit_once('.').is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("parquet"))
}

/// Whether these are the first bytes of a Parquet file.
pub(crate) fn looks_like_parquet(head: &[u8]) -> bool {
    head.starts_with(b"PAR1")
}

/// Opens `places`, sorted by the name of each.
pub(crate) fn open(
    path: &Path,
    places: Vec<(String, Place)>,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Parquet, Layout), DataError> {
    let names: Vec<String> = places.iter().map(|(name, _)| name.clone()).collect();
    let split_of_file: Vec<Option<String>> = names.iter().map(|name| split_of(name, &config.split_map)).collect();
    let mut splits_present: Vec<String> = split_of_file.iter().flatten().cloned().collect();
    sort_splits(&mut splits_present);
    let chosen = if splits_present.is_empty() { None } else { Some(choose_split(path, &splits_present, split)?) };
    let outside: Vec<&String> = names
        .iter()
        .zip(&split_of_file)
        .filter(|(_, of)| of.is_none() && chosen.is_some())
        .map(|(name, _)| name)
        .collect();
    let open = |(name, place)| ParquetFile::open(place, name, config.image_key.as_deref());
    let all = places.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
    // The classes are those of all splits, so that a class that one lacks does not shift the labels of another.
    let in_splits = |place: usize| splits_present.is_empty() || split_of_file[place].is_some();
    let in_use = |place: usize| chosen.is_none() || split_of_file[place] == chosen;
    let (mut used, mut others) = (Vec::new(), Vec::new());
    for (place, file) in all.into_iter().enumerate().filter(|(place, _)| in_splits(*place)) {
        if in_use(place) { used.push(file) } else { others.push(file) }
    }
    let files = Files { used, others, chosen, splits_present };
    let mut layout = column_labels::layout(path, &files, split, config)?;
    let used = files.used;
    let mut count = 0usize;
    let file_ends: Vec<usize> = used
        .iter()
        .map(|file| {
            count = count.saturating_add(file.rows());
            count
        })
        .collect();
    let bytes = used.iter().map(ParquetFile::picture_bytes).fold(0, u64::saturating_add);
    let kept = if bytes <= config.max_archive_memory_bytes {
        let mut kept = Vec::new();
        for file in &used {
            kept.extend(file.pictures()?);
        }
        Some(kept)
    } else {
        None
    };
    if let [first, ..] = outside[..] {
        let count = outside.len();
        layout
            .notes
            .push(format!("{count} Parquet files are in no split by their names and left out (the first is {first})"));
    }
    Ok((Parquet { files: used, file_ends, kept }, layout))
}

impl Columnar for ParquetFile {
    fn rows(&self) -> usize {
        self.rows()
    }

    fn free_names(&self) -> Vec<String> {
        self.free_names()
    }

    fn other_pictures(&self) -> &[String] {
        &self.other_pictures
    }

    fn class_names(&self, column: &str) -> Option<Vec<String>> {
        self.class_names(column)
    }

    fn is_text(&self, column: &str) -> bool {
        self.leaf(column).is_some_and(|leaf| is_text(self.column_descriptor(leaf)))
    }

    fn push(&self, column: &str, all: bool, values: &mut Values) -> Result<(), DataError> {
        match self.leaf(column) {
            Some(leaf) => parquet_values::push(&self.table, leaf, if all { usize::MAX } else { 1 }, values),
            None => {
                (0..self.rows()).for_each(|_| values.push(None));
                Ok(())
            }
        }
    }
}

impl Parquet {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.file_ends.last().copied().unwrap_or(0)
    }

    /// Memory for the pictures that are kept.
    pub fn memory_bytes(&self) -> u64 {
        if self.kept.is_some() { self.files.iter().map(ParquetFile::picture_bytes).sum() } else { 0 }
    }

    /// `data/train-00000-of-00002.parquet#17`: the file and the row within it, from 0.
    pub fn name(&self, index: usize) -> String {
        let (file, row) = self.find(index);
        format!("{}#{row}", file.name)
    }

    /// The mean of its row group; see [`ParquetFile::mean_picture_bytes`].
    pub fn size_bytes(&self, index: usize) -> u64 {
        let (file, row) = self.find(index);
        file.mean_picture_bytes(row)
    }

    /// The encoded picture, unless it has more than `max_bytes`.
    pub fn read(&self, index: usize, max_bytes: u64) -> Result<ByteArray, Unread> {
        let picture = match &self.kept {
            Some(kept) => kept[index].clone().ok_or_else(|| NULL.to_owned())?,
            None => {
                let (file, row) = self.find(index);
                file.picture(row)?.ok_or_else(|| NULL.to_owned())?
            }
        };
        check_file_size(picture.len() as u64, max_bytes)?;
        Ok(picture)
    }

    fn find(&self, index: usize) -> (&ParquetFile, usize) {
        let place = self.file_ends.partition_point(|&end| end <= index);
        let file = &self.files[place];
        (file, index + file.rows() - self.file_ends[place])
    }
}

/// The split that a file belongs to: `NAME-00000-of-00002.parquet`; `train.parquet`, `test_1.parquet`, `in1k-val.parquet`; or a
/// folder of such a name around it. What `map` says goes before.
fn split_of(name: &str, map: &SplitMap) -> Option<String> {
    if let Some(split) = mapped(name, map) {
        return Some(split.to_owned());
    }
    let (folders, base) = name.rsplit_once('/').unwrap_or(("", name));
    let stem = base.rsplit_once('.').map_or(base, |(stem, _)| stem);
    sharded(stem)
        .map(str::to_owned)
        .or_else(|| word_of_part(stem))
        .or_else(|| folders.rsplit('/').find_map(word_of_part))
}

/// `train` of `train-00000-of-00002`, perhaps with a hash behind it.
fn sharded(stem: &str) -> Option<&str> {
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (before, after) = stem.split_once("-of-")?;
    let (split, number) = before.rsplit_once('-')?;
    (digits(number) && digits(after.get(..5)?) && !split.is_empty()).then_some(split)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_and_folders_tell_the_split() {
        for (name, split) in [
            ("data/train-00000-of-00002.parquet", Some("train")),
            ("data/train-00000-of-00002-0123456789abcdef.parquet", Some("train")),
            ("unlabeled-00000-of-00001.parquet", Some("unlabeled")),
            ("partial-train-00000-of-00001.parquet", Some("partial-train")),
            ("test.parquet", Some("test")),
            ("Validation_3.parquet", Some("Validation")),
            ("default/train/0000.parquet", Some("train")),
            ("train/part-0.parquet", Some("train")),
            ("training.parquet", Some("training")),
            ("in1k_val_0.parquet", Some("val")),
            ("animals/0000.parquet", None),
        ] {
            assert_eq!(split_of(name, &SplitMap::new()).as_deref(), split, "{name}");
        }
    }
}
