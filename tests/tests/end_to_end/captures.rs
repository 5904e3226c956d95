//! Captured changes by the incremental machine: to a restore of the newest state, and over a slot that was lost.

use crate::cloud::{Cloud, Ended};
use crate::source::{TestSource, rows};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub const SCHEMA: &str = "
    create table weddings (id bigint generated always as identity primary key, couple text not null);
    create table guests (id bigserial primary key, wedding bigint references weddings, name text);
    create table notes (said text);
    insert into weddings (couple) select 'couple ' || n from generate_series(1, 50) n;
    insert into guests (wedding, name) select 1 + n % 50, 'guest ' || n from generate_series(1, 2000) n;";

/// What the functions of a capture are called.
const FUNCTIONS: [&str; 3] = ["capture", "protect", "record-capture"];

fn policy() -> Value {
    json!({"test_restore": false, "copies": [], "notify_success": false, "capture_mode": "scheduled"})
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_changes_bring_a_restore_to_the_newest_state_though_every_function_ran_twice() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, policy()).await;
    let client = source.client().await;

    let first = cloud.capture(&source.policy);
    assert_eq!(first.status, "SUCCEEDED", "{first:?}");
    let full = wait_for_full(&cloud, &source, &first, 1).await;
    assert_eq!(full.status, "SUCCEEDED", "{full:?}");
    client
        .batch_execute(
            "update guests set name = upper(name) where id % 3 = 0; delete from guests where id % 7 = 0;
             insert into guests (wedding, name) select 1, 'late ' || n from generate_series(1, 500) n;
             update weddings set couple = couple || ' & dog' where id = 7",
        )
        .await
        .unwrap();
    let lost = cloud.lose_answers();
    let second = cloud.capture(&source.policy);
    let twice = lost.functions();
    drop(lost);

    assert_eq!(second.status, "SUCCEEDED", "{second:?}");
    assert_eq!(twice, BTreeSet::from(FUNCTIONS.map(str::to_owned)));
    let states = cloud.states(&second.arn);
    assert!(!states.contains(&"StartFull".to_owned()), "a full joins the changes: {states:?}");
    let (transactions, integrity, status) = captured(&cloud, &second).await;
    assert_eq!(transactions, 1, "what was written is captured, and nothing that Keepsake did itself");
    assert_eq!((integrity.as_str(), status.as_str()), ("skipped", "completed"));
    let restored = source.restore_newest(&cloud).await;
    for table in ["weddings", "guests", "notes"] {
        assert_eq!(rows(&restored, table).await, rows(&client, table).await, "{table}");
    }
    assert_eq!(held_captures(&cloud, &source).await, 0);
    source.unprotect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_change_of_the_schema_asks_for_no_full_and_a_restore_runs_it_again() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, policy()).await;
    let client = source.client().await;
    let first = cloud.capture(&source.policy);
    assert_eq!(first.status, "SUCCEEDED", "{first:?}");
    let full = wait_for_full(&cloud, &source, &first, 1).await;
    assert_eq!(full.status, "SUCCEEDED", "{full:?}");

    let histories = [
        [
            "alter table guests add column seat text",
            "update guests set seat = 'seat ' || id where id % 3 = 0",
        ],
        [
            "create table seats (id bigint primary key, guest bigint unique)",
            "insert into seats select id, id from guests where seat is not null",
        ],
    ];
    for statements in histories {
        // Each by itself: several statements in one text are one statement of many, which ends the window.
        for statement in statements {
            client.batch_execute(statement).await.unwrap();
        }
        let capture = cloud.capture(&source.policy);
        assert_eq!(capture.status, "SUCCEEDED", "{capture:?}");
        let states = cloud.states(&capture.arn);
        let begun = ["StartFull", "TellPeople"].map(|state| states.contains(&state.to_owned()));
        assert_eq!(begun, [false, false], "{statements:?}: {states:?}");
    }
    let replayed = "select sum(jsonb_array_length(c.schema_replayed))::bigint, count(c.schema_changed_at) \
                    from keepsake.change_captures c join keepsake.sources s on s.id = c.source_id where s.name = $1";
    let replayed = cloud.catalog().await.query_one(replayed, &[&source.name]).await.unwrap();
    assert_eq!((replayed.get::<_, i64>(0), replayed.get::<_, i64>(1)), (2, 0));

    let restored = source.restore_newest(&cloud).await;
    for table in ["weddings", "guests", "seats", "notes"] {
        assert_eq!(columns(&restored, table).await, columns(&client, table).await, "{table}");
        assert_eq!(rows(&restored, table).await, rows(&client, table).await, "{table}");
    }
    assert_eq!(rows(&restored, "seats").await.len(), 666);
    source.unprotect().await;
}

/// Name and type of each column, in their order.
async fn columns(client: &tokio_postgres::Client, table: &str) -> Vec<String> {
    let sql = "select attname || ' ' || format_type(atttypid, atttypmod) from pg_attribute \
               where attrelid = $1::text::regclass and attnum > 0 order by attnum";
    let columns = client.query(sql, &[&table]).await.unwrap();
    columns.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_dropped_is_a_gap_that_is_recorded_told_and_followed_by_a_full_at_once() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, policy()).await;
    let client = source.client().await;
    let first = cloud.capture(&source.policy);
    assert_eq!(first.status, "SUCCEEDED", "{first:?}");
    let full = wait_for_full(&cloud, &source, &first, 1).await;
    assert_eq!(full.status, "SUCCEEDED", "{full:?}");

    source.drop_slot().await;
    client.batch_execute("insert into guests (wedding, name) values (1, 'in the gap')").await.unwrap();
    let second = cloud.capture(&source.policy);
    assert_eq!(second.status, "SUCCEEDED", "{second:?}");
    let (subject, notice) = cloud.wait_for_notice(&second.arn);
    assert!(subject.contains("CHANGES ARE LOST"), "{subject}");
    assert!(notice["happened"].as_str().unwrap().contains("slot is gone"), "{notice}");
    let full = wait_for_full(&cloud, &source, &second, 2).await;
    assert_eq!(full.status, "SUCCEEDED", "{full:?}");
    let gaps = "select count(*) from keepsake.change_chains c join keepsake.sources s on s.id = c.source_id \
                where s.name = $1 and c.gap is not null";
    let gaps: i64 = cloud.catalog().await.query_one(gaps, &[&source.name]).await.unwrap().get(0);
    assert_eq!(gaps, 1);

    client.batch_execute("insert into guests (wedding, name) values (2, 'behind the gap')").await.unwrap();
    let third = cloud.capture(&source.policy);
    assert_eq!(third.status, "SUCCEEDED", "{third:?}");
    assert!(!cloud.states(&third.arn).contains(&"TellPeople".to_owned()), "a gap is told once");
    let restored = source.restore_newest(&cloud).await;
    assert_eq!(rows(&restored, "guests").await, rows(&client, "guests").await);
    source.unprotect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_fails_is_recorded_and_told_and_the_governor_looks_after_the_slot_meanwhile() {
    let cloud = Cloud::take();
    let source = TestSource::create(&cloud, SCHEMA, json!({"copies": [], "capture_mode": "off"})).await;
    let skipped = cloud.capture(&source.policy);
    assert_eq!(
        (skipped.status.as_str(), cloud.states(&skipped.arn).last().unwrap().as_str()),
        ("SUCCEEDED", "Skipped")
    );

    source.change(&cloud, json!({"copies": [], "capture_mode": "scheduled"}));
    let (_, place) = source.url.rsplit_once('@').unwrap();
    source.set_secret(&cloud, &format!("postgres://postgres:wrong-pa55word@{place}"));
    let failed = cloud.capture(&source.policy);
    assert_eq!(
        (failed.status.as_str(), failed.error.as_str()),
        ("FAILED", "Keepsake.Permanent"),
        "{failed:?}"
    );
    let (subject, _) = cloud.wait_for_notice(&failed.arn);
    assert!(subject.contains("CAPTURE OF CHANGES FAILED"), "{subject}");
    assert_eq!(cloud.status(&failed.arn).await.0, "failed");
    assert_eq!(held_captures(&cloud, &source).await, 0);
    source.set_secret(&cloud, &source.url);

    // Nobody captures any more, and the source writes on.
    let slot = source.slot();
    let client = source.client().await;
    let made = "select pg_create_logical_replication_slot($1, 'pgoutput')::text";
    client.query_one(made, &[&slot]).await.unwrap();
    let kept = cloud.govern(&source.policy);
    assert_eq!((&kept["decision"]["verdict"], &kept["dropped"]), (&json!("keep"), &json!(false)), "{kept}");
    // 48 MiB of log: more than half of a budget that is small from now on.
    source.change(&cloud, json!({"copies": [], "capture_mode": "scheduled", "wal_budget_bytes": 67_108_864}));
    client
        .batch_execute(
            "select pg_logical_emit_message(false, 'test', repeat('x', 1048576)) from generate_series(1, 48)",
        )
        .await
        .unwrap();
    let dropped = cloud.govern(&source.policy);
    assert_eq!(
        (&dropped["decision"]["verdict"], &dropped["dropped"]),
        (&json!("drop"), &json!(true)),
        "{dropped}"
    );
    let again = cloud.govern(&source.policy);
    assert_eq!(again["dropped"], json!(false), "{again}");
    let told = "select verdict || ' ' || (dropped_at is not null)::text from keepsake.source_slots l \
                join keepsake.sources s on s.id = l.source_id where s.name = $1";
    let told: String = cloud.catalog().await.query_one(told, &[&source.name]).await.unwrap().get(0);
    assert_eq!(told, "none true");
    assert!(cloud.notice_of(&source.name, "slot_dropped").is_some());
}

/// Waits for the full that a capture started, and for its end: there are so many of this source then.
pub async fn wait_for_full(cloud: &Cloud, source: &TestSource, capture: &Ended, number: i64) -> Ended {
    let states = cloud.states(&capture.arn);
    assert!(states.contains(&"StartFull".to_owned()), "{states:?}");
    let sql = "select count(*), max(e.execution_id collate \"C\") filter (where e.started_at = l.newest) \
               from keepsake.backup_executions e join keepsake.sources s on s.id = e.source_id \
               cross join lateral (select max(started_at) as newest from keepsake.backup_executions \
                 where source_id = s.id and backup_type = 'full') l \
               where s.name = $1 and e.backup_type = 'full'";
    let begun = std::time::Instant::now();
    let catalog = cloud.catalog().await;
    while begun.elapsed() < crate::cloud::PATIENCE {
        let row = catalog.query_one(sql, &[&source.name]).await.unwrap();
        if row.get::<_, i64>(0) == number {
            return cloud.wait(&row.get::<_, String>(1));
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("the capture started no full")
}

/// Transactions that a run captured, and how its row ended.
async fn captured(cloud: &Cloud, run: &Ended) -> (i64, String, String) {
    let sql = "select c.transactions, e.integrity_status, e.status from keepsake.change_captures c \
               join keepsake.backup_executions e on e.id = c.execution_id where e.execution_id = $1";
    let row = cloud.catalog().await.query_one(sql, &[&run.arn]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

async fn held_captures(cloud: &Cloud, source: &TestSource) -> i64 {
    let sql =
        "select count(*) from keepsake.leases where name = $1 and holder is not null and expires_at > now()";
    let lease = format!("capture/{}", source.name);
    cloud.catalog().await.query_one(sql, &[&lease]).await.unwrap().get(0)
}
