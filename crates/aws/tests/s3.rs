//! The repository in S3, against a cloud.
#![allow(clippy::unwrap_used)]

mod support;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use keepsake_aws::{S3Limits, S3Repository};
use keepsake_steps::ports::{Chunk, Repository, RepositoryError, chunks};
use keepsake_testkit::repository_suite::RepositoryBench;
use std::sync::Arc;

const PART: usize = 8 * 1024 * 1024;

async fn repository(url: &str) -> S3Repository {
    S3Repository::open(&support::clients().await, url, None).await.unwrap()
}

struct Bench;

#[async_trait]
impl RepositoryBench for Bench {
    async fn empty(&self) -> Arc<dyn Repository> {
        Arc::new(repository(&format!("s3://{}/some/pre fix", support::bucket().await)).await)
    }

    async fn missing(&self) -> Arc<dyn Repository> {
        let bucket = support::bucket().await;
        let opened = repository(&format!("s3://{bucket}/a")).await;
        support::s3().await.delete_bucket().bucket(bucket).send().await.unwrap();
        Arc::new(opened)
    }

    async fn abandon(&self, repository: &dyn Repository, key: &str) {
        let url = repository.url();
        let (bucket, prefix) = url.strip_prefix("s3://").unwrap().split_once('/').unwrap();
        let (s3, key) = (support::s3().await, format!("{prefix}/{key}"));
        let begun = s3.create_multipart_upload().bucket(bucket).key(&key).send().await.unwrap();
        let part =
            s3.upload_part().bucket(bucket).key(&key).upload_id(begun.upload_id().unwrap()).part_number(1);
        part.body(ByteStream::from_static(b"half")).send().await.unwrap();
    }
}

keepsake_testkit::repository_suite!(Bench);

#[tokio::test]
async fn a_missing_bucket_and_a_wrong_url_do_not_open() {
    let clients = support::clients().await;
    let missing = S3Repository::open(&clients, "s3://keepsake-no-such-bucket/a", None).await;
    assert!(matches!(missing, Err(RepositoryError::Missing { .. })), "{missing:?}");
    let wrong = S3Repository::open(&clients, "https://bucket/a", None).await;
    assert!(matches!(wrong, Err(RepositoryError::Refused { .. })), "{wrong:?}");
}

async fn upload(repository: &S3Repository, key: &str, bytes: &Bytes) -> Result<(), RepositoryError> {
    let (to, from) = chunks();
    let mut rest = bytes.clone();
    let sender = async move {
        while !rest.is_empty() && to.send(Chunk::Data(rest.split_to(rest.len().min(PART)))).await.is_ok() {}
        let _ = to.send(Chunk::End).await;
    };
    tokio::join!(repository.upload(key, from), sender).0.map(|_| ())
}

/// Bytes that differ from part to part.
fn parts(count: u8) -> Bytes {
    (0..count).flat_map(|number| std::iter::repeat_n(number, PART)).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn an_object_too_large_for_one_copy_is_copied_in_parts() {
    let (from, to) = (support::bucket().await, support::bucket().await);
    let from = repository(&format!("s3://{from}")).await;
    let small = S3Limits { single_copy_bytes: 1_000, copied_part_bytes: PART as u64, parts: 3 };
    let to = repository(&format!("s3://{to}/copies")).await.with_limits(small);
    let bytes = parts(3).slice(..2 * PART + 77);
    upload(&from, "a b", &bytes).await.unwrap();
    let copied = to.copy_from(&from.url(), "a b").await.unwrap().unwrap();
    assert_eq!(copied.size_bytes, bytes.len() as u64);
    assert!(to.get("a b", bytes.len() as u64).await.unwrap() == bytes);
}

#[tokio::test]
async fn an_upload_of_too_many_parts_names_the_limit_and_leaves_nothing() {
    let limits = S3Limits { parts: 2, ..S3Limits::AWS };
    let repository = repository(&format!("s3://{}/a", support::bucket().await)).await.with_limits(limits);
    let refused = upload(&repository, "large", &parts(3)).await.unwrap_err();
    assert!(keepsake_domain::chain(&refused).contains("at most 2 parts"), "{refused:?}");
    assert_eq!(repository.head("large").await.unwrap(), None);
    assert_eq!(repository.sweep_unfinished("").await.unwrap(), 0);
}

#[tokio::test]
async fn every_object_carries_a_checksum_that_s3_checked() {
    let bucket = support::bucket().await;
    let repository = repository(&format!("s3://{bucket}")).await;
    repository.put_new("small", Bytes::from_static(b"small")).await.unwrap();
    upload(&repository, "large", &parts(2)).await.unwrap();
    let s3 = support::s3().await;
    for key in ["small", "large"] {
        let head =
            s3.head_object().bucket(&bucket).key(key).checksum_mode("ENABLED".into()).send().await.unwrap();
        assert!(head.checksum_crc32().is_some(), "{key}: {head:?}");
    }
    assert_eq!(repository.head("small").await.unwrap().unwrap().crc32, Some(crc32fast::hash(b"small")));
}

#[tokio::test]
async fn a_bucket_in_another_region_is_found_and_copied_from() {
    let s3 = support::s3().await;
    let name = format!("keepsake-{}", uuid::Uuid::now_v7());
    let there = aws_sdk_s3::types::CreateBucketConfiguration::builder()
        .location_constraint(aws_sdk_s3::types::BucketLocationConstraint::from("eu-west-1"))
        .build();
    let elsewhere = aws_sdk_s3::config::Builder::from(&support::cloud().await)
        .force_path_style(true)
        .region(aws_sdk_s3::config::Region::new("eu-west-1"))
        .build();
    let elsewhere = aws_sdk_s3::Client::from_conf(elsewhere);
    elsewhere.create_bucket().bucket(&name).create_bucket_configuration(there).send().await.unwrap();
    let here = support::bucket().await;
    s3.put_object().bucket(&here).key("a").body(ByteStream::from_static(b"x")).send().await.unwrap();
    let copy = repository(&format!("s3://{name}")).await;
    copy.copy_from(&format!("s3://{here}"), "a").await.unwrap().unwrap();
    assert_eq!(copy.get("a", 1).await.unwrap(), Bytes::from_static(b"x"));
}
