use async_trait::async_trait;
use bytes::Bytes;
use keepsake_domain::{Classified, Explanation, FailureClass};
use tokio::sync::mpsc;

/// What an upload is made of. A stream that stops without [`Chunk::End`] was cut off, and must never become an object.
#[derive(Debug)]
pub enum Chunk {
    /// The next bytes, at most 8 MiB; all but the last data chunk of an upload have exactly 8 MiB.
    Data(Bytes),
    /// The writer finished and everything it counted stands.
    End,
}

/// Sends an object's chunks.
pub type ChunkSender = mpsc::Sender<Chunk>;
/// Receives an object's chunks.
pub type ChunkReceiver = mpsc::Receiver<Chunk>;

/// A channel for one object. It holds one chunk: with one being filled and two on their way, a stream
/// costs at most 32 MiB.
#[must_use]
pub fn chunks() -> (ChunkSender, ChunkReceiver) {
    mpsc::channel(1)
}

/// An object as the store reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Key relative to the repository's prefix.
    pub key: String,
    /// Bytes.
    pub size_bytes: u64,
    /// CRC-32 of the whole object, where the store keeps one.
    pub crc32: Option<u32>,
}

/// A place that holds archives: a bucket and prefix, or a folder.
///
/// Objects are immutable: nothing here overwrites or renames. Keys are relative, with `/` between their parts, and
/// never begin with one.
#[async_trait]
pub trait Repository: Send + Sync {
    /// Where it is, for people, logs and the catalog; carries no credential.
    fn url(&self) -> String;

    /// Writes a small object whole, only if the key is free. When it returns, the bytes are durable.
    ///
    /// # Errors
    /// [`RepositoryError::AlreadyExists`] if the key is taken, whatever it holds: of many racers exactly one wins.
    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<ObjectInfo, RepositoryError>;

    /// Writes an object as it comes, only if the key is free, and makes it visible only after [`Chunk::End`].
    ///
    /// A cut stream leaves nothing visible; what was sent is removed at once where possible, and by
    /// [`Repository::sweep_unfinished`] otherwise.
    ///
    /// # Errors
    /// [`RepositoryError::CutOff`] when the sender went away before [`Chunk::End`]; otherwise as for `put_new`.
    async fn upload(&self, key: &str, chunks: ChunkReceiver) -> Result<ObjectInfo, RepositoryError>;

    /// Reads a small object whole.
    ///
    /// # Errors
    /// [`RepositoryError::NotFound`]; [`RepositoryError::TooLarge`] above `limit_bytes`.
    async fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes, RepositoryError>;

    /// Streams an object from its first byte. The sender ends with [`Chunk::End`] only after the last byte; chunks
    /// may have any size up to 8 MiB. An error in the middle comes back from the returned future.
    ///
    /// # Errors
    /// As for `get`; [`RepositoryError::CutOff`] when fewer bytes came than the object has.
    async fn download(&self, key: &str, to: ChunkSender) -> Result<(), RepositoryError>;

    /// What the store says about an object, without reading it; `None` when there is none.
    ///
    /// # Errors
    /// When the store could not answer: never taken for "none".
    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, RepositoryError>;

    /// All objects whose keys begin with `prefix`, sorted by key.
    ///
    /// # Errors
    /// When the listing could not be completed: never a part of it.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, RepositoryError>;

    /// The first `limit` objects whose keys begin with `prefix` and sort behind `after`, sorted by key; fewer only when there
    /// are no more. In a bucket it costs a request for a thousand of them, whatever else lies under the prefix; elsewhere a whole
    /// listing.
    ///
    /// # Errors
    /// When the listing could not be completed: never a part of it.
    async fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, RepositoryError> {
        let mut listed = self.list(prefix).await?;
        listed.retain(|object| object.key.as_str() > after);
        listed.truncate(limit);
        Ok(listed)
    }

    /// Names of the folders directly below `prefix`, which ends with a slash: what comes before the next slash of the keys
    /// there, each once, sorted. What lies in the folders is not listed, so it costs a page for a thousand folders. A
    /// repository in a folder may also name one that holds nothing.
    ///
    /// # Errors
    /// When the listing could not be completed: never a part of it.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, RepositoryError>;

    /// Copies one object from another repository on the store's side, under the same key, only if the key is free
    /// here. `Ok(None)` when this store cannot read that one by itself; the caller then streams.
    ///
    /// # Errors
    /// As for `put_new`.
    async fn copy_from(&self, from_url: &str, key: &str) -> Result<Option<ObjectInfo>, RepositoryError>;

    /// Removes uploads under `prefix` that were begun and never finished. Returns how many.
    ///
    /// # Errors
    /// When the store refused.
    async fn sweep_unfinished(&self, prefix: &str) -> Result<u32, RepositoryError>;
}

/// Why a repository did not do it.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// Bucket or folder does not exist.
    #[error("repository {url} does not exist")]
    Missing {
        /// Where it should be.
        url: String,
    },
    /// No such object.
    #[error("object \"{key}\" does not exist in {url}")]
    NotFound {
        /// The repository.
        url: String,
        /// The key.
        key: String,
    },
    /// The key is taken.
    #[error("object \"{key}\" already exists in {url}")]
    AlreadyExists {
        /// The repository.
        url: String,
        /// The key.
        key: String,
    },
    /// Larger than the caller can hold.
    #[error("object \"{key}\" in {url} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The repository.
        url: String,
        /// The key.
        key: String,
        /// The caller's limit.
        limit_bytes: u64,
    },
    /// The stream ended before its end.
    #[error("the stream of object \"{key}\" in {url} was cut off")]
    CutOff {
        /// The repository.
        url: String,
        /// The key.
        key: String,
    },
    /// Rights or keys are missing.
    #[error("{url} denied to {act}")]
    Denied {
        /// The repository.
        url: String,
        /// What was tried.
        act: String,
        /// What the store said.
        #[source]
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// No room.
    #[error("{url} is full: cannot {act}")]
    Full {
        /// The repository.
        url: String,
        /// What was tried.
        act: String,
    },
    /// It may pass.
    #[error("{url} did not {act}")]
    Unavailable {
        /// The repository.
        url: String,
        /// What was tried.
        act: String,
        /// What was seen.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The call itself was wrong, or the store answered what it must not.
    #[error("{url} refused to {act}")]
    Refused {
        /// The repository.
        url: String,
        /// What was tried.
        act: String,
        /// What was seen.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Classified for RepositoryError {
    fn class(&self) -> FailureClass {
        match self {
            Self::AlreadyExists { .. } => FailureClass::Conflict,
            Self::Unavailable { .. } => FailureClass::Transient,
            Self::NotFound { .. } | Self::CutOff { .. } => FailureClass::Integrity,
            Self::Missing { .. }
            | Self::TooLarge { .. }
            | Self::Denied { .. }
            | Self::Full { .. }
            | Self::Refused { .. } => FailureClass::Permanent,
        }
    }

    fn explanation(&self) -> Explanation {
        let next = match self {
            Self::Missing { url } => {
                format!("correct the repository's URL, or create {url}; if it is lost, use a copy of it")
            }
            Self::NotFound { .. } | Self::CutOff { .. } => {
                "keepsake verify --repo <URL> --deep here and on each copy; restore from one that passes"
                    .to_owned()
            }
            Self::AlreadyExists { .. } => "keepsake list --repo <URL> to see what stands there".to_owned(),
            Self::Denied { url, act, .. } => {
                format!("grant the right to {act} in {url}, or use credentials that have it, then run again")
            }
            Self::Full { url, .. } => {
                format!("free space in {url} or choose another repository, then run again")
            }
            Self::Unavailable { .. } => "run again; if it stays so, look at the store's health".to_owned(),
            Self::TooLarge { .. } | Self::Refused { .. } => {
                "read the cause in the error and correct it".to_owned()
            }
        };
        // Whoever reads and whoever writes gets this, so it promises nothing about what they were doing.
        let at_risk = match self {
            Self::NotFound { .. } | Self::CutOff { .. } => {
                "the backup of this object cannot be read from here; other backups and copies are not affected"
            }
            _ => "nothing that stands was changed; what was being done is not done",
        };
        Explanation { at_risk: at_risk.to_owned(), next }
    }
}
