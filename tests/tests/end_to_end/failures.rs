//! Runs that must fail: loudly, with the right class, and leaving nothing half-done.

use crate::cloud::{Cloud, Ended, PATIENCE};
use crate::source::TestSource;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Transaction};

const SCHEMA: &str = "create table vendors (id int primary key, name text);
    insert into vendors select n, 'vendor ' || n from generate_series(1, 2000) n;";

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_without_the_password_and_the_next_run_succeeds() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, json!({"test_restore": false})).await;
    let (scheme, rest) = source.url.split_once("postgres:").unwrap();
    let (_, place) = rest.rsplit_once('@').unwrap();
    source.set_secret(&cloud, &format!("{scheme}postgres://postgres:wrong-pa55word@{place}"));

    let ended = cloud.wait(&cloud.start(&source.policy).unwrap());

    assert_eq!((ended.status.as_str(), ended.error.as_str()), ("FAILED", "Keepsake.Permanent"), "{ended:?}");
    assert!(ended.cause.contains("refused the login"), "{ended:?}");
    let (subject, notice) = cloud.wait_for_notice(&ended.arn);
    assert!(subject.contains("BACKUP FAILED"), "{subject}");
    let everything = format!("{ended:?} {notice} {:?}", cloud.status(&ended.arn).await);
    assert!(!everything.contains("pa55word"), "{everything}");
    assert_eq!(cloud.status(&ended.arn).await.0, "failed");
    cloud.assert_nothing_left(&ended.arn, &source.policy).await;
    assert_eq!(source.backups(&cloud, &cloud.text("repository")), Vec::<String>::new());

    source.set_secret(&cloud, &source.url);
    let ended = cloud.wait(&cloud.start(&source.policy).unwrap());
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_while_one_runs_is_refused_and_disturbs_nothing() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, json!({"test_restore": false})).await;
    let first = cloud.start(&source.policy).unwrap();
    cloud.wait_for_state(&first, "DumpOnHeldSnapshot");

    let second = cloud.wait(&cloud.start(&source.policy).unwrap());
    let first = cloud.wait(&first);

    assert_eq!(
        (second.status.as_str(), second.error.as_str()),
        ("FAILED", "Keepsake.Conflict"),
        "{second:?}"
    );
    assert!(second.cause.contains(&first.arn), "the holder is named: {second:?}");
    assert_eq!(first.status, "SUCCEEDED", "{first:?}");
    assert_eq!(source.backups(&cloud, &cloud.text("repository")).len(), 1);
    let (_, notice) = cloud.wait_for_notice(&second.arn);
    assert_eq!(notice["severity"], "warning");
    cloud.assert_nothing_left(&first.arn, &source.policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_denied_is_told_as_such_before_and_after_the_seal() {
    let cloud = Cloud::take();
    let made = cloud.aws(&["kms", "create-key"]).unwrap();
    let key = made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let overrides = json!({"kms_key_id": key, "copies": []});
    let source = TestSource::create(&cloud, SCHEMA, overrides).await;

    cloud.aws(&["kms", "disable-key", "--key-id", &key]).unwrap();
    let ended = cloud.wait(&cloud.start(&source.policy).unwrap());
    assert_denied(&cloud, &ended, "denied to encrypt").await;
    assert_eq!(source.backups(&cloud, &cloud.text("repository")), Vec::<String>::new());
    cloud.assert_nothing_left(&ended.arn, &source.policy).await;

    cloud.aws(&["kms", "enable-key", "--key-id", &key]).unwrap();
    let arn = cloud.start(&source.policy).unwrap();
    cloud.wait_for_state(&arn, "TestRestore");
    cloud.aws(&["kms", "disable-key", "--key-id", &key]).unwrap();
    let ended = cloud.wait(&arn);
    assert_denied(&cloud, &ended, "denied to decrypt").await;
    assert_eq!(source.backups(&cloud, &cloud.text("repository")).len(), 1, "the backup itself stands");
    cloud.assert_nothing_left(&ended.arn, &source.policy).await;
}

async fn assert_denied(cloud: &Cloud, ended: &Ended, words: &str) {
    assert_eq!((ended.status.as_str(), ended.error.as_str()), ("FAILED", "Keepsake.Permanent"), "{ended:?}");
    for part in [words, "At risk: ", "Next: "] {
        assert!(ended.cause.contains(part), "{part}: {ended:?}");
    }
    let (status, class, _) = cloud.status(&ended.arn).await;
    assert_eq!((status.as_str(), class.as_deref()), ("failed", Some("Permanent")));
    assert_eq!(cloud.wait_for_notice(&ended.arn).1["severity"], "critical");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_damaged_after_the_seal_fails_the_run_and_drops_the_instance() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, json!({"copies": []})).await;
    let arn = cloud.start(&source.policy).unwrap();
    let mut catalog = cloud.catalog().await;
    let held = hold_the_sealed_backup(&mut catalog, &arn).await;
    flip_a_byte_of_a_part(&cloud, &source);
    held.rollback().await.unwrap();

    let ended = cloud.wait(&arn);

    assert_eq!((ended.status.as_str(), ended.error.as_str()), ("FAILED", "Keepsake.Integrity"), "{ended:?}");
    let (status, class, message) = cloud.status(&arn).await;
    assert_eq!((status.as_str(), class.as_deref()), ("failed", Some("Integrity")), "{message:?}");
    let (_, notice) = cloud.wait_for_notice(&arn);
    assert_eq!(notice["severity"], "critical");
    let sql = "select t.verdict from keepsake.backup_tests t join keepsake.backup_executions e on e.backup_id = t.snapshot_id \
               where e.execution_id = $1 and t.test_type = 'restore_test'";
    let verdict: String = cloud.catalog().await.query_one(sql, &[&arn]).await.unwrap().get(0);
    assert_eq!(verdict, "failed");
    cloud.assert_nothing_left(&arn, &source.policy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_never_available_is_given_up_deleted_and_told() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, json!({"copies": []})).await;
    let arn = cloud.start(&source.policy).unwrap();
    cloud.wait_for_state(&arn, "DumpOnHeldSnapshot");
    let sql = "select backup_id::text from keepsake.backup_executions where execution_id = $1";
    let backup_id: String = cloud.catalog().await.query_one(sql, &[&arn]).await.unwrap().get(0);
    take_the_place_of_the_instance(&cloud, &backup_id);

    let ended = cloud.wait(&arn);

    assert_eq!((ended.status.as_str(), ended.error.as_str()), ("FAILED", "Keepsake.Permanent"), "{ended:?}");
    for words in ["still not available after", "At risk: ", "Next: "] {
        assert!(ended.cause.contains(words), "{words}: {ended:?}");
    }
    assert_eq!(cloud.status(&arn).await.0, "failed");
    assert_eq!(cloud.wait_for_notice(&arn).1["severity"], "critical");
    assert_eq!(source.backups(&cloud, &cloud.text("repository")), [backup_id], "the backup itself stands");
    cloud.assert_nothing_left(&arn, &source.policy).await;
}

/// Makes the run's instance before the run does, of a class that is never ready.
fn take_the_place_of_the_instance(cloud: &Cloud, backup_id: &str) {
    let name = format!("keepsake-test-{backup_id}");
    let tag = format!("Key=keepsake:backup-id,Value={backup_id}");
    let instance = ["rds", "create-db-instance", "--db-instance-identifier", &name];
    let kind = ["--engine", "postgres", "--engine-version", "15", "--db-instance-class", "db.never.ready"];
    let owner =
        ["--allocated-storage", "20", "--master-username", "keepsake", "--manage-master-user-password"];
    let tags = ["--tags", "Key=keepsake:purpose,Value=test-restore", &tag];
    cloud.aws(&[&instance[..], &kind, &owner, &tags].concat()).unwrap();
}

/// Replaces one part by itself with one bit changed, as a damaged disk or a hostile writer would.
/// Waits until the run is sealed and locks its row. Whoever opens the test of it refers to that row, so nothing is
/// restored before the lock is gone.
async fn hold_the_sealed_backup<'a>(catalog: &'a mut Client, arn: &str) -> Transaction<'a> {
    let held = catalog.transaction().await.unwrap();
    let sql = "select from keepsake.backup_snapshots b join keepsake.backup_executions e on e.backup_id = b.id \
               where e.execution_id = $1 for update of b";
    let begun = Instant::now();
    while held.query_opt(sql, &[&arn]).await.unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "execution {arn} was never sealed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    held
}

fn flip_a_byte_of_a_part(cloud: &Cloud, source: &TestSource) {
    let bucket = cloud.output("ArchiveBucketName");
    let prefix = format!("archive/{}/", source.name);
    let listed = cloud.aws(&["s3api", "list-objects-v2", "--bucket", &bucket, "--prefix", &prefix]).unwrap();
    let keys = listed["Contents"].as_array().unwrap().iter().map(|object| object["Key"].as_str().unwrap());
    let key = keys.into_iter().find(|key| key.contains("/data/")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("part");
    let path = file.to_str().unwrap();
    cloud.aws(&["s3api", "get-object", "--bucket", &bucket, "--key", key, path]).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    cloud.aws(&["s3api", "put-object", "--bucket", &bucket, "--key", key, "--body", path]).unwrap();
}
