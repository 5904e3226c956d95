//! Rows read back, counted and digested again.

use crate::{BackupIdentity, CopyText, Detector, OpenError, Opened, RowsHasher, StoredObject, open};
use std::io::{self, Read};

/// Opens an object of `COPY` text whose rows must be `content`.
///
/// # Errors
/// As [`open`].
pub fn open_rows<R: Read>(
    reader: R,
    identity: &BackupIdentity,
    object: &StoredObject,
    content: CopyText,
) -> Result<RowsReader<R>, OpenError> {
    let opened = open(reader, identity, object)?;
    Ok(RowsReader { opened, expected: content, hasher: Some(RowsHasher::new()), failed: false })
}

/// The rows of one object, as `COPY` text. Before its end is reported, their number, bytes and digest are compared
/// with the manifest; what was read before an error must not be committed.
pub struct RowsReader<R: Read> {
    opened: Opened<R>,
    expected: CopyText,
    /// `None` once the end was compared.
    hasher: Option<RowsHasher>,
    failed: bool,
}

impl<R: Read> RowsReader<R> {
    fn compare(&mut self) -> Result<(), OpenError> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let differs = |detail| Err(OpenError::integrity(self.opened.key(), Detector::Rows, detail));
        match hasher.finish() {
            Err(torn) => differs(torn.to_string()),
            Ok(found) if found != self.expected => {
                differs(format!("{} instead of {}", describe(&found), describe(&self.expected)))
            }
            Ok(_) => Ok(()),
        }
    }
}

impl<R: Read> Read for RowsReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(OpenError::AlreadyFailed { key: self.opened.key().to_owned() }.into_io());
        }
        let read = self.opened.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        if read == 0 && !buffer.is_empty() {
            self.compare().map_err(|error| {
                self.failed = true;
                error.into_io()
            })?;
        }
        Ok(read)
    }
}

fn describe(text: &CopyText) -> String {
    format!("{} rows of {} bytes with digest {}", text.rows, text.raw_bytes, text.rows_digest)
}
