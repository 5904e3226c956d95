//! Copies on S3's side, also from a bucket in another region.
//!
//! The copy is made only if the key is free; a store that ignores that condition is asked first. Should two copies
//! of one object then meet, they hold the same bytes: objects are immutable and their names unique. The manifest,
//! which makes a backup count, is never copied: it is written by `put_new`, of which exactly one wins.

use super::{
    multipart::Multipart,
    place::{Place, in_bucket_region, parse, percent_encoded},
};
use crate::answer::Answer;
use aws_sdk_s3::{
    config::timeout::TimeoutConfig,
    types::{ChecksumAlgorithm, CompletedPart, ServerSideEncryption},
};
use futures::{StreamExt, TryStreamExt, stream};
use keepsake_steps::ports::{ObjectInfo, RepositoryError};
use std::{sync::Arc, time::Duration};

/// One call copies up to 5 GiB and answers when it is done. Shorter than a function's 15 minutes.
const COPY_TIMEOUT: Duration = Duration::from_secs(600);
/// Parts that S3 copies at one time: it does the work, so only requests are in flight.
const COPIES_IN_FLIGHT: usize = 8;

/// The object to copy, looked at where it stands.
struct Original {
    /// Bucket and key as the header wants them.
    header: String,
    info: ObjectInfo,
}

impl Original {
    async fn look(place: &Place, from_url: &str, key: &str) -> Result<Option<Self>, RepositoryError> {
        let Some((bucket, prefix)) = parse(from_url) else { return Ok(None) };
        let client = in_bucket_region(place.client.clone(), &bucket).await;
        let client = client
            .map_err(|answer| super::errors::Failed::new(from_url, "open the bucket").because(answer))?;
        let from = Place { client, bucket, prefix, sse_kms_key: None, limits: place.limits };
        let found = from.head(key).await?;
        let info = found.ok_or_else(|| RepositoryError::NotFound { url: from.url(), key: key.to_owned() })?;
        let header = percent_encoded(&format!("{}/{}", from.bucket, from.full(key)));
        Ok(Some(Self { header, info }))
    }
}

/// Copies one object under the same key. `Ok(None)` when `from_url` is no bucket.
pub(crate) async fn copy_from(
    place: &Arc<Place>,
    from_url: &str,
    key: &str,
) -> Result<Option<ObjectInfo>, RepositoryError> {
    let Some(original) = Original::look(place, from_url, key).await? else { return Ok(None) };
    if place.head(key).await?.is_some() {
        return Err(RepositoryError::AlreadyExists { url: place.url(), key: key.to_owned() });
    }
    if original.info.size_bytes <= place.limits.single_copy_bytes {
        copy_whole(place, &original, key).await?;
    } else {
        copy_parts(place, &original, key).await?;
    }
    let copied = place.head(key).await?;
    let is_equal = copied.as_ref().is_some_and(|copied| {
        let checksums = copied.crc32.zip(original.info.crc32);
        copied.size_bytes == original.info.size_bytes && checksums.is_none_or(|(copy, first)| copy == first)
    });
    match copied.filter(|_| is_equal) {
        Some(copied) => Ok(Some(copied)),
        None => Err(place.failed_with("copy", key).refused("the copy differs from what was copied")),
    }
}

fn patient() -> aws_sdk_s3::config::Builder {
    let timeouts =
        TimeoutConfig::builder().read_timeout(COPY_TIMEOUT).operation_attempt_timeout(COPY_TIMEOUT);
    aws_sdk_s3::Config::builder().timeout_config(timeouts.build())
}

async fn copy_whole(place: &Place, original: &Original, key: &str) -> Result<(), RepositoryError> {
    let request = place.client.copy_object().bucket(&place.bucket).key(place.full(key));
    let answer = request
        .copy_source(&original.header)
        .if_none_match("*")
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .set_server_side_encryption(place.sse_kms_key.as_ref().map(|_| ServerSideEncryption::AwsKms))
        .set_ssekms_key_id(place.sse_kms_key.clone())
        .customize()
        .config_override(patient())
        .send()
        .await;
    answer.map(|_| ()).map_err(|error| place.failed_with("copy", key).by(error))
}

async fn copy_parts(place: &Arc<Place>, original: &Original, key: &str) -> Result<(), RepositoryError> {
    let mut multipart = Multipart::begin(place, key).await?;
    let size_bytes = original.info.size_bytes;
    let part_bytes = place.limits.copied_part_bytes;
    let copies = (1..).zip((0..size_bytes.div_ceil(part_bytes)).map(|index| index * part_bytes));
    let parts: Result<Vec<_>, _> = stream::iter(copies)
        .map(|(number, first)| {
            let last = (first + part_bytes).min(size_bytes) - 1;
            copy_part(&multipart, original, number, format!("bytes={first}-{last}"))
        })
        .buffer_unordered(COPIES_IN_FLIGHT)
        .try_collect()
        .await;
    match parts {
        Ok(parts) => multipart.complete(parts, size_bytes, original.info.crc32).await,
        Err(error) => {
            multipart.abort().await;
            Err(error)
        }
    }
}

async fn copy_part(
    multipart: &Multipart,
    original: &Original,
    number: i32,
    range: String,
) -> Result<CompletedPart, RepositoryError> {
    multipart.check_part_number(number)?;
    let place = &multipart.place;
    let request = place.client.upload_part_copy().bucket(&place.bucket).key(place.full(&multipart.key));
    let answer = request
        .upload_id(&multipart.upload_id)
        .part_number(number)
        .copy_source(&original.header)
        .copy_source_range(range)
        .customize()
        .config_override(patient())
        .send()
        .await;
    let copied = answer.map_err(|error| multipart.failed("copy a part of").because(Answer::of(error)))?;
    let result = copied.copy_part_result();
    Ok(CompletedPart::builder()
        .part_number(number)
        .set_e_tag(result.and_then(|part| part.e_tag()).map(str::to_owned))
        .set_checksum_crc32(result.and_then(|part| part.checksum_crc32()).map(str::to_owned))
        .build())
}
