//! Embeddings in a Parquet file.

use std::path::Path;

use byol_data::ParquetTable;
use half::f16;
use parquet::basic::{LogicalType, Type};
use parquet::data_type::{ByteArrayType, DataType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type, Int64Type};
use parquet::schema::types::ColumnDescriptor;

use super::embeddings::{Column, ColumnBuilder, Content, MAX_SIZE, Origin};
use super::error::{IndexError, Result};

/// The key of what `byol embed` notes.
const ORIGIN: &str = "byol";

pub(crate) fn read(path: &Path) -> Result<Content> {
    let table = ParquetTable::open(path)?;
    let origin = match table.entry(ORIGIN) {
        Some(text) => serde_json::from_str(text).map_err(|error| {
            IndexError::unusable(path, format!("JSON in the entry \"{ORIGIN}\" of its metadata"), error.to_string())
        })?,
        None => Origin::default(),
    };
    let (values, size) = embeddings(&table)?;
    let names = match table.leaf("name") {
        Some(leaf) => Some(names(&table, leaf)?),
        None => None,
    };
    Ok(Content { names, labels: texts(&table, "label")?, splits: texts(&table, "split")?, values, size, origin })
}

/// The values of the column `embedding`, and how many a row has.
fn embeddings(table: &ParquetTable) -> Result<(Vec<f32>, usize)> {
    const EXPECTED: &str = "a column \"embedding\" of lists of numbers (f16, f32 or f64)";
    let Some(leaf) = table.leaf("embedding") else {
        let got = match table.names() {
            [] => "no columns".to_owned(),
            names => format!("the columns {}", names.join(", ")),
        };
        return Err(IndexError::unusable(table.path(), EXPECTED, got));
    };
    let column = table.column_descriptor(leaf);
    if column.max_rep_level() != 1 {
        return Err(IndexError::unusable(table.path(), EXPECTED, kind(column)));
    }
    let mut rows = Rows { table, values: Vec::new(), size: 0, read: 0, wrong: None };
    match column.physical_type() {
        Type::FLOAT => rows.read::<FloatType>(leaf, |&value| value)?,
        Type::DOUBLE => rows.read::<DoubleType>(leaf, |&value| value as f32)?,
        Type::FIXED_LEN_BYTE_ARRAY if matches!(column.logical_type_ref(), Some(LogicalType::Float16)) => {
            rows.read::<FixedLenByteArrayType>(leaf, |value| match value.data() {
                &[low, high] => f16::from_le_bytes([low, high]).to_f32(),
                _ => f32::NAN,
            })?;
        }
        _ => return Err(IndexError::unusable(table.path(), EXPECTED, kind(column))),
    }
    Ok((rows.values, rows.size))
}

/// Rows that are read so far.
struct Rows<'a> {
    table: &'a ParquetTable,
    values: Vec<f32>,
    size: usize,
    read: usize,
    /// What ended it; the rest of the file is passed over.
    wrong: Option<IndexError>,
}

impl Rows<'_> {
    fn read<T: DataType>(&mut self, leaf: usize, number: impl Fn(&T::T) -> f32) -> Result<()> {
        let table = self.table;
        let read = table.each_row::<T>(leaf, usize::MAX, &mut |row| {
            if self.wrong.is_none() {
                match self.check(row.len()) {
                    Ok(()) => self.values.extend(row.iter().map(&number)),
                    Err(wrong) => self.wrong = Some(wrong),
                }
                self.read += 1;
            }
        });
        // What a row says is nearer to the cause than what the end of the file says.
        match self.wrong.take() {
            Some(wrong) => Err(wrong),
            None => Ok(read?),
        }
    }

    /// Whether the next row may have so many values.
    fn check(&mut self, size: usize) -> Result<()> {
        let path = self.table.path();
        if self.read == 0 {
            if !(1..=MAX_SIZE).contains(&size) {
                let expected = format!("embeddings of 1 to {MAX_SIZE} values");
                return Err(IndexError::unusable(path, expected, format!("{size} in row 0")));
            }
            IndexError::check_memory(path, self.table.rows(), size)?;
            self.size = size;
        }
        if size != self.size {
            let expected = format!("{} values in every row, as in the first, none of them null", self.size);
            return Err(IndexError::unusable(path, expected, format!("{size} in row {}", self.read)));
        }
        Ok(())
    }
}

fn names(table: &ParquetTable, leaf: usize) -> Result<Vec<String>> {
    let column = table.column_descriptor(leaf);
    if column.physical_type() != Type::BYTE_ARRAY || column.max_rep_level() > 0 {
        return Err(IndexError::unusable(table.path(), "texts in the column \"name\"", kind(column)));
    }
    let mut names = Vec::new();
    let mut missing = None;
    table.each_row::<ByteArrayType>(leaf, usize::MAX, &mut |row| {
        if row.is_empty() {
            missing.get_or_insert(names.len());
        }
        names.push(row.first().map(|name| String::from_utf8_lossy(name.data()).into_owned()).unwrap_or_default());
    })?;
    match missing {
        Some(row) => {
            let got = format!("none in row {row}");
            Err(IndexError::unusable(table.path(), "a text in every row of the column \"name\"", got))
        }
        None => Ok(names),
    }
}

/// The column of texts or whole numbers `name`; one of nothing where the file has none.
fn texts(table: &ParquetTable, name: &str) -> Result<Column> {
    let mut builder = ColumnBuilder::default();
    let Some(leaf) = table.leaf(name) else {
        (0..table.rows()).for_each(|_| builder.push(None));
        return Ok(builder.finish());
    };
    let column = table.column_descriptor(leaf);
    let all = usize::MAX;
    match column.physical_type() {
        _ if column.max_rep_level() > 0 => return Err(not_texts(table, name, column)),
        Type::BYTE_ARRAY => table.each_row::<ByteArrayType>(leaf, all, &mut |row| {
            builder.push(row.first().map(|text| String::from_utf8_lossy(text.data())).as_deref());
        })?,
        Type::INT32 => table.each_row::<Int32Type>(leaf, all, &mut |row| {
            builder.push(row.first().map(i32::to_string).as_deref());
        })?,
        Type::INT64 => table.each_row::<Int64Type>(leaf, all, &mut |row| {
            builder.push(row.first().map(i64::to_string).as_deref());
        })?,
        _ => return Err(not_texts(table, name, column)),
    }
    Ok(builder.finish())
}

fn not_texts(table: &ParquetTable, name: &str, column: &ColumnDescriptor) -> IndexError {
    IndexError::unusable(table.path(), format!("texts or whole numbers in the column \"{name}\""), kind(column))
}

/// The type of a column, for people.
fn kind(column: &ColumnDescriptor) -> String {
    let list = if column.max_rep_level() > 0 { "lists of " } else { "" };
    format!("{list}{}", column.physical_type())
}
