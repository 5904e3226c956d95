//! Objects that are being written, and how one of them becomes an object.

use crate::keys::UNFINISHED;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// Tries to make a file whose folder a finishing writer removes at the same moment, or that a sweep takes for dead
/// between its creation and its lock. Each try loses only to another's progress.
const CREATE_TRIES: u32 = 100;

/// How a finished file gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placing {
    /// A hard link, which the kernel refuses when the name is taken; where there are none, as below.
    Link,
    /// Look, then rename, under a lock that all writers of the repository take.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "chosen only to test what file systems without links get")
    )]
    RenameUnderLock,
}

/// A file that is being written. Its lock lives as long as its writer, whatever ends it: a sweep removes only files
/// that nobody has locked.
pub(crate) struct Unfinished {
    root: PathBuf,
    path: PathBuf,
    file: File,
    is_placed: bool,
}

impl Unfinished {
    /// Begins one. Its path is the key's, so that a sweep can tell what it belongs to.
    pub(crate) fn create(root: &Path, key: &str) -> io::Result<Self> {
        let folder = root.join(UNFINISHED);
        let mut last = None;
        for _ in 0..CREATE_TRIES {
            let path = folder.join(format!("{key}.{}", Uuid::now_v7()));
            match create_locked(root, &path) {
                Ok(Some(file)) => return Ok(Self { root: root.to_owned(), path, file, is_placed: false }),
                Ok(None) => {}
                Err(error) if is_lost_race(&error) && root.is_dir() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("its file was taken away again and again")))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes the bytes durable and gives them their name; [`ErrorKind::AlreadyExists`] when it is taken.
    pub(crate) fn place(mut self, target: &Path, placing: Placing) -> io::Result<()> {
        self.file.sync_all()?;
        let folder = target.parent().expect("a key's path is below the root");
        create_below(&self.root, folder, sync_folder)?;
        match placing {
            Placing::Link => match fs::hard_link(&self.path, target) {
                Err(error) if lacks_links(&error) => self.rename(target)?,
                placed => placed?,
            },
            Placing::RenameUnderLock => self.rename(target)?,
        }
        sync_folder(folder)
    }

    fn rename(&mut self, target: &Path) -> io::Result<()> {
        let lock =
            OpenOptions::new().create(true).append(true).open(self.root.join(UNFINISHED).join(".lock"))?;
        lock.lock()?;
        if fs::symlink_metadata(target).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        fs::rename(&self.path, target)?;
        self.is_placed = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What cannot be removed now is unlocked in a moment, and the next sweep finds it.
        if !self.is_placed {
            let _ = fs::remove_file(&self.path);
        }
        remove_empty_folders(&self.path, &self.root.join(UNFINISHED));
    }
}

/// Whether the file system has no hard links (FAT, some network shares) rather than a reason against this one.
fn lacks_links(error: &io::Error) -> bool {
    /// Linux's number for an operation that is not permitted, which file systems without links answer.
    const EPERM: i32 = 1;
    error.kind() == ErrorKind::Unsupported || error.raw_os_error() == Some(EPERM)
}

/// A folder went away under us: before the file was made, or between making the folder and looking at it again, which
/// `create_dir_all` reports as if something else had its name.
fn is_lost_race(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists)
}

/// `None` when a sweep was faster and took the new file for one that a dead process left.
fn create_locked(root: &Path, path: &Path) -> io::Result<Option<File>> {
    create_below(root, path.parent().expect("it is below the root"), |_| Ok(()))?;
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let is_ours = file.try_lock().is_ok() && file.metadata()?.nlink() > 0;
    Ok(is_ours.then_some(file))
}

/// Makes a folder below the root, and tells `made` of each folder in which one had to be made. The root itself is never made:
/// whoever removed it, or the disk that held it, took the repository away.
fn create_below(root: &Path, folder: &Path, made: fn(&Path) -> io::Result<()>) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|_| folder != root).ok_or(ErrorKind::NotFound)?;
    create_below(root, parent, made)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        // Someone else made it, and may not have synced it yet.
        _ => made(parent),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes the folders above `path` up to `top` as long as they are empty; one that is not ends it.
fn remove_empty_folders(path: &Path, top: &Path) {
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(top)) {
        if fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

/// Removes the unfinished files of dead writers whose keys begin with `prefix`; how many.
pub(crate) fn sweep(root: &Path, prefix: &str) -> io::Result<u32> {
    let top = root.join(UNFINISHED);
    let mut swept = 0;
    for (name, path) in files_below(&top)? {
        if name.starts_with(prefix) && name != ".lock" && remove_if_dead(&path)? {
            remove_empty_folders(&path, &top);
            swept += 1;
        }
    }
    Ok(swept)
}

/// Removes the file unless its writer lives.
fn remove_if_dead(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        },
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// All files below `top` as key and path, in no order; none when there is no `top`. Folders that go away while they
/// are read had become empty.
pub(crate) fn files_below(top: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push((key_below(top, &entry.path())?, entry.path()));
            }
        }
    }
    Ok(files)
}

fn key_below(top: &Path, path: &Path) -> io::Result<String> {
    let below = path.strip_prefix(top).map_err(io::Error::other)?;
    let text = below.to_str().ok_or_else(|| {
        io::Error::new(ErrorKind::InvalidFilename, format!("{} is not UTF-8", path.display()))
    })?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_full_says_so_while_writing() {
        // /dev/full takes no byte, on every Linux and for every user.
        let file = OpenOptions::new().write(true).open("/dev/full").expect("Linux");
        let (root, path) = (PathBuf::from("/nowhere"), PathBuf::from("/nowhere/a"));
        let mut full = Unfinished { root, path, file, is_placed: true };
        assert_eq!(full.write(b"x").expect_err("no room").kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_sweep_takes_the_files_of_the_dead_and_leaves_those_of_the_living() {
        let root = tempfile::tempdir().expect("folder");
        let mut living = Unfinished::create(root.path(), "full/1/a").expect("create");
        living.write(b"x").expect("write");
        fs::write(root.path().join(".unfinished/full/1/b.dead"), b"half").expect("left behind");
        assert_eq!(sweep(root.path(), "full/1/").expect("sweep"), 1);
        let target = root.path().join("full/1/a");
        living.place(&target, Placing::Link).expect("place");
        assert_eq!(fs::read(target).expect("read"), b"x");
        assert!(!root.path().join(UNFINISHED).exists(), "and nothing is left of it");
    }

    #[test]
    fn a_crowd_of_writers_that_make_and_remove_the_same_folders_all_succeed() {
        let root = tempfile::tempdir().expect("folder");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let root = root.path();
                scope.spawn(move || {
                    for number in 0..50 {
                        let key = format!("deep/er/{writer}-{number}");
                        let mut one = Unfinished::create(root, &key).expect("create");
                        one.write(b"x").expect("write");
                        one.place(&root.join(&key), Placing::Link).expect("place");
                        sweep(root, "").expect("sweep");
                    }
                });
            }
        });
        assert_eq!(files_below(root.path()).expect("list").len(), 400);
    }

    #[test]
    fn a_folder_that_goes_away_between_making_it_and_looking_at_it_is_made_again() {
        let root = tempfile::tempdir().expect("folder");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let root = root.path();
                scope.spawn(move || {
                    for number in 0..5_000 {
                        // Dropped at once: its folders are removed while others make them.
                        drop(
                            Unfinished::create(root, &format!("deep/er/{writer}-{number}")).expect("create"),
                        );
                    }
                });
            }
        });
    }
}
