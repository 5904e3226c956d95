use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use keepsake_steps::ports::{Chunk, ChunkReceiver, ChunkSender, ObjectInfo, Repository, RepositoryError};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

/// Pieces that a download is sent in: small, so that tests see several.
const PIECE_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Store {
    is_missing: bool,
    objects: BTreeMap<String, Bytes>,
    unfinished: BTreeSet<String>,
}

/// Every living store by its URL, so that one twin can copy from another as a real store does.
static STORES: OnceLock<Mutex<BTreeMap<String, Weak<Mutex<Store>>>>> = OnceLock::new();

/// The twin of a repository, in memory. For unit tests only.
#[derive(Debug)]
pub struct MemoryRepository {
    url: String,
    store: Arc<Mutex<Store>>,
}

impl MemoryRepository {
    /// An empty repository at `memory://<name>`; names must differ within one process.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::with(name, Store::default())
    }

    /// One that does not exist: every operation says so.
    #[must_use]
    pub fn missing(name: &str) -> Self {
        Self::with(name, Store { is_missing: true, ..Store::default() })
    }

    fn with(name: &str, store: Store) -> Self {
        let (url, store) = (format!("memory://{name}"), Arc::new(Mutex::new(store)));
        guard(STORES.get_or_init(Mutex::default)).insert(url.clone(), Arc::downgrade(&store));
        Self { url, store }
    }

    /// Leaves an upload behind as a killed process does.
    pub fn abandon(&self, key: &str) {
        guard(&self.store).unfinished.insert(key.to_owned());
    }

    /// Uploads that were begun by a process that is dead now; one that lives takes its own away, as real ones do.
    #[must_use]
    pub fn unfinished(&self) -> Vec<String> {
        guard(&self.store).unfinished.iter().cloned().collect()
    }

    /// Replaces an object's bytes, which no repository allows: to see that damage is found.
    pub fn corrupt(&self, key: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut store = guard(&self.store);
        let object = store.objects.get_mut(key).expect("the test damages an object that stands");
        let mut bytes = object.to_vec();
        damage(&mut bytes);
        *object = Bytes::from(bytes);
    }

    /// Removes an object behind everyone's back.
    pub fn lose(&self, key: &str) {
        guard(&self.store).objects.remove(key).expect("the test loses an object that stands");
    }

    fn open(&self) -> Result<MutexGuard<'_, Store>, RepositoryError> {
        let store = guard(&self.store);
        if store.is_missing { Err(RepositoryError::Missing { url: self.url.clone() }) } else { Ok(store) }
    }

    fn object(&self, key: &str) -> Result<Bytes, RepositoryError> {
        let found = self.open()?.objects.get(key).cloned();
        found.ok_or_else(|| RepositoryError::NotFound { url: self.url.clone(), key: key.to_owned() })
    }

    fn cut_off(&self, key: &str) -> RepositoryError {
        RepositoryError::CutOff { url: self.url.clone(), key: key.to_owned() }
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn store_at(url: &str) -> Option<Arc<Mutex<Store>>> {
    guard(STORES.get_or_init(Mutex::default)).get(url).and_then(Weak::upgrade)
}

fn info(key: &str, bytes: &Bytes) -> ObjectInfo {
    ObjectInfo { key: key.to_owned(), size_bytes: bytes.len() as u64, crc32: Some(crc32fast::hash(bytes)) }
}

#[async_trait]
impl Repository for MemoryRepository {
    fn url(&self) -> String {
        self.url.clone()
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<ObjectInfo, RepositoryError> {
        let mut store = self.open()?;
        if store.objects.contains_key(key) {
            return Err(RepositoryError::AlreadyExists { url: self.url.clone(), key: key.to_owned() });
        }
        let written = info(key, &bytes);
        store.objects.insert(key.to_owned(), bytes);
        Ok(written)
    }

    async fn upload(&self, key: &str, mut chunks: ChunkReceiver) -> Result<ObjectInfo, RepositoryError> {
        let mut bytes = BytesMut::new();
        loop {
            match chunks.recv().await {
                Some(Chunk::Data(more)) => bytes.extend_from_slice(&more),
                Some(Chunk::End) => return self.put_new(key, bytes.freeze()).await,
                None => return Err(self.cut_off(key)),
            }
        }
    }

    async fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes, RepositoryError> {
        let bytes = self.object(key)?;
        if bytes.len() as u64 > limit_bytes {
            return Err(RepositoryError::TooLarge {
                url: self.url.clone(),
                key: key.to_owned(),
                limit_bytes,
            });
        }
        Ok(bytes)
    }

    async fn download(&self, key: &str, to: ChunkSender) -> Result<(), RepositoryError> {
        let mut bytes = self.object(key)?;
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            to.send(Chunk::Data(piece)).await.map_err(|_| self.cut_off(key))?;
        }
        to.send(Chunk::End).await.map_err(|_| self.cut_off(key))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        Ok(self.open()?.objects.get(key).map(|bytes| info(key, bytes)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, RepositoryError> {
        let store = self.open()?;
        let matching = store.objects.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(matching.map(|(key, bytes)| info(key, bytes)).collect())
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, RepositoryError> {
        let store = self.open()?;
        let below = store.objects.keys().filter_map(|key| key.strip_prefix(prefix)?.split_once('/'));
        Ok(below.map(|(folder, _)| folder.to_owned()).collect::<BTreeSet<_>>().into_iter().collect())
    }

    async fn copy_from(&self, from_url: &str, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        let Some(from) = store_at(from_url) else { return Ok(None) };
        let source = Self { url: from_url.to_owned(), store: from };
        self.put_new(key, source.object(key)?).await.map(Some)
    }

    async fn sweep_unfinished(&self, prefix: &str) -> Result<u32, RepositoryError> {
        let mut store = self.open()?;
        let before = store.unfinished.len();
        store.unfinished.retain(|key| !key.starts_with(prefix));
        Ok(u32::try_from(before - store.unfinished.len()).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository_suite::RepositoryBench;

    struct Bench;

    #[async_trait]
    impl RepositoryBench for Bench {
        async fn empty(&self) -> Arc<dyn Repository> {
            Arc::new(MemoryRepository::new(&uuid::Uuid::now_v7().to_string()))
        }
        async fn missing(&self) -> Arc<dyn Repository> {
            Arc::new(MemoryRepository::missing(&uuid::Uuid::now_v7().to_string()))
        }
        async fn abandon(&self, repository: &dyn Repository, key: &str) {
            let store = store_at(&repository.url()).expect("it lives");
            guard(&store).unfinished.insert(key.to_owned());
        }
    }

    crate::repository_suite!(Bench);
}
