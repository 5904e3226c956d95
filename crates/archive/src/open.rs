//! From the bytes of an object back to the raw bytes, proving on the way that nothing was lost or changed.
//!
//! Four detectors look at the same bytes: length and digests of the stored object, age's MACs, zstd's frame and
//! checksum, and for rows their count and digest ([`crate::open_rows`]). None is redundant: an object that was
//! swapped for another one of the same backup passes age and zstd.

use crate::{BackupIdentity, StoredHasher, StoredObject};
use age::{DecryptError, stream::StreamReader};
use std::fmt;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// age's header with one X25519 recipient takes about 200 bytes, and the stanza of random length that age adds
/// some hundreds more; what does not end within this is no header of ours.
const HEADER_LIMIT_BYTES: u64 = 4096;

/// A window of at most 8 MiB, which the highest level of a `Sealer` uses: an object cannot make us allocate more.
const WINDOW_LOG_MAX: u32 = 23;

/// What noticed that an object is not what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detector {
    /// The object has another length than the manifest says.
    StoredLength,
    /// The object has another SHA-256 than the manifest says.
    StoredSha256,
    /// The object has another CRC-32 than the manifest says.
    StoredCrc32,
    /// age: the header is none, or its MAC is wrong.
    AgeHeader,
    /// age: the MAC of a block is wrong, or the last block is missing.
    AgePayload,
    /// zstd: no frame, a frame that is cut off, or a wrong checksum.
    Zstd,
    /// Something follows the zstd frame.
    TrailingBytes,
    /// The rows, their bytes or their digest differ from the manifest.
    Rows,
}

impl fmt::Display for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StoredLength => "stored length",
            Self::StoredSha256 => "stored SHA-256",
            Self::StoredCrc32 => "stored CRC-32",
            Self::AgeHeader => "age header",
            Self::AgePayload => "age block",
            Self::Zstd => "zstd",
            Self::TrailingBytes => "trailing bytes",
            Self::Rows => "rows digest",
        })
    }
}

/// Why an object could not be opened. Travels inside the `io::Error` of a read; see [`OpenError::from_io`].
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The object is not what the manifest says.
    #[error("object \"{key}\" is corrupt, found by {found_by}: {detail}")]
    Integrity {
        /// Where it lies.
        key: String,
        /// What noticed it.
        found_by: Detector,
        /// What was found and what was expected.
        detail: String,
    },
    /// The object is whole, and encrypted for another key.
    #[error("object \"{key}\" is whole but not encrypted for {recipient}")]
    WrongKey {
        /// Where it lies.
        key: String,
        /// Public half of the key that was tried.
        recipient: String,
    },
    /// The repository failed to deliver.
    #[error("read object \"{key}\"")]
    Read {
        /// Where it lies.
        key: String,
        /// What the repository said.
        #[source]
        cause: io::Error,
    },
    /// An earlier read failed; what was read so far must not be used.
    #[error("read object \"{key}\": an earlier read failed")]
    AlreadyFailed {
        /// Where it lies.
        key: String,
    },
}

impl OpenError {
    pub(crate) fn integrity(key: &str, found_by: Detector, detail: impl Into<String>) -> Self {
        Self::Integrity { key: key.to_owned(), found_by, detail: detail.into() }
    }

    /// The typed error inside an `io::Error` of [`Opened`] or `RowsReader`, if it is one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }

    /// Takes the typed error out of an `io::Error`; any other becomes [`OpenError::Read`].
    #[must_use]
    pub fn from_io(key: &str, error: io::Error) -> Self {
        error.downcast().unwrap_or_else(|cause| Self::Read { key: key.to_owned(), cause })
    }

    pub(crate) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Read { cause, .. } => cause.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }
}

/// Opens one object.
///
/// Reads at most 4 KiB ahead to find age's header. When the key does not fit, the rest of the object is read to
/// tell a damaged header from a wrong key.
///
/// # Errors
/// [`OpenError`]. The errors of later reads carry one too.
pub fn open<R: Read>(
    reader: R,
    identity: &BackupIdentity,
    expected: &StoredObject,
) -> Result<Opened<R>, OpenError> {
    let key = expected.key.as_str();
    let whole = Arc::new(AtomicBool::new(false));
    let mut stored = Stored {
        reader,
        expected: expected.clone(),
        hasher: Some(StoredHasher::default()),
        whole: Arc::clone(&whole),
    };
    let mut head = Vec::new();
    let read = (&mut stored).take(HEADER_LIMIT_BYTES).read_to_end(&mut head);
    read.map_err(|error| OpenError::from_io(key, error))?;
    if let Err(refusal) = decrypt(head.as_slice(), identity) {
        return Err(explain_refusal(&refusal, stored, identity));
    }
    let encrypted = Cursor::new(head).chain(stored);
    let reader = decrypt(encrypted, identity)
        .map_err(|error| OpenError::integrity(key, Detector::AgeHeader, error.to_string()))?;
    let decrypted = Decrypted { reader, key: key.to_owned() };
    let decoder = decoder(decrypted).map_err(|error| OpenError::from_io(key, error))?;
    Ok(Opened { decoder, key: key.to_owned(), whole, state: State::Reading })
}

fn decrypt<I: Read>(input: I, identity: &BackupIdentity) -> Result<StreamReader<I>, DecryptError> {
    let identity: &dyn age::Identity = identity.age();
    age::Decryptor::new(input)?.decrypt(std::iter::once(identity))
}

type ZstdDecoder<I> = zstd::stream::read::Decoder<'static, BufReader<I>>;

fn decoder<I: Read>(input: I) -> io::Result<ZstdDecoder<I>> {
    let mut decoder = zstd::stream::read::Decoder::new(input)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// A stored object that differs from the manifest explains itself; only a whole one is a question of keys.
fn explain_refusal<R: Read>(
    refusal: &DecryptError,
    mut stored: Stored<R>,
    identity: &BackupIdentity,
) -> OpenError {
    let key = stored.expected.key.clone();
    if let Err(error) = io::copy(&mut stored, &mut io::sink()) {
        return OpenError::from_io(&key, error);
    }
    match refusal {
        DecryptError::NoMatchingKeys => {
            OpenError::WrongKey { key, recipient: identity.recipient().to_string() }
        }
        other => OpenError::integrity(&key, Detector::AgeHeader, other.to_string()),
    }
}

/// The raw bytes of one object. Its end is reported only after the whole object was read and compared with the
/// manifest; what was read before an error must not be used.
pub struct Opened<R: Read> {
    decoder: ZstdDecoder<Decrypted<R>>,
    key: String,
    whole: Arc<AtomicBool>,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Reading,
    Ended,
    Failed,
}

impl<R: Read> Opened<R> {
    /// Where the object lies.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, OpenError> {
        let read = self.decoder.read(buffer).map_err(|error| self.by(Detector::Zstd, error))?;
        if read == 0 {
            self.check_end()?;
        }
        Ok(read)
    }

    /// The frame is over: nothing may follow, and every stored byte must have been seen.
    fn check_end(&mut self) -> Result<(), OpenError> {
        let rest = self.decoder.get_mut().read(&mut [0; 1]);
        if rest.map_err(|error| self.by(Detector::AgePayload, error))? > 0 {
            let detail = "bytes follow the zstd frame";
            return Err(OpenError::integrity(&self.key, Detector::TrailingBytes, detail));
        }
        if self.whole.load(Ordering::Acquire) {
            Ok(())
        } else {
            let detail = "the stream ended before the object did";
            Err(OpenError::integrity(&self.key, Detector::StoredLength, detail))
        }
    }

    fn by(&self, found_by: Detector, error: io::Error) -> OpenError {
        error.downcast().unwrap_or_else(|error| OpenError::integrity(&self.key, found_by, error.to_string()))
    }
}

impl<R: Read> Read for Opened<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.state {
            State::Ended => return Ok(0),
            State::Failed => return Err(OpenError::AlreadyFailed { key: self.key.clone() }.into_io()),
            State::Reading if buffer.is_empty() => return Ok(0),
            State::Reading => {}
        }
        let read = self.next(buffer);
        self.state = match read {
            Ok(0) => State::Ended,
            Ok(_) => State::Reading,
            Err(_) => State::Failed,
        };
        read.map_err(OpenError::into_io)
    }
}

/// What age gives back; its own errors are typed here, others pass.
struct Decrypted<R: Read> {
    reader: StreamReader<Chain<Cursor<Vec<u8>>, Stored<R>>>,
    key: String,
}

impl<R: Read> Read for Decrypted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| {
            if OpenError::of(&error).is_some() {
                return error;
            }
            OpenError::integrity(&self.key, Detector::AgePayload, error.to_string()).into_io()
        })
    }
}

/// The stored bytes, hashed as they are read and compared with the manifest before their end is passed on.
struct Stored<R> {
    reader: R,
    expected: StoredObject,
    /// `None` once the end was compared.
    hasher: Option<StoredHasher>,
    whole: Arc<AtomicBool>,
}

impl<R: Read> Stored<R> {
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn count(&mut self, bytes: &[u8]) -> Result<(), OpenError> {
        let Some(hasher) = &mut self.hasher else { return Ok(()) };
        hasher.update(bytes);
        if hasher.stored_bytes() > self.expected.stored_bytes {
            let detail = format!("more than {} bytes", self.expected.stored_bytes);
            return Err(OpenError::integrity(&self.expected.key, Detector::StoredLength, detail));
        }
        if bytes.is_empty() {
            let hasher = self.hasher.take().unwrap_or_default();
            hasher.check(&self.expected)?;
            self.whole.store(true, Ordering::Release);
        }
        Ok(())
    }
}

impl<R: Read> Read for Stored<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.hasher.is_none() || buffer.is_empty() {
            return Ok(0);
        }
        let read =
            self.next(buffer).map_err(|error| OpenError::from_io(&self.expected.key, error).into_io())?;
        self.count(&buffer[..read]).map_err(OpenError::into_io)?;
        Ok(read)
    }
}
