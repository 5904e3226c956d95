//! The way of the bytes: a producer's rows ► zstd ► age ► repository, and back.
//!
//! Compression and encryption run on a blocking thread between two channels of one chunk each, so a stream's
//! memory is bounded whatever it carries. [`Chunk::End`] goes on only when the stage before it ended well; a stage
//! that fails drops its sender, and the next one sees a stream that was cut off.

use crate::StepError;
use crate::pace::{Pace, paced};
use crate::ports::{Chunk, ChunkReceiver, ChunkSender, Clock, Repository, RowReader, chunks};
use bytes::Bytes;
use keepsake_archive::{
    BackupIdentity, Content, CopyText, Detector, OpenError, Recipient, RowsHasher, Sealed, Sealer,
    StoredObject, open, open_rows,
};
use std::future::Future;
use std::io::{self, Read};

/// Pieces of plain text that go to a consumer.
const PLAIN_PIECE_BYTES: usize = 1 << 20;

/// How an object is sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealing<'a> {
    pub recipient: &'a Recipient,
    pub level: i32,
    pub content: Content,
}

/// Uploads what `produce` sends, sealed on the way. The object becomes visible only if all three stages ended well.
pub(crate) async fn upload_sealed<P, F>(
    repository: &dyn Repository,
    key: &str,
    sealing: Sealing<'_>,
    produce: P,
) -> Result<(StoredObject, CopyText), StepError>
where
    P: FnOnce(ChunkSender) -> F,
    F: Future<Output = Result<(), StepError>>,
{
    let (raw_sender, raw) = chunks();
    let (stored_sender, stored) = chunks();
    let (recipient, level, content) = (sealing.recipient.clone(), sealing.level, sealing.content);
    let sealer = tokio::task::spawn_blocking(move || seal(raw, &stored_sender, &recipient, level, content));
    let (produced, uploaded, sealed) =
        tokio::join!(produce(raw_sender), repository.upload(key, stored), sealer);
    let sealed = sealed.map_err(|_| StepError::WorkerDied { what: format!("sealing \"{key}\"") });
    // The first stage that failed is the cause; the others only saw a cut stream. A sealer whose receiver went away
    // says that it was the upload, also when the producer noticed it too.
    let uploaded = match (&sealed, uploaded) {
        (Ok(Err(SealFailure::ReceiverGone)), Err(upload)) => return Err(upload.into()),
        (_, uploaded) => uploaded,
    };
    produced?;
    let info = match (sealed, uploaded) {
        (Ok(Ok(_)), Err(upload)) => return Err(upload.into()),
        (Ok(Ok(sealed)), Ok(info)) => (sealed, info),
        (Ok(Err(failure)), _) => return Err(failure.into_step(key)),
        (Err(died), _) => return Err(died),
    };
    let (sealed, info) = info;
    let object = sealed.object(key);
    check_stored(&object, &info)?;
    Ok((object, sealed.content))
}

/// What the store reports must be what was sent.
pub(crate) fn check_stored(object: &StoredObject, info: &crate::ports::ObjectInfo) -> Result<(), StepError> {
    let crc32 = info.crc32.unwrap_or(object.crc32);
    let (found_by, detail) = if info.size_bytes != object.stored_bytes {
        (Detector::StoredLength, format!("{} bytes instead of {}", info.size_bytes, object.stored_bytes))
    } else if crc32 != object.crc32 {
        (Detector::StoredCrc32, format!("the store's CRC-32 {crc32:08x} instead of {:08x}", object.crc32))
    } else {
        return Ok(());
    };
    Err(StepError::found(
        keepsake_domain::FailureClass::Integrity,
        format!("object \"{}\" is corrupt, found by {found_by}: {detail}", object.key),
        "the object is not what was sent and does not count; older backups stand",
        "run the backup again; if it happens twice, look at the store",
    ))
}

enum SealFailure {
    CutOff,
    ReceiverGone,
    Seal(keepsake_archive::SealError),
}

impl SealFailure {
    fn into_step(self, key: &str) -> StepError {
        match self {
            Self::Seal(error) => error.into(),
            Self::CutOff | Self::ReceiverGone => {
                StepError::WorkerDied { what: format!("the stream of \"{key}\"") }
            }
        }
    }
}

fn seal(
    mut raw: ChunkReceiver,
    stored: &ChunkSender,
    recipient: &Recipient,
    level: i32,
    content: Content,
) -> Result<Sealed, SealFailure> {
    let sink = |bytes: Bytes| {
        stored.blocking_send(Chunk::Data(bytes)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    };
    let failed = |error| match error {
        keepsake_archive::SealError::Sink(_) => SealFailure::ReceiverGone,
        other => SealFailure::Seal(other),
    };
    let mut sealer = Sealer::new(recipient, level, content, sink).map_err(failed)?;
    loop {
        match raw.blocking_recv() {
            Some(Chunk::Data(bytes)) => sealer.write(&bytes).map_err(failed)?,
            Some(Chunk::End) => break,
            None => return Err(SealFailure::CutOff),
        }
    }
    let sealed = sealer.finish().map_err(failed)?;
    stored.blocking_send(Chunk::End).map_err(|_| SealFailure::ReceiverGone)?;
    Ok(sealed)
}

/// Downloads an object, opens and checks it, and hands the plain text to `consume`, which sees [`Chunk::End`] only
/// after every check passed.
pub(crate) async fn download_opened<T, C, F>(
    repository: &dyn Repository,
    object: &StoredObject,
    content: Option<CopyText>,
    identity: &BackupIdentity,
    consume: C,
) -> Result<T, StepError>
where
    C: FnOnce(ChunkReceiver) -> F,
    F: Future<Output = Result<T, StepError>>,
{
    let (stored_sender, stored) = chunks();
    let (plain_sender, plain) = chunks();
    let (object_owned, identity) = (object.clone(), identity.clone());
    let opener = tokio::task::spawn_blocking(move || {
        unseal(ChunkReader::new(stored), &object_owned, content, &identity, &plain_sender)
    });
    let (downloaded, opened, consumed) =
        tokio::join!(repository.download(&object.key, stored_sender), opener, consume(plain));
    let opened = opened.map_err(|_| StepError::WorkerDied { what: format!("opening \"{}\"", object.key) })?;
    match opened {
        // A consumer that went away knows why; a download that failed explains why the opener saw a cut stream.
        Ok(Opening::ReceiverGone) => consumed,
        Ok(Opening::Whole) => {
            downloaded?;
            consumed
        }
        Err(OpenError::Read { .. }) if downloaded.is_err() => Err(downloaded
            .err()
            .map_or_else(|| StepError::WorkerDied { what: "a download".to_owned() }, StepError::from)),
        Err(error) => Err(error.into()),
    }
}

enum Opening {
    Whole,
    ReceiverGone,
}

fn unseal(
    stored: ChunkReader,
    object: &StoredObject,
    content: Option<CopyText>,
    identity: &BackupIdentity,
    plain: &ChunkSender,
) -> Result<Opening, OpenError> {
    match content {
        Some(content) => pump(&mut open_rows(stored, identity, object, content)?, object, plain),
        None => pump(&mut open(stored, identity, object)?, object, plain),
    }
}

fn pump(reader: &mut impl Read, object: &StoredObject, plain: &ChunkSender) -> Result<Opening, OpenError> {
    loop {
        let mut piece = vec![0; PLAIN_PIECE_BYTES];
        let filled = fill(reader, &mut piece).map_err(|error| OpenError::from_io(&object.key, error))?;
        piece.truncate(filled);
        let ended = filled < PLAIN_PIECE_BYTES;
        if filled > 0 && plain.blocking_send(Chunk::Data(Bytes::from(piece))).is_err() {
            return Ok(Opening::ReceiverGone);
        }
        if ended {
            let told = plain.blocking_send(Chunk::End);
            return Ok(if told.is_ok() { Opening::Whole } else { Opening::ReceiverGone });
        }
    }
}

fn fill(reader: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match reader.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads chunks as bytes. A channel that closes without [`Chunk::End`] is an error, never an end of file.
struct ChunkReader {
    chunks: ChunkReceiver,
    rest: Bytes,
    ended: bool,
}

impl ChunkReader {
    fn new(chunks: ChunkReceiver) -> Self {
        Self { chunks, rest: Bytes::new(), ended: false }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Chunk::Data(bytes)) => self.rest = bytes,
                Some(Chunk::End) => self.ended = true,
                None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download was cut off")),
            }
        }
        let count = self.rest.len().min(into.len());
        into[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

/// Counts and digests rows as they come, and keeps none.
pub(crate) async fn digest_rows(mut rows: ChunkReceiver, what: &str) -> Result<CopyText, StepError> {
    let mut hasher = RowsHasher::new();
    loop {
        match rows.recv().await {
            Some(Chunk::Data(bytes)) => hasher.update(&bytes),
            Some(Chunk::End) => break,
            None => return Err(StepError::WorkerDied { what: format!("reading {what}") }),
        }
    }
    hasher.finish().map_err(|torn| StepError::Seal(keepsake_archive::SealError::Torn(torn)))
}

/// Digests all large objects of a database, as their chunks come.
pub(crate) async fn digest_large_objects(
    reader: &mut dyn RowReader,
    pace: Option<(&Pace, &dyn Clock)>,
) -> Result<CopyText, StepError> {
    let (sender, rows) = chunks();
    let read = |to: ChunkSender| async move { reader.copy_large_objects_out(&to).await };
    let (read, digested) = tokio::join!(paced(pace, read, sender), digest_rows(rows, "large objects"));
    read?;
    digested
}

/// Sends bytes that are at hand, then the end.
pub(crate) async fn send_all(to: ChunkSender, bytes: Bytes) -> Result<(), StepError> {
    let gone = || StepError::WorkerDied { what: "an upload".to_owned() };
    to.send(Chunk::Data(bytes)).await.map_err(|_| gone())?;
    to.send(Chunk::End).await.map_err(|_| gone())
}
