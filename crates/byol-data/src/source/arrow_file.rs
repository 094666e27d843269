//! One Arrow file: which of its columns hold pictures and labels, and where in it the pictures are.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::arrow_messages::{self, Messages, Problem};
use super::arrow_schema::{Field, Kind};
use super::arrow_values::{Cell, Reader};
use super::column_labels::Columnar;
use super::columns;
use super::parquet_file::hugging_face_names;
use super::values::Values;
use crate::DataError;

/// An Arrow file with a column of pictures. Where its batches are is in memory, the file itself is opened for each reading.
#[derive(Debug)]
pub(crate) struct ArrowFile {
    pub path: PathBuf,
    /// Its name below the data, for the names of its pictures.
    pub name: String,
    messages: Messages,
    /// What `datasets` keeps about the columns.
    hugging_face: Option<serde_json::Value>,
    /// The place of the column of pictures.
    image: usize,
    other_pictures: Vec<String>,
    /// The names of single values for people, `label.name` for the field of a struct, and the way to each: the place of its column,
    /// then those of the parts.
    leaves: Vec<(String, Vec<usize>)>,
}

/// Where the encoded picture of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Nowhere,
    /// In the Arrow file.
    Within {
        start: u64,
        bytes: u32,
    },
    /// In a file of its own, whose path is in a list.
    Beside(u32),
}

impl ArrowFile {
    /// Reads what messages the file has and finds the columns.
    pub fn open(path: PathBuf, name: String, image_key: Option<&str>) -> Result<Self, DataError> {
        let file = File::open(&path).map_err(|source| DataError::Unreadable { path: path.clone(), source })?;
        let mut messages = arrow_messages::read(&file).map_err(|problem| problem.at(&path))?;
        let hugging_face =
            messages.schema.hugging_face.take().or_else(|| json(&path.with_file_name("dataset_info.json")));
        let fields = &messages.schema.fields;
        let mut seen = BTreeSet::new();
        if let Some(twice) = fields.iter().find(|field| !seen.insert(field.name.as_str())) {
            let (expected, got) = ("columns of different names".into(), format!("two columns called {}", twice.name));
            return Err(DataError::Malformed { path, expected, got });
        }
        let (image, other_pictures) = picture_column(&path, fields, hugging_face.as_ref(), image_key)?;
        let mut leaves = Vec::new();
        for (place, field) in fields.iter().enumerate() {
            add_leaves(field, field.name.clone(), vec![place], &mut leaves);
        }
        Ok(Self { path, name, messages, hugging_face, image, other_pictures, leaves })
    }

    /// The place of each picture; paths of files beside the Arrow file are added to `paths`.
    pub fn pictures(&self, paths: &mut Vec<PathBuf>) -> Result<Vec<Place>, DataError> {
        let mut places = Vec::new();
        let mut read = || {
            let mut reader = self.reader()?;
            for (number, batch) in self.messages.batches.iter().enumerate() {
                self.pictures_of(&mut reader, number, batch, &mut places, paths)?;
            }
            Ok(())
        };
        read().map_err(|problem: Problem| problem.at(&self.path))?;
        Ok(places)
    }

    fn pictures_of<'a>(
        &'a self,
        reader: &mut Reader<'a>,
        number: usize,
        batch: &'a arrow_messages::Batch,
        places: &mut Vec<Place>,
        paths: &mut Vec<PathBuf>,
    ) -> Result<(), Problem> {
        let columns = reader.columns(batch)?;
        let picture = &columns[self.image];
        let part = |name: &str| picture.field.children.iter().position(|child| child.name == name);
        let is_struct = picture.field.kind == Kind::Struct;
        let bytes = if is_struct { part("bytes").map(|part| &picture.children[part]) } else { Some(picture) };
        let bytes = bytes.ok_or_else(|| Problem::damaged("a picture without bytes"))?;
        let valid = reader.valid(picture)?;
        let ranges = reader.ranges(bytes)?;
        let missing = |row: usize| valid.at(row) && ranges.get(row).is_none_or(Option::is_none);
        let named = match part("path") {
            Some(path) if is_struct && (0..batch.rows).any(missing) => reader.cells(picture, &[path], number)?,
            _ => Vec::new(),
        };
        if ranges.len() < batch.rows {
            return Err(Problem::damaged(format!("{} pictures in a batch of {} rows", ranges.len(), batch.rows)));
        }
        for (row, range) in ranges.into_iter().take(batch.rows).enumerate() {
            let place = match (range.filter(|_| valid.at(row)), named.get(row)) {
                (Some((start, bytes)), _) => {
                    let bytes = u32::try_from(bytes)
                        .map_err(|_| Problem::Unsupported(format!("with a picture of {bytes} bytes")))?;
                    Place::Within { start, bytes }
                }
                (None, Some(Cell::Text(path))) if !path.is_empty() => {
                    paths.push(self.beside(path));
                    Place::Beside((paths.len() - 1) as u32)
                }
                (None, _) => Place::Nowhere,
            };
            places.push(place);
        }
        Ok(())
    }

    /// A path that the file names is taken from where the file lies.
    fn beside(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn reader(&self) -> Result<Reader<'_>, Problem> {
        Reader::new(File::open(&self.path).map_err(Problem::Unreadable)?, &self.messages)
    }

    fn leaf(&self, name: &str) -> Option<&[usize]> {
        self.leaves.iter().find(|(leaf, _)| leaf == name).map(|(_, way)| &way[..])
    }

    fn values(&self, way: &[usize], batches: usize, values: &mut Values) -> Result<(), Problem> {
        let [top, path @ ..] = way else { return Ok(()) };
        let mut reader = self.reader()?;
        for (number, batch) in self.messages.batches.iter().enumerate().take(batches) {
            let columns = reader.columns(batch)?;
            reader.cells(&columns[*top], path, number)?.into_iter().for_each(|cell| cell.push_to(values));
        }
        Ok(())
    }
}

impl Columnar for ArrowFile {
    fn rows(&self) -> usize {
        self.messages.batches.iter().map(|batch| batch.rows).fold(0, usize::saturating_add)
    }

    fn free_names(&self) -> Vec<String> {
        let fields = &self.messages.schema.fields;
        let is_free = |(name, way): &&(String, Vec<usize>)| {
            let is_other = way.first().is_some_and(|&top| self.other_pictures.contains(&fields[top].name));
            // Bytes in a column for labels are texts.
            let is_label = || columns::named(std::slice::from_ref(name), &columns::LABEL_NAMES).is_some();
            way.first() != Some(&self.image) && (!is_other || is_label())
        };
        self.leaves.iter().filter(is_free).map(|(name, _)| name.clone()).collect()
    }

    fn other_pictures(&self) -> &[String] {
        &self.other_pictures
    }

    fn class_names(&self, column: &str) -> Option<Vec<String>> {
        hugging_face_names(self.hugging_face.as_ref()?, column)
    }

    fn is_text(&self, column: &str) -> bool {
        let Some([top, path @ ..]) = self.leaf(column) else { return false };
        let mut field = self.messages.schema.fields.get(*top);
        for &part in path {
            if field.is_none_or(|field| field.kind != Kind::Struct) {
                return false;
            }
            field = field.and_then(|field| field.children.get(part));
        }
        field.is_some_and(|field| matches!(field.kind, Kind::Text { .. } | Kind::View { text: true }))
    }

    fn push(&self, column: &str, all: bool, values: &mut Values) -> Result<(), DataError> {
        match self.leaf(column) {
            Some(way) => {
                let batches = if all { usize::MAX } else { 1 };
                self.values(way, batches, values).map_err(|problem| problem.at(&self.path))
            }
            None => {
                (0..self.rows()).for_each(|_| values.push(None));
                Ok(())
            }
        }
    }
}

/// The JSON in a file, if it is there.
pub(crate) fn json(path: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The place of the column of pictures, and the names of others that may be meant.
fn picture_column(
    path: &Path,
    fields: &[Field],
    hugging_face: Option<&serde_json::Value>,
    wish: Option<&str>,
) -> Result<(usize, Vec<String>), DataError> {
    let is_bytes = |field: &Field| {
        field.dictionary.is_none() && matches!(field.kind, Kind::Bytes { .. } | Kind::View { text: false })
    };
    // Sounds and films are written like pictures.
    let is_other = |field: &Field| {
        let features = hugging_face.and_then(|json| json.get("info").unwrap_or(json).get("features"));
        let kind = features.and_then(|features| features.get(&field.name)?.get("_type")?.as_str());
        matches!(kind, Some("Audio" | "Video" | "Pdf"))
    };
    let is_struct = |field: &Field| {
        field.dictionary.is_none()
            && field.kind == Kind::Struct
            && field.children.iter().any(|child| child.name == "bytes" && is_bytes(child))
    };
    let places = |is: &dyn Fn(&Field) -> bool| -> Vec<usize> {
        (0..fields.len()).filter(|&place| is(&fields[place]) && !is_other(&fields[place])).collect()
    };
    let (structs, plain) = (places(&is_struct), places(&is_bytes));
    let names = |places: &[usize]| places.iter().map(|&place| fields[place].name.clone()).collect::<Vec<_>>();
    let none = || {
        let all: Vec<_> = fields.iter().map(|field| format!("{}: {}", field.name, field.kind.name())).collect();
        let several = |field: &&Field| {
            field.kind.name() == "list" && field.children.iter().any(|child| is_struct(child) || is_bytes(child))
        };
        let remedy = match fields.iter().find(several) {
            Some(lists) => format!("{} holds several pictures per row; write a row for each", lists.name),
            None => "in Python, cast_column(NAME, datasets.Image()) makes pictures of paths and of arrays, then save_to_disk \
                     writes them"
                .into(),
        };
        format!("it has {}; {remedy}", all.join(", "))
    };
    let (chosen, others) = columns::pictures(path, "an Arrow file", &names(&structs), &names(&plain), wish, &none)?;
    Ok((structs.into_iter().chain(plain).nth(chosen).unwrap_or_default(), others))
}

fn add_leaves(field: &Field, name: String, way: Vec<usize>, leaves: &mut Vec<(String, Vec<usize>)>) {
    let below = |place: usize| way.iter().copied().chain([place]).collect::<Vec<_>>();
    match (field.kind, &field.children[..]) {
        (Kind::Struct, children @ [_, ..]) => {
            for (place, child) in children.iter().enumerate() {
                add_leaves(child, format!("{name}.{}", child.name), below(place), leaves);
            }
        }
        (Kind::List { .. } | Kind::FixedList { .. }, [child]) => add_leaves(child, name, below(0), leaves),
        _ => leaves.push((name, way)),
    }
}
