//! Which files the paths of a list mean: written on another system, below another folder, or without an ending.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use super::folder::name_path;
use super::listing::{Listing, base_name};
use super::table::is_picture;
use super::walk;

/// Files that a list names.
pub(crate) struct NamedFiles {
    /// What the paths are relative to.
    pub root: PathBuf,
    pub paths: Listing,
    /// How many of them are there.
    pub found: usize,
    /// What was made of the paths, a sentence each.
    pub notes: Vec<String>,
}

/// Finds the files of `paths`, which stand in a list in the folder `root`.
///
/// A path is taken as it is, or with `/` for `\`, if a file is there for any of them; else below the folder above; else each path is
/// that of the one file below `root` with which it agrees from the end on, the picture's ending being left out where the list does.
pub(crate) fn find(root: &Path, paths: Listing) -> NamedFiles {
    let mut notes = Vec::new();
    let (paths, turned) = with_slashes(root, paths);
    if turned {
        notes.push("the \\ in paths of the list is taken for /".to_owned());
    }
    let here = with_sizes(root, paths);
    if here.found > 0 {
        return NamedFiles { notes, ..here };
    }
    let above = root.join("..");
    let mut there = with_sizes(&above, here.paths);
    if there.found > 0 {
        notes.push("the paths of the list are relative to the folder above it".to_owned());
        return NamedFiles { notes, ..there };
    }
    there.root = root.into();
    if there.paths.names().any(|path| path.starts_with(b"..")) {
        return NamedFiles { notes, ..there };
    }
    match by_their_ends(root, &there.paths) {
        Some((matched, example)) => {
            notes.push(format!("the paths of the list are those of files found below its folder: {example}"));
            NamedFiles { notes, ..with_sizes(root, matched) }
        }
        None => NamedFiles { notes, ..there },
    }
}

/// The paths with `/` for `\` where there is no file with a `\` in its name, and whether that changed any.
fn with_slashes(root: &Path, paths: Listing) -> (Listing, bool) {
    let windows = |path: &[u8]| path.contains(&b'\\') && !root.join(name_path(path)).is_file();
    if !paths.names().any(|path| path.contains(&b'\\')) {
        return (paths, false);
    }
    let (mut turned, mut any) = (Listing::default(), false);
    for path in paths.names() {
        if windows(path) {
            let path: Vec<u8> = path.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte }).collect();
            turned.push(&path, 0, 0);
            any = true;
        } else {
            turned.push(path, 0, 0);
        }
    }
    (turned, any)
}

fn with_sizes(root: &Path, mut paths: Listing) -> NamedFiles {
    let sizes = sizes(root, &paths);
    let found = sizes.iter().flatten().count();
    // What is not there shows when the picture is asked for.
    paths.set_sizes(sizes.into_iter().map(Option::unwrap_or_default));
    paths.shrink_to_fit();
    NamedFiles { root: root.into(), paths, found, notes: Vec::new() }
}

/// The sizes of the files, none for what is not there.
pub(crate) fn sizes(root: &Path, paths: &Listing) -> Vec<Option<u64>> {
    let size = |index: usize| {
        let metadata = fs::metadata(root.join(name_path(paths.name(index)))).ok()?;
        (!metadata.is_dir()).then_some(metadata.len())
    };
    let mut sizes = vec![None; paths.len()];
    let share = paths.len().div_ceil(walk::threads()).max(256);
    thread::scope(|scope| {
        for (chunk, sizes) in sizes.chunks_mut(share).enumerate() {
            scope.spawn(move || (chunk * share..).zip(sizes).for_each(|(index, bytes)| *bytes = size(index)));
        }
    });
    sizes
}

/// The files below `root` that the paths end like, where at least half of them have such a file, and an example.
fn by_their_ends(root: &Path, paths: &Listing) -> Option<(Listing, String)> {
    let files = walk::walk(if root.as_os_str().is_empty() { Path::new(".") } else { root }).ok()?.contents.pictures;
    let mut of_base: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for index in 0..files.len() {
        let base = base_name(files.name(index));
        of_base.entry(base).or_default().push(index);
        of_base.entry(stem(base)).or_default().push(index);
    }
    let mut matched = Listing::default();
    let (mut count, mut example) = (0, None);
    for path in paths.names() {
        match the_one(path, &files, &of_base) {
            Some(file) => {
                count += 1;
                example.get_or_insert_with(|| {
                    format!("\"{}\" is {}", String::from_utf8_lossy(path), String::from_utf8_lossy(file))
                });
                matched.push(file, 0, 0);
            }
            None => matched.push(path, 0, 0),
        }
    }
    Some((matched, example?)).filter(|_| 2 * count >= paths.len())
}

/// The only file that agrees with `path` in all parts of the shorter of the two, or the only one that agrees longest.
fn the_one<'a>(path: &[u8], files: &'a Listing, of_base: &HashMap<&[u8], Vec<usize>>) -> Option<&'a [u8]> {
    let candidates = of_base.get(base_name(path))?;
    let parts = |name: &[u8]| name.iter().filter(|&&byte| byte == b'/').count();
    let agreeing = |&index: &usize| {
        let file = files.name(index);
        let file = if is_picture(path) {
            file
        } else {
            &file[..file.len() - base_name(file).len() + stem(base_name(file)).len()]
        };
        let same = path
            .rsplit(|&byte| byte == b'/')
            .zip(file.rsplit(|&byte| byte == b'/'))
            .take_while(|(a, b)| a == b)
            .count();
        let whole = same == parts(path).min(parts(file)) + 1;
        whole.then_some((same, index))
    };
    let mut agreeing: Vec<(usize, usize)> = candidates.iter().filter_map(agreeing).collect();
    agreeing.sort_unstable();
    agreeing.dedup();
    match agreeing[..] {
        [.., (second, _), (best, _)] if second == best => None,
        [.., (_, index)] => Some(files.name(index)),
        [] => None,
    }
}

fn stem(base: &[u8]) -> &[u8] {
    &base[..base.iter().rposition(|&byte| byte == b'.').unwrap_or(base.len())]
}
