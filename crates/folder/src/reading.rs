//! Reading objects.

use bytes::Bytes;
use keepsake_steps::ports::{Chunk, ChunkSender};
use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

/// Pieces that a download is sent in; large enough that the file system is not asked too often.
const PIECE_BYTES: usize = 1024 * 1024;

/// How a download ended.
pub(crate) enum Sent {
    /// With the last byte and the end.
    Whole,
    /// Fewer bytes than the file had at first, or nobody listened any more.
    CutOff,
}

/// Opens a regular file; `None` when there is none of that name.
pub(crate) fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    let found = File::open(path).and_then(|file| file.metadata().map(|facts| (file, facts)));
    match found {
        Ok((file, facts)) if facts.is_file() => Ok(Some((file, facts.len()))),
        Ok(_) => Ok(None),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The size of a regular file, without opening it; `None` when there is none of that name.
pub(crate) fn size(path: &Path) -> io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(facts) => Ok(facts.is_file().then_some(facts.len())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// No such name, or a part of the key before the last is an object.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Sends the file's bytes, then the end if there were as many as it had.
pub(crate) fn send(file: &mut File, size_bytes: u64, to: &ChunkSender) -> io::Result<Sent> {
    let mut left = size_bytes;
    while left > 0 {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = file.by_ref().take(left.min(PIECE_BYTES as u64)).read_to_end(&mut piece)? as u64;
        if read == 0 || to.blocking_send(Chunk::Data(Bytes::from(piece))).is_err() {
            return Ok(Sent::CutOff);
        }
        left -= read;
    }
    if to.blocking_send(Chunk::End).is_err() { Ok(Sent::CutOff) } else { Ok(Sent::Whole) }
}
