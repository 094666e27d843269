//! The messages of an Arrow file: which columns it has, and where in it each batch of rows lies
//! (<https://arrow.apache.org/docs/format/Columnar.html>).
//!
//! A stream, as `datasets` writes it, is a schema, then dictionaries and batches of rows, each of them a description with a
//! body behind it, and a mark at the end. A file of pyarrow's is the same between two magic words, with a list of places that
//! is not needed.

use std::fs::File;
use std::io;
use std::path::Path;

use super::arrow_schema::{Field, Kind, Schema};
use super::flatbuffer::Table;
use super::read_at::read_exact_at;
use crate::DataError;

const MAGIC: &[u8] = b"ARROW1";

/// What each message begins with.
const CONTINUES: [u8; 4] = [0xFF; 4];

/// How messages write the version of the format that has been in use since 2020.
const VERSION_5: i16 = 4;

/// Longer descriptions are taken for damage; a column takes some hundred bytes, class names a few more.
const MAX_DESCRIPTION_BYTES: u64 = 256 << 20;

/// Why an Arrow file is not read.
#[derive(Debug)]
pub(crate) enum Problem {
    Unreadable(io::Error),
    /// What is there instead of what the format demands.
    Damaged(String),
    /// What the file has that is not read.
    Unsupported(String),
}

impl Problem {
    pub fn damaged(got: impl Into<String>) -> Self {
        Self::Damaged(got.into())
    }

    pub fn at(self, path: &Path) -> DataError {
        let path = path.to_owned();
        match self {
            Self::Unreadable(source) => DataError::Unreadable { path, source },
            Self::Damaged(got) => DataError::Malformed { path, expected: "a whole Arrow file".into(), got },
            Self::Unsupported(what) => {
                let found = format!(
                    "an Arrow file {what}; write Parquet in Python: t = pyarrow.ipc.open_stream(\"OLD\").read_all() (open_file \
                     if it begins with ARROW1), then pyarrow.parquet.write_table(t, \"NEW.parquet\")"
                );
                DataError::Unsupported { path, found }
            }
        }
    }
}

/// Bytes of a file: where they begin, and how many.
pub(crate) type Range = (u64, u64);

/// A batch of rows, or the values of a dictionary.
#[derive(Debug)]
pub(crate) struct Batch {
    pub rows: usize,
    /// The length of each column and of each part of one.
    lengths: Vec<usize>,
    /// Where the bytes of the columns are in the file.
    buffers: Vec<Range>,
    /// How many buffers hold the long values of each column of views.
    of_views: Vec<usize>,
}

/// Values that a column refers to from a batch on.
#[derive(Debug)]
pub(crate) struct DictionaryBatch {
    pub id: i64,
    /// The first batch of rows that it counts for.
    pub first_batch: usize,
    /// Whether it adds to the values so far.
    pub adds: bool,
    pub values: Batch,
}

/// All messages of a file.
#[derive(Debug)]
pub(crate) struct Messages {
    pub schema: Schema,
    pub batches: Vec<Batch>,
    pub dictionaries: Vec<DictionaryBatch>,
}

/// Whether these are the first bytes of an Arrow file: its magic word, or a message of a length whose highest byte
/// is empty, for a description is never so long.
pub(crate) fn looks_like_arrow(head: &[u8]) -> bool {
    head.starts_with(MAGIC) || (head.starts_with(&CONTINUES) && matches!(head.get(4..8), Some([_, _, _, 0])))
}

/// Reads the descriptions of all messages and checks that their bodies lie within the file.
pub(crate) fn read(file: &File) -> Result<Messages, Problem> {
    let file_bytes = file.metadata().map_err(Problem::Unreadable)?.len();
    let mut head = [0; 8];
    read_within(file, file_bytes, 0, &mut head)?;
    let has_magic = head.starts_with(MAGIC);
    let mut at = if has_magic { 8 } else { 0 };
    let mut schema = None;
    let (mut batches, mut dictionaries) = (Vec::new(), Vec::new());
    loop {
        let mut prefix = [0; 8];
        read_within(file, file_bytes, at, &mut prefix)?;
        let length = u64::from(u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]));
        if prefix[..4] != CONTINUES || length > MAX_DESCRIPTION_BYTES {
            return Err(Problem::damaged(format!("something else than a message at byte {at}")));
        }
        at += 8;
        if length == 0 {
            break;
        }
        let description = read_range(file, file_bytes, (at, length))?;
        at += length;
        let place = at;
        let broken = || Problem::damaged(format!("a message before byte {place} that cannot be read"));
        let message = Table::root(&description).ok_or_else(broken)?;
        let body_bytes = u64::try_from(message.i64(3).unwrap_or(0)).map_err(|_| broken())?;
        let body = (at, body_bytes);
        let end = at.checked_add(body_bytes).filter(|&end| end <= file_bytes);
        at = end.ok_or_else(|| Problem::damaged(format!("{file_bytes} bytes, which end within a message")))?;
        let header = message.table(2).ok_or_else(broken)?;
        match (message.byte(1), &schema) {
            (Some(1), None) => {
                let read =
                    Schema::read(&header).map_err(|what| Problem::Unsupported(format!("that is odd: {what}")))?;
                // Before version 5, unions had one more buffer.
                if message.i16(0).unwrap_or(0) < VERSION_5 && read.fields.iter().any(has_union) {
                    return Err(Problem::Unsupported("of an old version with a union".into()));
                }
                schema = Some(read);
            }
            (Some(2), Some(_)) => {
                let values = read_batch(&header.table(1).ok_or_else(broken)?, body)?;
                dictionaries.push(DictionaryBatch {
                    id: header.i64(0).unwrap_or(0),
                    first_batch: batches.len(),
                    adds: header.byte(2).unwrap_or(0) != 0,
                    values,
                });
            }
            (Some(3), Some(_)) => batches.push(read_batch(&header, body)?),
            (Some(4 | 5), _) => return Err(Problem::Unsupported("of tensors".into())),
            _ => return Err(broken()),
        }
    }
    if has_magic {
        let mut end = [0; MAGIC.len()];
        read_within(file, file_bytes, file_bytes.saturating_sub(MAGIC.len() as u64), &mut end)?;
        if end != MAGIC {
            return Err(Problem::damaged("a file without its last bytes"));
        }
    }
    let schema = schema.ok_or_else(|| Problem::damaged("no description of columns"))?;
    Ok(Messages { schema, batches, dictionaries })
}

fn has_union(field: &Field) -> bool {
    matches!(field.kind, Kind::Other { name: "union", .. }) || field.children.iter().any(has_union)
}

fn read_batch(table: &Table, (start, bytes): Range) -> Result<Batch, Problem> {
    if table.table(3).is_some() {
        return Err(Problem::Unsupported("whose batches are compressed".into()));
    }
    let broken = || Problem::damaged(format!("a batch whose bytes do not lie within its {bytes}"));
    let count = |number: i64| usize::try_from(number).map_err(|_| broken());
    let buffer = |(offset, length): (i64, i64)| {
        let (offset, length) = (u64::try_from(offset).ok()?, u64::try_from(length).ok()?);
        offset.checked_add(length).filter(|&end| end <= bytes).map(|_| (start + offset, length))
    };
    Ok(Batch {
        rows: count(table.i64(0).unwrap_or(0))?,
        lengths: table
            .pairs(1)
            .ok_or_else(broken)?
            .into_iter()
            .map(|(length, _)| count(length))
            .collect::<Result<_, _>>()?,
        buffers: table
            .pairs(2)
            .ok_or_else(broken)?
            .into_iter()
            .map(buffer)
            .collect::<Option<_>>()
            .ok_or_else(broken)?,
        of_views: table.numbers(4).ok_or_else(broken)?.into_iter().map(count).collect::<Result<_, _>>()?,
    })
}

/// A column of a batch, or a part of one.
#[derive(Debug)]
pub(crate) struct Column<'a> {
    pub field: &'a Field,
    pub length: usize,
    pub buffers: &'a [Range],
    pub children: Vec<Column<'a>>,
}

impl Batch {
    /// Which buffers are whose.
    pub fn columns<'a>(&'a self, fields: &'a [Field]) -> Result<Vec<Column<'a>>, Problem> {
        let mut rest = (&self.lengths[..], &self.buffers[..], &self.of_views[..]);
        fields.iter().map(|field| take(field, &mut rest)).collect()
    }
}

type Rest<'a> = (&'a [usize], &'a [Range], &'a [usize]);

fn take<'a>(field: &'a Field, rest: &mut Rest<'a>) -> Result<Column<'a>, Problem> {
    let broken = || Problem::damaged("a batch that lacks columns");
    let (&length, lengths) = rest.0.split_first().ok_or_else(broken)?;
    rest.0 = lengths;
    let mut count = if field.dictionary.is_some() { 2 } else { field.kind.buffers() };
    if let (Kind::View { .. }, None) = (field.kind, field.dictionary) {
        let (&more, of_views) = rest.2.split_first().ok_or_else(broken)?;
        rest.2 = of_views;
        count = count.checked_add(more).ok_or_else(broken)?;
    }
    let (buffers, others) = rest.1.split_at_checked(count).ok_or_else(broken)?;
    rest.1 = others;
    let children = if field.dictionary.is_some() { &[][..] } else { &field.children };
    let children = children.iter().map(|child| take(child, rest)).collect::<Result<_, _>>()?;
    Ok(Column { field, length, buffers, children })
}

/// Reads a range that was checked against its message, or not; nothing is allocated for what the file cannot hold.
pub(crate) fn read_range(file: &File, file_bytes: u64, (start, bytes): Range) -> Result<Vec<u8>, Problem> {
    if start.checked_add(bytes).is_none_or(|end| end > file_bytes) {
        return Err(cut_short(file_bytes));
    }
    let mut buffer = vec![0; usize::try_from(bytes).map_err(|_| cut_short(file_bytes))?];
    read_exact_at(file, &mut buffer, start).map_err(Problem::Unreadable)?;
    Ok(buffer)
}

fn read_within(file: &File, file_bytes: u64, at: u64, buffer: &mut [u8]) -> Result<(), Problem> {
    if at.checked_add(buffer.len() as u64).is_none_or(|end| end > file_bytes) {
        return Err(cut_short(file_bytes));
    }
    read_exact_at(file, buffer, at).map_err(Problem::Unreadable)
}

fn cut_short(file_bytes: u64) -> Problem {
    Problem::damaged(format!("{file_bytes} bytes, which end before the mark at its end"))
}
