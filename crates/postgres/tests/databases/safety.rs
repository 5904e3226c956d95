//! What a backup costs its source, on a real server: locks, timeouts, connections, waiting statements.

use crate::support::*;
use keepsake_domain::{BackupId, CutLimits, PartPlan, cut};
use keepsake_postgres::{PgBin, PostgresSource};
use keepsake_steps::ports::{
    Chunk, ChunkReceiver, GiveWay, HeldSnapshot, Provider, Source, SourceError, Waiting, chunks,
};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// A busy machine may take this long until a session is seen to wait, or to have ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// With a name of its own, as each run's sessions have.
fn source_of_a_run(url: keepsake_domain::ConnectionUrl) -> (PostgresSource, String) {
    let id = BackupId(uuid::Uuid::now_v7());
    (source_at(url).of_run(id), format!("keepsake {id}"))
}

/// The table's rows are far more than sockets hold, so a copy that nobody reads goes on until it is read.
async fn with_a_big_table() -> Database {
    let db = Database::source().await;
    db.run("CREATE TABLE big AS SELECT i, repeat('x', 1000) v FROM generate_series(1, 60000) i").await;
    db
}

async fn part_of(source: &dyn Source, held: &dyn HeldSnapshot, table: &str) -> PartPlan {
    let tables = source.shape(held.name()).await.unwrap().tables;
    let parts = cut(&tables, CutLimits::default());
    parts.into_iter().find(|part| part.table.name == table).unwrap()
}

/// Locks on tables and the like that sessions of this name hold, as kinds of lock.
async fn locks(client: &Client, label: &str) -> Vec<String> {
    let sql = "SELECT DISTINCT l.mode FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE a.application_name LIKE $1 || '%' AND l.locktype NOT IN ('virtualxid') ORDER BY 1";
    client.query(sql, &[&label]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// The copy's first piece; from then on it waits for somebody to read.
async fn begun(from: &mut ChunkReceiver) {
    assert!(matches!(from.recv().await, Some(Chunk::Data(_))));
}

async fn drained(mut from: ChunkReceiver) {
    while from.recv().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_needs_no_lock_but_access_share() {
    let db = Database::source().await;
    db.run(
        "CREATE TABLE plain (id serial PRIMARY KEY, v text); INSERT INTO plain (v) SELECT 'x' FROM generate_series(1, 999);
         CREATE TABLE parted (n integer) PARTITION BY RANGE (n);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10); INSERT INTO parted VALUES (1);
         CREATE MATERIALIZED VIEW matview AS SELECT count(*) FROM plain; CREATE VIEW looks AS SELECT * FROM plain;
         CREATE UNLOGGED TABLE unlogged (n integer); SELECT lo_from_bytea(0, 'large')",
    )
    .await;
    // EXCLUSIVE conflicts with every lock but ACCESS SHARE: whatever more we asked for would wait, and time out.
    let user = db.client().await;
    user.batch_execute("BEGIN; LOCK TABLE plain, parted, parted_1, unlogged IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let (source, label) = source_of_a_run(db.url());
    source.preflight(6).await.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    let held = source.take_snapshot().await.unwrap();
    let (content, _) = content_of(&source, held.name()).await;
    assert_eq!(content["public.plain"].rows, 999);
    source.reader(held.name()).await.unwrap().sequences().await.unwrap();
    for large_objects in [false, true] {
        let (source, name) = (&source, held.name());
        let dumped = collected(|to| async move {
            match large_objects {
                false => source.dump_schema(name, &to).await,
                true => source.dump_large_objects(name, &to).await,
            }
        });
        let (dumped, bytes) = dumped.await;
        dumped.unwrap_or_else(|error| panic!("{}", all_text(&error)));
        assert!(bytes.is_some());
        // Locks last to a transaction's end, and the holder's is open still.
        let held_modes = locks(&user, &label).await;
        assert!(held_modes.iter().all(|mode| mode == "AccessShareLock"), "{held_modes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_dump_holds_access_share_while_it_works_and_nothing_more() {
    let db = Database::source().await;
    // A schema that does not fit into pipes and channels, so that pg_dump stands still with all its locks.
    db.run(
        "DO $$ BEGIN FOR i IN 1..60 LOOP EXECUTE format('CREATE TABLE t%s (n integer)', i);
            EXECUTE format('COMMENT ON TABLE t%s IS %L', i, repeat(md5(i::text), 4000)); END LOOP; END $$",
    )
    .await;
    let (source, label) = source_of_a_run(db.url());
    let held = source.take_snapshot().await.unwrap();
    let (to, mut from) = chunks();
    let client = db.client().await;
    let look = async {
        begun(&mut from).await;
        let modes = locks(&client, &label).await;
        drained(from).await;
        modes
    };
    let name = held.name();
    let dump = async {
        let to = to;
        source.dump_schema(name, &to).await
    };
    let (dumped, modes) = tokio::join!(dump, look);
    dumped.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    assert_eq!(modes, ["AccessShareLock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tables_lock_is_given_back_with_its_part() {
    let db = Database::source().await;
    db.run("CREATE TABLE t (n integer); INSERT INTO t SELECT generate_series(1, 5000)").await;
    let source = source_at(db.url());
    let held = source.take_snapshot().await.unwrap();
    let parts = cut(&source.shape(held.name()).await.unwrap().tables, fine());
    assert!(parts.len() > 1);
    let mut reader = source.reader(held.name()).await.unwrap();
    let mut rows = rows_of(reader.as_mut(), &parts[0]).await;
    // With the lock still held this would wait for the reader's end, which comes after it.
    db.run("SET lock_timeout = '10s'; ALTER TABLE t ADD m integer; CREATE INDEX ON t (n)").await;
    for part in &parts[1..] {
        rows.extend(rows_of(reader.as_mut(), part).await);
    }
    assert_eq!(digest(&rows).rows, 5000);
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_of_the_role_and_database_do_not_end_a_backup() {
    let mut db = Database::source().await;
    let role = db.role("SUPERUSER").await;
    db.run(&format!(
        "CREATE TABLE t (n integer); INSERT INTO t VALUES (1); ALTER ROLE {role} SET statement_timeout = '400ms';
         ALTER ROLE {role} SET idle_in_transaction_session_timeout = '400ms'; ALTER DATABASE {} SET lock_timeout = '1ms'",
        db.name
    ))
    .await;
    let (source, _) = source_of_a_run(db.url_as(&role, PASSWORD));
    let held = source.take_snapshot().await.unwrap();
    let mut part = part_of(&source, held.as_ref(), "t").await;
    // The statement itself takes longer than the role may, and the holder is idle for longer meanwhile.
    part.filter = "WHERE pg_catalog.pg_sleep(1) IS NOT NULL".to_owned();
    let mut reader = source.reader(held.name()).await.unwrap();
    assert_eq!(rows_of(reader.as_mut(), &part).await, b"1\n");
    held.check(PATIENCE).await.unwrap();
    // pg_dump turns them off by itself; its first message would not come.
    let (dumped, bytes) = schema_of(&source, held.name()).await;
    dumped.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    assert!(bytes.is_some());
}

/// Asks until somebody has waited behind a reader of this holder's run.
async fn seen_waiting(held: &dyn HeldSnapshot) -> Waiting {
    let began = Instant::now();
    loop {
        let strain = held.check(Duration::from_millis(1)).await.unwrap();
        if let Some(waiting) = strain.waiting.into_iter().next() {
            return waiting;
        }
        assert!(began.elapsed() < PATIENCE, "nobody is seen to wait");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_table_gets_through_as_soon_as_its_reader_gives_way() {
    for how in [GiveWay::Cancel, GiveWay::Terminate] {
        let db = with_a_big_table().await;
        let (source, _) = source_of_a_run(db.url());
        let held = source.take_snapshot().await.unwrap();
        let part = part_of(&source, held.as_ref(), "big").await;
        let mut reader = source.reader(held.name()).await.unwrap();
        let (to, mut from) = chunks();
        let reading = tokio::spawn(async move {
            let outcome = reader.copy_out(&part, &to).await;
            drop(reader);
            outcome
        });
        begun(&mut from).await;
        let user = db.client().await;
        let change = tokio::spawn(async move { user.batch_execute("ALTER TABLE big ADD m integer").await });
        let waiting = seen_waiting(held.as_ref()).await;
        assert_eq!(waiting.wants, "AccessExclusiveLock on public.big");

        held.give_way(&waiting, how).await.unwrap();

        if how == GiveWay::Terminate {
            // Nobody reads: the server cannot deliver a word, and the change gets through all the same.
            change.await.unwrap().unwrap();
            drained(from).await;
            let ended = reading.await.unwrap().expect_err("the session was ended");
            let passes = matches!(ended, SourceError::GaveWay { .. } | SourceError::Unreachable { .. });
            assert!(passes, "{}", all_text(&ended));
        } else {
            let (changed, ()) = tokio::join!(change, drained(from));
            changed.unwrap().unwrap();
            let ended = reading.await.unwrap().expect_err("the reading was cancelled");
            assert!(matches!(ended, SourceError::GaveWay { .. }), "{}", all_text(&ended));
        }
        held.check(PATIENCE).await.unwrap();
        // The next one reads what the snapshot shows, of the table as it is now.
        let part = PartPlan { columns: vec!["i".to_owned()], ..part_of(&source, held.as_ref(), "big").await };
        let mut reader = source.reader(held.name()).await.unwrap();
        assert_eq!(digest(&rows_of(reader.as_mut(), &part).await).rows, 60_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_behind_others_is_not_our_concern() {
    let db = with_a_big_table().await;
    let (ours, theirs) = (source_of_a_run(db.url()).0, source_of_a_run(db.url()).0);
    let (held, other) = (ours.take_snapshot().await.unwrap(), theirs.take_snapshot().await.unwrap());
    let part = part_of(&theirs, other.as_ref(), "big").await;
    let mut reader = theirs.reader(other.name()).await.unwrap();
    let (to, mut from) = chunks();
    let reading = tokio::spawn(async move {
        let _ = reader.copy_out(&part, &to).await;
    });
    begun(&mut from).await;
    let user = db.client().await;
    let change = tokio::spawn(async move { user.batch_execute("ALTER TABLE big ADD m integer").await });
    let waiting = seen_waiting(other.as_ref()).await;
    assert_eq!(held.check(Duration::ZERO).await.unwrap().waiting, []);
    assert_eq!(other.check(PATIENCE * 10).await.unwrap().waiting, [], "its patience is not at an end");
    // Another run's reader is not hit even when asked for, and ending all of ours leaves it alone.
    held.give_way(&waiting, GiveWay::Terminate).await.unwrap();
    held.end_readers().await.unwrap();
    assert_eq!(other.check(Duration::ZERO).await.unwrap().waiting.len(), 1);
    other.end_readers().await.unwrap();
    drained(from).await;
    reading.await.unwrap();
    change.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_counts_the_transactions_that_began_since_its_snapshot() {
    let db = Database::source().await;
    let source = source_at(db.url());
    let held = source.take_snapshot().await.unwrap();
    let next = source.take_over_snapshot(held.name()).await.unwrap();
    let before = next.check(PATIENCE).await.unwrap().transactions;
    let client = db.client().await;
    for _ in 0..50 {
        client.simple_query("SELECT pg_current_xact_id()").await.unwrap();
    }
    client.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    assert!(next.check(PATIENCE).await.unwrap().transactions >= before + 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_would_take_the_last_connections_does_not_begin() {
    let mut db = Database::source().await;
    let role = db.role("CONNECTION LIMIT 6").await;
    let source = source_at(db.url_as(&role, PASSWORD));
    source.preflight(6).await.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    let refused = source.preflight(7).await.unwrap_err();
    assert_eq!(
        refused.to_string().split(" has ").last().unwrap(),
        format!(
            "6 connections left and this run needs 7 and leaves 0 free (connection limit of role {role})"
        )
    );
    let limit: u32 = {
        let client = db.client().await;
        let row = client.query_one("SELECT current_setting('max_connections')::int4", &[]).await.unwrap();
        row.get::<_, i32>(0).unsigned_abs()
    };
    match source_at(db.url()).preflight(limit - 5).await.unwrap_err() {
        SourceError::TooFewConnections { free, kept, bound, .. } => {
            assert_eq!((kept, bound.as_str()), (3, "max_connections"));
            assert!(free <= u64::from(limit) - 3, "what is kept for superusers was counted");
        }
        other => panic!("{}", all_text(&other)),
    }
}

/// What a `pg_dump` gets in its environment: language and settings of its session.
async fn asked_of_pg_dump(url: keepsake_domain::ConnectionUrl) -> String {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("pg_dump");
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'pg_dump (PostgreSQL) 99.1' || printf '%s %s' \"$LC_ALL\" \"$PGOPTIONS\"\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let source = PostgresSource::new(url, Provider::Plain, PgBin::new(folder.path()));
    let held = source.take_snapshot().await.unwrap();
    let (dumped, said) = schema_of(&source, held.name()).await;
    dumped.unwrap();
    String::from_utf8(said.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_dump_and_its_session_speak_english_where_the_role_may_choose() {
    let mut source_db = Database::source().await;
    assert_eq!(asked_of_pg_dump(source_db.url()).await, "C -c lc_messages=C");
    let role = source_db.role("").await;
    assert_eq!(asked_of_pg_dump(source_db.url_as(&role, PASSWORD)).await, "C ");
}
