//! Objects in: in one request, or in parts as they come.

use super::{
    errors::is_passing,
    multipart::{Multipart, crc32_text, crc32_value},
    parts::Parts,
    place::Place,
};
use crate::answer::Answer;
use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedPart, ServerSideEncryption},
};
use bytes::Bytes;
use keepsake_steps::ports::{ChunkReceiver, ObjectInfo, RepositoryError};
use std::sync::Arc;
use tokio::task::{JoinError, JoinSet};

/// Parts on their way at one time. With one being filled and one in the channel a stream costs four of them: 32 MiB.
const PARTS_IN_FLIGHT: usize = 2;
/// Tries while others write the same key at the same moment: S3 answers 409 only until one of them is done.
const CONFLICT_TRIES: u32 = 5;

impl Place {
    /// Writes an object in one request, only if the key is free.
    pub(crate) async fn put_new(&self, key: &str, bytes: Bytes) -> Result<ObjectInfo, RepositoryError> {
        let crc32 = crc32fast::hash(&bytes);
        for tries in 1.. {
            match self.try_put_new(key, bytes.clone(), crc32).await {
                Ok(()) => break,
                Err(answer) if is_passing(&answer) && tries < CONFLICT_TRIES => {}
                Err(answer) => return Err(self.failed_with("write", key).because(answer)),
            }
        }
        Ok(ObjectInfo { key: key.to_owned(), size_bytes: bytes.len() as u64, crc32: Some(crc32) })
    }

    async fn try_put_new(&self, key: &str, bytes: Bytes, crc32: u32) -> Result<(), Answer> {
        let request = self.client.put_object().bucket(&self.bucket).key(self.full(key)).if_none_match("*");
        let answer = request
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .checksum_crc32(crc32_text(crc32))
            .set_server_side_encryption(self.sse_kms_key.as_ref().map(|_| ServerSideEncryption::AwsKms))
            .set_ssekms_key_id(self.sse_kms_key.clone())
            .body(ByteStream::from(bytes))
            .send()
            .await;
        answer.map(|_| ()).map_err(Answer::of)
    }

    /// What S3 says about an object.
    pub(crate) async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, RepositoryError> {
        use aws_sdk_s3::types::ChecksumMode;
        let request = self.client.head_object().bucket(&self.bucket).key(self.full(key));
        let found = match request.checksum_mode(ChecksumMode::Enabled).send().await {
            Ok(found) => found,
            Err(error) => {
                let answer = Answer::of(error);
                if answer.status == 404 {
                    // The answer to HEAD does not tell a missing object from a missing bucket.
                    return self.exists().await.map(|()| None);
                }
                return Err(self.failed_with("look at", key).because(answer));
            }
        };
        let size = found.content_length().and_then(|size| u64::try_from(size).ok());
        let size_bytes =
            size.ok_or_else(|| self.failed_with("look at", key).refused("the answer has no size"))?;
        let crc32 = found.checksum_crc32().and_then(|text| crc32_value(text, found.checksum_type()));
        Ok(Some(ObjectInfo { key: key.to_owned(), size_bytes, crc32 }))
    }

    async fn exists(&self) -> Result<(), RepositoryError> {
        let answer = self.client.head_bucket().bucket(&self.bucket).send().await;
        answer.map(|_| ()).map_err(|error| self.failed("open it").by(error))
    }
}

/// Writes an object as it comes, only if the key is free.
pub(crate) async fn upload(
    place: &Arc<Place>,
    key: &str,
    chunks: ChunkReceiver,
) -> Result<ObjectInfo, RepositoryError> {
    let cut_off = |_| place.failed_with("upload", key).cut_off();
    let mut parts = Parts::new(chunks);
    let first = parts.next().await.map_err(cut_off)?;
    let Some(first) = first else { return place.put_new(key, Bytes::new()).await };
    match parts.next().await.map_err(cut_off)? {
        None => place.put_new(key, first).await,
        Some(second) => upload_parts(Multipart::begin(place, key).await?, [first, second], parts).await,
    }
}

async fn upload_parts(
    mut multipart: Multipart,
    first: [Bytes; 2],
    mut rest: Parts,
) -> Result<ObjectInfo, RepositoryError> {
    let (place, key) = (Arc::clone(&multipart.place), multipart.key.clone());
    let mut sending = Sending::new(&multipart);
    if let Err(error) = send_all(&mut sending, &multipart, first, &mut rest).await {
        // No part may be on its way any more, or its bytes stay after the abort.
        sending.tasks.shutdown().await;
        multipart.abort().await;
        return Err(error);
    }
    let (sent, size_bytes, crc32) = (sending.sent, sending.size_bytes, sending.hasher.finalize());
    multipart.complete(sent, size_bytes, Some(crc32)).await?;
    let found = place.head(&key).await?;
    let is_ours = found
        .as_ref()
        .is_some_and(|found| found.size_bytes == size_bytes && found.crc32.is_none_or(|it| it == crc32));
    found.filter(|_| is_ours).ok_or_else(|| {
        place
            .failed_with("upload", &key)
            .refused(format!("what stands there is not the {size_bytes} bytes that were sent"))
    })
}

async fn send_all(
    sending: &mut Sending,
    multipart: &Multipart,
    first: [Bytes; 2],
    rest: &mut Parts,
) -> Result<(), RepositoryError> {
    for part in first {
        sending.send(multipart, part).await?;
    }
    loop {
        // Room first, and only then the next part: memory is bounded by what is on its way.
        sending.wait_until_fewer_than(multipart, PARTS_IN_FLIGHT).await?;
        match rest.next().await {
            Ok(Some(part)) => sending.send(multipart, part).await?,
            Ok(None) => break,
            Err(_) => return Err(multipart.failed("upload").cut_off()),
        }
    }
    sending.wait_until_fewer_than(multipart, 1).await
}

/// Parts on their way, and what was counted. Dropped, it ends them.
struct Sending {
    tasks: JoinSet<Result<CompletedPart, RepositoryError>>,
    sent: Vec<CompletedPart>,
    next_number: i32,
    size_bytes: u64,
    hasher: crc32fast::Hasher,
    upload_id: String,
}

impl Sending {
    fn new(multipart: &Multipart) -> Self {
        Self {
            tasks: JoinSet::new(),
            sent: Vec::new(),
            next_number: 1,
            size_bytes: 0,
            hasher: crc32fast::Hasher::new(),
            upload_id: multipart.upload_id.clone(),
        }
    }

    async fn send(&mut self, multipart: &Multipart, part: Bytes) -> Result<(), RepositoryError> {
        multipart.check_part_number(self.next_number)?;
        self.wait_until_fewer_than(multipart, PARTS_IN_FLIGHT).await?;
        self.hasher.update(&part);
        self.size_bytes += part.len() as u64;
        let (place, key) = (Arc::clone(&multipart.place), multipart.key.clone());
        let (upload_id, number) = (self.upload_id.clone(), self.next_number);
        self.tasks.spawn(async move { send_part(&place, &key, &upload_id, number, part).await });
        self.next_number += 1;
        Ok(())
    }

    async fn wait_until_fewer_than(
        &mut self,
        multipart: &Multipart,
        limit: usize,
    ) -> Result<(), RepositoryError> {
        while self.tasks.len() >= limit {
            let died = |cause: JoinError| multipart.failed("upload a part of").unavailable(cause);
            match self.tasks.join_next().await {
                Some(part) => self.sent.push(part.map_err(died)??),
                None => break,
            }
        }
        Ok(())
    }
}

async fn send_part(
    place: &Place,
    key: &str,
    upload_id: &str,
    number: i32,
    part: Bytes,
) -> Result<CompletedPart, RepositoryError> {
    let crc32 = crc32_text(crc32fast::hash(&part));
    let request = place.client.upload_part().bucket(&place.bucket).key(place.full(key)).upload_id(upload_id);
    let answer = request
        .part_number(number)
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .checksum_crc32(&crc32)
        .body(ByteStream::from(part))
        .send()
        .await;
    let sent = answer.map_err(|error| place.failed_with("upload a part of", key).by(error))?;
    let etag = sent.e_tag().map(str::to_owned);
    Ok(CompletedPart::builder().part_number(number).set_e_tag(etag).checksum_crc32(crc32).build())
}
