//! Pictures named by a text or table file: one path per line, with a label and a split if there are columns for them.
//!
//! Paths are relative to the folder of the file, or absolute. Tables are separated by commas or tabs and may have a
//! header; without one the first column is the path and the second the label. In plain text `#` begins a comment.
//! The order is that of the file, and a picture may be named twice.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::thread;

use csv::{ByteRecord, ReaderBuilder, Trim};

use super::folder::name_path;
use super::listing::{Listing, has_picture_ending};
use super::read::Source;
use super::walk;
use crate::limits::{check_count, check_memory};
use crate::splits::{self, Layout, NoSuchSplit};
use crate::{DataConfig, DataError};

/// Names of the columns, lower case.
const PATH_COLUMNS: [&[u8]; 8] =
    [b"path", b"file", b"filename", b"file_name", b"filepath", b"file_path", b"image", b"image_path"];
const LABEL_COLUMNS: [&[u8]; 6] = [b"label", b"class", b"cls", b"category", b"class_name", b"target"];
const SPLIT_COLUMN: &[u8] = b"split";

/// Which column is what.
#[derive(Clone, Copy)]
struct Columns {
    path: usize,
    label: Option<usize>,
    split: Option<usize>,
}

/// Whether these may be the first bytes of text: no control characters.
pub(crate) fn looks_like_text(head: &[u8]) -> bool {
    !head.is_empty() && !head.iter().any(|&byte| byte < b' ' && !matches!(byte, b'\t' | b'\r' | b'\n'))
}

/// Opens the list at `path`, which looks like text.
pub(crate) fn open(path: &Path, split: Option<&str>, config: &DataConfig) -> Result<(Source, Layout), DataError> {
    let unreadable = |source| DataError::Unreadable { path: path.into(), source };
    let file = File::open(path).map_err(unreadable)?;
    let size_bytes = file.metadata().map_err(unreadable)?.len();
    check_memory(path, size_bytes, config.max_archive_memory_bytes)?;
    let mut text = Vec::new();
    file.take(size_bytes).read_to_end(&mut text).map_err(unreadable)?;
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&text);
    let rows = rows(path, text).map_err(|error| unreadable(io::Error::other(error)))?;
    let with_ending = (0..rows.paths.len()).filter(|&row| is_picture(rows.paths.name(row))).count();
    // A text that mentions a picture here and there is no list.
    if with_ending == 0 || 2 * with_ending < rows.paths.len() {
        return Err(DataError::Unsupported { path: path.into(), found: describe(&rows, with_ending) });
    }
    let root = path.parent().unwrap_or(Path::new("")).to_owned();
    let Rows { mut paths, labels, splits } = rows;
    let sizes = sizes(&root, &paths);
    // What is not there shows when the picture is asked for.
    paths.set_sizes(sizes.into_iter().map(Option::unwrap_or_default));
    paths.shrink_to_fit();
    check_count(path, paths.len())?;
    let layout = layout(&labels, splits.as_deref(), split).map_err(|NoSuchSplit(present)| DataError::UnknownSplit {
        path: path.into(),
        split: split.unwrap_or_default().into(),
        present,
    })?;
    Ok((Source::List { root, listing: paths }, layout))
}

/// What the lines say; `labels` and `splits` hold an empty text where there is none.
#[derive(Default)]
struct Rows {
    paths: Listing,
    labels: Vec<String>,
    splits: Option<Vec<String>>,
}

fn rows(path: &Path, text: &[u8]) -> csv::Result<Rows> {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    let is_table = ending == "csv" || ending == "tsv";
    let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| is_table || !line.starts_with(b"#"));
    let Some(first) = lines.clone().next() else { return Ok(Rows::default()) };
    let delimiter = match () {
        () if ending == "tsv" || (ending != "csv" && first.contains(&b'\t')) => b'\t',
        () if ending == "csv" || (!is_picture(first) && first.contains(&b',')) => b',',
        () => {
            let mut rows = Rows::default();
            lines.for_each(|line| rows.paths.push(line, 0, 0));
            rows.labels = vec![String::new(); rows.paths.len()];
            return Ok(rows);
        }
    };
    let comment = (!is_table).then_some(b'#');
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter).has_headers(false).flexible(true).comment(comment).trim(Trim::All);
    let mut table = builder.from_reader(text);
    let mut records = table.byte_records();
    let first = records.next().transpose()?.unwrap_or_default();
    let second = records.next().transpose()?;
    let has_header = !first.iter().any(is_picture);
    let columns = if has_header { Columns::of(&first, second.as_ref()) } else { Columns::WITHOUT_HEADER };
    let mut rows = Rows { splits: columns.split.map(|_| Vec::new()), ..Rows::default() };
    for record in (!has_header).then_some(first).into_iter().chain(second).map(Ok).chain(records) {
        rows.add(&record?, columns);
    }
    Ok(rows)
}

impl Rows {
    fn add(&mut self, record: &ByteRecord, columns: Columns) {
        let field = |column: usize| record.get(column).unwrap_or_default();
        let text = |column: usize| String::from_utf8_lossy(field(column)).into_owned();
        if field(columns.path).is_empty() {
            return;
        }
        self.paths.push(field(columns.path), 0, 0);
        self.labels.push(columns.label.map_or_else(String::new, text));
        if let (Some(splits), Some(column)) = (&mut self.splits, columns.split) {
            splits.push(text(column));
        }
    }
}

impl Columns {
    const WITHOUT_HEADER: Self = Self { path: 0, label: Some(1), split: None };

    /// By the names in the header; the path is otherwise where the first row has one, and the label beside it if there
    /// are two columns.
    fn of(header: &ByteRecord, row: Option<&ByteRecord>) -> Self {
        let find = |names: &[&[u8]]| {
            names.iter().find_map(|name| header.iter().position(|field| field.eq_ignore_ascii_case(name)))
        };
        let path = find(&PATH_COLUMNS).or_else(|| row?.iter().position(is_picture)).unwrap_or(0);
        let split = find(&[SPLIT_COLUMN]);
        let other = (0..header.len()).find(|&column| column != path).filter(|_| header.len() == 2);
        let label = find(&LABEL_COLUMNS).or(other.filter(|&column| Some(column) != split));
        Self { path, label, split }
    }
}

fn layout(labels: &[String], splits: Option<&[String]>, wish: Option<&str>) -> Result<Layout, NoSuchSplit> {
    let distinct = |texts: &[String]| -> Vec<String> {
        let mut texts: Vec<&String> = texts.iter().filter(|text| !text.is_empty()).collect();
        texts.sort_unstable();
        texts.dedup();
        texts.into_iter().cloned().collect()
    };
    let mut splits_present = splits.map(distinct).unwrap_or_default();
    splits::sort_splits(&mut splits_present);
    let chosen = match (splits_present.is_empty(), wish) {
        (true, None) => None,
        _ => Some(splits::choose(&splits_present, wish)?),
    };
    let split = chosen.map(|place| splits_present[place].clone());
    let mut classes = distinct(labels);
    splits::sort_classes(&mut classes);
    let places: std::collections::HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let is_in = |row: usize| match (&split, splits) {
        (Some(split), Some(splits)) => splits[row] == *split,
        _ => true,
    };
    let images: Vec<u32> = (0u32..).take(labels.len()).filter(|&row| is_in(row as usize)).collect();
    let labels = images.iter().map(|&row| places.get(labels[row as usize].as_str()).copied()).collect();
    Ok(Layout { split, splits_present, classes, images, labels, notes: Vec::new() })
}

/// A source of the files `paths` below `root`, in this order, and the places of those that are not there.
pub(crate) fn of_paths(root: &Path, mut paths: Listing) -> Result<(Source, Vec<u32>), DataError> {
    check_count(root, paths.len())?;
    let sizes = sizes(root, &paths);
    let missing = (0u32..).zip(&sizes).filter(|(_, size)| size.is_none()).map(|(place, _)| place).collect();
    paths.set_sizes(sizes.into_iter().map(Option::unwrap_or_default));
    paths.shrink_to_fit();
    Ok((Source::List { root: root.into(), listing: paths }, missing))
}

/// The sizes of the files, none for what is not there.
fn sizes(root: &Path, paths: &Listing) -> Vec<Option<u64>> {
    let size = |index: usize| fs::metadata(root.join(name_path(paths.name(index)))).ok().map(|metadata| metadata.len());
    let mut sizes = vec![None; paths.len()];
    let share = paths.len().div_ceil(walk::threads()).max(256);
    thread::scope(|scope| {
        for (chunk, sizes) in sizes.chunks_mut(share).enumerate() {
            scope.spawn(move || (chunk * share..).zip(sizes).for_each(|(index, bytes)| *bytes = size(index)));
        }
    });
    sizes
}

fn is_picture(path: &[u8]) -> bool {
    has_picture_ending(&String::from_utf8_lossy(path))
}

fn describe(rows: &Rows, with_ending: usize) -> String {
    if rows.paths.len() == 0 {
        return "a text file without lines".into();
    }
    let example: String = String::from_utf8_lossy(rows.paths.name(0)).chars().take(60).collect();
    let count = match with_ending {
        0 => "none".into(),
        some => format!("only {some}"),
    };
    format!(
        "a text file of which {count} of {} lines is the path of a picture (the first is \"{example}\"); for a list, \
         write one path like cat/1.jpg per line, a label behind a comma or tab",
        rows.paths.len()
    )
}
