//! One Parquet file of pictures: which of its columns hold them, and reading them.

use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::schema::types::ColumnDescriptor;

use super::columns;
use super::parquet_columns::picture_column;
use super::parquet_table::{InPlace, ParquetTable, guarded};
use super::place::Place;
use crate::DataError;
use crate::error::Unread;

/// A Parquet file with a column of pictures.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    /// The file and its other columns.
    pub table: ParquetTable,
    /// Its name below the data, for the names of its pictures.
    pub name: String,
    image: usize,
    /// Columns that may hold pictures as well.
    pub other_pictures: Vec<String>,
}

impl ParquetFile {
    /// Reads the metadata and finds the columns.
    pub fn open(place: Place, name: String, image_key: Option<&str>) -> Result<Self, DataError> {
        let table = ParquetTable::open_at(place)?;
        let (image, other_pictures) = picture_column(table.path(), &table.columns(), image_key)?;
        table.check_column(image)?;
        Ok(Self { table, name, image, other_pictures })
    }

    /// Number of rows, which is that of pictures.
    pub fn rows(&self) -> usize {
        self.table.rows()
    }

    /// Bytes of all pictures, as the metadata has it.
    pub fn picture_bytes(&self) -> u64 {
        (0..self.table.groups()).map(|group| self.group_bytes(group)).fold(0, u64::saturating_add)
    }

    /// The mean bytes of the pictures in the row group of `row`. The metadata has no length of a single picture, and a
    /// fingerprint must neither read the pictures nor depend on whether they are in memory.
    pub fn mean_picture_bytes(&self, row: usize) -> u64 {
        let (group, _) = self.table.find(row);
        self.group_bytes(group) / (self.table.group_rows(group) as u64).max(1)
    }

    /// The columns that have nothing to do with pictures.
    pub fn free_names(&self) -> Vec<String> {
        let names = self.table.names();
        let picture = |name: &String| {
            let of = |top: &str| name.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            let image = names[self.image].strip_suffix(".bytes").unwrap_or(&names[self.image]);
            // Bytes in a column for labels are texts.
            let is_label = || columns::named(std::slice::from_ref(name), &columns::LABEL_NAMES).is_some();
            of(image) || (self.other_pictures.iter().any(|other| of(other)) && !is_label())
        };
        names.iter().filter(|name| !picture(name)).cloned().collect()
    }

    /// The place of the column `name`.
    pub fn leaf(&self, name: &str) -> Option<usize> {
        self.table.leaf(name)
    }

    pub fn column_descriptor(&self, leaf: usize) -> &ColumnDescriptor {
        self.table.column_descriptor(leaf)
    }

    /// The class names that Hugging Face's `datasets` writes into the metadata for the column `name`, if there are some.
    pub fn class_names(&self, name: &str) -> Option<Vec<String>> {
        hugging_face_names(&serde_json::from_str(self.table.entry("huggingface")?).ok()?, name)
    }

    /// The encoded picture of `row`, or `None` for a null. The pages of its row group before it are skipped by their
    /// headers.
    pub fn picture(&self, row: usize) -> Result<Option<ByteArray>, Unread> {
        let unreadable =
            |error: &dyn std::fmt::Display| format!("cannot be read from {}: {error}", self.table.path().display());
        let (group, row) = self.table.find(row);
        let file = self.table.reading().map_err(|error| unreadable(&error))?;
        let picture = guarded(|| {
            let file = InPlace { file: Arc::clone(&file) };
            let mut column = self.table.column::<ByteArrayType>(file, group, self.image)?;
            let skipped = column.skip_records(row)?;
            let (mut levels, mut values) = (Vec::new(), Vec::new());
            let (read, ..) = column.read_records(1, Some(&mut levels), None, &mut values)?;
            if (skipped, read) != (row, 1) {
                return Err(ParquetError::EOF("its row group ends before it".into()));
            }
            Ok(values.pop())
        });
        picture.map_err(|error| match file.failure() {
            Some(lost) => Unread::Lost(lost.into()),
            None => unreadable(&error).into(),
        })
    }

    /// All encoded pictures in order; `None` where a row has none. They share the memory of their pages.
    pub fn pictures(&self) -> Result<Vec<Option<ByteArray>>, DataError> {
        self.table.values::<ByteArrayType>(self.image)
    }

    fn group_bytes(&self, group: usize) -> u64 {
        self.table.group_bytes(group, self.image)
    }
}

/// The class names of the column `name` in the JSON that `datasets` keeps, `{"info": {"features": …}}`: of a `ClassLabel`, or a
/// list of them.
pub(crate) fn hugging_face_names(json: &serde_json::Value, name: &str) -> Option<Vec<String>> {
    let features = json.get("info").unwrap_or(json).get("features")?;
    let mut feature = features.get(name);
    if feature.is_none() {
        feature = name.split('.').try_fold(features, |feature, part| feature.get(part));
    }
    let feature = feature?;
    let feature = feature.get("feature").or_else(|| feature.get(0)).unwrap_or(feature);
    let names = feature.get("names")?.as_array()?;
    names.iter().map(|name| Some(name.as_str()?.to_owned())).collect()
}
