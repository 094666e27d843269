//! Which columns of a Parquet file hold the pictures and the labels, and whether they can be read.

use std::collections::BTreeSet;
use std::path::Path;

use parquet::basic::{Compression, ConvertedType, Type};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescriptor;

use crate::DataError;

/// The columns that pictures are looked for in, best first.
const PICTURE_NAMES: [&str; 2] = ["image", "img"];

/// The columns that labels are looked for in, best first.
const LABEL_NAMES: [&str; 3] = ["label", "labels", "fine_label"];

/// The path of a column that there are two of.
pub(crate) fn duplicate(columns: &[&ColumnDescriptor]) -> Option<String> {
    let mut seen = BTreeSet::new();
    columns.iter().map(|column| column.path().string()).find(|path| !seen.insert(path.clone()))
}

/// The place of the column of encoded pictures: `{bytes, path}` as `datasets.Image` writes it or plain bytes, called
/// `image` or `img`, else the only one of the first kind, else the only one of the second.
pub(crate) fn picture_column(columns: &[&ColumnDescriptor]) -> Result<usize, String> {
    let of_shape = |shape: fn(&ColumnDescriptor) -> bool| -> Vec<usize> {
        (0..columns.len()).filter(|&place| shape(columns[place])).collect()
    };
    let (structs, plain) = (of_shape(is_struct_of_bytes), of_shape(is_plain_bytes));
    let named = |name: &&str| structs.iter().chain(&plain).find(|&&place| top(columns[place]) == *name);
    if let Some(&place) = PICTURE_NAMES.iter().find_map(named) {
        return Ok(place);
    }
    let candidates = if structs.is_empty() { plain } else { structs };
    let list = |places: &mut dyn Iterator<Item = usize>| {
        places.map(|place| columns[place].path().string()).collect::<Vec<_>>().join(", ")
    };
    match candidates[..] {
        [only] => Ok(only),
        [] => Err(format!(
            "a Parquet file without a column of pictures (it has {}); write them to a column \"image\" of bytes",
            list(&mut (0..columns.len()))
        )),
        _ => Err(format!(
            "a Parquet file with several columns that may be the pictures ({}); rename one of them to \"image\"",
            list(&mut candidates.into_iter())
        )),
    }
}

/// The place of the column of labels: whole numbers or text.
pub(crate) fn label_column(columns: &[&ColumnDescriptor]) -> Option<usize> {
    let is_label = |column: &ColumnDescriptor| match column.physical_type() {
        Type::INT32 | Type::INT64 => column.converted_type() != ConvertedType::DECIMAL,
        Type::BYTE_ARRAY => is_text(column),
        _ => false,
    };
    LABEL_NAMES.iter().find_map(|name| {
        columns.iter().position(|column| {
            column.path().parts().len() == 1 && top(column) == *name && column.max_rep_level() == 0 && is_label(column)
        })
    })
}

fn top(column: &ColumnDescriptor) -> &str {
    column.path().parts().first().map_or("", String::as_str)
}

fn is_struct_of_bytes(column: &ColumnDescriptor) -> bool {
    let parts = column.path().parts();
    column.physical_type() == Type::BYTE_ARRAY && column.max_rep_level() == 0 && parts.len() == 2 && parts[1] == "bytes"
}

fn is_plain_bytes(column: &ColumnDescriptor) -> bool {
    column.physical_type() == Type::BYTE_ARRAY
        && column.max_rep_level() == 0
        && column.path().parts().len() == 1
        && column.converted_type() == ConvertedType::NONE
        && column.logical_type_ref().is_none()
}

fn is_text(column: &ColumnDescriptor) -> bool {
    matches!(column.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM)
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
    let codec = match chunk.compression() {
        Compression::ZSTD(_) => Some("zstd"),
        Compression::LZO => Some("lzo"),
        _ => None,
    };
    if let Some(codec) = codec {
        return Err(ChunkProblem::Codec { column, codec });
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
