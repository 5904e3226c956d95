//! A private folder for the work objects of one run: names, counts and digests, never rows.

use crate::failure::Failure;
use keepsake_domain::FailureClass;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder that only we can read, removed when this is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a new one in the system's folder for such things.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("keepsake-{name}"));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|cause| {
            Failure::found(
                FailureClass::Permanent,
                format!("cannot make folder {}: {cause}", path.display()),
                "nothing was touched",
                "set TMPDIR to a folder that can be written, then run again",
            )
        })?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind holds no rows and no key; the system's cleaner takes it.
        if let Err(cause) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %cause, "cannot remove the work folder");
        }
    }
}
