//! Files for `pg_restore` that go away with this process, however it ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use tokio::io::AsyncWriteExt;

/// A file without a name in any folder: whoever kills us leaves nothing of it behind.
pub(super) struct Unlinked(File);

impl Unlinked {
    pub fn new() -> io::Result<Self> {
        Ok(Self(tempfile::tempfile()?))
    }

    pub async fn holding(bytes: &[u8]) -> io::Result<Self> {
        let file = Self::new()?;
        let mut writer = file.writer()?;
        writer.write_all(bytes).await?;
        writer.flush().await?;
        Ok(file)
    }

    pub fn writer(&self) -> io::Result<tokio::fs::File> {
        Ok(tokio::fs::File::from_std(self.0.try_clone()?))
    }

    /// Under which our children open it, while we live: each opening begins at the first byte, and seeks by itself.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}
