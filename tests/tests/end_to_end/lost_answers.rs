//! Every function runs twice: its first answer is lost after its work was done, and the state machine invokes it again.

use crate::cloud::Cloud;
use crate::source::{TestSource, rows};
use serde_json::json;
use std::collections::BTreeSet;

const SCHEMA: &str = "create table guests (id bigserial primary key, name text);
    create index guests_name on guests (name);
    insert into guests (name) select 'guest ' || n from generate_series(1, 20000) n;
    select lo_from_bytea(0, 'an invitation');";

/// Every function but those of failures.
const FUNCTIONS: [&str; 13] = [
    "begin",
    "hold-snapshot",
    "dump",
    "encrypt-upload",
    "release-snapshot",
    "seal",
    "replicate",
    "provision-instance",
    "restore",
    "verify-restore",
    "drop-instance",
    "record",
    "alert",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_every_function_runs_twice_ends_as_one_whose_functions_run_once() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, json!({"part_size_bytes": 65536})).await;
    let lost = cloud.lose_answers();
    let arn = cloud.start(&source.policy).unwrap();
    let ended = cloud.wait(&arn);
    let twice = lost.functions();
    drop(lost);

    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    assert_eq!(twice, BTreeSet::from(FUNCTIONS.map(str::to_owned)));
    assert_eq!(cloud.status(&arn).await.0, "completed");
    let (subject, _) = cloud.wait_for_notice(&arn);
    assert!(subject.contains("backup completed"), "{subject}");
    cloud.assert_nothing_left(&arn, &source.policy).await;
    for repository in [cloud.text("repository"), cloud.text("copy_repository")] {
        assert_eq!(source.backups(&cloud, &repository).len(), 1, "{repository}");
        let restored = source.restore_from(&cloud, &repository).await;
        assert_eq!(rows(&restored, "guests").await, rows(&source.client().await, "guests").await);
    }
}
