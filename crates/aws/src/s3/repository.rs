use super::{
    copying,
    place::{Place, S3Limits, parse},
    uploading,
};
use crate::{Clients, answer::Answer};
use async_trait::async_trait;
use aws_sdk_s3::types::MultipartUpload;
use bytes::Bytes;
use keepsake_steps::ports::{ChunkReceiver, ChunkSender, ObjectInfo, Repository, RepositoryError};
use std::sync::Arc;

/// Objects that one listing may have: what a caller holds of them stays below 200 MB. A backup has thousands.
const LISTED_OBJECTS: usize = 1_000_000;
/// A backup every hour for ten years; 88 pages.
const LISTED_FOLDERS: usize = 88_000;
/// Pages of unfinished uploads (1,000 each) that one sweep goes through; the next one finds the rest.
const SWEPT_PAGES: usize = 100;

/// A repository in an S3 bucket, under a prefix. Cheap to clone.
///
/// Bytes are checked by S3 against CRC-32s that are computed here: per request, per part, and over the whole object
/// where the store keeps a checksum of it.
#[derive(Debug, Clone)]
pub struct S3Repository {
    place: Arc<Place>,
}

impl S3Repository {
    /// Whether the text is the URL of a bucket and perhaps a prefix in it. Nothing is asked.
    #[must_use]
    pub fn is_url(text: &str) -> bool {
        parse(text).is_some()
    }

    /// Opens `s3://bucket/prefix`; the bucket may be in any region. Objects are encrypted by `sse_kms_key`, or as the
    /// bucket does by default; either way they are encrypted before they get there.
    ///
    /// # Errors
    /// [`RepositoryError::Missing`], [`RepositoryError::Denied`], [`RepositoryError::Unavailable`];
    /// [`RepositoryError::Refused`] for another URL.
    pub async fn open(
        clients: &Clients,
        url: &str,
        sse_kms_key: Option<String>,
    ) -> Result<Self, RepositoryError> {
        Ok(Self { place: Arc::new(Place::open(clients, url, sse_kms_key).await?) })
    }

    /// The same for a store with other limits than AWS.
    #[must_use]
    pub fn with_limits(self, limits: S3Limits) -> Self {
        Self { place: Arc::new(Place { limits, ..Place::clone(&self.place) }) }
    }

    /// One page of unfinished uploads, and whether another follows.
    async fn unfinished(&self, prefix: &str) -> Result<(Vec<MultipartUpload>, bool), RepositoryError> {
        let place = &self.place;
        let request = place.client.list_multipart_uploads().bucket(&place.bucket).prefix(place.full(prefix));
        let page = request.send().await.map_err(|error| place.failed("list unfinished uploads").by(error))?;
        let is_truncated = page.is_truncated() == Some(true);
        Ok((page.uploads.unwrap_or_default(), is_truncated))
    }

    /// The first `limit` objects under a prefix, behind a key. S3 lists keys in the order of their bytes.
    async fn listed(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, RepositoryError> {
        let place = &self.place;
        let request = place.client.list_objects_v2().bucket(&place.bucket).prefix(place.full(prefix));
        let request = request.set_start_after(after.map(|after| place.full(after)));
        let mut pages = request.into_paginator().send();
        let mut objects = Vec::new();
        while objects.len() < limit
            && let Some(page) = pages.next().await
        {
            let page = page.map_err(|error| place.failed("list objects").by(error))?;
            for object in page.contents() {
                let (key, size) = object
                    .key()
                    .zip(object.size())
                    .ok_or_else(|| place.failed("list objects").refused("an entry has no key or no size"))?;
                let key = key.strip_prefix(&place.prefix).unwrap_or(key).to_owned();
                let size_bytes = u64::try_from(size).unwrap_or_default();
                objects.push(ObjectInfo { key, size_bytes, crc32: None });
            }
        }
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        objects.truncate(limit);
        Ok(objects)
    }

    async fn abort(&self, upload: &MultipartUpload) -> Result<bool, RepositoryError> {
        let place = &self.place;
        let (key, id) = (upload.key().unwrap_or_default(), upload.upload_id().unwrap_or_default());
        let request = place.client.abort_multipart_upload().bucket(&place.bucket).key(key).upload_id(id);
        match request.send().await.map_err(Answer::of) {
            Ok(_) => Ok(true),
            Err(answer) if answer.code == "NoSuchUpload" => Ok(false),
            Err(answer) => Err(place.failed("abort unfinished uploads").because(answer)),
        }
    }
}

#[async_trait]
impl Repository for S3Repository {
    fn url(&self) -> String {
        self.place.url()
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<ObjectInfo, RepositoryError> {
        self.place.put_new(key, bytes).await
    }

    async fn upload(&self, key: &str, chunks: ChunkReceiver) -> Result<ObjectInfo, RepositoryError> {
        uploading::upload(&self.place, key, chunks).await
    }

    async fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes, RepositoryError> {
        self.place.get(key, limit_bytes).await
    }

    async fn download(&self, key: &str, to: ChunkSender) -> Result<(), RepositoryError> {
        self.place.download(key, &to).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        self.place.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, RepositoryError> {
        let objects = self.listed(prefix, None, LISTED_OBJECTS + 1).await?;
        if objects.len() > LISTED_OBJECTS {
            let said =
                format!("there are more than {LISTED_OBJECTS} under \"{prefix}\"; ask for a longer prefix");
            return Err(self.place.failed("list objects").refused(said));
        }
        Ok(objects)
    }

    async fn list_after(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, RepositoryError> {
        self.listed(prefix, Some(after), limit).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, RepositoryError> {
        let place = &self.place;
        let full = place.full(prefix);
        let request = place.client.list_objects_v2().bucket(&place.bucket).prefix(&full).delimiter("/");
        let mut pages = request.into_paginator().send();
        let mut folders = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| place.failed("list folders").by(error))?;
            let names = page.common_prefixes().iter().filter_map(|found| found.prefix()?.strip_prefix(&full));
            folders.extend(names.map(|name| name.trim_end_matches('/').to_owned()));
            if folders.len() > LISTED_FOLDERS {
                let said = format!("there are more than {LISTED_FOLDERS} in \"{prefix}\"");
                return Err(place.failed("list folders").refused(said));
            }
        }
        folders.sort_unstable();
        Ok(folders)
    }

    async fn copy_from(&self, from_url: &str, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        copying::copy_from(&self.place, from_url, key).await
    }

    /// Also ends uploads that are still running: only for the prefix of a run that is over. S3 cannot tell the two.
    async fn sweep_unfinished(&self, prefix: &str) -> Result<u32, RepositoryError> {
        let mut swept = 0;
        for _ in 0..SWEPT_PAGES {
            // What was aborted is gone from the list, so each page is a first page.
            let (uploads, is_truncated) = self.unfinished(prefix).await?;
            for upload in &uploads {
                swept += u32::from(self.abort(upload).await?);
            }
            if !is_truncated {
                break;
            }
        }
        Ok(swept)
    }
}
