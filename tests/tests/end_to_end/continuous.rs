//! The continuous tier: functions that relay one capture, and one that dies within it.

use crate::captures::{SCHEMA, wait_for_full};
use crate::cloud::{Cloud, PATIENCE};
use crate::processes;
use crate::source::{TestSource, rows};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

fn policy(mode: &str) -> Value {
    json!({"test_restore": false, "copies": [], "notify_success": false, "capture_mode": mode,
           "capture_segment_seconds": 1})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continuous_capture_is_relayed_and_a_function_that_dies_in_it_loses_nothing() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, policy("scheduled")).await;
    let client = source.client().await;
    let first = cloud.capture(&source.policy);
    assert_eq!(first.status, "SUCCEEDED", "{first:?}");
    let full = wait_for_full(&cloud, &source, &first, 1).await;
    assert_eq!(full.status, "SUCCEEDED", "{full:?}");

    source.change(&cloud, policy("continuous"));
    let arn = cloud.start_capture(&source.policy);
    write_until_relayed(&cloud, &client, &arn, 3).await;
    kill_a_call(&cloud, &source, &client, &arn).await;
    let relayed = calls(&cloud, &arn);
    write_until_relayed(&cloud, &client, &arn, relayed + 2).await;
    assert_eq!(cloud.describe(&arn).unwrap()["status"], "RUNNING", "a continuous run goes on");
    let sql = "select c.segments from keepsake.change_captures c join keepsake.backup_executions e \
               on e.id = c.execution_id where e.execution_id = $1";
    let segments: i64 = cloud.catalog().await.query_one(sql, &[&arn]).await.unwrap().get(0);
    assert!(segments > i64::try_from(relayed).unwrap(), "{segments} segments of {relayed} calls");

    // People switch it off: the next run takes what the one that was stopped had not confirmed.
    cloud.stop(&arn).unwrap();
    assert_eq!(cloud.wait(&arn).status, "ABORTED");
    cloud.wait_for_notice(&arn);
    wait_for_idle_slot(&source, &client).await;
    source.change(&cloud, policy("scheduled"));
    let last = cloud.capture(&source.policy);
    assert_eq!(last.status, "SUCCEEDED", "{last:?}");
    assert!(!cloud.states(&last.arn).contains(&"TellPeople".to_owned()), "nothing is lost");
    let restored = source.restore_newest(&cloud).await;
    let (written, back) = (rows(&client, "guests").await, rows(&restored, "guests").await);
    assert!(written.len() > 2_000 && back == written, "{} of {} rows", back.len(), written.len());
    source.unprotect().await;
}

/// Calls of the capture's function that were begun, repeated ones once.
fn calls(cloud: &Cloud, arn: &str) -> usize {
    cloud.states(arn).iter().filter(|state| *state == "Capture").count()
}

/// Writes rows until so many calls were begun.
async fn write_until_relayed(cloud: &Cloud, client: &Client, arn: &str, wanted: usize) {
    let begun = Instant::now();
    while calls(cloud, arn) < wanted {
        assert!(begun.elapsed() < PATIENCE, "{} calls of {wanted}", calls(cloud, arn));
        let write = "insert into guests (wedding, name) values (1, 'written ' || clock_timestamp()); \
                     update guests set name = name || '.' where id % 50 = 0";
        client.batch_execute(write).await.unwrap();
    }
}

/// Kills the function while the source shows that it streams, until a call died of it: one that had just ended does not.
async fn kill_a_call(cloud: &Cloud, source: &TestSource, client: &Client, arn: &str) {
    let streams = "select active from pg_replication_slots where slot_name = $1";
    let begun = Instant::now();
    while !cloud.repeated_a_step(arn) {
        assert!(begun.elapsed() < PATIENCE, "no call died");
        let active: bool = client.query_one(streams, &[&source.slot()]).await.unwrap().get(0);
        if active {
            let functions = processes::functions().into_iter();
            let capturing = functions.filter(|(_, name)| name == "keepsake-capture");
            processes::kill(&capturing.map(|(process, _)| process).collect::<Vec<_>>());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A function that was called before its execution was stopped goes on to its end.
async fn wait_for_idle_slot(source: &TestSource, client: &Client) {
    let active = "select active from pg_replication_slots where slot_name = $1";
    let begun = Instant::now();
    while client.query_one(active, &[&source.slot()]).await.unwrap().get::<_, bool>(0) {
        assert!(begun.elapsed() < PATIENCE, "the slot is never idle");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
