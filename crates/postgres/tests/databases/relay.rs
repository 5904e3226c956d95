use crate::support::*;
use keepsake_domain::{Classified, FailureClass};
use keepsake_steps::ports::{Source, SourceError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn holders_that_relay_a_snapshot_see_one_state_while_it_is_written_to() {
    let source_db = Database::source().await;
    // Each transaction moves one unit, so every consistent state has the same sum.
    source_db
        .run(
            "CREATE TABLE left_side (n integer); CREATE TABLE right_side (n integer);
              INSERT INTO left_side SELECT 1 FROM generate_series(1, 5000)",
        )
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let (writer, stopped) = (source_db.client().await, stop.clone());
    let writing = tokio::spawn(async move {
        let mut moved = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            let sql = "WITH gone AS (DELETE FROM left_side WHERE ctid IN (SELECT ctid FROM left_side LIMIT 3)
                       RETURNING n) INSERT INTO right_side SELECT n FROM gone";
            moved += writer.execute(sql, &[]).await.unwrap();
        }
        moved
    });

    let source = source_at(source_db.url());
    let mut held = source.take_snapshot().await.unwrap();
    let first = held.snapshot().clone();
    let (content, _) = content_of(&source, held.name()).await;
    let mut names = vec![held.name().to_owned()];
    for _ in 0..4 {
        let next = source.take_over_snapshot(held.name()).await.unwrap();
        held.end().await.unwrap();
        held = next;
        held.check(Duration::from_secs(10)).await.unwrap();
        assert_eq!(held.snapshot(), &first);
        assert_eq!(content_of(&source, held.name()).await.0, content);
        names.push(held.name().to_owned());
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writing.await.unwrap() > 0, "nothing was written meanwhile");
    assert_eq!(content["public.left_side"].rows + content["public.right_side"].rows, 5000);
    names.dedup();
    assert_eq!(names.len(), 5);

    let now = source.take_snapshot().await.unwrap();
    assert_ne!(content_of(&source, now.name()).await.0, content, "the later state must differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_last_holder_is_gone_is_lost() {
    let source_db = Database::source().await;
    let source = source_at(source_db.url());
    let held = source.take_snapshot().await.unwrap();
    let name = held.name().to_owned();
    held.end().await.unwrap();
    let again = source.take_over_snapshot(&name).await.err().unwrap();
    assert!(matches!(again, SourceError::SnapshotLost { .. }), "{}", all_text(&again));
    let (dumped, bytes) = schema_of(&source, &name).await;
    assert!(matches!(dumped, Err(SourceError::SnapshotLost { .. })));
    assert!(bytes.is_none(), "an end was sent");
    for smuggled in ["", "x'; DROP TABLE t; --"] {
        assert!(matches!(source.reader(smuggled).await.err(), Some(SourceError::SnapshotLost { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_whose_session_was_ended_says_that_the_snapshot_is_lost() {
    let source_db = Database::source().await;
    let held = source_at(source_db.url()).take_snapshot().await.unwrap();
    source_db.run(&format!("SELECT pg_terminate_backend({})", held.backend_pid())).await;
    let mut lost = held.check(Duration::from_secs(10)).await;
    for _ in 0..100 {
        if lost.is_err() {
            break;
        }
        lost = held.check(Duration::from_secs(10)).await;
    }
    let lost = lost.unwrap_err();
    assert!(matches!(lost, SourceError::SnapshotLost { .. }), "{}", all_text(&lost));
    assert_eq!(lost.class(), FailureClass::Permanent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_rows_nobody_takes_leaves_the_server() {
    let source_db = Database::source().await;
    source_db.run("CREATE TABLE t AS SELECT i, repeat('x', 1000) v FROM generate_series(1, 200000) i").await;
    let source = source_at(source_db.url());
    let held = source.take_snapshot().await.unwrap();
    let tables = source.shape(held.name()).await.unwrap().tables;
    let part = keepsake_domain::cut(&tables, keepsake_domain::CutLimits::default()).remove(0);
    let mut reader = source.reader(held.name()).await.unwrap();
    let (to, mut from) = keepsake_steps::ports::chunks();
    let (copied, ()) = tokio::join!(
        async {
            let copied = reader.copy_out(&part, &to).await;
            drop(reader);
            copied
        },
        async move {
            from.recv().await.unwrap();
        }
    );
    assert!(matches!(copied, Err(SourceError::ReceiverGone { .. })));
    let client = source_db.client().await;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' AND state = 'active'";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(std::time::Instant::now() < deadline, "the server still sends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_table_that_lost_its_snapshot_are_refused_and_never_taken_for_all() {
    for change in [
        "TRUNCATE t",
        "VACUUM FULL t",
        "CLUSTER t USING by_n",
        "ALTER TABLE t ALTER n TYPE bigint",
        "DROP TABLE t; CREATE TABLE t (n integer)",
        "ALTER TABLE t RENAME TO t_old; CREATE TABLE t (n integer)",
    ] {
        let source_db = Database::source().await;
        source_db
            .run("CREATE TABLE t (n integer); CREATE INDEX by_n ON t (n); INSERT INTO t SELECT generate_series(1, 5000)")
            .await;
        let source = source_at(source_db.url());
        let held = source.take_snapshot().await.unwrap();
        let shape = source.shape(held.name()).await.unwrap();
        let whole = keepsake_domain::cut(&shape.tables, keepsake_domain::CutLimits::default());
        let ranges = keepsake_domain::cut(&shape.tables, fine());
        assert!(whole.len() == 1 && ranges.len() > 1, "{} and {}", whole.len(), ranges.len());
        let mut reader = source.reader(held.name()).await.unwrap();
        assert!(!rows_of(reader.as_mut(), &ranges[0]).await.is_empty());
        // The reader's own lock ends with it: another worker comes later.
        drop(reader);
        source_db.run_each(change).await;
        for part in [&whole[0], &ranges[1]] {
            let mut reader = source.reader(held.name()).await.unwrap();
            let (to, from) = keepsake_steps::ports::chunks();
            let read = async {
                let to = to;
                reader.copy_out(part, &to).await
            };
            let (read, bytes) = tokio::join!(read, collect(from));
            let refused = read.expect_err(change);
            assert!(matches!(refused, SourceError::TableChanged { .. }), "{change}: {}", all_text(&refused));
            assert_eq!(refused.class(), FailureClass::Permanent);
            assert!(bytes.is_none(), "{change}: an end was sent");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_only_changes_its_rows_or_its_definition_is_read_as_the_snapshot_shows_it() {
    let source_db = Database::source().await;
    source_db
        .run("CREATE TABLE \"A b\" (n integer); INSERT INTO \"A b\" SELECT generate_series(1, 5000)")
        .await;
    let source = source_at(source_db.url());
    let held = source.take_snapshot().await.unwrap();
    let before = content_of(&source, held.name()).await.0;
    source_db
        .run_each(
            "DELETE FROM \"A b\" WHERE n > 5; INSERT INTO \"A b\" SELECT generate_series(1, 9000);
             ALTER TABLE \"A b\" ADD m integer DEFAULT 7; VACUUM \"A b\"; ANALYZE \"A b\"; CREATE INDEX ON \"A b\" (n)",
        )
        .await;
    assert_eq!(content_of(&source, held.name()).await.0, before);
    assert_eq!(before["public.A b"].rows, 5000);
}
