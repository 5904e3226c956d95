//! What the tests against a cloud have in common: they need one, and say so.
#![allow(clippy::unwrap_used, dead_code, reason = "tests; each file uses its part")]

use aws_config::{BehaviorVersion, SdkConfig};
use keepsake_aws::Clients;

/// The SDK's own view of the cloud under test, to prepare and to look behind the adapters.
pub async fn cloud() -> SdkConfig {
    assert!(
        std::env::var_os("AWS_ENDPOINT_URL").is_some(),
        "these tests need the local cloud (AWS_ENDPOINT_URL): run `cargo x test`"
    );
    aws_config::load_defaults(BehaviorVersion::v2026_01_12()).await
}

/// What the product itself would load.
pub async fn clients() -> Clients {
    let _ = cloud().await;
    Clients::load().await
}

/// A client of S3 that prepares buckets.
pub async fn s3() -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(&cloud().await).force_path_style(true).build();
    aws_sdk_s3::Client::from_conf(config)
}

/// A bucket of its own for each test.
pub async fn bucket() -> String {
    let name = format!("keepsake-{}", uuid::Uuid::now_v7());
    s3().await.create_bucket().bucket(&name).create_bucket_configuration(here()).send().await.unwrap();
    name
}

fn here() -> aws_sdk_s3::types::CreateBucketConfiguration {
    use aws_sdk_s3::types::BucketLocationConstraint;
    let region = std::env::var("AWS_REGION").or_else(|_| std::env::var("AWS_DEFAULT_REGION")).unwrap();
    aws_sdk_s3::types::CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::from(region.as_str()))
        .build()
}
