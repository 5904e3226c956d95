//! Uploads in parts: begun, and then completed or aborted.

use super::{errors::Failed, place::Place};
use crate::answer::Answer;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use keepsake_steps::ports::RepositoryError;
use std::sync::Arc;

/// S3's form of a CRC-32.
pub(crate) fn crc32_text(crc32: u32) -> String {
    BASE64_STANDARD.encode(crc32.to_be_bytes())
}

/// A CRC-32 of a whole object from S3's form; a checksum of checksums has another one and gives `None`.
pub(crate) fn crc32_value(text: &str, kind: Option<&ChecksumType>) -> Option<u32> {
    let is_whole = kind.is_none_or(|kind| *kind == ChecksumType::FullObject);
    let bytes = BASE64_STANDARD.decode(text).ok().filter(|_| is_whole)?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// An upload that was begun. Dropped without an end it is aborted, as well as that can be done then; what
/// remains is found by a sweep.
pub(crate) struct Multipart {
    pub place: Arc<Place>,
    pub key: String,
    pub upload_id: String,
    /// Whether the store keeps one checksum over the whole object.
    pub keeps_crc32: bool,
    is_open: bool,
}

impl Multipart {
    pub(crate) async fn begin(place: &Arc<Place>, key: &str) -> Result<Self, RepositoryError> {
        let failed = || place.failed_with("begin upload of", key);
        let request = place.client.create_multipart_upload().bucket(&place.bucket).key(place.full(key));
        let begun = request
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .checksum_type(ChecksumType::FullObject)
            .set_server_side_encryption(place.sse_kms_key.as_ref().map(|_| ServerSideEncryption::AwsKms))
            .set_ssekms_key_id(place.sse_kms_key.clone())
            .send()
            .await
            .map_err(|error| failed().by(error))?;
        let upload_id = begun.upload_id().ok_or_else(|| failed().refused("the answer names no upload"))?;
        Ok(Self {
            place: Arc::clone(place),
            key: key.to_owned(),
            upload_id: upload_id.to_owned(),
            keeps_crc32: begun.checksum_type() == Some(&ChecksumType::FullObject),
            is_open: true,
        })
    }

    pub(crate) fn failed(&self, act: &str) -> Failed {
        self.place.failed_with(act, &self.key)
    }

    /// The limit on parts, before a part beyond it is sent.
    pub(crate) fn check_part_number(&self, number: i32) -> Result<(), RepositoryError> {
        let limit = self.place.limits.parts;
        if number <= limit {
            return Ok(());
        }
        let said = format!(
            "an upload has at most {limit} parts \
             (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html); lower the policy's part size"
        );
        Err(self.failed("upload").refused(said))
    }

    /// Makes the object visible, only if its key is free.
    pub(crate) async fn complete(
        mut self,
        mut parts: Vec<CompletedPart>,
        size_bytes: u64,
        crc32: Option<u32>,
    ) -> Result<(), RepositoryError> {
        parts.sort_by_key(CompletedPart::part_number);
        let counted = (1..).zip(&parts).all(|(number, part)| part.part_number() == Some(number));
        if !counted || parts.is_empty() {
            self.abort().await;
            return Err(self.failed("complete upload of").refused("its parts are not complete"));
        }
        let whole = crc32.filter(|_| self.keeps_crc32);
        let answer = self.request_completion(parts, size_bytes, whole).await;
        if answer.is_err() {
            self.abort().await;
        }
        self.is_open = false;
        answer
    }

    async fn request_completion(
        &self,
        parts: Vec<CompletedPart>,
        size_bytes: u64,
        crc32: Option<u32>,
    ) -> Result<(), RepositoryError> {
        let place = &self.place;
        let request =
            place.client.complete_multipart_upload().bucket(&place.bucket).key(place.full(&self.key));
        let answer = request
            .upload_id(&self.upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .if_none_match("*")
            .mpu_object_size(i64::try_from(size_bytes).unwrap_or(i64::MAX))
            .set_checksum_crc32(crc32.map(crc32_text))
            .set_checksum_type(crc32.map(|_| ChecksumType::FullObject))
            .send()
            .await;
        let Err(error) = answer else { return Ok(()) };
        let answer = Answer::of(error);
        // The upload is gone: a first try of this very call completed it and its answer was lost.
        if answer.code == "NoSuchUpload" && self.stands(size_bytes, crc32).await? {
            return Ok(());
        }
        Err(self.failed("complete upload of").because(answer))
    }

    async fn stands(&self, size_bytes: u64, crc32: Option<u32>) -> Result<bool, RepositoryError> {
        let found = self.place.head(&self.key).await?;
        Ok(found.is_some_and(|found| {
            found.size_bytes == size_bytes && crc32.is_none_or(|_| found.crc32 == crc32)
        }))
    }

    /// Removes what was sent. What cannot be removed now is found by a sweep, and by the bucket's lifecycle rule.
    pub(crate) async fn abort(&mut self) {
        self.is_open = false;
        let place = &self.place;
        let request = place.client.abort_multipart_upload().bucket(&place.bucket).key(place.full(&self.key));
        if let Err(error) = request.upload_id(&self.upload_id).send().await {
            let said = Answer::of(error);
            tracing::warn!(key = self.key, cause = %said.cause, "could not abort an upload; a sweep will");
        }
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.is_open {
            let mut abandoned = Self {
                place: Arc::clone(&self.place),
                key: std::mem::take(&mut self.key),
                upload_id: std::mem::take(&mut self.upload_id),
                keeps_crc32: self.keeps_crc32,
                is_open: false,
            };
            runtime.spawn(async move { abandoned.abort().await });
        }
    }
}
