//! Representations as a Parquet file: one row per picture, in row groups that are written as they come.
//!
//! Numbers are not compressed, since no codec makes much of representations; names, labels and splits are (Snappy).

use std::io::Write;
use std::sync::Arc;

use byol_nn::{Error, Result};
use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriterImpl;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, FloatType};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};

use super::{About, Element, Rows, arrow_schema, half_of};

/// A row group is closed at so many rows, or numbers of so many bytes: what memory holds at once.
const GROUP_ROWS: usize = 65_536;
const GROUP_BYTES: usize = 64 << 20;

/// Numbers that are handed to the writer at a time, with two levels each.
const BATCH_VALUES: usize = 65_536;

/// The key that says what the numbers are of.
pub(super) const ABOUT_KEY: &str = "byol";

/// Writes all `rows`.
pub(super) fn write(rows: &Rows, element: Element, about: &About, to: &mut (impl Write + Send)) -> Result<()> {
    let failed = |error: ParquetError| failure(error, rows);
    let size = rows.size();
    let mut file = SerializedFileWriter::new(to, schema(element), properties(size, element, about)).map_err(failed)?;
    let most = GROUP_ROWS.min(GROUP_BYTES / 4 / size).max(1);
    let mut group = Group::default();
    rows.each(|row| {
        group.names.push(row.name.as_str().into());
        group.labels.push(row.label.map(ByteArray::from));
        group.splits.push(row.split.map(ByteArray::from));
        group.values.extend_from_slice(row.values);
        if group.names.len() < most {
            return Ok(());
        }
        group.write(&mut file, element, failed)
    })?;
    if !group.names.is_empty() {
        group.write(&mut file, element, failed)?;
    }
    file.close().map_err(failed)?;
    Ok(())
}

fn failure(error: ParquetError, rows: &Rows) -> Error {
    let error = match error {
        ParquetError::External(error) => {
            error.downcast::<std::io::Error>().map_or_else(std::io::Error::other, |error| *error)
        }
        other => std::io::Error::other(other),
    };
    rows.io()(error)
}

fn schema(element: Element) -> TypePtr {
    let number = match element {
        Element::F32 => "required float element;",
        Element::F16 => "required fixed_len_byte_array (2) element (FLOAT16);",
    };
    let text = format!(
        "message byol {{ required binary name (STRING); optional binary label (STRING); optional binary split (STRING); \
         required group embedding (LIST) {{ repeated group list {{ {number} }} }} }}"
    );
    Arc::new(parse_message_type(&text).expect("the schema is well formed"))
}

fn properties(size: usize, element: Element, about: &About) -> WriterPropertiesPtr {
    let numbers = ColumnPath::new(["embedding", "list", "element"].map(str::to_owned).to_vec());
    let about = serde_json::to_string(about).expect("plain fields have a JSON form");
    let metadata = vec![
        KeyValue::new(ABOUT_KEY.to_owned(), about),
        KeyValue::new(arrow_schema::KEY.to_owned(), arrow_schema::encoded(size, element)),
    ];
    let properties = WriterProperties::builder()
        .set_created_by(format!("byol version {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(metadata))
        .set_compression(Compression::SNAPPY)
        .set_column_dictionary_enabled(ColumnPath::from("name"), false)
        .set_column_compression(numbers.clone(), Compression::UNCOMPRESSED)
        .set_column_dictionary_enabled(numbers.clone(), false)
        .set_column_statistics_enabled(numbers, EnabledStatistics::None);
    Arc::new(properties.build())
}

/// Rows that are written together.
#[derive(Default)]
struct Group {
    names: Vec<ByteArray>,
    labels: Vec<Option<ByteArray>>,
    splits: Vec<Option<ByteArray>>,
    values: Vec<f32>,
}

impl Group {
    /// Writes the rows and forgets them.
    fn write<W: Write + Send>(
        &mut self,
        file: &mut SerializedFileWriter<W>,
        element: Element,
        failed: impl Fn(ParquetError) -> Error + Copy,
    ) -> Result<()> {
        let rows = self.names.len();
        let size = self.values.len() / rows;
        let mut group = file.next_row_group().map_err(failed)?;
        let mut place = 0;
        while let Some(mut column) = group.next_column().map_err(failed)? {
            match place {
                0 => {
                    column.typed::<ByteArrayType>().write_batch(&self.names, None, None).map_err(failed)?;
                }
                1 => write_optional(column.typed(), self.labels.iter().cloned()).map_err(failed)?,
                2 => write_optional(column.typed(), self.splits.iter().cloned()).map_err(failed)?,
                _ => match element {
                    Element::F32 => {
                        self.write_lists(column.typed::<FloatType>(), size, failed, |values, _| Ok(values.to_vec()))?;
                    }
                    Element::F16 => {
                        let halves = |values: &[f32], row: usize| self.halves(values, row, size);
                        self.write_lists(column.typed::<FixedLenByteArrayType>(), size, failed, halves)?;
                    }
                },
            }
            column.close().map_err(failed)?;
            place += 1;
        }
        group.close().map_err(failed)?;
        self.names.clear();
        self.labels.clear();
        self.splits.clear();
        self.values.clear();
        Ok(())
    }

    /// The representations as lists of `size`, whole rows at a time; `numbers` gets values from the given row on.
    fn write_lists<T: DataType>(
        &self,
        column: &mut ColumnWriterImpl<T>,
        size: usize,
        failed: impl Fn(ParquetError) -> Error + Copy,
        numbers: impl Fn(&[f32], usize) -> Result<Vec<T::T>>,
    ) -> Result<()> {
        let rows_at_once = (BATCH_VALUES / size).max(1);
        // Every value is there, and every list begins with its first.
        let present = vec![1i16; rows_at_once * size];
        let begins: Vec<i16> = (0..rows_at_once * size).map(|place| i16::from(!place.is_multiple_of(size))).collect();
        for (batch, values) in self.values.chunks(rows_at_once * size).enumerate() {
            let numbers = numbers(values, batch * rows_at_once)?;
            let levels = numbers.len();
            column.write_batch(&numbers, Some(&present[..levels]), Some(&begins[..levels])).map_err(failed)?;
        }
        Ok(())
    }

    /// Values from `row` on in half the bits; they share one piece of memory.
    fn halves(&self, values: &[f32], row: usize, size: usize) -> Result<Vec<FixedLenByteArray>> {
        let mut bytes = Vec::with_capacity(2 * values.len());
        for (place, &value) in values.iter().enumerate() {
            let name = || String::from_utf8_lossy(self.names[row + place / size].data()).into_owned();
            bytes.extend(half_of(value, name)?.to_le_bytes());
        }
        let bytes = Bytes::from(bytes);
        let half = |place: usize| FixedLenByteArray::from(ByteArray::from(bytes.slice(2 * place..2 * place + 2)));
        Ok((0..values.len()).map(half).collect())
    }
}

fn write_optional(
    column: &mut ColumnWriterImpl<ByteArrayType>,
    values: impl Iterator<Item = Option<ByteArray>>,
) -> std::result::Result<(), ParquetError> {
    let values: Vec<Option<ByteArray>> = values.collect();
    let present: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<ByteArray> = values.into_iter().flatten().collect();
    column.write_batch(&values, Some(&present), None).map(drop)
}
