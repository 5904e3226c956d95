//! The governor on a real server: what it sees is what the server keeps, and what it drops is gone, streamed from or not.

use super::*;
use async_trait::async_trait;
use keepsake_domain::{GovernorLimits, GovernorVerdict, Timestamp};
use keepsake_steps::govern_slot;
use keepsake_steps::ports::{Clock, GovernedSlot};
use std::time::Duration;

/// Writes WAL between the governor's two looks instead of waiting.
struct WritesMeanwhile {
    client: tokio_postgres::Client,
    bytes: u64,
}

#[async_trait]
impl Clock for WritesMeanwhile {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, _span: Duration) {
        // Only what was written out counts, and the server of the tests commits without that.
        let sql = format!(
            "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'storm', repeat('x', {}))",
            self.bytes
        );
        self.client.batch_execute(&sql).await.unwrap();
    }
}

async fn governed(db: &Database, budget: u64, written: u64) -> keepsake_steps::Governed {
    let clock = WritesMeanwhile { client: db.client().await, bytes: written };
    let limits = GovernorLimits { wal_budget_bytes: budget, ..GovernorLimits::default() };
    let governed = govern_slot(&changes_of(db), &clock, &limits, None).await;
    governed.unwrap_or_else(|error| panic!("{}", all_text(&error)))
}

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_slot_that_keeps_too_much_is_dropped_while_somebody_streams_from_it() {
    let db = Database::source().await;
    let calm = changes_of(&db);
    assert_eq!(calm.look().await.unwrap(), None, "no slot costs nothing");
    assert!(!governed(&db, 8 << 30, 0).await.dropped);

    let (changes, protection) = protected(&db).await;
    let stream = open(&changes, protection.lsn).await;
    let before = changes.look().await.unwrap().expect("a slot");
    let kept = governed(&db, 8 << 30, 5 * MIB).await;
    assert_eq!((kept.decision.clone(), kept.dropped), (GovernorVerdict::Keep, false));
    let grown = kept.look.expect("a slot").retained_bytes - before.retained_bytes;
    assert!(grown >= 5 * MIB, "5 MiB were written, and the slot keeps {grown} more");

    let dropped = governed(&db, 4 * MIB, 0).await;
    assert!(dropped.dropped, "{dropped:?}");
    assert_eq!(changes.look().await.unwrap(), None);
    assert!(changes.capture_state().await.unwrap().slot.is_none());
    assert!(!governed(&db, 4 * MIB, 0).await.dropped, "a second call finds none");
    drop(stream);
}

#[tokio::test]
async fn an_open_transaction_is_seen_with_its_age() {
    let db = Database::source().await;
    let (changes, _) = protected(&db).await;
    let mut client = db.client().await;
    let open = client.transaction().await.unwrap();
    open.batch_execute("SELECT pg_current_xact_id(), pg_sleep(1.1)").await.unwrap();
    let look = changes.look().await.unwrap().expect("a slot");
    assert!(look.oldest_transaction_seconds >= 1, "{look:?}");
}

/// Where nothing watches the schema, who drops the key of a published table waits for the next call of the governor at the
/// longest, also while no capture runs.
#[tokio::test]
async fn a_table_that_lost_its_key_is_free_at_the_governors_next_look() {
    let db = Database::source().await;
    db.run("CREATE TABLE t (n integer PRIMARY KEY); CREATE TABLE u (n integer PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    assert_eq!(governed(&db, 8 << 30, 0).await.released, [], "before anything is published");
    let (changes, _) = protected(&db).await;
    unwatched(&db).await;
    db.run("ALTER TABLE t DROP CONSTRAINT t_pkey").await;
    db.client().await.batch_execute("UPDATE t SET n = 2").await.expect_err("the case that is left");
    let released = governed(&db, 8 << 30, 0).await.released;
    assert_eq!(released.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["t"]);
    db.run("UPDATE t SET n = 3; DELETE FROM t").await;
    assert_eq!(changes.capture_state().await.unwrap().published.len(), 1);
    assert_eq!(governed(&db, 8 << 30, 0).await.released, []);
}
