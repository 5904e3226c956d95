//! Where a repository is, and how its keys become the bucket's.

use super::errors::Failed;
use crate::{Clients, answer::Answer};
use aws_sdk_s3::{Client, config::Region};
use keepsake_steps::ports::RepositoryError;

/// Sizes beyond which a store wants other calls. [`S3Limits::AWS`] holds for AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct S3Limits {
    /// Largest object, in bytes, that one call copies.
    pub single_copy_bytes: u64,
    /// Bytes per part of a larger copy.
    pub copied_part_bytes: u64,
    /// Parts per upload.
    pub parts: i32,
}

impl S3Limits {
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>, read 2026-11-20. Parts of 1 GiB
    /// copy the largest object (5 TiB) in 5,120.
    pub const AWS: Self = Self { single_copy_bytes: 5 << 30, copied_part_bytes: 1 << 30, parts: 10_000 };
}

/// A bucket and prefix, with a client of the bucket's region.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub client: Client,
    pub bucket: String,
    /// Empty, or ends with a slash.
    pub prefix: String,
    pub sse_kms_key: Option<String>,
    pub limits: S3Limits,
}

impl Place {
    /// Parses `s3://bucket/prefix` and finds out where the bucket is.
    pub(crate) async fn open(
        clients: &Clients,
        url: &str,
        sse_kms_key: Option<String>,
    ) -> Result<Self, RepositoryError> {
        let (bucket, prefix) = parse(url).ok_or_else(|| RepositoryError::Refused {
            url: url.to_owned(),
            act: "open a bucket".to_owned(),
            cause: "the URL of a bucket is s3://bucket/prefix".into(),
        })?;
        let client = in_bucket_region(clients.s3(), &bucket)
            .await
            .map_err(|answer| Failed::new(url, "open the bucket").because(answer))?;
        Ok(Self { client, bucket, prefix, sse_kms_key, limits: S3Limits::AWS })
    }

    pub(crate) fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix.trim_end_matches('/')).trim_end_matches('/').to_owned()
    }

    /// The bucket's key for one of ours.
    pub(crate) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(crate) fn failed(&self, act: &str) -> Failed {
        Failed::new(&self.url(), act)
    }

    pub(crate) fn failed_with(&self, act: &str, key: &str) -> Failed {
        Failed::new(&self.url(), &format!("{act} \"{key}\"")).with_key(key)
    }
}

/// Bucket and prefix of an `s3://` URL; the prefix is empty or ends with a slash.
pub(crate) fn parse(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("s3://")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_bucket = !bucket.is_empty()
        && bucket
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte));
    let prefix = prefix.trim_end_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    is_bucket.then(|| (bucket.to_owned(), prefix))
}

/// The client, or one like it in the region where the bucket is. S3 names that region also when it refuses.
pub(crate) async fn in_bucket_region(client: Client, bucket: &str) -> Result<Client, Answer> {
    let region = match client.head_bucket().bucket(bucket).send().await {
        Ok(found) => found.bucket_region().map(str::to_owned),
        Err(error) => {
            let answer = Answer::of(error);
            if answer.bucket_region.is_none() || answer.status == 404 || answer.is_transient {
                return Err(answer);
            }
            answer.bucket_region
        }
    };
    let current = client.config().region().map(Region::as_ref);
    match region {
        Some(region) if current != Some(region.as_str()) => {
            let config = client.config().to_builder().region(Region::new(region)).build();
            Ok(Client::from_conf(config))
        }
        _ => Ok(client),
    }
}

/// A key as it stands in the header that names the source of a copy.
pub(crate) fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes everything");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_bucket_and_perhaps_a_prefix() {
        let parsed = |url| parse(url).map(|(bucket, prefix)| format!("{bucket} {prefix}"));
        assert_eq!(parsed("s3://bucket"), Some("bucket ".to_owned()));
        assert_eq!(parsed("s3://bucket/"), Some("bucket ".to_owned()));
        assert_eq!(parsed("s3://bucket/a/b/"), Some("bucket a/b/".to_owned()));
        for wrong in ["bucket", "s3://", "s3:///a", "http://bucket", "s3://Key:Secret@bucket"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_source_of_a_copy_is_encoded_byte_by_byte() {
        assert_eq!(percent_encoded("b/ä +%.json"), "b/%C3%A4%20%2B%25.json");
    }
}
