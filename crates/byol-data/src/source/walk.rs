//! Lists a folder of any depth, with several threads.
//!
//! One call per file asks for its size; whether it is a file or a folder the folder itself tells. Level by level, the
//! folders of a level are shared among the threads. Links are followed, and a link to a folder above itself is not.

use std::fs::{self, DirEntry, FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::SystemTime;

use super::contents::{Contents, Member};
use super::listing::is_hidden;
use crate::DataError;

/// What is below a folder.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Its files, sorted.
    pub contents: Contents,
    /// Every folder that was listed: its name below the root, and when it last changed if the system knows.
    pub folders: Vec<(Vec<u8>, Option<SystemTime>)>,
}

/// A folder yet to be listed.
struct Task {
    path: PathBuf,
    /// Path below the root, separated by `/`; empty for the root.
    name: Vec<u8>,
    place: Arc<Place>,
}

/// Where a folder really is, and the folders above it on the way that led here.
struct Place {
    real: PathBuf,
    above: Option<Arc<Place>>,
}

impl Place {
    fn is_or_is_below(&self, real: &Path) -> bool {
        let mut place = Some(self);
        while let Some(here) = place {
            if here.real == real {
                return true;
            }
            place = here.above.as_deref();
        }
        false
    }
}

/// What one thread found on one level.
#[derive(Default)]
struct Found {
    tree: Tree,
    tasks: Vec<Task>,
    errors: Vec<(PathBuf, io::Error)>,
}

/// Lists all files below `root`, at any depth, links followed. Pipes, devices and hidden files are passed over.
pub(crate) fn walk(root: &Path) -> Result<Tree, DataError> {
    let real = fs::canonicalize(root).map_err(|source| DataError::Unreadable { path: root.into(), source })?;
    let place = Arc::new(Place { real, above: None });
    let mut level = vec![Task { path: root.into(), name: Vec::new(), place }];
    let mut tree = Tree::default();
    while !level.is_empty() {
        let mut errors = Vec::new();
        let mut below = Vec::new();
        for found in list_level(&level) {
            tree.contents.append(found.tree.contents);
            tree.folders.extend(found.tree.folders);
            below.extend(found.tasks);
            errors.extend(found.errors);
        }
        // The first by name, so that the message does not depend on which thread was faster.
        if let Some((path, source)) = errors.into_iter().min_by(|(a, _), (b, _)| a.cmp(b)) {
            return Err(DataError::Unreadable { path, source });
        }
        level = below;
    }
    tree.contents.sort();
    Ok(tree)
}

/// Threads that wait for the disk or the network at once, more than there are cores on small machines.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(4, usize::from).clamp(4, 16)
}

fn list_level(level: &[Task]) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Found::default();
        while let Some(task) = level.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(source) = found.list(task) {
                found.errors.push((task.path.clone(), source));
            }
        }
        found
    };
    if level.len() == 1 {
        return vec![work()];
    }
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads().min(level.len()))
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        if workers.is_empty() {
            return vec![work()];
        }
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

impl Found {
    fn list(&mut self, task: &Task) -> io::Result<()> {
        // Asked before listing: a change meanwhile makes the folder newer than what is noted here.
        let modified = fs::metadata(&task.path).and_then(|metadata| metadata.modified());
        let entries = match fs::read_dir(&task.path) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.tree.folders.push((task.name.clone(), modified.ok()));
        let mut name = task.name.clone();
        if !name.is_empty() {
            name.push(b'/');
        }
        let folder_len = name.len();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if is_gone(&error) => break,
                Err(error) => return Err(error),
            };
            let base = entry.file_name();
            let base = base.as_encoded_bytes();
            if is_hidden(base) {
                continue;
            }
            name.truncate(folder_len);
            name.extend_from_slice(base);
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            self.take(task, &entry, kind, &name, base);
        }
        Ok(())
    }

    fn take(&mut self, task: &Task, entry: &DirEntry, kind: FileType, name: &[u8], base: &[u8]) {
        if kind.is_file() {
            self.add(name, base, entry.metadata().ok());
        } else if kind.is_dir() {
            let real = task.place.real.join(entry.file_name());
            self.descend(task, entry.path(), name, real);
        } else if kind.is_symlink() {
            let path = entry.path();
            match fs::metadata(&path) {
                Ok(target) if target.is_file() => self.add(name, base, Some(target)),
                Ok(target) if target.is_dir() => match fs::canonicalize(&path) {
                    // Everything in it is listed already.
                    Ok(real) if task.place.is_or_is_below(&real) => {}
                    Ok(real) => self.descend(task, path, name, real),
                    Err(error) if is_gone(&error) => {}
                    Err(error) => self.errors.push((path, error)),
                },
                Ok(_) => {}
                // A link to nowhere: if its name is a picture's, reading it will tell.
                Err(error) if is_gone(&error) || is_link_to_itself(&error) => self.add(name, base, None),
                Err(error) => self.errors.push((path, error)),
            }
        }
    }

    fn add(&mut self, name: &[u8], base: &[u8], metadata: Option<Metadata>) {
        self.tree.contents.add(Member::of_visible(base), name, metadata.map_or(0, |metadata| metadata.len()), 0);
    }

    fn descend(&mut self, task: &Task, path: PathBuf, name: &[u8], real: PathBuf) {
        let place = Arc::new(Place { real, above: Some(Arc::clone(&task.place)) });
        self.tasks.push(Task { path, name: name.to_vec(), place });
    }
}

/// Deleted meanwhile, or never there.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// ELOOP, for which the standard library has no stable name.
fn is_link_to_itself(error: &io::Error) -> bool {
    error.raw_os_error() == Some(if cfg!(target_os = "linux") { 40 } else { 62 })
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::AtomicBool;

    use tempfile::TempDir;

    use super::*;

    fn file(root: &Path, name: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }

    fn found(root: &Path) -> Vec<String> {
        let tree = walk(root).unwrap();
        tree.contents.pictures.names().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn every_file_is_found_once_in_order_with_its_size_and_every_folder_is_noted() {
        let root = TempDir::new().unwrap();
        for folder in 0..50 {
            (0..3).for_each(|number| file(root.path(), &format!("{folder:02}/deep/er/{number}.png")));
        }
        file(root.path(), ".git/x.png");
        file(root.path(), "00-1.png");
        let tree = walk(root.path()).unwrap();
        let names: Vec<&[u8]> = tree.contents.pictures.names().collect();
        assert!(names.is_sorted() && names.len() == 151);
        assert_eq!((names[0], tree.contents.pictures.size_bytes(0)), (&b"00-1.png"[..], 8));
        assert_eq!((names[150], tree.contents.pictures.size_bytes(150)), (&b"49/deep/er/2.png"[..], 16));
        assert_eq!(tree.folders.len(), 1 + 50 * 3);
        assert!(tree.folders.iter().all(|(_, modified)| modified.is_some()));
    }

    #[test]
    fn links_that_go_round_in_any_way_end() {
        let root = TempDir::new().unwrap();
        let root = root.path();
        file(root, "a/1.png");
        file(root, "b/2.png");
        symlink(root.join("b"), root.join("a/to_b")).unwrap();
        symlink("../a", root.join("b/to_a")).unwrap();
        symlink(".", root.join("here")).unwrap();
        symlink("itself.png", root.join("itself.png")).unwrap();
        symlink("two.png", root.join("one.png")).unwrap();
        symlink("one.png", root.join("two.png")).unwrap();
        symlink("itself.png", root.join("c")).unwrap();
        let expected = ["a/1.png", "a/to_b/2.png", "b/2.png", "b/to_a/1.png", "itself.png", "one.png", "two.png"];
        assert_eq!(found(root), expected);
        // The root itself may be a link.
        let elsewhere = TempDir::new().unwrap();
        symlink(root, elsewhere.path().join("link")).unwrap();
        assert_eq!(found(&elsewhere.path().join("link")), expected);
    }

    #[test]
    fn folders_that_vanish_while_they_are_listed_are_no_error() {
        let root = TempDir::new().unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    (0..20).for_each(|number| file(root.path(), &format!("{number}/gone.png")));
                    (0..20).for_each(|number| fs::remove_dir_all(root.path().join(number.to_string())).unwrap());
                }
            });
            let results: Vec<_> = (0..200).map(|_| walk(root.path()).map(|_| ())).collect();
            stop.store(true, Ordering::Relaxed);
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        });
    }

    #[test]
    fn a_folder_that_may_not_be_read_is_named() {
        let root = TempDir::new().unwrap();
        file(root.path(), "a/1.png");
        let locked = root.path().join("locked");
        fs::create_dir(&locked).unwrap();
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
        // The superuser may read everything.
        if fs::read_dir(&locked).is_err() {
            let message = walk(root.path()).unwrap_err().to_string();
            assert!(message.contains(locked.to_str().unwrap()) && message.contains("permissions"), "{message}");
        }
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(found(root.path()), ["a/1.png"]);
    }
}
