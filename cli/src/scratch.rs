//! A private folder for the work objects of one run: names, counts, digests and the key of the manifest's seal, never
//! rows, and never a key that opens anything (ADR 14).

use crate::failure::Failure;
use keepsake_domain::{BackupId, FailureClass};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "keepsake-";
/// A folder under this name is being made by a run that lives; it gets its own name together with its lock.
const UNLOCKED: &str = "keepsake-new-";
/// A machine's folder for such things rarely holds a thousand entries; what is behind these, the next run sweeps.
const LOOKED_AT: usize = 10_000;

/// A folder that only we can read, removed when this is dropped. A lock on it lives as long as this process, whatever
/// ends it: the next run removes the folders of the dead.
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes a new one in the system's folder for such things, and removes those that dead runs left there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(backup: BackupId) -> Result<Self, Failure> {
        let all = std::env::temp_dir();
        Self::sweep(&all);
        Self::in_folder(&all, backup).map_err(|cause| {
            Failure::found(
                FailureClass::Permanent,
                format!("cannot make a work folder in {}: {cause}", all.display()),
                "nothing was touched",
                "set TMPDIR to a folder that can be written, then run again",
            )
        })
    }

    /// Locks the folder before it gets the name that a sweep looks for.
    fn in_folder(all: &Path, backup: BackupId) -> io::Result<Self> {
        let (unlocked, path) =
            (all.join(format!("{UNLOCKED}{backup}")), all.join(format!("{PREFIX}{backup}")));
        DirBuilder::new().mode(0o700).create(&unlocked)?;
        let lock = File::open(&unlocked)?;
        // Where folders cannot be locked, no sweep can lock this one either, and it stays.
        drop(lock.try_lock());
        std::fs::rename(&unlocked, &path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Removes folders of our name and user whose process is gone. What cannot be looked at stays: it harms nobody.
    fn sweep(all: &Path) {
        let Ok(entries) = std::fs::read_dir(all) else { return };
        for entry in entries.take(LOOKED_AT).flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if id.is_some_and(|id| id.parse::<BackupId>().is_ok()) && is_dead_and_ours(&entry.path()) {
                remove(&entry.path());
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A link is never followed: who may write the folder of all must not choose what we remove.
fn is_dead_and_ours(path: &Path) -> bool {
    let (Ok(facts), Ok(own)) = (path.symlink_metadata(), Path::new("/proc/self").metadata()) else {
        return false;
    };
    facts.is_dir()
        && facts.uid() == own.uid()
        && File::open(path).is_ok_and(|folder| folder.try_lock().is_ok())
}

fn remove(path: &Path) {
    if let Err(cause) = std::fs::remove_dir_all(path) {
        // It holds no rows and no key that opens anything, and the next run tries again.
        tracing::warn!(folder = %path.display(), %cause, "cannot remove the work folder");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    #[test]
    fn a_sweep_removes_the_folders_of_dead_runs_and_nothing_else() {
        let all = tempfile::tempdir().expect("a folder");
        let living = Scratch::in_folder(all.path(), BackupId(Uuid::now_v7())).expect("made");
        let dead = all.path().join(format!("{PREFIX}{}", Uuid::now_v7()));
        std::fs::create_dir(&dead).expect("made");
        std::fs::write(dead.join("plan.json"), "{}").expect("written");
        let link = format!("{PREFIX}{}", Uuid::now_v7());
        for other in ["keepsake-notes", "somebody-elses", &format!("{UNLOCKED}{}", Uuid::now_v7())] {
            std::fs::create_dir(all.path().join(other)).expect("made");
        }
        std::os::unix::fs::symlink(all.path().join("somebody-elses"), all.path().join(&link))
            .expect("linked");
        let before = names(all.path());

        Scratch::sweep(all.path());

        let left: Vec<String> = before.into_iter().filter(|name| !dead.ends_with(name)).collect();
        assert_eq!(names(all.path()), left);
        assert!(living.path().is_dir());
    }
}
