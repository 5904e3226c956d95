//! Copies of captured changes by the incremental machine: what they are worth when nothing else is left, and what happens
//! when one cannot be made.

use crate::captures::{SCHEMA, wait_for_full};
use crate::cloud::{Cloud, PATIENCE};
use crate::source::{TestSource, rows};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn policy(more: Value) -> Value {
    let mut policy = json!({"test_restore": false, "notify_success": false, "capture_mode": "scheduled"});
    policy.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    policy
}

/// A key whose replica in the second region can open what it wrapped.
fn key_with_replica(cloud: &Cloud) -> String {
    let made = cloud.aws(&["kms", "create-key", "--multi-region"]).unwrap();
    let key = made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    cloud.aws(&["kms", "replicate-key", "--key-id", &key, "--replica-region", "eu-west-1"]).unwrap();
    key
}

/// What the catalog knows of one place where a source's changes stand.
#[derive(Debug, PartialEq)]
struct Place {
    end_lsn: Option<String>,
    rpo_seconds: Option<i64>,
    error: Option<String>,
}

async fn place(cloud: &Cloud, source: &TestSource, location: &str) -> Place {
    let sql = "select p.end_lsn::text, p.rpo_seconds, p.error_class || ': ' || p.error_message \
               from keepsake.change_positions p join keepsake.sources s on s.id = p.source_id \
               join keepsake.backup_storage_locations l on l.id = p.location_id where s.name = $1 and l.name = $2";
    let row = cloud.catalog().await.query_one(sql, &[&source.name, &location]).await.unwrap();
    Place { end_lsn: row.get(0), rpo_seconds: row.get(1), error: row.get(2) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_moment_before_a_mistake_comes_back_from_the_second_region_with_its_key_alone() {
    let cloud = Cloud::take();
    let key = key_with_replica(&cloud);
    let source = TestSource::create(&cloud, SCHEMA, policy(json!({"kms_key_id": key}))).await;
    let client = source.client().await;
    let first = cloud.capture(&source.policy);
    assert_eq!(first.status, "SUCCEEDED", "{first:?}");
    let full = wait_for_full(&cloud, &source, &first, 1).await;
    assert_eq!(full.status, "SUCCEEDED", "{full:?}");
    let write = "update guests set name = upper(name) where id % 3 = 0; update weddings set couple = couple || ' & dog'";
    client.batch_execute(write).await.unwrap();
    let here = client.query_one("select pg_current_wal_insert_lsn()::text", &[]).await.unwrap();
    let before: Vec<Vec<String>> = vec![rows(&client, "guests").await, rows(&client, "weddings").await];
    client.batch_execute("delete from guests").await.unwrap();

    let second = cloud.capture(&source.policy);

    assert_eq!(second.status, "SUCCEEDED", "{second:?}");
    let states = cloud.states(&second.arn);
    assert!(states.contains(&"ProbeRpo".to_owned()), "{states:?}");
    assert!(!states.contains(&"RecordCopyFailure".to_owned()), "{states:?}");
    let (primary, copy) =
        (place(&cloud, &source, "first-region").await, place(&cloud, &source, "second-region").await);
    assert!(primary.end_lsn.is_some() && primary.end_lsn == copy.end_lsn, "{primary:?} {copy:?}");
    assert_eq!(primary.rpo_seconds, None, "what was read back is the copy's");
    // The first run read back a copy without a full, unless the full that it started was faster.
    assert!(copy.error.as_ref().is_none_or(|error| error.contains("no full backup")), "{copy:?}");
    let rpo = copy.rpo_seconds.unwrap();
    assert!((0..PATIENCE.as_secs().cast_signed()).contains(&rpo), "{rpo} s");

    cloud.aws(&["kms", "disable-key", "--key-id", &key]).unwrap();
    let lsn: String = here.get(0);
    let restored = source.restore_in_second_region(&cloud, &["--lsn", &lsn]).await;
    let after: Vec<Vec<String>> = vec![rows(&restored, "guests").await, rows(&restored, "weddings").await];
    assert!(before[0].len() > 1000 && after == before, "{} and {} guests", before[0].len(), after[0].len());
    source.unprotect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_cannot_be_made_is_recorded_fails_no_capture_and_is_made_up_for_by_the_next() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, policy(json!({"copies": []}))).await;
    let first = cloud.capture(&source.policy);
    assert_eq!(first.status, "SUCCEEDED", "{first:?}");
    assert!(!cloud.states(&first.arn).contains(&"CopyChanges".to_owned()), "the policy has no copies");
    let full = wait_for_full(&cloud, &source, &first, 1).await;
    assert_eq!(full.status, "SUCCEEDED", "{full:?}");

    let bucket = format!("{}-late", source.name);
    let (url, region) = (format!("s3://{bucket}/archive"), "eu-west-1");
    let late = json!([{"name": bucket, "url": url, "region": region, "storage_type": "s3"}]);
    source.change(&cloud, policy(json!({"copies": [bucket], "locations": late})));
    source.client().await.batch_execute("insert into weddings (couple) values ('not copied')").await.unwrap();
    let second = cloud.capture(&source.policy);

    assert_eq!(second.status, "SUCCEEDED", "{second:?}");
    assert_eq!(cloud.status(&second.arn).await.0, "completed");
    assert!(cloud.states(&second.arn).contains(&"RecordCopyFailure".to_owned()));
    let failed = place(&cloud, &source, &bucket).await;
    assert_eq!((&failed.end_lsn, failed.rpo_seconds), (&None, None));
    assert!(failed.error.as_ref().is_some_and(|error| error.contains(&bucket)), "{failed:?}");

    let there = format!("LocationConstraint={region}");
    let create = ["s3api", "create-bucket", "--bucket", &bucket, "--region", region];
    cloud.aws(&[create.as_slice(), &["--create-bucket-configuration", &there]].concat()).unwrap();
    let full = cloud.wait(&cloud.start(&source.policy).unwrap());
    assert_eq!(full.status, "SUCCEEDED", "changes are worth something where a full stands: {full:?}");
    let third = cloud.capture(&source.policy);
    assert_eq!(third.status, "SUCCEEDED", "{third:?}");
    let states = cloud.states(&third.arn);
    assert!(states.contains(&"ProbeRpo".to_owned()) && !states.contains(&"RecordCopyFailure".to_owned()));
    let (primary, copy) =
        (place(&cloud, &source, "first-region").await, place(&cloud, &source, &bucket).await);
    assert!(copy.end_lsn.is_some() && copy.end_lsn == primary.end_lsn, "{primary:?} {copy:?}");
    assert!(copy.rpo_seconds.is_some(), "{copy:?}");
    let ours = cloud.output("ArchiveBucketName");
    assert_eq!(changes(&cloud, &source, &bucket), changes(&cloud, &source, &ours));
    source.unprotect().await;
}

/// Keys and sizes of the source's changes in a bucket.
fn changes(cloud: &Cloud, source: &TestSource, bucket: &str) -> BTreeSet<(String, u64)> {
    let prefix = format!("archive/{}/", source.name);
    let listed = cloud.aws(&["s3api", "list-objects-v2", "--bucket", bucket, "--prefix", &prefix]).unwrap();
    let objects = listed["Contents"].as_array().unwrap().iter();
    let objects = objects.map(|one| (one["Key"].as_str().unwrap().to_owned(), one["Size"].as_u64().unwrap()));
    let changes: BTreeSet<_> = objects.filter(|(key, _)| key.contains("/changes/")).collect();
    assert!(changes.len() > 3, "{changes:?}");
    changes
}
