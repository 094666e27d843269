//! Tables in text: one row per line or JSON object, with a column of paths.
//!
//! UTF-8 or UTF-16 with a byte order mark; lines end in LF, CR LF or CR. Fields stand between commas, semicolons, tabs, bars
//! or, in plain text, spaces; the first lines decide which. In plain text `#` begins a comment.

use std::borrow::Cow;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder, Trim};
use serde_json::Value as Json;

use super::columns::{self, IMAGE_NAMES, LABEL_NAMES};
use super::folder::name_path;
use super::listing::{Listing, has_picture_ending};
use super::values::{Value, Values};
use crate::{DataConfig, DataError};

/// Rows that are looked at to tell what the columns are.
const SAMPLE: usize = 64;

/// Rows with a path each.
#[derive(Default)]
pub(crate) struct Table {
    /// Names of the columns; `1`, `2`, … without a header.
    pub names: Vec<String>,
    pub has_header: bool,
    /// The place of the column of paths.
    pub path: usize,
    pub paths: Listing,
    /// The columns, that of the paths being empty.
    pub values: Vec<Values>,
    /// Rows left out because they have no path.
    pub without_path: usize,
    /// Rows with more or fewer fields than the first.
    pub ragged: usize,
}

/// How a text is cut into fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A path per line.
    Lines,
    Delimited(u8),
    /// A path, which may have spaces, and what follows its ending.
    PathThenWords,
    /// A word, and the path.
    WordThenPath,
    /// Words.
    Words,
}

/// Whether these may be the first bytes of text: no control characters, or a mark of UTF-16.
pub(crate) fn looks_like_text(head: &[u8]) -> bool {
    let plain = |byte: &u8| *byte >= b' ' || matches!(byte, b'\t' | b'\r' | b'\n');
    !head.is_empty() && (head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]) || head.iter().all(plain))
}

/// The text in UTF-8 as far as it is text; other bytes stay as they are.
fn decoded(bytes: &[u8]) -> Cow<'_, [u8]> {
    let wide = |join: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| join([pair[0], pair[1]])).collect();
        Cow::Owned(String::from_utf16_lossy(&units).into_bytes())
    };
    match bytes {
        [0xFF, 0xFE, ..] => wide(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => wide(u16::from_be_bytes),
        _ => Cow::Borrowed(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)),
    }
}

/// Text of a field. What is no UTF-8 comes from Windows or older systems, in Latin letters; a replacement character would make
/// one class of two.
fn text_of(field: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(field).map_or_else(|_| field.iter().map(|&byte| char::from(byte)).collect(), Cow::Borrowed)
}

/// Reads the table in `bytes`, the content of the file at `path`; paths are tried below its folder to tell where they end.
pub(crate) fn read(path: &Path, bytes: &[u8], config: &DataConfig) -> Result<Table, DataError> {
    let text = decoded(bytes);
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    let first = text.trim_ascii_start().first();
    if first == Some(&b'{') || (first == Some(&b'[') && ending == "json") {
        return json(path, &text, config);
    }
    let is_table = ending == "csv" || ending == "tsv";
    let lines: Vec<&[u8]> = lines(&text, is_table).take(SAMPLE).collect();
    if lines.is_empty() {
        return Ok(Table::default());
    }
    let form = form(path.parent().unwrap_or(Path::new("")), &text, &lines, &ending.to_string_lossy());
    let sample = records(&text, form, is_table).take(SAMPLE + 1).collect::<csv::Result<Vec<_>>>();
    let broken = |error: csv::Error| DataError::Unreadable { path: path.into(), source: std::io::Error::other(error) };
    let sample = sample.map_err(broken)?;
    let Some(first) = sample.first() else { return Ok(Table::default()) };
    let has_header = is_header(first, &sample[1..]);
    let width = sample.iter().map(ByteRecord::len).max().unwrap_or(0);
    let mut names: Vec<String> = (1..=width).map(|column| column.to_string()).collect();
    if has_header {
        names.iter_mut().zip(first).for_each(|(name, field)| *name = text_of(field).into_owned());
    }
    let rows = &sample[usize::from(has_header)..];
    let field = |row: usize, column: usize| rows[row].get(column).unwrap_or_default();
    let path_column = path_column(path, &names, has_header, rows.len(), &field, config)?;
    let mut table = Table { names, has_header, path: path_column, ..Table::default() };
    table.values.resize_with(width, Values::default);
    for record in records(&text, form, is_table).skip(usize::from(has_header)) {
        table.add(&record.map_err(broken)?, first.len());
    }
    Ok(table)
}

impl Table {
    fn add(&mut self, record: &ByteRecord, width: usize) {
        let path = record.get(self.path).unwrap_or_default();
        if path.is_empty() {
            self.without_path += 1;
            return;
        }
        self.ragged += usize::from(record.len() != width);
        self.paths.push(path, 0, 0);
        for (column, values) in self.values.iter_mut().enumerate().filter(|&(column, _)| column != self.path) {
            values.push_text(&text_of(record.get(column).unwrap_or_default()));
        }
    }

    /// The columns that are neither the path nor one of `used`.
    pub fn others<'a>(&'a self, used: &[Option<usize>]) -> Vec<&'a str> {
        let free =
            |column: &usize| *column != self.path && !used.contains(&Some(*column)) && !self.names[*column].is_empty();
        (0..self.names.len()).filter(free).map(|column| self.names[column].as_str()).collect()
    }
}

fn lines(text: &[u8], is_table: bool) -> impl Iterator<Item = &[u8]> + Clone {
    let lines = text.split(|&byte| byte == b'\n' || byte == b'\r').map(<[u8]>::trim_ascii);
    lines.filter(move |line| !line.is_empty() && (is_table || !line.starts_with(b"#")))
}

/// The records of a text in a given form.
fn records<'a>(text: &'a [u8], form: Form, is_table: bool) -> Box<dyn Iterator<Item = csv::Result<ByteRecord>> + 'a> {
    if let Form::Delimited(delimiter) = form {
        let mut builder = ReaderBuilder::new();
        let comment = (!is_table).then_some(b'#');
        builder.delimiter(delimiter).has_headers(false).flexible(true).comment(comment).trim(Trim::All);
        return Box::new(builder.from_reader(text).into_byte_records());
    }
    Box::new(lines(text, is_table).map(move |line| Ok(ByteRecord::from(fields(line, form)))))
}

fn fields(line: &[u8], form: Form) -> Vec<&[u8]> {
    match form {
        Form::Lines | Form::Delimited(_) => vec![line],
        Form::Words => words(line),
        Form::WordThenPath => match line.iter().position(u8::is_ascii_whitespace) {
            Some(space) => vec![&line[..space], line[space..].trim_ascii()],
            None => vec![line],
        },
        Form::PathThenWords => match path_end(line) {
            Some(end) => std::iter::once(&line[..end]).chain(words(&line[end..])).collect(),
            None => words(line),
        },
    }
}

fn words(text: &[u8]) -> Vec<&[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect()
}

/// Where a path ends that other words follow: behind the last picture ending before a space or the end of the line.
fn path_end(line: &[u8]) -> Option<usize> {
    let ends = (0..line.len()).rev().filter(|&end| line[end].is_ascii_whitespace());
    std::iter::once(line.len()).chain(ends).find(|&end| is_picture(&line[..end]))
}

pub(crate) fn is_picture(path: &[u8]) -> bool {
    has_picture_ending(&String::from_utf8_lossy(path.trim_ascii_end()))
}

/// How the `text`, whose first lines are given, is cut into fields.
fn form(root: &Path, text: &[u8], lines: &[&[u8]], ending: &str) -> Form {
    let is_table = ending == "csv" || ending == "tsv";
    let there = |path: &[u8]| !path.is_empty() && root.join(name_path(path)).is_file();
    let whole = lines.iter().filter(|line| is_picture(line)).count();
    if !is_table && 2 * whole >= lines.len() && lines.iter().any(|line| there(line)) {
        return Form::Lines;
    }
    let delimiters: &[u8] = match ending {
        "tsv" => b"\t,;|",
        "csv" => b",;\t|",
        _ => b"\t,;|",
    };
    // A field that is a path, or a header that names one, in columns that all lines have.
    let fits = |&delimiter: &u8| {
        let records: Vec<_> = records(text, Form::Delimited(delimiter), is_table).take(SAMPLE).flatten().collect();
        let Some(first) = records.first().filter(|first| first.len() > 1) else { return false };
        let same = records.iter().filter(|record| record.len() == first.len()).count();
        let paths = records.iter().filter(|record| record.iter().any(is_picture)).count();
        let known = is_header(first, &records[1..]);
        10 * same >= 9 * records.len() && (2 * paths >= records.len() - usize::from(known) || known)
    };
    let delimited = delimiters.iter().copied().find(fits).map(Form::Delimited);
    match (delimited, ending) {
        (Some(form), _) if is_table || 2 * whole < lines.len() => return form,
        // Whole lines look like paths, and are none: `cat,cat/1.png`.
        (Some(form), _) => {
            let cut = |line: &&[u8]| {
                records(line, form, false)
                    .flatten()
                    .any(|record| record.iter().any(|field| is_picture(field) && there(field)))
            };
            if lines.iter().any(cut) {
                return form;
            }
        }
        (None, "tsv") => return Form::Delimited(b'\t'),
        (None, "csv") if !lines.iter().any(|line| path_end(line).is_some_and(|end| end < line.len())) => {
            return Form::Delimited(b',');
        }
        (None, _) => {}
    }
    if 2 * whole >= lines.len() {
        let after_word = |line: &&[u8]| matches!(fields(line, Form::WordThenPath)[..], [_, path] if there(path));
        return if lines.iter().any(after_word) { Form::WordThenPath } else { Form::Lines };
    }
    // The first line may be a header.
    let with_path = lines.iter().filter(|line| path_end(line).is_some()).count();
    if with_path > 0 && with_path + 1 >= lines.len() {
        return Form::PathThenWords;
    }
    let two = |line: &&[u8]| fields(line, Form::Words).len() == 2;
    if lines.iter().all(two) { Form::Words } else { Form::Lines }
}

/// Whether the first record names columns: it has no path, and known names or paths below it.
fn is_header(first: &ByteRecord, rest: &[ByteRecord]) -> bool {
    let names: Vec<String> = first.iter().map(|field| text_of(field).into_owned()).collect();
    let known = || columns::named(&names, &IMAGE_NAMES).is_some() || columns::named(&names, &LABEL_NAMES).is_some();
    let below = || first.len() > 1 && rest.iter().any(|record| record.iter().any(is_picture));
    !first.iter().any(is_picture) && (known() || below())
}

/// The column of paths: the one asked for, a known name with paths in it, the one with the most paths, a known name, the first.
fn path_column<'a>(
    path: &Path,
    names: &[String],
    has_header: bool,
    rows: usize,
    field: &dyn Fn(usize, usize) -> &'a [u8],
    config: &DataConfig,
) -> Result<usize, DataError> {
    if let Some(wish) = &config.image_key {
        return columns::wished(path, names, "image_key", wish);
    }
    let paths = |column: usize| (0..rows).filter(|&row| is_picture(field(row, column))).count();
    let named = if has_header { columns::named(names, &IMAGE_NAMES) } else { None };
    if let Some(named) = named.filter(|&named| paths(named) > 0) {
        return Ok(named);
    }
    let most = (0..names.len()).rev().max_by_key(|&column| paths(column)).filter(|&column| paths(column) > 0);
    Ok(most.or(named).unwrap_or(0))
}

/// A JSON object per line, or a list of them.
fn json(path: &Path, text: &[u8], config: &DataConfig) -> Result<Table, DataError> {
    let mut objects = Vec::new();
    for value in serde_json::Deserializer::from_slice(text).into_iter::<Json>() {
        let wrong = |got: String| DataError::Unsupported {
            path: path.into(),
            found: format!(
                "JSON that is not one object per line, such as {{\"file_name\": \"1.png\", \"label\": 0}} ({got})"
            ),
        };
        match value.map_err(|error| wrong(error.to_string()))? {
            Json::Object(object) => objects.push(object),
            Json::Array(list) if objects.is_empty() => {
                for value in list {
                    let Json::Object(object) = value else { return Err(wrong(format!("an element is {value}"))) };
                    objects.push(object);
                }
            }
            other => return Err(wrong(format!("one is {other}"))),
        }
    }
    let mut names: Vec<String> = Vec::new();
    for object in &objects {
        for name in object.keys() {
            if !names.contains(name) && names.len() < 1000 {
                names.push(name.clone());
            }
        }
    }
    let string =
        |row: usize, column: usize| objects[row].get(&names[column]).and_then(Json::as_str).unwrap_or("").as_bytes();
    let path_column = path_column(path, &names, true, objects.len().min(SAMPLE), &string, config)?;
    let mut table = Table { has_header: true, path: path_column, ..Table::default() };
    table.values.resize_with(names.len(), Values::default);
    for (row, object) in objects.iter().enumerate() {
        let path = string(row, path_column);
        if path.is_empty() {
            table.without_path += 1;
            continue;
        }
        table.paths.push(path, 0, 0);
        for (column, values) in table.values.iter_mut().enumerate().filter(|&(column, _)| column != path_column) {
            push_json(values, object.get(&names[column]));
        }
    }
    table.names = names;
    Ok(table)
}

/// Adds a JSON value; a list of one value is that value.
pub(crate) fn push_json(values: &mut Values, value: Option<&Json>) {
    match value {
        None | Some(Json::Null) => values.push(None),
        Some(Json::Bool(value)) => values.push_text(if *value { "true" } else { "false" }),
        Some(Json::String(text)) => values.push_text(text),
        Some(Json::Number(number)) => match (number.as_i128(), number.as_f64()) {
            (Some(number), _) => values.push(Some(Value::Number(number))),
            (None, number) => values.push_float(number.unwrap_or(f64::NAN)),
        },
        Some(Json::Array(list)) => match &list[..] {
            [] => values.push(None),
            [one] => push_json(values, Some(one)),
            several => values.push_odd(|row| format!("row {row} holds {} values", several.len())),
        },
        Some(Json::Object(object)) => {
            values.push_odd(|row| format!("row {row} holds an object of {} fields", object.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, text: &[u8]) -> Table {
        read(Path::new(name), text, &DataConfig::default()).unwrap()
    }

    fn paths(table: &Table) -> Vec<String> {
        table.paths.names().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    fn column(table: &Table, name: &str) -> Vec<Option<String>> {
        let place = table.names.iter().position(|other| other == name).unwrap();
        (0..table.paths.len()).map(|row| table.values[place].text(row)).collect()
    }

    fn wide(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(unit).collect()
    }

    #[test]
    fn every_delimiter_encoding_and_line_end_gives_the_same_table() {
        let some = |texts: [&str; 2]| texts.map(|text| Some(text.to_owned())).to_vec();
        for (delimiter, name) in [
            (",", "a.csv"),
            (";", "a.csv"),
            ("\t", "a.tsv"),
            ("|", "a.txt"),
            (",", "a.txt"),
            (" ", "a.txt"),
            ("\t", "a.txt"),
            ("\t", "a.csv"),
        ] {
            for end in ["\n", "\r\n", "\r"] {
                let rows = ["path|label", "a/é 1.png|cat", "b/2.JPG|dög"].map(|row| row.replace('|', delimiter));
                let text = rows.join(end);
                for bytes in [
                    text.clone().into_bytes(),
                    format!("\u{FEFF}{text}").into_bytes(),
                    wide(&text, u16::to_le_bytes),
                    wide(&text, u16::to_be_bytes),
                ] {
                    assert!(looks_like_text(&bytes));
                    let table = read_text(name, &bytes);
                    assert_eq!(paths(&table), ["a/é 1.png", "b/2.JPG"], "{delimiter:?} {end:?} {name}");
                    assert_eq!(column(&table, "label"), some(["cat", "dög"]), "{delimiter:?} {end:?} {name}");
                }
            }
        }
    }

    #[test]
    fn labels_that_are_no_utf_8_stay_different() {
        let table = read_text("a.csv", b"path,label\n1.png,caf\xE9\n2.png,caf\xE8\n");
        assert_eq!(column(&table, "label"), [Some("café".to_owned()), Some("cafè".into())]);
    }

    #[test]
    fn json_lines_are_rows() {
        let text = br#"{"file_name": "1.png", "label": 1, "tags": ["a", "b"]}
            {"file_name": "2.png", "label": 2.0}"#;
        let table = read_text("metadata.jsonl", text);
        assert_eq!(paths(&table), ["1.png", "2.png"]);
        assert_eq!(column(&table, "label"), [Some("1".to_owned()), Some("2".into())]);
        assert!(read(Path::new("a.json"), b"[1]", &DataConfig::default()).is_err());
    }
}
