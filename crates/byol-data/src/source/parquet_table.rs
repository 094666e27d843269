//! One Parquet file as a table: its columns by name and type, and the values of their rows.
//!
//! Columns are read without Arrow, one at a time: nothing but the pages of the column asked for is touched.

use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::page::PageReader;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::DataType;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;

use super::parquet_columns::{check_chunk, duplicate, names};
use super::parquet_zstd::{ZstdPages, taken_as_plain};
use super::place::{Opened, Place};
use crate::DataError;

/// Rows that are read at once where all are read.
const BATCH_ROWS: usize = 1024;

/// A Parquet file. Its metadata is in memory, the file itself is opened for each reading: a data set may have more files than a
/// process may hold open. No memory is taken for what the metadata claims before it is read.
#[derive(Debug)]
pub struct ParquetTable {
    /// For messages.
    path: PathBuf,
    place: Place,
    bytes: u64,
    /// The row before which each row group ends, ascending.
    group_ends: Vec<usize>,
    metadata: ParquetMetaData,
    /// The names of its columns for people, in the file's order.
    names: Vec<String>,
}

impl ParquetTable {
    /// Reads the metadata of the file at `path`.
    ///
    /// # Errors
    /// [`DataError`] for a file that cannot be read, is no Parquet file, is damaged or has two columns of one name.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::open_at(Place::Path(path.to_owned()))
    }

    /// As [`Self::open`], also behind a URL.
    pub(crate) fn open_at(place: Place) -> Result<Self, DataError> {
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
        let names = names(&columns);
        let mut group_ends = Vec::new();
        let mut rows = 0usize;
        for group in metadata.row_groups() {
            let count = usize::try_from(group.num_rows()).ok();
            let Some(end) = count.and_then(|count| rows.checked_add(count)) else {
                let expected = "a number of rows in each row group".into();
                return Err(DataError::Malformed { path, expected, got: group.num_rows().to_string() });
            };
            rows = end;
            group_ends.push(rows);
        }
        Ok(Self { path, place, bytes: file.file.bytes(), group_ends, metadata, names })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of rows, as the metadata has it.
    pub fn rows(&self) -> usize {
        self.group_ends.last().copied().unwrap_or(0)
    }

    /// Number of row groups.
    pub fn groups(&self) -> usize {
        self.group_ends.len()
    }

    /// The names of its columns for people, in the file's order: `label`, `label.name` for the field of a struct, `labels` for a list.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of the column `name`.
    pub fn leaf(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| other == name)
    }

    /// The types of its columns, in the file's order.
    pub fn columns(&self) -> Vec<&ColumnDescriptor> {
        self.metadata.file_metadata().schema_descr().columns().iter().map(AsRef::as_ref).collect()
    }

    /// The type of the column `leaf`.
    pub fn column_descriptor(&self, leaf: usize) -> &ColumnDescriptor {
        &self.metadata.file_metadata().schema_descr().columns()[leaf]
    }

    /// The value of an entry of the file's key-value metadata.
    pub fn entry(&self, key: &str) -> Option<&str> {
        let entries = self.metadata.file_metadata().key_value_metadata()?;
        entries.iter().find(|entry| entry.key == key)?.value.as_deref()
    }

    /// The file, for one reading.
    pub(crate) fn reading(&self) -> std::io::Result<Arc<Opened>> {
        self.place.open().map(Arc::new)
    }

    /// Checks that every chunk of the column `leaf` lies within the file and has a codec that we have.
    pub(crate) fn check_column(&self, leaf: usize) -> Result<(), DataError> {
        self.metadata
            .row_groups()
            .iter()
            .try_for_each(|group| check_chunk(group.column(leaf), self.bytes).map_err(|problem| problem.at(&self.path)))
    }

    /// Bytes of the column `leaf` in a row group, unpacked, as the metadata has it.
    pub(crate) fn group_bytes(&self, group: usize, leaf: usize) -> u64 {
        u64::try_from(self.metadata.row_group(group).column(leaf).uncompressed_size()).unwrap_or(0)
    }

    /// Rows of the first `groups` row groups.
    pub(crate) fn rows_of(&self, groups: usize) -> usize {
        self.group_ends.iter().take(groups).next_back().copied().unwrap_or(0)
    }

    /// Hands over the values of each row of the column `leaf` in the first `groups` row groups: none for a null, several for
    /// a list.
    ///
    /// # Errors
    /// [`DataError`] for a damaged file; what was read before it has been handed over.
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

    /// The values of each row of the column `leaf`; `None` for a null.
    pub(crate) fn values<T: DataType>(&self, leaf: usize) -> Result<Vec<Option<T::T>>, DataError> {
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
        self.reading().map_err(|source| DataError::Unreadable { path: self.path.clone(), source })
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

    /// The reader of the column `leaf` in one row group.
    pub(crate) fn column<T: DataType>(
        &self,
        file: InPlace,
        group: usize,
        leaf: usize,
    ) -> ParquetResult<ColumnReaderImpl<T>> {
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

    /// Rows of a row group.
    pub(crate) fn group_rows(&self, group: usize) -> usize {
        self.group_ends[group] - group.checked_sub(1).map_or(0, |before| self.group_ends[before])
    }

    /// The row group of `row`, and its place in it.
    pub(crate) fn find(&self, row: usize) -> (usize, usize) {
        let group = self.group_ends.partition_point(|&end| end <= row);
        (group, row + self.group_rows(group) - self.group_ends[group])
    }
}

/// The crate panics on some damaged pages, such as one that refers to a dictionary where there is none. To us that is a
/// wrong file, not a bug. Nothing that `read` works on outlives a panic, but for values that were read before it.
pub(crate) fn guarded<T>(read: impl FnOnce() -> ParquetResult<T>) -> ParquetResult<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(ParquetError::General("a page contradicts the metadata".into())))
}

/// What made `error`: a lost server, or else a damaged file.
fn broken(path: PathBuf, file: &Opened, error: ParquetError) -> DataError {
    file.failure().unwrap_or_else(|| DataError::BrokenArchive { path, reason: error.to_string() })
}

/// A file that is read by position, so that threads do not move each other's place. The crate's own reading of a
/// [`File`] seeks, and clones of a file share their place.
pub(crate) struct InPlace {
    pub file: Arc<Opened>,
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
