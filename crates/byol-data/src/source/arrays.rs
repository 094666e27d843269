//! Pictures in NumPy arrays: `.npy`, read in place, and `.npz`.
//!
//! # Shapes of a data set
//! `[N, H, W]` is grey. `[N, H, W, C]` has its channels last, unless the second size is `data.channels` and the last is
//! not: then it is `[N, C, H, W]`. Samples are unsigned of 8 or 16 bits, or of another type
//! with `data.value_range`.
//!
//! # Which array
//! The only one with three or four dimensions. Where there are several, names with a word `train`, `test` or `val` are
//! splits (`x_train`, `test_images`), and one called `images`, `x` or `data` goes before others.
//!
//! # Labels
//! A list of whole numbers from 0 on, named as the pictures are with `y`, `labels` or `label` for `x`, `images` or
//! `data` (`y_train`, `test_labels`), or with `_labels` behind, or else just `labels` or `y`.
//!
//! # A folder of arrays
//! It is a data set of the one array, or of one per split. Otherwise each file is a picture `[H, W]` or `[H, W, C]`
//! (`[C, H, W]` by the rule above), with splits and labels from the folders as for other pictures.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::array_labels;
use super::array_names::{PICTURE_WORDS, label_names, split_of, without_split, words};
use super::columns;
use super::listing::base_text;
use super::npy::{self, Header, MAX_HEADER_BYTES, NpyProblem};
use super::npz::Npz;
use super::part::part_path;
use super::pixels::{Arrangement, Depth, Form, Pixels, Stored};
use super::values::{Classes, Reading, Values};
use crate::splits::{Layout, NoSuchSplit, choose};
use crate::{DataConfig, DataError, Image, value_range};

/// A folder of more arrays than this is one of pictures, without a look at them.
const MAX_SET_FILES: usize = 16;

/// Splits, if there are some, and the place of the array of each.
type OfSplits = Vec<(Option<&'static str>, usize)>;

/// Pictures that are looked at to propose a range of values.
const ADVICE_PICTURES: usize = 16;

/// Gives the file of an array by its name without ending.
type Opener<'a> = &'a mut dyn FnMut(&str) -> Result<Stored, DataError>;

/// Whether a file of this name holds arrays.
pub(crate) fn is_part(base: &str) -> bool {
    base.rsplit_once('.').is_some_and(|(_, end)| ["npy", "npz"].iter().any(|known| end.eq_ignore_ascii_case(known)))
}

/// Decodes an array that is one picture.
pub(crate) fn picture(bytes: &[u8], config: &DataConfig) -> Result<Image, String> {
    let header = npy::header(bytes).map_err(NpyProblem::reason)?;
    let form = picture_form(&header, &header.shape, config).map_err(NpyProblem::reason)?;
    form.check(config)?;
    let data = form.bytes().and_then(|count| bytes.get(header.start..)?.get(..count));
    let data =
        data.ok_or_else(|| format!("damaged NumPy file: it ends before its shape {:?} is full", header.shape))?;
    form.picture(data, config)
}

/// Opens the array file at `path`, with labels that lie beside it.
pub(crate) fn open_npy(
    path: &Path,
    base: &str,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Pixels, Layout), DataError> {
    let root = parent(path);
    let stem = base.strip_suffix(".npy").unwrap_or(base);
    let mut beside: Vec<String> = Vec::new();
    for name in label_names(stem) {
        beside.extend(Some(name).filter(|name| root.join(format!("{name}.npy")).is_file()));
    }
    let mut open =
        |name: &str| open_in_place(if name == stem { path.into() } else { root.join(format!("{name}.npy")) });
    let header = header_of(path, &open(stem)?)?;
    if header.shape.len() != 3 && header.shape.len() != 4 {
        return Err(no_pictures(&header).at(path));
    }
    let describe = |name: &str| if name == stem { base.to_owned() } else { format!("{name}.npy") };
    let set =
        Set { path, root, kind: "NumPy array", pictures: vec![(stem.into(), header)], others: beside, name: &describe };
    set.open(split, config, &mut open)
}

/// Opens an `.npz` file.
pub(crate) fn open_npz(
    path: &Path,
    base: &str,
    split: Option<&str>,
    config: &DataConfig,
) -> Result<(Pixels, Layout), DataError> {
    let mut npz = Npz::open(path, config.max_archive_memory_bytes)?;
    let (mut pictures, mut others) = (Vec::new(), Vec::new());
    for name in npz.names()? {
        let header = npy::header(&npz.head(&name)?).map_err(|problem| problem.at(&part_path(path, &name)))?;
        match header.shape.len() {
            3 | 4 => pictures.push((name, header)),
            _ => others.push(name),
        }
    }
    if pictures.is_empty() {
        let found = format!("arrays none of which has 3 or 4 dimensions ({})", others.join(", "));
        return Err(DataError::Unsupported { path: path.into(), found });
    }
    let describe = |name: &str| format!("{base}/{name}");
    let set = Set { path, root: parent(path), kind: "NumPy arrays", pictures, others, name: &describe };
    set.open(split, config, &mut |name| npz.array(name))
}

/// Opens the array files `names` below `root` as a data set; `None` if each of them is a picture.
pub(crate) fn open_folder(
    root: &Path,
    names: &[String],
    split: Option<&str>,
    config: &DataConfig,
) -> Result<Option<(Pixels, Layout)>, DataError> {
    if names.len() > MAX_SET_FILES {
        return Ok(None);
    }
    if let Some(npz) = names.iter().find(|name| !name.ends_with(".npy")) {
        if names.len() > 1 {
            let found = format!("a folder with several arrays ({}); give one of the files", names.join(", "));
            return Err(DataError::Unsupported { path: root.into(), found });
        }
        return open_npz(&root.join(npz), base_text(npz), split, config).map(Some);
    }
    let mut open = |name: &str| open_in_place(root.join(format!("{name}.npy")));
    let (mut pictures, mut others) = (Vec::new(), Vec::new());
    for name in names.iter().filter_map(|name| name.strip_suffix(".npy")) {
        // A file that is no array is a bad picture, or of no interest.
        match header_of(root, &open(name)?) {
            Ok(header) if [3, 4].contains(&header.shape.len()) => pictures.push((name.to_owned(), header)),
            _ => others.push(name.to_owned()),
        }
    }
    let describe = |name: &str| format!("{name}.npy");
    let set = Set { path: root, root, kind: "NumPy arrays", pictures, others, name: &describe };
    let each_may_be_a_picture = set.pictures.iter().all(|(_, header)| header.shape.len() == 3);
    if each_may_be_a_picture && set.arrays_of_splits().is_none() {
        return Ok(None);
    }
    set.open(split, config, &mut open).map(Some)
}

/// The arrays that a file or folder holds.
struct Set<'a> {
    path: &'a Path,
    /// What names are below of.
    root: &'a Path,
    kind: &'static str,
    /// Arrays of three or four dimensions.
    pictures: Vec<(String, Header)>,
    /// Names of the others, among which labels may be.
    others: Vec<String>,
    /// How an array is called in messages and in the names of its pictures.
    name: &'a dyn Fn(&str) -> String,
}

impl Set<'_> {
    fn open(self, split: Option<&str>, config: &DataConfig, open: Opener<'_>) -> Result<(Pixels, Layout), DataError> {
        let Some(arrays) = self.arrays_in_use(config)? else {
            let names: Vec<&str> = self.pictures.iter().map(|(name, _)| name.as_str()).collect();
            let found = format!("several arrays ({}); give a file with one, or call one \"images\"", names.join(", "));
            return Err(DataError::Unsupported { path: self.path.into(), found });
        };
        let splits_present: Vec<String> = arrays.iter().filter_map(|(split, _)| *split).map(str::to_owned).collect();
        let place = match (splits_present.is_empty(), split) {
            (true, None) => 0,
            _ => choose(&splits_present, split).map_err(|NoSuchSplit(present)| DataError::UnknownSplit {
                path: self.path.into(),
                split: split.unwrap_or_default().into(),
                present,
            })?,
        };
        let (split, array) = arrays[place];
        let (name, header) = &self.pictures[array];
        let path = self.place(name);
        let form = set_form(header, config).map_err(|problem| problem.at(&path))?;
        let stored = open(name)?;
        let count = header.shape[0];
        let needed = form.bytes().and_then(|bytes| bytes.checked_mul(count)?.checked_add(header.start));
        if needed.is_none_or(|needed| needed as u64 > stored.len()) {
            let expected = format!("the pixels of shape {:?}, as its header says", header.shape);
            let got = format!("{} bytes after the header", stored.len().saturating_sub(header.start as u64));
            return Err(DataError::Malformed { path, expected, got });
        }
        if let (Depth::Other { kind, bytes, big_endian }, None) = (form.depth, config.value_range) {
            let some =
                form.bytes().unwrap_or(0).saturating_mul(count.min(ADVICE_PICTURES)).saturating_add(header.start);
            let head =
                stored.start(some as u64).map_err(|source| DataError::Unreadable { path: path.clone(), source })?;
            let values = value_range::numbers(&head[header.start..], kind, bytes, big_endian);
            let found = format!("an array of type {}; {}", header.dtype, value_range::advice(values));
            return Err(DataError::Unsupported { path, found });
        }
        if u32::try_from(count).is_err() {
            return Err(DataError::TooManyImages { path, count });
        }
        let mut values = Values::default();
        let (mut first, mut column, mut notes) = (0, None, Vec::new());
        // The classes are those of all splits: one that a split lacks is a class nevertheless.
        for (at, &(split, array)) in arrays.iter().enumerate() {
            if at == place {
                first = values.len();
            }
            let (name, header) = &self.pictures[array];
            match self.labels(name, header.shape[0], split.is_some(), config, open, &mut values)? {
                Some(Ok(file)) => column = Some(file),
                Some(Err(note)) => notes.push(note),
                None => {}
            }
            if at == place {
                (values.len()..first + count).for_each(|_| values.push(None));
            }
        }
        if column.is_none() && notes.is_empty() {
            let others: Vec<&str> = self.others.iter().map(String::as_str).collect();
            notes.extend(columns::note(None, false, &others));
        }
        let mut classes = Classes { names: Vec::new(), labels: vec![None; values.len()] };
        if let Some(column) = column {
            let insisted = config.label_column.is_some();
            let reading = Reading { column: &column, insisted, names: None, numbers_are_places: true };
            classes = columns::classes(self.path, &values, &reading, &mut notes)?;
        }
        let labels: Vec<Option<u32>> = classes.labels[first..first + count].to_vec();
        let classes = classes.names;
        let images = (0u32..).take(count).collect();
        Ok((
            Pixels { kind: self.kind, name: (self.name)(name), stored, start: header.start as u64, form },
            Layout { split: split.map(str::to_owned), splits_present, classes, images, labels, notes },
        ))
    }

    /// An array, for messages.
    fn place(&self, name: &str) -> PathBuf {
        part_path(self.root, &(self.name)(name))
    }

    /// The array that `data.image_key` names, else [`Self::arrays_of_splits`].
    fn arrays_in_use(&self, config: &DataConfig) -> Result<Option<OfSplits>, DataError> {
        let Some(wish) = &config.image_key else { return Ok(self.arrays_of_splits()) };
        let names: Vec<String> = self.pictures.iter().map(|(name, _)| name.clone()).collect();
        columns::wished(self.path, &names, "image_key", wish).map(|place| Some(vec![(None, place)]))
    }

    /// The one array of each split, or the one array; `None` if names do not tell which that is.
    fn arrays_of_splits(&self) -> Option<OfSplits> {
        let mut found = Vec::new();
        for split in ["train", "test", "val"] {
            let of_split: Vec<usize> =
                (0..self.pictures.len()).filter(|&place| split_of(&self.pictures[place].0) == Some(split)).collect();
            if !of_split.is_empty() {
                found.push((Some(split), self.only(&of_split)?));
            }
        }
        if found.is_empty() {
            let all: Vec<usize> = (0..self.pictures.len()).collect();
            found.push((None, self.only(&all)?));
        }
        Some(found)
    }

    /// The only one of `places`, or the one whose name has the first of the words for pictures.
    fn only(&self, places: &[usize]) -> Option<usize> {
        if let [only] = places {
            return Some(*only);
        }
        let has = |place: usize, word: &str| words(&self.pictures[place].0).any(|part| part.eq_ignore_ascii_case(word));
        PICTURE_WORDS.iter().find_map(|word| {
            let mut named = places.iter().filter(|&&place| has(place, word));
            Some(*named.next()?).filter(|_| named.next().is_none())
        })
    }

    /// Adds the labels of the array `name`, which holds `count` pictures, if there are some: the array that has them, or why it
    /// has none.
    fn labels(
        &self,
        name: &str,
        count: usize,
        has_split: bool,
        config: &DataConfig,
        open: Opener<'_>,
        values: &mut Values,
    ) -> Result<Option<Result<String, String>>, DataError> {
        let mut candidates = label_names(name);
        if let Some(wish) = &config.label_column {
            // Of several splits, the one wished for stands for the others as `y_train` for `y_test`.
            let of_split = |file: &&String| split_of(file) == split_of(name);
            let same = |file: &&String| without_split(file).eq_ignore_ascii_case(&without_split(wish));
            let file = match self.others.iter().filter(of_split).find(same) {
                Some(file) => file,
                None => &self.others[columns::wished(self.path, &self.others, "label_column", wish)?],
            };
            candidates = vec![file.clone()];
        }
        let wished = config.label_column.is_some();
        let mut candidates = candidates.iter().filter(|name| wished || !has_split || split_of(name).is_some());
        let file = candidates.find_map(|wanted| self.others.iter().find(|other| other.eq_ignore_ascii_case(wanted)));
        let Some(file) = file else { return Ok(None) };
        let path = self.place(file);
        let stored = open(file)?;
        let header = header_of(&path, &stored)?;
        // No type that labels have is wider but for long texts, whose width is in its name.
        let width = header.dtype.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().unwrap_or(8);
        let bytes = header.shape.iter().try_fold(width.saturating_mul(4), |bytes, &size| bytes.checked_mul(size));
        let bytes = bytes.and_then(|bytes| bytes.checked_add(header.start)).unwrap_or(usize::MAX);
        let content =
            stored.start(bytes as u64).map_err(|source| DataError::Unreadable { path: path.clone(), source })?;
        let data = content.get(header.start..).unwrap_or_default();
        match array_labels::push(&header, data, count, values) {
            Ok(()) => Ok(Some(Ok(file.clone()))),
            Err(NpyProblem::Unsupported(found)) if !wished => {
                Ok(Some(Err(format!("the array \"{file}\" is not used as labels: it holds {found}"))))
            }
            Err(problem) => Err(problem.at(&path)),
        }
    }
}

/// The form of the pictures of a data set.
fn set_form(header: &Header, config: &DataConfig) -> Result<Form, NpyProblem> {
    match header.shape[..] {
        [_, height_px, width_px] => form(header, [height_px, width_px, 1], Arrangement::Interleaved),
        [_, ref sizes @ ..] => picture_form(header, sizes, config),
        [] => Err(no_pictures(header)),
    }
}

/// The form of a picture of the given sizes.
fn picture_form(header: &Header, sizes: &[usize], config: &DataConfig) -> Result<Form, NpyProblem> {
    match *sizes {
        [height_px, width_px] => form(header, [height_px, width_px, 1], Arrangement::Interleaved),
        [first, second, last] if first == config.channels && last != config.channels => {
            form(header, [second, last, first], Arrangement::Planes)
        }
        [first, second, last] => form(header, [first, second, last], Arrangement::Interleaved),
        _ => Err(no_pictures(header)),
    }
}

fn form(
    header: &Header,
    [height_px, width_px, channels]: [usize; 3],
    arrangement: Arrangement,
) -> Result<Form, NpyProblem> {
    header.check_order()?;
    let form = Form { width_px, height_px, channels, arrangement, depth: header.depth()? };
    if form.bytes().is_none() || header.shape.contains(&0) {
        let expected = "pictures of at least one pixel that fit into memory".into();
        return Err(NpyProblem::Malformed { expected, got: format!("shape {:?}", header.shape) });
    }
    Ok(form)
}

fn no_pictures(header: &Header) -> NpyProblem {
    let found = format!(
        "an array of shape {:?}; expected [N, height, width], [N, height, width, channels] or, for a picture in a \
         folder, [height, width] or [height, width, channels]",
        header.shape
    );
    NpyProblem::Unsupported(found)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn open_in_place(path: PathBuf) -> Result<Stored, DataError> {
    let stored = File::open(&path).and_then(Stored::whole);
    stored.map_err(|source| DataError::Unreadable { path, source })
}

fn header_of(path: &Path, stored: &Stored) -> Result<Header, DataError> {
    let head = stored.start(MAX_HEADER_BYTES as u64);
    let head = head.map_err(|source| DataError::Unreadable { path: path.into(), source })?;
    npy::header(&head).map_err(|problem| problem.at(path))
}
