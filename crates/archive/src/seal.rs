//! From raw bytes to the bytes of an object: zstd inside age, hashed and counted on the way.

use crate::{CopyText, Recipient, RowsHasher, StoredHasher, StoredObject, TornRow};
use age::stream::StreamWriter;
use bytes::Bytes;
use std::io::{self, Write};
use zstd::stream::write::Encoder;

/// Half the CPU time of level 3 for one percent more bytes; level 1 saves a third more and costs five percent.
/// Measured in docs/performance.md.
pub const ZSTD_LEVEL: i32 = 2;

/// Bytes of each chunk that a [`Sealer`] hands out, but the last.
///
/// One chunk is one part of a multipart upload. S3 wants at least 5 MiB and at most 10,000 parts, so one object
/// ends at 78 GiB; parts of a table are cut far smaller.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>, read 2026-11-21.
pub const CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// Levels that a [`Sealer`] takes: their window is at most 8 MiB, which is what opening allows.
pub const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = 1..=19;

/// First allocation of a chunk: most objects of a small database never need more.
const FIRST_CHUNK_BYTES: usize = 64 * 1024;

/// What the raw bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// `COPY` text: rows are counted and digested, and must end with a whole row.
    Rows,
    /// Anything else: only counted.
    Opaque,
}

/// What became of the raw bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Raw bytes always; rows and digest are zero for [`Content::Opaque`].
    pub content: CopyText,
    /// Bytes handed to the sink.
    pub stored_bytes: u64,
    /// Their SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// Their CRC-32 (ISO-HDLC).
    pub crc32: u32,
}

impl Sealed {
    /// As the manifest lists it.
    #[must_use]
    pub fn object(&self, key: impl Into<String>) -> StoredObject {
        StoredObject {
            key: key.into(),
            stored_bytes: self.stored_bytes,
            sha256: self.sha256.clone(),
            crc32: self.crc32,
        }
    }
}

/// Why bytes could not be sealed. What went to the sink so far is no readable object.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The rows ended inside a row.
    #[error("seal rows: the stream was cut off")]
    Torn(#[source] TornRow),
    /// The sink refused a chunk.
    #[error("hand on sealed bytes")]
    Sink(#[source] io::Error),
    /// zstd or age failed.
    #[error("compress and encrypt")]
    Encode(#[source] io::Error),
    /// The recipient cannot be encrypted to.
    #[error("encrypt to the backup's public key")]
    Encrypt(#[source] Box<age::EncryptError>),
    /// Not a level that every reader can open.
    #[error("zstd level {0} is not between 1 and 19")]
    Level(i32),
    /// An earlier call failed, so the stream has a hole.
    #[error("seal: an earlier write failed")]
    AlreadyFailed,
}

/// Seals one object. Dropped without [`Sealer::finish`], or after an error, what the sink got is cut off: it lacks
/// age's last block and the end of the zstd frame, and cannot be opened.
pub struct Sealer<S: FnMut(Bytes) -> io::Result<()>> {
    encoder: Encoder<'static, StreamWriter<Chunks<S>>>,
    counter: Counter,
    failed: bool,
}

enum Counter {
    Rows(RowsHasher),
    Opaque(u64),
}

impl<S: FnMut(Bytes) -> io::Result<()>> Sealer<S> {
    /// Begins an object that only the holder of the recipient's private half can open.
    ///
    /// `sink` gets chunks of exactly [`CHUNK_BYTES`], and a shorter one (never empty) at the end.
    ///
    /// # Errors
    /// [`SealError::Level`], or [`SealError::Encrypt`].
    pub fn new(recipient: &Recipient, level: i32, content: Content, sink: S) -> Result<Self, SealError> {
        if !ZSTD_LEVELS.contains(&level) {
            return Err(SealError::Level(level));
        }
        let chunks =
            Chunks { sink, chunk: Vec::with_capacity(FIRST_CHUNK_BYTES), stored: StoredHasher::default() };
        let encrypted =
            recipient.encryptor().map_err(|cause| SealError::Encrypt(Box::new(cause)))?.wrap_output(chunks);
        let mut encoder = Encoder::new(encrypted.map_err(classify)?, level).map_err(SealError::Encode)?;
        encoder.include_checksum(true).map_err(SealError::Encode)?;
        let counter = match content {
            Content::Rows => Counter::Rows(RowsHasher::new()),
            Content::Opaque => Counter::Opaque(0),
        };
        Ok(Self { encoder, counter, failed: false })
    }

    /// The next raw bytes; calls the sink when a chunk is full.
    ///
    /// # Errors
    /// [`SealError`]; after one, every further call is [`SealError::AlreadyFailed`].
    pub fn write(&mut self, raw: &[u8]) -> Result<(), SealError> {
        if self.failed {
            return Err(SealError::AlreadyFailed);
        }
        match &mut self.counter {
            Counter::Rows(hasher) => hasher.update(raw),
            Counter::Opaque(raw_bytes) => *raw_bytes += raw.len() as u64,
        }
        self.encoder.write_all(raw).map_err(|error| {
            self.failed = true;
            classify(error)
        })
    }

    /// Ends the object and hands the last chunk to the sink.
    ///
    /// # Errors
    /// [`SealError::Torn`] before anything that would complete the object is written; else as [`Sealer::write`].
    pub fn finish(self) -> Result<Sealed, SealError> {
        if self.failed {
            return Err(SealError::AlreadyFailed);
        }
        let content = match self.counter {
            Counter::Rows(hasher) => hasher.finish().map_err(SealError::Torn)?,
            Counter::Opaque(raw_bytes) => CopyText { raw_bytes, ..CopyText::default() },
        };
        let encrypted = self.encoder.finish().map_err(classify)?;
        let mut chunks = encrypted.finish().map_err(classify)?;
        chunks.emit().map_err(classify)?;
        let StoredObject { stored_bytes, sha256, crc32, .. } = chunks.stored.finish("");
        Ok(Sealed { content, stored_bytes, sha256, crc32 })
    }
}

/// Seals what is held in memory anyway, at [`ZSTD_LEVEL`]: globals and other small things.
///
/// # Errors
/// [`SealError`], as [`Sealer`].
pub fn seal_bytes(
    recipient: &Recipient,
    content: Content,
    raw: &[u8],
) -> Result<(Sealed, Vec<u8>), SealError> {
    let mut stored = Vec::new();
    let mut sealer = Sealer::new(recipient, ZSTD_LEVEL, content, |chunk| {
        stored.extend_from_slice(&chunk);
        Ok(())
    })?;
    sealer.write(raw)?;
    let sealed = sealer.finish()?;
    Ok((sealed, stored))
}

/// Cuts the stored bytes into chunks, and hashes them.
struct Chunks<S> {
    sink: S,
    chunk: Vec<u8>,
    stored: StoredHasher,
}

impl<S: FnMut(Bytes) -> io::Result<()>> Chunks<S> {
    fn emit(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.chunk));
        (self.sink)(chunk).map_err(|error| io::Error::other(SinkFailed(error)))
    }
}

impl<S: FnMut(Bytes) -> io::Result<()>> Write for Chunks<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.capacity() == 0 {
            self.chunk.reserve_exact(CHUNK_BYTES);
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.stored.update(&bytes[..taken]);
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK_BYTES {
            self.emit()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Marks the sink's error on its way up through age and zstd, which would retry an `Interrupted` one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SinkFailed(io::Error);

fn classify(error: io::Error) -> SealError {
    match error.downcast::<SinkFailed>() {
        Ok(SinkFailed(cause)) => SealError::Sink(cause),
        Err(other) => SealError::Encode(other),
    }
}
