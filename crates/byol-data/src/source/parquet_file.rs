//! One Parquet file: which of its columns hold pictures and labels, and reading them.
//!
//! Columns are read without Arrow, one at a time: nothing but the pages of the column asked for is touched.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Type;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;

use super::parquet_columns::{check_chunk, duplicate, label_column, picture_column};
use super::read_at::read_exact_at;
use crate::DataError;

/// Rows that are read at once where all are read.
const BATCH_ROWS: usize = 1024;

/// A Parquet file with a column of pictures. Its metadata is in memory, the file itself is opened for each reading:
/// a data set may have more files than a process may hold open.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    pub path: PathBuf,
    /// Its name below the data, for the names of its pictures.
    pub name: String,
    /// The row before which each row group ends, ascending.
    group_ends: Vec<usize>,
    metadata: ParquetMetaData,
    image: usize,
    label: Option<usize>,
}

/// The values of a label column; a null is `None`.
#[derive(Debug)]
pub(crate) enum LabelColumn {
    Integers(Vec<Option<i64>>),
    Texts(Vec<Option<ByteArray>>),
}

impl ParquetFile {
    /// Reads the metadata and finds the columns.
    pub fn open(path: PathBuf, name: String) -> Result<Self, DataError> {
        let file = File::open(&path).map_err(|source| DataError::Unreadable { path: path.clone(), source })?;
        let file = InPlace::new(file).map_err(|source| DataError::Unreadable { path: path.clone(), source })?;
        let reader = ParquetMetaDataReader::new().with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata = guarded(|| reader.parse_and_finish(&file)).map_err(|error| broken(&path, error))?;
        let columns = metadata.file_metadata().schema_descr().columns();
        let columns: Vec<&ColumnDescriptor> = columns.iter().map(AsRef::as_ref).collect();
        let unsupported = |found| DataError::Unsupported { path: path.clone(), found };
        if let Some(twice) = duplicate(&columns) {
            let (expected, got) = ("columns of different names".into(), format!("two columns called {twice}"));
            return Err(DataError::Malformed { path, expected, got });
        }
        let image = picture_column(&columns).map_err(unsupported)?;
        let label = label_column(&columns);
        let mut group_ends = Vec::new();
        let mut rows = 0usize;
        for group in metadata.row_groups() {
            for column in [Some(image), label].into_iter().flatten() {
                check_chunk(group.column(column), file.bytes).map_err(|problem| problem.at(&path))?;
            }
            let count = usize::try_from(group.num_rows()).ok();
            let Some(end) = count.and_then(|count| rows.checked_add(count)) else {
                let expected = "a number of rows in each row group".into();
                return Err(DataError::Malformed { path, expected, got: group.num_rows().to_string() });
            };
            rows = end;
            group_ends.push(rows);
        }
        Ok(Self { path, name, group_ends, metadata, image, label })
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

    /// The class names that Hugging Face's `datasets` writes into the metadata, if the labels have some.
    pub fn class_names(&self) -> Option<Vec<String>> {
        let label = self.metadata.file_metadata().schema_descr().column(self.label?);
        let entries = self.metadata.file_metadata().key_value_metadata()?;
        let text = entries.iter().find(|entry| entry.key == "huggingface")?.value.as_deref()?;
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        let names = json.get("info")?.get("features")?.get(label.name())?.get("names")?.as_array()?;
        names.iter().map(|name| Some(name.as_str()?.to_owned())).collect()
    }

    /// The encoded picture of `row`, or `None` for a null. The pages of its row group before it are skipped by their
    /// headers.
    pub fn picture(&self, row: usize) -> Result<Option<ByteArray>, String> {
        let unreadable = |error: ParquetError| format!("cannot be read from {}: {error}", self.path.display());
        let (group, row) = self.find(row);
        let picture = guarded(|| {
            let file = InPlace::new(File::open(&self.path)?)?;
            let mut column = self.column::<ByteArrayType>(file, group, self.image)?;
            let skipped = column.skip_records(row)?;
            let (mut levels, mut values) = (Vec::new(), Vec::new());
            let (read, ..) = column.read_records(1, Some(&mut levels), None, &mut values)?;
            if (skipped, read) != (row, 1) {
                return Err(ParquetError::EOF("its row group ends before it".into()));
            }
            Ok(values.pop())
        });
        picture.map_err(unreadable)
    }

    /// All encoded pictures in order; `None` where a row has none. They share the memory of their pages.
    pub fn pictures(&self) -> Result<Vec<Option<ByteArray>>, DataError> {
        self.values::<ByteArrayType>(self.image)
    }

    /// All labels in order, if there is a column of them.
    pub fn labels(&self) -> Result<Option<LabelColumn>, DataError> {
        let Some(label) = self.label else { return Ok(None) };
        let column = match self.metadata.file_metadata().schema_descr().column(label).physical_type() {
            Type::INT32 => {
                let values = self.values::<Int32Type>(label)?;
                LabelColumn::Integers(values.into_iter().map(|value| value.map(i64::from)).collect())
            }
            Type::INT64 => LabelColumn::Integers(self.values::<Int64Type>(label)?),
            _ => LabelColumn::Texts(self.values::<ByteArrayType>(label)?),
        };
        Ok(Some(column))
    }

    fn values<T: DataType>(&self, leaf: usize) -> Result<Vec<Option<T::T>>, DataError> {
        let mut all = Vec::new();
        for group in 0..self.group_ends.len() {
            let before = all.len();
            guarded(|| self.group_values::<T>(group, leaf, &mut all)).map_err(|error| broken(&self.path, error))?;
            let (expected, got) = (self.group_rows(group), all.len() - before);
            if expected != got {
                let expected = format!("{expected} rows in row group {group}, as the metadata says");
                return Err(DataError::Malformed { path: self.path.clone(), expected, got: got.to_string() });
            }
        }
        Ok(all)
    }

    fn group_values<T: DataType>(&self, group: usize, leaf: usize, all: &mut Vec<Option<T::T>>) -> ParquetResult<()> {
        let present = self.metadata.file_metadata().schema_descr().column(leaf).max_def_level();
        let file = InPlace::new(File::open(&self.path)?)?;
        let mut column = self.column::<T>(file, group, leaf)?;
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
        let pages = SerializedPageReader::new(Arc::new(file), chunk, self.group_rows(group), pages)?;
        Ok(ColumnReaderImpl::new(chunk.column_descr_ptr(), Box::new(pages)))
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

/// The crate panics on some damaged pages, such as one that refers to a dictionary where there is none. To us that is a
/// wrong file, not a bug. Nothing that `read` works on outlives a panic, but for values that were read before it.
fn guarded<T>(read: impl FnOnce() -> ParquetResult<T>) -> ParquetResult<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(ParquetError::General("a page contradicts the metadata".into())))
}

fn broken(path: &Path, error: ParquetError) -> DataError {
    DataError::BrokenArchive { path: path.into(), reason: error.to_string() }
}

/// A file that is read by position, so that threads do not move each other's place. The crate's own reading of a
/// [`File`] seeks, and clones of a file share their place.
struct InPlace {
    file: Arc<File>,
    bytes: u64,
}

impl InPlace {
    fn new(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), bytes })
    }
}

impl Length for InPlace {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for InPlace {
    type T = BufReader<FromHere>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::new(FromHere { file: Arc::clone(&self.file), at: start, end: self.bytes }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // Lengths come from the file: nothing is allocated for what the file cannot hold.
        if start.checked_add(length as u64).is_none_or(|end| end > self.bytes) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of a file of {} bytes", self.bytes)));
        }
        let mut buffer = vec![0; length];
        read_exact_at(&self.file, &mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// What a file holds from a position on.
struct FromHere {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for FromHere {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (buffer.len() as u64).min(self.end.saturating_sub(self.at)) as usize;
        read_exact_at(&self.file, &mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
