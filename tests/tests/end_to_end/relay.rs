//! The snapshot outlives its holders: a relay every two seconds, on a database that is being written to.

use crate::cloud::{Cloud, connect};
use crate::source::TestSource;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const TABLES: u32 = 40;

/// Bytes of rows that take 12 seconds, however fast the machine is, and so six relays: the limit is 2 megabits per
/// second, and the local cloud's two workers have half of it each.
const LETTERS_BYTES: u32 = 1_500_000;

/// Every purse holds money that moves between them, and the sum never changes; the letters take their time.
fn schema() -> String {
    let letters = format!(
        "create table letters as select repeat('x', 1000) from generate_series(1, {LETTERS_BYTES} / 1000);"
    );
    let purses = (0..TABLES)
        .map(|n| format!("create table purse_{n} (amount bigint); insert into purse_{n} values (1000);"));
    std::iter::once(letters).chain(purses).collect()
}

async fn total(client: &tokio_postgres::Client) -> i64 {
    let sum: Vec<String> = (0..TABLES).map(|n| format!("(select sum(amount) from purse_{n})")).collect();
    let sql = format!("select ({})::bigint", sum.join(" + "));
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_of_holders_keeps_one_consistent_state_under_writes() {
    let cloud = Cloud::take();
    let policy = json!({
        "relay_seconds": 2, "test_restore": false, "copies": [], "max_parallel_jobs": 1, "bandwidth_limit_mbps": 2
    });
    let source = TestSource::create(&cloud, &schema(), policy).await;
    let stop = Arc::new(AtomicBool::new(false));
    let moves = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn(move_money(source.url.clone(), Arc::clone(&stop), Arc::clone(&moves)));

    let arn = cloud.start(&source.policy).unwrap();
    let ended = cloud.wait(&arn);
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();

    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    let sql = "select max(h.relay_number) from keepsake.snapshot_holds h \
               join keepsake.backup_executions e on e.id = h.execution_id where e.execution_id = $1";
    let holders: i32 = cloud.catalog().await.query_one(sql, &[&arn]).await.unwrap().get(0);
    println!("{holders} holders, {} writes", moves.load(Ordering::Relaxed));
    assert!(holders >= 4, "twelve seconds need more than {holders} holders of two seconds");
    assert!(moves.load(Ordering::Relaxed) > 100);
    let restored = source.restore_from(&cloud, &cloud.text("repository")).await;
    assert_eq!(total(&restored).await, i64::from(TABLES) * 1000);
}

async fn move_money(url: String, stop: Arc<AtomicBool>, moves: Arc<AtomicU64>) {
    let client = connect(&url).await;
    let mut from = 0;
    while !stop.load(Ordering::Relaxed) {
        let to = (from * 7 + 3) % TABLES;
        let sql = format!(
            "begin; update purse_{from} set amount = amount - 5; update purse_{to} set amount = amount + 5; commit"
        );
        client.batch_execute(&sql).await.unwrap();
        moves.fetch_add(1, Ordering::Relaxed);
        from = (from + 1) % TABLES;
    }
}
