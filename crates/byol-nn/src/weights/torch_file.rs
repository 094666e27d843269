//! The containers that `torch.save` has written: a zip archive since PyTorch 1.6, a row of pickles before it, a tar archive
//! before 0.1.10; and a pickle alone, which holds no tensor, but may hold arrays.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom};

use zip::CompressionMethod;
use zip::read::{ArchiveOffset, Config, ZipArchive};

use super::arrays::{self, Array, Spelling};
use super::file_kind::{self, Kind};
use super::objects::{self, Found, Strided};
use super::pickle::Pickle;

/// Largest pickle in a zip file, in bytes.
const MAX_PICKLE_BYTES: u64 = 4 << 20;

/// The number that opens the row of pickles, as protocol 2 and above spell it, and as 0 and 1 do.
const LEGACY_MAGIC: [&[u8]; 2] = [b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"119547037146038801333356"];

/// Version of the row of pickles.
const LEGACY_VERSION: usize = 1001;

/// An opened file: its tensors, and where their storages stand in it.
#[derive(Debug)]
pub(super) struct TorchFile {
    file: File,
    storages: HashMap<String, Storage>,
}

#[derive(Clone, Copy, Debug)]
struct Storage {
    start: u64,
    bytes: u64,
    /// Of all its bytes, if the file says.
    crc32: Option<u32>,
    spelling: Spelling,
}

impl Storage {
    fn at(start: u64, bytes: u64) -> Self {
        Self { start, bytes, crc32: None, spelling: Spelling::Plain }
    }
}

/// Why a file is not read.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is something else, which has a name.
    Kind(Kind),
    /// In words.
    Damaged(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Damaged(reason)
    }
}

impl TorchFile {
    /// Opens `file`, which begins with `head`.
    pub fn open(file: File, head: &[u8], file_bytes: u64) -> Result<(Self, Found, String), Refusal> {
        if is_zip(head) {
            Self::open_zip(file, file_bytes)
        } else if is_tar(head) {
            Self::open_tar(file, file_bytes)
        } else if LEGACY_MAGIC
            .iter()
            .any(|magic| head[..head.len().min(64)].windows(magic.len()).any(|part| part == *magic))
        {
            Ok(Self::open_row(file)?)
        } else {
            Ok(Self::open_pickle(file)?)
        }
    }

    /// A pickle of NumPy's or JAX's arrays, as Haiku's parameters are saved.
    fn open_pickle(file: File) -> Result<(Self, Found, String), String> {
        let pickle = Pickle::read(&mut BufReader::new(&file))?;
        let mut found = objects::tensors(&pickle, &HashMap::new())?;
        let mut storages = HashMap::new();
        for (name, Array { number, shape, strides, span, spelling }) in std::mem::take(&mut found.arrays) {
            let storage = span.start.to_string();
            storages.insert(storage.clone(), Storage { spelling, ..Storage::at(span.start, span.bytes) });
            found.tensors.insert(name, Strided { storage, number, offset: 0, shape, strides });
        }
        Ok((Self { file, storages }, found, objects::class(&pickle)))
    }

    fn open_zip(file: File, file_bytes: u64) -> Result<(Self, Found, String), Refusal> {
        // Such a file begins with its first entry. Told so, the reader does not look for the central directory where its
        // size would have it start if no zip64 record followed it: with a name of 30 bytes for the first entry, as a stem of
        // 21 characters gives, another entry stands there, and the archive was taken for a damaged one.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut archive = ZipArchive::with_config(config, BufReader::new(&file)).map_err(|error| error.to_string())?;
        let names: Result<Vec<String>, _> =
            archive.file_names().map(|name| name.map(|name| name.to_string())).collect();
        let names = names.map_err(|error| error.to_string())?;
        if let Some(kind) = file_kind::of_archive("zip", &names) {
            return Err(Refusal::Kind(kind));
        }
        let mut entries = HashMap::new();
        let mut claimed = Claimed { bytes: 0, file_bytes };
        for place in 0..archive.len() {
            let entry = archive.by_index_raw(place).map_err(|error| error.to_string())?;
            let name = entry.name().map_err(|error| error.to_string())?.into_owned();
            claimed.add(&name, entry.size())?;
            // Zero stands for a checksum that was not computed.
            let crc32 = Some(entry.crc32()).filter(|&crc32| crc32 != 0);
            let storage = entry.data_start().map(|start| Storage { crc32, ..Storage::at(start, entry.size()) });
            entries.insert(name, storage.filter(|_| entry.compression() == CompressionMethod::Stored));
        }
        drop(archive);
        let root = names.iter().filter_map(|name| name.strip_suffix("data.pkl")).min_by_key(|root| root.len());
        let root = root.unwrap_or_default();
        let mut this = Self { file, storages: HashMap::new() };
        let stored = |name: &str| match entries.get(name) {
            Some(Some(storage)) => Ok(Some(*storage)),
            Some(None) => Err(Refusal::Kind(file_kind::packed_again(name))),
            None => Ok(None),
        };
        if let Some(order) = stored(&format!("{root}byteorder"))?.filter(|order| order.bytes < 64)
            && this.bytes_of(&order)? != b"little"
        {
            return Err(Refusal::Damaged("saved on a machine with the other order of bytes".to_owned()));
        }
        let name = format!("{root}data.pkl");
        let pickle = stored(&name)?.ok_or_else(|| format!("{name} is missing"))?;
        if pickle.bytes > MAX_PICKLE_BYTES {
            return Err(Refusal::Damaged(format!(
                "{name} has {} bytes, expected at most {MAX_PICKLE_BYTES}",
                pickle.bytes
            )));
        }
        let pickle = Pickle::read(&mut Cursor::new(this.bytes_of(&pickle)?))?;
        let found = objects::tensors(&pickle, &HashMap::new())?;
        for key in objects::storages(&pickle).into_keys() {
            if let Some(storage) = stored(&format!("{root}data/{key}"))? {
                this.storages.insert(key, storage);
            }
        }
        Ok((this, found, objects::class(&pickle)))
    }

    /// The magic number, the version, facts on the machine, the object, the keys of its storages, then those: each a count
    /// and its values.
    fn open_row(file: File) -> Result<(Self, Found, String), String> {
        let mut reader = BufReader::new(file);
        Pickle::read(&mut reader)?;
        let version = Pickle::read(&mut reader)?;
        if version.count(version.root) != Some(LEGACY_VERSION) {
            return Err(format!("another version than {LEGACY_VERSION}"));
        }
        check_order(&Pickle::read(&mut reader)?)?;
        let pickle = Pickle::read(&mut reader)?;
        let found = objects::tensors(&pickle, &HashMap::new())?;
        let named = objects::storages(&pickle);
        let keys = Pickle::read(&mut reader)?;
        let end = reader.get_ref().metadata().map_err(|error| error.to_string())?.len();
        let mut storages = HashMap::new();
        for &key in keys.sequence(keys.root).ok_or("no list of storages")? {
            let key = objects::key_text(&keys, key).ok_or("a storage without a key")?;
            let &(number, _) = named.get(&key).ok_or_else(|| format!("no tensor uses storage {key}"))?;
            let number = number.ok_or_else(|| format!("storage {key} has no type"))?;
            let storage = storage_here(&mut reader, number.bytes(), end, &key)?;
            let next = storage.start + storage.bytes;
            reader.seek(SeekFrom::Start(next)).map_err(|error| error.to_string())?;
            storages.insert(key, storage);
        }
        Ok((Self { file: reader.into_inner(), storages }, found, objects::class(&pickle)))
    }

    fn open_tar(file: File, file_bytes: u64) -> Result<(Self, Found, String), Refusal> {
        let mut archive = tar::Archive::new(BufReader::new(&file));
        let mut places = HashMap::new();
        let mut names = Vec::new();
        let mut claimed = Claimed { bytes: 0, file_bytes };
        for entry in archive.entries_with_seek().map_err(|error| error.to_string())? {
            let entry = entry.map_err(|error| error.to_string())?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            claimed.add(&name, entry.size())?;
            places.insert(name.clone(), (entry.raw_file_position(), entry.size()));
            names.push(name);
        }
        drop(archive);
        if let Some(kind) = file_kind::of_archive("tar", &names) {
            return Err(Refusal::Kind(kind));
        }
        let part = |name: &str| -> Result<(BufReader<File>, u64), String> {
            let &(start, bytes) = places.get(name).ok_or_else(|| format!("{name} is missing"))?;
            let mut reader = BufReader::new(file.try_clone().map_err(|error| error.to_string())?);
            reader.seek(SeekFrom::Start(start)).map_err(|error| error.to_string())?;
            Ok((reader, start + bytes))
        };
        // One after the other: the handles share one place in the file.
        if places.contains_key("sys_info") {
            check_order(&Pickle::read(&mut part("sys_info")?.0)?)?;
        }
        let (mut reader, end) = part("storages")?;
        let (storages, types) = tar_storages(&mut reader, end)?;
        let (mut reader, _) = part("tensors")?;
        let tensors = tar_tensors(&mut reader, &types)?;
        let pickle = Pickle::read(&mut part("pickle")?.0)?;
        let found = objects::tensors(&pickle, &tensors)?;
        Ok((Self { file, storages }, found, objects::class(&pickle)))
    }

    /// The values of a tensor, row-major, in the file's order of bytes, little-endian.
    ///
    /// # Errors
    /// Why they are not there; an error of the system as it is.
    pub fn read(&self, tensor: &Strided) -> std::io::Result<Vec<u8>> {
        let Strided { storage: key, number, offset, shape, strides } = tensor;
        let size = number.bytes();
        let wrong = |reason: String| std::io::Error::new(std::io::ErrorKind::InvalidData, reason);
        let storage = self.storages.get(key).ok_or_else(|| wrong(format!("storage {key} is missing")))?;
        let beyond = || wrong(format!("a tensor reaches beyond storage {key}"));
        let count = shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side)).ok_or_else(beyond)?;
        if count == 0 {
            return Ok(Vec::new());
        }
        let reach = |last: usize, (&side, &stride): (&usize, &usize)| last.checked_add((side - 1).checked_mul(stride)?);
        let extent =
            shape.iter().zip(strides).try_fold(0, reach).and_then(|last| last.checked_add(1)).ok_or_else(beyond)?;
        let bytes = |values: usize| values.checked_mul(size).map(|bytes| bytes as u64);
        let (start, length) = bytes(*offset).zip(bytes(extent)).ok_or_else(beyond)?;
        let end = start.checked_add(length).filter(|&end| end <= storage.bytes).ok_or_else(beyond)?;
        let window = match storage.spelling {
            Spelling::Plain => {
                let crc32 = storage.crc32.filter(|_| start == 0 && end == storage.bytes);
                self.bytes_of_storage(&Storage { crc32, ..Storage::at(storage.start + start, length) })?
            }
            // Of an array, which begins with it.
            Spelling::Latin1 => arrays::of_latin1(self.bytes_of_storage(storage)?)
                .filter(|bytes| bytes.len() as u64 == length)
                .ok_or_else(|| wrong("an array has other bytes than its shape says".to_owned()))?,
        };
        let mut values = Vec::with_capacity(count * size);
        let mut index = vec![0usize; shape.len()];
        let mut place = 0;
        for _ in 0..count {
            values.extend_from_slice(&window[place * size..(place + 1) * size]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                place += strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                place -= shape[axis] * strides[axis];
                index[axis] = 0;
            }
        }
        Ok(values)
    }

    fn bytes_of(&self, storage: &Storage) -> Result<Vec<u8>, String> {
        self.bytes_of_storage(storage).map_err(|error| error.to_string())
    }

    fn bytes_of_storage(&self, storage: &Storage) -> std::io::Result<Vec<u8>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(storage.start))?;
        let mut bytes = Vec::new();
        file.take(storage.bytes).read_to_end(&mut bytes)?;
        let is_whole = bytes.len() as u64 == storage.bytes;
        if !is_whole || storage.crc32.is_some_and(|expected| crc32fast::hash(&bytes) != expected) {
            let reason =
                if is_whole { "values with another checksum than the file says" } else { "the file is cut short" };
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, reason));
        }
        Ok(bytes)
    }
}

/// What the entries of an archive say they hold, which is no more than the archive: nothing is compressed or sparse.
struct Claimed {
    bytes: u64,
    file_bytes: u64,
}

impl Claimed {
    fn add(&mut self, name: &str, bytes: u64) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.bytes > self.file_bytes {
            true => {
                let Self { bytes, file_bytes } = self;
                Err(format!("{name} and the entries before it claim {bytes} bytes, the file has {file_bytes}"))
            }
            false => Ok(()),
        }
    }
}

/// A count of values of `size` bytes, and those; the reader then stands before them.
fn storage_here(reader: &mut (impl Read + Seek), size: usize, end: u64, key: &str) -> Result<Storage, String> {
    let count = number_here(reader)?;
    let start = reader.stream_position().map_err(|error| error.to_string())?;
    let bytes =
        (count as u64).checked_mul(size as u64).filter(|&bytes| start.checked_add(bytes).is_some_and(|to| to <= end));
    let bytes = bytes.ok_or_else(|| format!("storage {key} reaches beyond the file"))?;
    Ok(Storage::at(start, bytes))
}

fn number_here(reader: &mut impl Read) -> Result<usize, String> {
    let mut bytes = [0; 8];
    reader.read_exact(&mut bytes).map_err(|error| error.to_string())?;
    usize::try_from(i64::from_le_bytes(bytes)).map_err(|_| "a negative size".to_owned())
}

/// `{'little_endian': True, …}`.
fn check_order(facts: &Pickle) -> Result<(), String> {
    match facts.at(facts.root, "little_endian").map(|id| facts.get(id)) {
        Some(super::pickle::Value::Bool(true)) => Ok(()),
        _ => Err("saved on a machine with the other order of bytes".to_owned()),
    }
}

type TarStorages = (HashMap<String, Storage>, HashMap<String, super::Number>);

/// How many; for each `(key, device, class)` and the storage; a list of views `(key, key of the whole, offset, count)`.
fn tar_storages(reader: &mut (impl BufRead + Seek), end: u64) -> Result<TarStorages, String> {
    let (mut storages, mut types) = (HashMap::new(), HashMap::new());
    for _ in 0..tar_count(reader)? {
        let about = Pickle::read(reader)?;
        let &[key, _, class] = about.sequence(about.root).unwrap_or_default() else {
            return Err("a storage without key, device and class".to_owned());
        };
        let key = objects::key_text(&about, key).ok_or("a storage without a key")?;
        let class = about.global(class).and_then(|name| name.rsplit('.').next()).unwrap_or_default();
        let number = objects::of_storage(class).ok_or_else(|| format!("storage {key} of unknown type {class:?}"))?;
        let storage = storage_here(reader, number.bytes(), end, &key)?;
        reader.seek(SeekFrom::Start(storage.start + storage.bytes)).map_err(|error| error.to_string())?;
        storages.insert(key.clone(), storage);
        types.insert(key, number);
    }
    let views = Pickle::read(reader)?;
    for &view in views.sequence(views.root).unwrap_or_default() {
        let read = || {
            let &[key, whole, offset, count] = views.sequence(view)? else { return None };
            let whole = objects::key_text(&views, whole)?;
            let (storage, &number) = (storages.get(&whole)?, types.get(&whole)?);
            let size = number.bytes() as u64;
            let start = (views.count(offset)? as u64).checked_mul(size)?;
            let bytes = (views.count(count)? as u64).checked_mul(size)?;
            (start.checked_add(bytes)? <= storage.bytes).then_some(())?;
            let part = Storage::at(storage.start + start, bytes);
            Some((objects::key_text(&views, key)?, part, number))
        };
        let (key, storage, number) = read().ok_or("a view of no storage")?;
        storages.insert(key.clone(), storage);
        types.insert(key, number);
    }
    Ok((storages, types))
}

/// How many; for each `(key, key of its storage, class)`, the number of axes in 4 bytes and 4 more, sizes, strides, offset.
fn tar_tensors(
    reader: &mut (impl BufRead + Seek),
    types: &HashMap<String, super::Number>,
) -> Result<HashMap<String, Strided>, String> {
    const MAX_AXES: u32 = 64;
    let mut tensors = HashMap::new();
    for _ in 0..tar_count(reader)? {
        let about = Pickle::read(reader)?;
        let keys = || {
            let &[key, storage, _] = about.sequence(about.root)? else { return None };
            Some((objects::key_text(&about, key)?, objects::key_text(&about, storage)?))
        };
        let (key, storage) = keys().ok_or("a tensor without its keys")?;
        let &number = types.get(&storage).ok_or_else(|| format!("storage {storage} is missing"))?;
        let mut axes = [0; 8];
        reader.read_exact(&mut axes).map_err(|error| error.to_string())?;
        let [a, b, c, d, ..] = axes;
        let axes = u32::from_le_bytes([a, b, c, d]);
        if axes > MAX_AXES {
            return Err(format!("a tensor of {axes} axes"));
        }
        let mut numbers = || (0..axes).map(|_| number_here(reader)).collect::<Result<Vec<usize>, String>>();
        let (shape, strides) = (numbers()?, numbers()?);
        let offset = number_here(reader)?;
        tensors.insert(key, Strided { storage, number, offset, shape, strides });
    }
    Ok(tensors)
}

fn tar_count(reader: &mut (impl BufRead + Seek)) -> Result<usize, String> {
    let count = Pickle::read(reader)?;
    count.count(count.root).ok_or_else(|| "no number where one belongs".to_owned())
}

pub(super) fn is_zip(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04")
}

pub(super) fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}
