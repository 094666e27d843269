//! One Parquet file: which of its columns hold pictures and labels, and reading them.
//!
//! Columns are read without Arrow, one at a time: nothing but the pages of the column asked for is touched.

use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::page::PageReader;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;

use super::columns;
use super::parquet_columns::{check_chunk, duplicate, names, picture_column};
use super::parquet_zstd::{ZstdPages, taken_as_plain};
use super::place::{Opened, Place};
use crate::DataError;
use crate::error::Unread;

/// Rows that are read at once where all are read.
const BATCH_ROWS: usize = 1024;

/// A Parquet file with a column of pictures. Its metadata is in memory, the file itself is opened for each reading:
/// a data set may have more files than a process may hold open.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    /// For messages.
    path: PathBuf,
    place: Place,
    /// Its name below the data, for the names of its pictures.
    pub name: String,
    /// The row before which each row group ends, ascending.
    group_ends: Vec<usize>,
    metadata: ParquetMetaData,
    image: usize,
    /// The names of its columns for people, in the file's order.
    names: Vec<String>,
    /// Columns that may hold pictures as well.
    pub other_pictures: Vec<String>,
}

impl ParquetFile {
    /// Reads the metadata and finds the columns.
    pub fn open(place: Place, name: String, image_key: Option<&str>) -> Result<Self, DataError> {
        let path = place.path();
        let file = place.open().map_err(|source| DataError::Unreadable { path: path.clone(), source })?;
        let file = InPlace::new(file);
        let reader = ParquetMetaDataReader::new().with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata =
            guarded(|| reader.parse_and_finish(&file)).map_err(|error| broken(path.clone(), &file.file, error))?;
        let columns = metadata.file_metadata().schema_descr().columns();
        let columns: Vec<&ColumnDescriptor> = columns.iter().map(AsRef::as_ref).collect();
        if let Some(twice) = duplicate(&columns) {
            let (expected, got) = ("columns of different names".into(), format!("two columns called {twice}"));
            return Err(DataError::Malformed { path, expected, got });
        }
        let (image, other_pictures) = picture_column(&path, &columns, image_key)?;
        let names = names(&columns);
        let mut group_ends = Vec::new();
        let mut rows = 0usize;
        for group in metadata.row_groups() {
            check_chunk(group.column(image), file.file.bytes()).map_err(|problem| problem.at(&path))?;
            let count = usize::try_from(group.num_rows()).ok();
            let Some(end) = count.and_then(|count| rows.checked_add(count)) else {
                let expected = "a number of rows in each row group".into();
                return Err(DataError::Malformed { path, expected, got: group.num_rows().to_string() });
            };
            rows = end;
            group_ends.push(rows);
        }
        Ok(Self { path, place, name, group_ends, metadata, image, names, other_pictures })
    }

    /// Number of rows, which is that of pictures.
    pub fn rows(&self) -> usize {
        self.group_ends.last().copied().unwrap_or(0)
    }

    /// Bytes of all pictures, as the metadata has it.
    pub fn picture_bytes(&self) -> u64 {
        (0..self.group_ends.len()).map(|group| self.group_bytes(group)).fold(0, u64::saturating_add)
    }

    /// The mean bytes of the pictures in the row group of `row`. The metadata has no length of a single picture, and a
    /// fingerprint must neither read the pictures nor depend on whether they are in memory.
    pub fn mean_picture_bytes(&self, row: usize) -> u64 {
        let (group, _) = self.find(row);
        self.group_bytes(group) / (self.group_rows(group) as u64).max(1)
    }

    /// The columns that have nothing to do with pictures.
    pub fn free_names(&self) -> Vec<String> {
        let picture = |name: &String| {
            let of = |top: &str| name.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            let image = self.names[self.image].strip_suffix(".bytes").unwrap_or(&self.names[self.image]);
            // Bytes in a column for labels are texts.
            let is_label = || columns::named(std::slice::from_ref(name), &columns::LABEL_NAMES).is_some();
            of(image) || (self.other_pictures.iter().any(|other| of(other)) && !is_label())
        };
        self.names.iter().filter(|name| !picture(name)).cloned().collect()
    }

    /// The place of the column `name`.
    pub fn leaf(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| other == name)
    }

    pub fn column_descriptor(&self, leaf: usize) -> &ColumnDescriptor {
        &self.metadata.file_metadata().schema_descr().columns()[leaf]
    }

    /// The class names that Hugging Face's `datasets` writes into the metadata for the column `name`, if there are some.
    pub fn class_names(&self, name: &str) -> Option<Vec<String>> {
        let entries = self.metadata.file_metadata().key_value_metadata()?;
        let text = entries.iter().find(|entry| entry.key == "huggingface")?.value.as_deref()?;
        hugging_face_names(&serde_json::from_str(text).ok()?, name)
    }

    /// The encoded picture of `row`, or `None` for a null. The pages of its row group before it are skipped by their
    /// headers.
    pub fn picture(&self, row: usize) -> Result<Option<ByteArray>, Unread> {
        let unreadable =
            |error: &dyn std::fmt::Display| format!("cannot be read from {}: {error}", self.path.display());
        let (group, row) = self.find(row);
        let file = Arc::new(self.place.open().map_err(|error| unreadable(&error))?);
        let picture = guarded(|| {
            let file = InPlace { file: Arc::clone(&file) };
            let mut column = self.column::<ByteArrayType>(file, group, self.image)?;
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
        self.values::<ByteArrayType>(self.image)
    }

    /// Rows of the first `groups` row groups.
    pub fn rows_of(&self, groups: usize) -> usize {
        self.group_ends.iter().take(groups).next_back().copied().unwrap_or(0)
    }

    /// Hands over the values of each row of the column `leaf` in the first `groups` row groups: none for a null, several for
    /// a list.
    pub fn each_row<T: DataType>(
        &self,
        leaf: usize,
        groups: usize,
        row: &mut dyn FnMut(&[T::T]),
    ) -> Result<(), DataError> {
        let file = self.opened()?;
        for group in 0..self.group_ends.len().min(groups) {
            let chunk = self.metadata.row_group(group).column(leaf);
            check_chunk(chunk, file.bytes()).map_err(|problem| problem.at(&self.path))?;
            let read = guarded(|| self.group_rows_of::<T>(&file, group, leaf, row))
                .map_err(|error| broken(self.path.clone(), &file, error))?;
            let expected = self.group_rows(group);
            if expected != read {
                let expected = format!("{expected} rows in row group {group}, as the metadata says");
                return Err(DataError::Malformed { path: self.path.clone(), expected, got: read.to_string() });
            }
        }
        Ok(())
    }

    /// The number of rows read.
    fn group_rows_of<T: DataType>(
        &self,
        file: &Arc<Opened>,
        group: usize,
        leaf: usize,
        row: &mut dyn FnMut(&[T::T]),
    ) -> ParquetResult<usize> {
        let descriptor = self.column_descriptor(leaf);
        let (present, lists) = (descriptor.max_def_level(), descriptor.max_rep_level() > 0);
        let mut column = self.column::<T>(InPlace { file: Arc::clone(file) }, group, leaf)?;
        let count = self.group_rows(group);
        let mut done = 0;
        while done < count {
            let (mut levels, mut starts, mut values) = (Vec::new(), Vec::new(), Vec::new());
            let (read, ..) = column.read_records(
                (count - done).min(BATCH_ROWS),
                Some(&mut levels),
                Some(&mut starts).filter(|_| lists),
                &mut values,
            )?;
            if read == 0 {
                break;
            }
            done += read;
            // A column that cannot have nulls has no levels, one without lists no starts of rows.
            levels.resize(levels.len().max(if lists { 0 } else { read }), present);
            let mut rest = &values[..];
            let mut place = 0;
            while place < levels.len() {
                let next = if lists {
                    let more = starts.get(place + 1..).unwrap_or_default();
                    place + 1 + more.iter().take_while(|&&level| level > 0).count()
                } else {
                    place + 1
                };
                let here = levels[place..next].iter().filter(|&&level| level == present).count();
                let (these, after) = rest
                    .split_at_checked(here)
                    .ok_or_else(|| ParquetError::General("a page has fewer values than levels".into()))?;
                row(these);
                (rest, place) = (after, next);
            }
        }
        Ok(done)
    }

    fn values<T: DataType>(&self, leaf: usize) -> Result<Vec<Option<T::T>>, DataError> {
        let file = self.opened()?;
        let mut all = Vec::new();
        for group in 0..self.group_ends.len() {
            let before = all.len();
            guarded(|| self.group_values::<T>(&file, group, leaf, &mut all))
                .map_err(|error| broken(self.path.clone(), &file, error))?;
            let (expected, got) = (self.group_rows(group), all.len() - before);
            if expected != got {
                let expected = format!("{expected} rows in row group {group}, as the metadata says");
                return Err(DataError::Malformed { path: self.path.clone(), expected, got: got.to_string() });
            }
        }
        Ok(all)
    }

    fn opened(&self) -> Result<Arc<Opened>, DataError> {
        let opened = self.place.open().map_err(|source| DataError::Unreadable { path: self.path.clone(), source })?;
        Ok(Arc::new(opened))
    }

    fn group_values<T: DataType>(
        &self,
        file: &Arc<Opened>,
        group: usize,
        leaf: usize,
        all: &mut Vec<Option<T::T>>,
    ) -> ParquetResult<()> {
        let present = self.metadata.file_metadata().schema_descr().column(leaf).max_def_level();
        let mut column = self.column::<T>(InPlace { file: Arc::clone(file) }, group, leaf)?;
        let mut left = self.group_rows(group);
        while left > 0 {
            let (mut levels, mut values) = (Vec::new(), Vec::new());
            let (read, ..) = column.read_records(left.min(BATCH_ROWS), Some(&mut levels), None, &mut values)?;
            if read == 0 {
                break;
            }
            left -= read;
            // A column that cannot have nulls has no levels.
            levels.resize(read, present);
            let mut values = values.into_iter();
            all.extend(levels.iter().map(|&level| if level == present { values.next() } else { None }));
        }
        Ok(())
    }

    fn column<T: DataType>(&self, file: InPlace, group: usize, leaf: usize) -> ParquetResult<ColumnReaderImpl<T>> {
        let row_group = self.metadata.row_group(group);
        let chunk = row_group.column(leaf);
        let pages = self.metadata.page_index_for_row_group(group).page_locations(leaf).cloned();
        let pages = pages.filter(|pages| !pages.is_empty());
        let plain = taken_as_plain(chunk)?;
        let taken = plain.as_ref().unwrap_or(chunk);
        let packed = SerializedPageReader::new(Arc::new(file), taken, self.group_rows(group), pages)?;
        let pages: Box<dyn PageReader> = match plain {
            Some(_) => {
                let max_bytes = u64::try_from(chunk.uncompressed_size()).unwrap_or(0);
                Box::new(ZstdPages { pages: packed, max_bytes })
            }
            None => Box::new(packed),
        };
        Ok(ColumnReaderImpl::new(chunk.column_descr_ptr(), pages))
    }

    fn group_bytes(&self, group: usize) -> u64 {
        u64::try_from(self.metadata.row_group(group).column(self.image).uncompressed_size()).unwrap_or(0)
    }

    fn group_rows(&self, group: usize) -> usize {
        self.group_ends[group] - group.checked_sub(1).map_or(0, |before| self.group_ends[before])
    }

    /// The row group of `row`, and its place in it.
    fn find(&self, row: usize) -> (usize, usize) {
        let group = self.group_ends.partition_point(|&end| end <= row);
        (group, row + self.group_rows(group) - self.group_ends[group])
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

/// The crate panics on some damaged pages, such as one that refers to a dictionary where there is none. To us that is a
/// wrong file, not a bug. Nothing that `read` works on outlives a panic, but for values that were read before it.
fn guarded<T>(read: impl FnOnce() -> ParquetResult<T>) -> ParquetResult<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(ParquetError::General("a page contradicts the metadata".into())))
}

/// What made `error`: a lost server, or else a damaged file.
fn broken(path: PathBuf, file: &Opened, error: ParquetError) -> DataError {
    file.failure().unwrap_or_else(|| DataError::BrokenArchive { path, reason: error.to_string() })
}

/// A file that is read by position, so that threads do not move each other's place. The crate's own reading of a
/// [`File`] seeks, and clones of a file share their place.
struct InPlace {
    file: Arc<Opened>,
}

impl InPlace {
    fn new(file: Opened) -> Self {
        Self { file: Arc::new(file) }
    }
}

impl Length for InPlace {
    fn len(&self) -> u64 {
        self.file.bytes()
    }
}

impl ChunkReader for InPlace {
    type T = BufReader<Box<dyn Read + Send>>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::new(Opened::reader_from(&self.file, start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // Lengths come from the file: nothing is allocated for what the file cannot hold.
        if start.checked_add(length as u64).is_none_or(|end| end > self.file.bytes()) {
            let bytes = self.file.bytes();
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of a file of {bytes} bytes")));
        }
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}
