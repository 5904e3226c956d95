//! Files that must not exist yet, and that only their owner reads.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a new file with mode 0600, durable when this returns.
///
/// # Errors
/// When it exists or cannot be written; an unfinished one is removed.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // The write's own failure is what counts.
        drop(std::fs::remove_file(path));
    }
    written
}
