use crate::{
    errors::failed,
    keys::{UNFINISHED, path_of},
    reading::{self, Sent},
    unfinished::{Placing, Unfinished, files_below, sweep},
};
use async_trait::async_trait;
use bytes::Bytes;
use keepsake_steps::ports::{Chunk, ChunkReceiver, ChunkSender, ObjectInfo, Repository, RepositoryError};
use std::{
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A repository in a folder that exists. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FolderRepository {
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    root: PathBuf,
    url: String,
    placing: Placing,
}

impl FolderRepository {
    /// Opens the repository in `folder`, which a person must have made: a disk that is not mounted must not be
    /// taken for an empty repository.
    ///
    /// # Errors
    /// [`RepositoryError::Missing`]; [`RepositoryError::Denied`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, RepositoryError> {
        Self::with(folder.into(), Placing::Link)
    }

    /// Whether the text is the URL of a folder: `file://` and an absolute path. Nothing is looked at.
    #[must_use]
    pub fn is_url(text: &str) -> bool {
        text.strip_prefix("file://").is_some_and(|path| path.starts_with('/'))
    }

    /// Opens a `file:///folder` URL. What follows `file://` is taken as it stands, spaces and percent signs too.
    ///
    /// # Errors
    /// [`RepositoryError::Refused`] for any other URL; otherwise as for [`FolderRepository::open`].
    pub fn from_url(url: &str) -> Result<Self, RepositoryError> {
        match url.strip_prefix("file://") {
            Some(path) if Self::is_url(url) => Self::open(path),
            _ => Err(RepositoryError::Refused {
                url: url.to_owned(),
                act: "open a folder".to_owned(),
                cause: "the URL of a folder is file:// and an absolute path".into(),
            }),
        }
    }

    fn with(folder: PathBuf, placing: Placing) -> Result<Self, RepositoryError> {
        let root = std::path::absolute(&folder).unwrap_or(folder);
        let place = Place { url: format!("file://{}", root.display()), root, placing };
        place.exists()?;
        Ok(Self { place: Arc::new(place) })
    }

    /// Runs file operations on a thread that may wait for a disk.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Place) -> Result<T, RepositoryError> + Send + 'static,
    ) -> Result<T, RepositoryError> {
        let place = Arc::clone(&self.place);
        let url = self.place.url.clone();
        tokio::task::spawn_blocking(move || act(&place)).await.unwrap_or_else(|cause| {
            Err(RepositoryError::Unavailable {
                url,
                act: "finish its work".to_owned(),
                cause: Box::new(cause),
            })
        })
    }
}

impl Place {
    fn exists(&self) -> Result<(), RepositoryError> {
        match std::fs::metadata(&self.root) {
            Ok(facts) if facts.is_dir() => Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(failed(&self.url, "open the folder", error))
            }
            _ => Err(RepositoryError::Missing { url: self.url.clone() }),
        }
    }

    fn path(&self, key: &str) -> Result<PathBuf, RepositoryError> {
        self.exists()?;
        path_of(&self.root, &self.url, key)
    }

    fn begin(&self, key: &str) -> Result<(Unfinished, PathBuf), RepositoryError> {
        let path = self.path(key)?;
        let unfinished =
            Unfinished::create(&self.root, key).map_err(|cause| self.cannot_write(key, cause))?;
        Ok((unfinished, path))
    }

    fn finish(&self, key: &str, unfinished: Unfinished, path: &Path) -> Result<(), RepositoryError> {
        unfinished.place(path, self.placing).map_err(|cause| {
            // A name that is taken by a folder will never be free, so it is no conflict of writers.
            if cause.kind() == ErrorKind::AlreadyExists && !path.is_dir() {
                RepositoryError::AlreadyExists { url: self.url.clone(), key: key.to_owned() }
            } else {
                self.cannot_write(key, cause)
            }
        })
    }

    fn cannot_write(&self, key: &str, cause: std::io::Error) -> RepositoryError {
        // The folder may have gone while an object was on its way.
        if let Err(gone) = self.exists() {
            return gone;
        }
        failed(&self.url, format!("write \"{key}\""), cause)
    }

    fn cannot_read(&self, key: &str, cause: std::io::Error) -> RepositoryError {
        failed(&self.url, format!("read \"{key}\""), cause)
    }

    fn not_found(&self, key: &str) -> RepositoryError {
        RepositoryError::NotFound { url: self.url.clone(), key: key.to_owned() }
    }

    fn cut_off(&self, key: &str) -> RepositoryError {
        RepositoryError::CutOff { url: self.url.clone(), key: key.to_owned() }
    }

    fn put_new(&self, key: &str, bytes: &[u8]) -> Result<ObjectInfo, RepositoryError> {
        let (mut unfinished, path) = self.begin(key)?;
        unfinished.write(bytes).map_err(|cause| self.cannot_write(key, cause))?;
        self.finish(key, unfinished, &path)?;
        Ok(info(key, bytes.len() as u64))
    }

    fn upload(&self, key: &str, mut chunks: ChunkReceiver) -> Result<ObjectInfo, RepositoryError> {
        let (mut unfinished, path) = self.begin(key)?;
        let mut size_bytes = 0;
        loop {
            match chunks.blocking_recv() {
                Some(Chunk::Data(bytes)) => {
                    unfinished.write(&bytes).map_err(|cause| self.cannot_write(key, cause))?;
                    size_bytes += bytes.len() as u64;
                }
                Some(Chunk::End) => break,
                None => return Err(self.cut_off(key)),
            }
        }
        self.finish(key, unfinished, &path)?;
        Ok(info(key, size_bytes))
    }

    fn open_object(&self, key: &str) -> Result<(std::fs::File, u64), RepositoryError> {
        let opened = reading::open(&self.path(key)?).map_err(|cause| self.cannot_read(key, cause))?;
        opened.ok_or_else(|| self.not_found(key))
    }

    fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes, RepositoryError> {
        let (file, size_bytes) = self.open_object(key)?;
        if size_bytes > limit_bytes {
            return Err(RepositoryError::TooLarge {
                url: self.url.clone(),
                key: key.to_owned(),
                limit_bytes,
            });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or_default());
        file.take(limit_bytes).read_to_end(&mut bytes).map_err(|cause| self.cannot_read(key, cause))?;
        if bytes.len() as u64 != size_bytes {
            return Err(self.cut_off(key));
        }
        Ok(bytes.into())
    }

    fn download(&self, key: &str, to: &ChunkSender) -> Result<(), RepositoryError> {
        let (mut file, size_bytes) = self.open_object(key)?;
        match reading::send(&mut file, size_bytes, to).map_err(|cause| self.cannot_read(key, cause))? {
            Sent::Whole => Ok(()),
            Sent::CutOff => Err(self.cut_off(key)),
        }
    }

    fn head(&self, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        // A name that can be no key names no object here; S3 would answer the same.
        self.exists()?;
        let Ok(path) = path_of(&self.root, &self.url, key) else { return Ok(None) };
        let size_bytes = reading::size(&path).map_err(|cause| self.cannot_read(key, cause))?;
        Ok(size_bytes.map(|size_bytes| info(key, size_bytes)))
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, RepositoryError> {
        self.exists()?;
        let failed = |cause| failed(&self.url, format!("list \"{prefix}\""), cause);
        let hidden = format!("{UNFINISHED}/");
        let mut objects = Vec::new();
        for (key, path) in files_below_prefix(&self.root, prefix).map_err(failed)? {
            if key.starts_with(&hidden) || !key.starts_with(prefix) {
                continue;
            }
            if let Some(size_bytes) = reading::size(&path).map_err(failed)? {
                objects.push(info(&key, size_bytes));
            }
        }
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(objects)
    }

    fn folders(&self, prefix: &str) -> Result<Vec<String>, RepositoryError> {
        self.exists()?;
        let failed = |cause| failed(&self.url, format!("list the folders in \"{prefix}\""), cause);
        let below = prefix.trim_end_matches('/');
        if !below.is_empty() && path_of(&self.root, "", below).is_err() {
            return Ok(Vec::new());
        }
        let mut names = folders_in(&self.root.join(below)).map_err(failed)?;
        names.retain(|name| !below.is_empty() || name != UNFINISHED);
        Ok(names)
    }
}

/// Folders directly in a folder; none when it is not there.
fn folders_in(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // A name that is no text is none of ours.
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Files in the deepest folder that holds all of `prefix`; their keys are still to be compared with it.
fn files_below_prefix(root: &Path, prefix: &str) -> std::io::Result<Vec<(String, PathBuf)>> {
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    // What cannot be part of a key begins no key.
    if !folder.is_empty() && path_of(root, "", folder).is_err() {
        return Ok(Vec::new());
    }
    let below = match files_below(&root.join(folder)) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => Vec::new(),
        found => found?,
    };
    let key = |name: String| if folder.is_empty() { name } else { format!("{folder}/{name}") };
    Ok(below.into_iter().map(|(name, path)| (key(name), path)).collect())
}

/// A folder keeps no checksum; whoever needs one reads the bytes.
fn info(key: &str, size_bytes: u64) -> ObjectInfo {
    ObjectInfo { key: key.to_owned(), size_bytes, crc32: None }
}

#[async_trait]
impl Repository for FolderRepository {
    fn url(&self) -> String {
        self.place.url.clone()
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<ObjectInfo, RepositoryError> {
        let key = key.to_owned();
        self.blocking(move |place| place.put_new(&key, &bytes)).await
    }

    async fn upload(&self, key: &str, chunks: ChunkReceiver) -> Result<ObjectInfo, RepositoryError> {
        let key = key.to_owned();
        self.blocking(move |place| place.upload(&key, chunks)).await
    }

    async fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes, RepositoryError> {
        let key = key.to_owned();
        self.blocking(move |place| place.get(&key, limit_bytes)).await
    }

    async fn download(&self, key: &str, to: ChunkSender) -> Result<(), RepositoryError> {
        let key = key.to_owned();
        self.blocking(move |place| place.download(&key, &to)).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        let key = key.to_owned();
        self.blocking(move |place| place.head(&key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, RepositoryError> {
        let prefix = prefix.to_owned();
        self.blocking(move |place| place.list(&prefix)).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, RepositoryError> {
        let prefix = prefix.to_owned();
        self.blocking(move |place| place.folders(&prefix)).await
    }

    /// Always `Ok(None)`: bytes that pass through the caller are checked on their way.
    async fn copy_from(&self, _from_url: &str, _key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        Ok(None)
    }

    async fn sweep_unfinished(&self, prefix: &str) -> Result<u32, RepositoryError> {
        let prefix = prefix.to_owned();
        let swept = move |place: &Place| {
            place.exists()?;
            sweep(&place.root, &prefix)
                .map_err(|cause| failed(&place.url, "remove unfinished objects", cause))
        };
        self.blocking(swept).await
    }
}

#[cfg(test)]
mod tests;
