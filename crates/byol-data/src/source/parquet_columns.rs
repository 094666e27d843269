//! Which columns of a Parquet file hold the pictures and the labels, and whether they can be read.

use std::collections::BTreeSet;
use std::path::Path;

use parquet::basic::{Compression, ConvertedType, Type};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescriptor;

use super::columns;
use crate::DataError;

/// The path of a column that there are two of.
pub(crate) fn duplicate(columns: &[&ColumnDescriptor]) -> Option<String> {
    let mut seen = BTreeSet::new();
    columns.iter().map(|column| column.path().string()).find(|path| !seen.insert(path.clone()))
}

/// The names of the columns for people: `label`, `label.name` for the field of a struct, `labels` for a list.
pub(crate) fn names(columns: &[&ColumnDescriptor]) -> Vec<String> {
    let name = |column: &&ColumnDescriptor| {
        let parts = column.path().parts();
        // A list is written as `NAME.list.element`, by some as `NAME.bag.array_element`.
        let inner = if column.max_rep_level() > 0 && parts.len() > 2 { parts.len() - 2 } else { parts.len() };
        parts[..inner].join(".")
    };
    columns.iter().map(name).collect()
}

/// The place of the column of encoded pictures, and the names of others that may be meant: the one called `wish`; else
/// `{bytes, path}` as `datasets.Image` writes it or plain bytes, called `image` or alike, else the only one of the first kind,
/// else the only one of the second.
pub(crate) fn picture_column(
    path: &Path,
    columns: &[&ColumnDescriptor],
    wish: Option<&str>,
) -> Result<(usize, Vec<String>), DataError> {
    let of_shape = |shape: fn(&ColumnDescriptor) -> bool| -> Vec<usize> {
        (0..columns.len()).filter(|&place| shape(columns[place])).collect()
    };
    let (structs, plain) = (of_shape(is_struct_of_bytes), of_shape(is_plain_bytes));
    let names = |places: &[usize]| -> Vec<String> { places.iter().map(|&place| name(columns[place])).collect() };
    let (chosen, others) = columns::pictures(path, "a Parquet file", &names(&structs), &names(&plain), wish, &|| {
        let all = names(&(0..columns.len()).collect::<Vec<_>>()).join(", ");
        format!("it has {all}; write them to a column \"image\" of bytes")
    })?;
    Ok((structs.into_iter().chain(plain).nth(chosen).unwrap_or_default(), others))
}

/// The name of a column of pictures: that of the struct, if it is in one.
fn name(column: &ColumnDescriptor) -> String {
    let parts = column.path().parts();
    if is_struct_of_bytes(column) { parts[..parts.len() - 1].join(".") } else { parts.join(".") }
}

fn is_struct_of_bytes(column: &ColumnDescriptor) -> bool {
    let parts = column.path().parts();
    column.physical_type() == Type::BYTE_ARRAY
        && column.max_rep_level() == 0
        && parts.len() >= 2
        && parts[parts.len() - 1] == "bytes"
}

fn is_plain_bytes(column: &ColumnDescriptor) -> bool {
    column.physical_type() == Type::BYTE_ARRAY
        && column.max_rep_level() == 0
        && column.path().parts().len() == 1
        && column.converted_type() == ConvertedType::NONE
        && column.logical_type_ref().is_none()
}

/// Whether a column holds one text per row.
pub(crate) fn is_text(column: &ColumnDescriptor) -> bool {
    column.max_rep_level() == 0 && matches!(column.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM)
}

/// Why a column chunk cannot be read.
#[derive(Debug)]
pub(crate) enum ChunkProblem {
    Codec { column: String, codec: &'static str },
    Place { column: String, start: i64, bytes: i64, file_bytes: u64 },
}

/// Whether a chunk lies within its file, which the reader takes for granted, and has a codec that we have.
pub(crate) fn check_chunk(chunk: &ColumnChunkMetaData, file_bytes: u64) -> Result<(), ChunkProblem> {
    let column = chunk.column_path().string();
    if let Compression::LZO = chunk.compression() {
        return Err(ChunkProblem::Codec { column, codec: "lzo" });
    }
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let bytes = chunk.compressed_size();
    let end =
        u64::try_from(start).ok().zip(u64::try_from(bytes).ok()).and_then(|(start, bytes)| start.checked_add(bytes));
    if end.is_none_or(|end| end > file_bytes) {
        return Err(ChunkProblem::Place { column, start, bytes, file_bytes });
    }
    Ok(())
}

impl ChunkProblem {
    pub fn at(self, path: &Path) -> DataError {
        match self {
            Self::Codec { column, codec } => {
                let found = format!(
                    "a Parquet file whose column {column} is compressed with {codec}; rewrite it in Python: \
                     t = pyarrow.parquet.read_table(\"OLD\"); pyarrow.parquet.write_table(t, \"NEW\", \
                     compression=\"snappy\")"
                );
                DataError::Unsupported { path: path.into(), found }
            }
            Self::Place { column, start, bytes, file_bytes } => DataError::Malformed {
                path: path.into(),
                expected: format!("column {column} within the file's {file_bytes} bytes"),
                got: format!("{bytes} bytes at {start}"),
            },
        }
    }
}
