//! The form of a bundle: a plain tar archive of one folder of files, with `SHA256SUMS` in it, which `sha256sum -c` verifies.
//!
//! Equal files give an equal archive: entries are sorted, owned by nobody, of 1970. What is read is never unpacked to the disk, and of what an
//! archive says about itself nothing is believed: not the sizes, not the names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use byol_eval::Meter;
use byol_nn::files::write_atomically;
use byol_nn::{Error, Result};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The file with the checksums.
pub(super) const SUMS: &str = "SHA256SUMS";

/// Files of more bytes are hashed, but not held in memory.
const SMALL_BYTES: u64 = 64 << 20;

/// A bundle has a dozen files.
const MOST_FILES: usize = 1000;

/// What stands in a bundle under a name.
pub(super) enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl Content {
    fn open(&self) -> Result<(u64, Box<dyn Read + '_>)> {
        match self {
            Self::Bytes(bytes) => Ok((bytes.len() as u64, Box::new(&bytes[..]))),
            Self::File(path) => {
                let file = File::open(path).map_err(Error::io("read", path))?;
                let size = file.metadata().map_err(Error::io("read", path))?.len();
                Ok((size, Box::new(file.take(size))))
            }
        }
    }
}

/// Writes `files` as the folder `name`, with their sums, to `path`.
///
/// # Errors
/// [`Error::Io`]; [`Error::Path`] for a file that changes meanwhile.
pub(super) fn write(path: &Path, name: &str, mut files: BTreeMap<String, Content>) -> Result<()> {
    let mut sums = String::new();
    let meter = Meter::start("summing up and writing", 2 * files.len() as u64);
    let mut sum_of = BTreeMap::new();
    for (file, content) in &files {
        let (_, mut from) = content.open()?;
        let sum = sum(&mut from, &mut io::sink()).map_err(Error::io("read", &shown(content)))?;
        // Two spaces: a text or binary file, as `sha256sum` writes it.
        sums += &format!("{sum}  {file}\n");
        sum_of.insert(file.clone(), sum);
        meter.advance(1);
    }
    sum_of.insert(SUMS.to_owned(), sum(&mut sums.as_bytes(), &mut io::sink()).map_err(Error::io("read", path))?);
    files.insert(SUMS.to_owned(), Content::Bytes(sums.into_bytes()));
    let mut changed = None;
    let written = write_atomically(path, |to| {
        let mut archive = Builder::new(to);
        for (file, content) in &files {
            let (size, from) = content.open().map_err(io::Error::other)?;
            let mut from = Summing { from, hash: Sha256::new() };
            archive.append_data(&mut header(size), format!("{name}/{file}"), &mut from)?;
            if sum_of.get(file) != Some(&hex(from.hash)) {
                changed = Some(Error::path(
                    &shown(content),
                    "changed while it was bundled; try again when nobody writes to it",
                ));
                return Err(io::Error::other("see the failure"));
            }
            meter.advance(1);
        }
        archive.finish()
    });
    changed.map_or(written, Err)
}

fn shown(content: &Content) -> PathBuf {
    match content {
        Content::Bytes(_) => PathBuf::from(SUMS),
        Content::File(path) => path.clone(),
    }
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Passes bytes on and sums them up.
struct Summing<R> {
    from: R,
    hash: Sha256,
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of what `from` gives, which goes on to `to`.
fn sum(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<String> {
    let mut from = Summing { from, hash: Sha256::new() };
    io::copy(&mut from, to)?;
    Ok(hex(from.hash))
}

/// A bundle whose sums are right.
#[derive(Debug)]
pub(super) struct Archive {
    path: PathBuf,
    /// Name and size of every file, without the folder.
    pub files: BTreeMap<String, u64>,
    /// Content of the small ones.
    small: BTreeMap<String, Vec<u8>>,
}

impl Archive {
    /// Reads the bundle at `path` through, and compares all sums.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Path`] for what is no bundle or a damaged one, with what is wrong.
    pub fn open(path: &Path) -> Result<Self> {
        let archive = Self { path: path.to_owned(), files: BTreeMap::new(), small: BTreeMap::new() };
        let (mut found, mut small) = (BTreeMap::new(), BTreeMap::new());
        let bytes = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
        let meter = Meter::start("checking the sums", bytes);
        archive.each(|name, size, from| {
            if found.len() == MOST_FILES {
                return Err(format!("it has more than {MOST_FILES} files, a bundle has a dozen"));
            }
            let mut kept = Vec::new();
            let sum = match size <= SMALL_BYTES {
                true => sum(from, &mut kept),
                false => sum(from, &mut io::sink()),
            };
            let sum = sum.map_err(|error| format!("{name} cannot be read to its end: {error}"))?;
            meter.advance(size);
            match found.insert(name.to_owned(), (size, sum)) {
                None => {}
                Some(_) => return Err(format!("{name} is in it twice")),
            }
            if size <= SMALL_BYTES {
                small.insert(name.to_owned(), kept);
            }
            Ok(())
        })?;
        let problem = compare(&found, small.get(SUMS).map(Vec::as_slice));
        problem.map_err(|problem| damaged(path, &problem))?;
        let files = found.into_iter().map(|(name, (size, _))| (name, size)).collect();
        Ok(Self { files, small, ..archive })
    }

    /// The content of a small file.
    ///
    /// # Errors
    /// [`Error::Path`] when there is none of this name.
    pub fn bytes(&self, name: &str) -> Result<&[u8]> {
        let found = self.small.get(name).map(Vec::as_slice);
        found.ok_or_else(|| damaged(&self.path, &format!("it has no {name} of a sensible size")))
    }

    /// The content of any file, read once more.
    ///
    /// # Errors
    /// As [`Self::bytes`], and [`Error::Io`].
    pub fn read(&self, wanted: &str) -> Result<Vec<u8>> {
        if let Some(bytes) = self.small.get(wanted) {
            return Ok(bytes.clone());
        }
        let mut bytes = None;
        self.each(|name, _, from| {
            if name == wanted {
                let read = from.read_to_end(bytes.insert(Vec::new()));
                read.map_err(|error| format!("{name} cannot be read: {error}"))?;
            }
            Ok(())
        })?;
        bytes.ok_or_else(|| damaged(&self.path, &format!("it has no {wanted}")))
    }

    /// Hands over name, size and content of every file; whatever is no plain file of one folder is an error.
    fn each(&self, mut take: impl FnMut(&str, u64, &mut dyn Read) -> std::result::Result<(), String>) -> Result<()> {
        let mut file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
        let bytes = file.metadata().map_err(Error::io("read", &self.path))?.len();
        let mut start = [0; 4];
        let other = match file.read(&mut start) {
            Err(_) if self.path.is_dir() => Some("a folder"),
            Ok(_) if start.starts_with(&[0x1f, 0x8b]) => Some("a gzip archive, which is to be unpacked first"),
            Ok(_) if start.starts_with(b"PK") => Some("a zip archive"),
            Ok(_) if start.starts_with(b"PAR1") => Some("a Parquet file"),
            _ => None,
        };
        if let Some(other) = other {
            return Err(damaged(&self.path, &format!("expected a tar archive that `byol bundle` wrote, got {other}")));
        }
        file.seek(SeekFrom::Start(0)).map_err(Error::io("read", &self.path))?;
        let mut archive = tar::Archive::new(BufReader::new(file));
        let mut walk = || {
            let no_tar = |error: io::Error| {
                format!(
                    "expected a tar archive that `byol bundle` wrote, got a damaged one or something else ({error})"
                )
            };
            let mut folder: Option<String> = None;
            for entry in archive.entries().map_err(no_tar)? {
                let mut entry = entry.map_err(no_tar)?;
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                if entry.header().entry_type() != EntryType::Regular {
                    return Err(format!("{name:?} is no plain file"));
                }
                let Some((top, base)) = inside(&name) else {
                    return Err(format!("the name {name:?} is none of a file in one folder"));
                };
                if folder.get_or_insert(top.to_owned()) != top {
                    return Err(format!("{name:?} is in another folder than the files before it"));
                }
                let size = entry.size();
                if size > bytes {
                    return Err(format!("{name:?} claims {size} bytes, the archive has {bytes}"));
                }
                take(base, size, &mut entry)?;
            }
            match folder {
                Some(_) => Ok(()),
                None => Err("it is empty".to_owned()),
            }
        };
        walk().map_err(|problem| damaged(&self.path, &problem))
    }
}

/// Folder and file of `folder/file`.
fn inside(name: &str) -> Option<(&str, &str)> {
    let (top, base) = name.split_once('/')?;
    let is_plain = |part: &str| {
        let mut components = Path::new(part).components();
        !part.contains(['/', '\\'])
            && matches!(components.next(), Some(Component::Normal(_)))
            && components.next().is_none()
            && !part.chars().any(char::is_control)
    };
    (is_plain(top) && is_plain(base)).then_some((top, base))
}

/// Whether the sums are those of the files, and there are no others.
fn compare(found: &BTreeMap<String, (u64, String)>, sums: Option<&[u8]>) -> std::result::Result<(), String> {
    let sums = sums.ok_or_else(|| format!("it has no {SUMS}"))?;
    let sums = std::str::from_utf8(sums).map_err(|_| format!("{SUMS} is no text"))?;
    let mut listed = BTreeMap::new();
    for line in sums.lines() {
        let (sum, name) = line.split_once("  ").ok_or_else(|| format!("{SUMS} has a line that is none: {line:?}"))?;
        if listed.insert(name, sum).is_some() {
            return Err(format!("{SUMS} lists {name} twice"));
        }
    }
    for (name, sum) in &listed {
        match found.get(*name) {
            None => return Err(format!("{name} is missing")),
            Some((_, got)) if got != sum => {
                return Err(format!("{name} is not what was bundled: its SHA-256 is {got}, {SUMS} says {sum}"));
            }
            Some(_) => {}
        }
    }
    match found.keys().find(|name| *name != SUMS && !listed.contains_key(name.as_str())) {
        Some(other) => Err(format!("{other} is in it and not in {SUMS}")),
        None => Ok(()),
    }
}

/// An error about a bundle.
pub(super) fn damaged(path: &Path, problem: &str) -> Error {
    Error::path(path, format!("{problem}; get the bundle again from where it is from"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of entries with these names, types and contents.
    fn tar_of(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for &(name, kind, bytes) in entries {
            let mut header = header(bytes.len() as u64);
            header.set_entry_type(kind);
            // Names that the crate refuses to write are put there as they are.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn problem_of(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar");
        std::fs::write(&path, bytes).unwrap();
        let problem = Archive::open(&path).map_or_else(|error| error.to_string(), |archive| format!("{archive:?}"));
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is written");
        problem
    }

    fn sums_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let line =
            |&(name, bytes): &(&str, &[u8])| format!("{}  {name}\n", sum(&mut &*bytes, &mut io::sink()).unwrap());
        files.iter().map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn what_is_written_is_read_and_equal_content_is_an_equal_archive() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("weights"), vec![7u8; 100_000]).unwrap();
        let write = |name: &str| {
            let files = [("b.json", Content::Bytes(b"{}".to_vec())), ("a.bin", Content::File(at.join("weights")))];
            let files = files.into_iter().map(|(name, content)| (name.to_owned(), content)).collect();
            super::write(&at.join(name), "run", files).unwrap();
            std::fs::read(at.join(name)).unwrap()
        };
        assert!(write("one.tar") == write("two.tar"));
        let archive = Archive::open(&at.join("one.tar")).unwrap();
        assert_eq!(archive.files.keys().collect::<Vec<_>>(), [SUMS, "a.bin", "b.json"]);
        assert_eq!((archive.bytes("b.json").unwrap(), archive.read("a.bin").unwrap().len()), (&b"{}"[..], 100_000));
        // The sum of two bytes, by sha256sum.
        let sums = String::from_utf8(archive.bytes(SUMS).unwrap().to_vec()).unwrap();
        assert!(sums.contains("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a  b.json\n"), "{sums}");
    }

    #[test]
    fn hostile_and_damaged_archives_are_refused_and_nothing_is_written() {
        let (plain, link, sparse) = (EntryType::Regular, EntryType::Symlink, EntryType::GNUSparse);
        let sums = sums_of(&[("a", b"1")]);
        let good: [(&str, EntryType, &[u8]); 2] = [("run/SHA256SUMS", plain, &sums), ("run/a", plain, b"1")];
        assert!(problem_of(&tar_of(&good)).starts_with("Archive {"));
        let with = |name, kind, bytes| problem_of(&tar_of(&[good[0], good[1], (name, kind, bytes)]));
        for (name, words) in [
            ("run/../../etc/passwd", "none of a file in one folder"),
            ("/run/b", "none of a file in one folder"),
            ("b", "none of a file in one folder"),
            ("run/..", "none of a file in one folder"),
            ("run/b\\c", "none of a file in one folder"),
            ("other/b", "another folder"),
            ("run/a", "a is in it twice"),
            ("run/b", "b is in it and not in SHA256SUMS"),
        ] {
            let problem = with(name, plain, b"1");
            assert!(problem.contains(words) && problem.contains("get the bundle again"), "{name}: {problem}");
        }
        assert!(with("run/b", link, b"").contains("is no plain file"));
        // Which of its claims the reader stumbles over first is its own affair.
        assert!(with("run/b", sparse, b"").contains("get the bundle again"));
        assert!(problem_of(&tar_of(&good[1..])).contains("it has no SHA256SUMS"));
        assert!(problem_of(&tar_of(&good[..1])).contains("a is missing"));
        let other = [good[0], ("run/a", plain, &b"2"[..])];
        assert!(problem_of(&tar_of(&other)).contains("a is not what was bundled"));
        assert!(problem_of(b"").contains("it is empty"));
        assert!(problem_of(&[b'x'; 2000]).contains("expected a tar archive"));

        // Claims of more than there is: cut short, and a bomb.
        let whole = tar_of(&[good[0], ("run/a", plain, &[1u8; 4000])]);
        let cut = problem_of(&whole[..whole.len() - 2000]);
        assert!(cut.contains("expected a tar archive"), "{cut}");
        let mut bomb = header(1 << 50);
        bomb.set_path("run/a").unwrap();
        bomb.set_cksum();
        assert!(problem_of(bomb.as_bytes()).contains("claims 1125899906842624 bytes"));
    }
}
