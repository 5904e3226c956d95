//! Objects out, whole or as they come; a connection that breaks is taken up again where it broke.

use super::place::Place;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::Bytes;
use keepsake_steps::ports::{Chunk, ChunkSender, RepositoryError};

/// Times that one download is taken up again. A store that breaks more often is not healthy enough to restore from.
const RESUMPTIONS: u32 = 3;
/// The port's largest chunk.
const CHUNK_LIMIT: usize = 8 * 1024 * 1024;
/// What a caller of `get` gets room for before the first byte came.
const FIRST_ROOM: u64 = 1024 * 1024;

/// An object that is being read.
pub(crate) struct Reading<'a> {
    place: &'a Place,
    key: &'a str,
    answer: GetObjectOutput,
    received: u64,
    resumptions: u32,
    /// Bytes of the whole object, as the first answer said.
    pub size_bytes: u64,
}

impl<'a> Reading<'a> {
    pub(crate) async fn begin(place: &'a Place, key: &'a str) -> Result<Self, RepositoryError> {
        let request = place.client.get_object().bucket(&place.bucket).key(place.full(key));
        let answer = request.send().await.map_err(|error| place.failed_with("read", key).by(error))?;
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        let size_bytes =
            size.ok_or_else(|| place.failed_with("read", key).refused("the answer has no size"))?;
        Ok(Self { place, key, answer, received: 0, resumptions: 0, size_bytes })
    }

    /// The next bytes; `None` after exactly as many as the object has.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, RepositoryError> {
        loop {
            match self.answer.body.next().await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.received += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                None if self.received == self.size_bytes => return Ok(None),
                None => self.resume("the stream ended early".into()).await?,
                Some(Err(cause)) => self.resume(cause.into()).await?,
            }
        }
    }

    async fn resume(&mut self, cause: crate::answer::Cause) -> Result<(), RepositoryError> {
        let failed = || self.place.failed_with("read", self.key);
        if self.received >= self.size_bytes {
            return Err(failed().cut_off());
        }
        if self.resumptions == RESUMPTIONS {
            return Err(failed().unavailable(cause));
        }
        self.resumptions += 1;
        tracing::info!(key = self.key, received = self.received, "a download broke and is taken up again");
        let request =
            self.place.client.get_object().bucket(&self.place.bucket).key(self.place.full(self.key));
        let answer = request
            .range(format!("bytes={}-", self.received))
            .set_if_match(self.answer.e_tag().map(str::to_owned))
            .send()
            .await;
        self.answer = answer.map_err(|error| failed().by(error))?;
        Ok(())
    }
}

impl Place {
    pub(crate) async fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes, RepositoryError> {
        let mut reading = Reading::begin(self, key).await?;
        if reading.size_bytes > limit_bytes {
            return Err(RepositoryError::TooLarge { url: self.url(), key: key.to_owned(), limit_bytes });
        }
        let room = usize::try_from(reading.size_bytes.min(FIRST_ROOM)).unwrap_or_default();
        let mut bytes = Vec::with_capacity(room);
        while let Some(more) = reading.next().await? {
            bytes.extend_from_slice(&more);
        }
        Ok(bytes.into())
    }

    pub(crate) async fn download(&self, key: &str, to: &ChunkSender) -> Result<(), RepositoryError> {
        let nobody_listens = |_| self.failed_with("read", key).cut_off();
        let mut reading = Reading::begin(self, key).await?;
        while let Some(mut bytes) = reading.next().await? {
            while !bytes.is_empty() {
                let piece = bytes.split_to(bytes.len().min(CHUNK_LIMIT));
                to.send(Chunk::Data(piece)).await.map_err(nobody_listens)?;
            }
        }
        to.send(Chunk::End).await.map_err(nobody_listens)
    }
}
