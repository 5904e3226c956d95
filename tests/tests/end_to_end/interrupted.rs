//! Runs that are interrupted from outside: a function that dies, an execution that is stopped.

use crate::cloud::{Cloud, PATIENCE};
use crate::processes;
use crate::source::{TestSource, rows};
use serde_json::json;
use std::time::{Duration, Instant};

/// Enough that uploading takes some seconds.
const SCHEMA: &str = "create table photos (id int primary key, note text);
    insert into photos select n, md5(n::text) || md5((n + 1)::text) from generate_series(1, 600000) n;";

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_in_the_middle_of_a_part_is_repeated_and_the_backup_is_whole() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, json!({"test_restore": false, "copies": []})).await;
    let arn = cloud.start(&source.policy).unwrap();
    let killed = kill_while_rows_are_read(&source).await;

    let ended = cloud.wait(&arn);

    assert!(killed > 0, "no worker was killed while it read rows");
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let restored = source.restore_from(&cloud, &cloud.text("repository")).await;
    assert_eq!(rows(&restored, "photos").await, rows(&source.client().await, "photos").await);
    cloud.assert_nothing_left(&arn, &source.policy).await;
}

/// Kills the workers as soon as the source shows that one of them reads rows.
async fn kill_while_rows_are_read(source: &TestSource) -> usize {
    let client = source.client().await;
    let reading = "select count(*) from pg_stat_activity where datname = current_database() and state = 'active' \
                   and query ilike 'copy %' and pid <> pg_backend_pid()";
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        let readers: i64 = client.query_one(reading, &[]).await.unwrap().get(0);
        let workers = processes::of("encrypt-upload");
        if readers > 0 && !workers.is_empty() {
            processes::kill(&workers);
            return workers.len();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_is_stopped_is_recorded_told_and_cleaned_up_by_the_rule() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, json!({"copies": []})).await;
    let arn = cloud.start(&source.policy).unwrap();
    cloud.wait_for_state(&arn, "TestRestore");
    // The instance is on its way now; nobody but the rule can still drop it.
    let begun = Instant::now();
    while cloud.instances().is_empty() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(100));
    }

    cloud.stop(&arn).unwrap();

    assert_eq!(cloud.wait(&arn).status, "ABORTED");
    let (subject, notice) = cloud.wait_for_notice(&arn);
    assert!(subject.contains("BACKUP FAILED"), "{subject}");
    assert!(notice["at_risk"].as_str().unwrap().contains("the backup of this run stands"), "{notice}");
    cloud.assert_nothing_left(&arn, &source.policy).await;
    assert_eq!(cloud.status(&arn).await.0, "failed");
    let again = cloud.wait(&cloud.start(&source.policy).unwrap());
    assert_eq!(again.status, "SUCCEEDED", "{again:?}");
}
