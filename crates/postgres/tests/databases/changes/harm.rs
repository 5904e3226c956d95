//! What users do to their tables must go on as if we were not there.

use super::*;
use keepsake_domain::{NotCapturedReason, TableName};
use keepsake_steps::ports::ProtectWishes;

/// Tables of every shape that decides whether an UPDATE may be published.
pub const SHAPES: &str = "
    CREATE TABLE keyed (n integer PRIMARY KEY, v integer);
    CREATE TABLE bare (n integer, v integer);
    CREATE TABLE nothing (n integer PRIMARY KEY, v integer); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
    CREATE TABLE deferred (n integer PRIMARY KEY DEFERRABLE, v integer);
    CREATE TABLE uniq (n integer NOT NULL UNIQUE, v integer);
    CREATE TABLE by_index (n integer NOT NULL UNIQUE, v integer); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_n_key;
    CREATE TABLE index_gone (n integer NOT NULL UNIQUE, v integer);
    ALTER TABLE index_gone REPLICA IDENTITY USING INDEX index_gone_n_key; ALTER TABLE index_gone DROP CONSTRAINT index_gone_n_key;
    CREATE TABLE whole (n integer, v integer); ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE whole_computed (n integer, v integer, w integer GENERATED ALWAYS AS (v * 2) STORED);
    ALTER TABLE whole_computed REPLICA IDENTITY FULL;
    CREATE TABLE bare_computed (n integer, v integer, w integer GENERATED ALWAYS AS (v * 2) STORED);
    CREATE TABLE key_computed (n integer, v integer, w integer GENERATED ALWAYS AS (n * 2) STORED PRIMARY KEY);
    CREATE TABLE computed (n integer PRIMARY KEY, v integer, w integer GENERATED ALWAYS AS (v * 2) STORED);
    CREATE TABLE parent (n integer PRIMARY KEY, v integer); CREATE TABLE child () INHERITS (parent);
    CREATE TABLE parted (n integer, v integer) PARTITION BY RANGE (n);
    CREATE TABLE parted_bare PARTITION OF parted FOR VALUES FROM (0) TO (10);
    CREATE TABLE parted_keyed PARTITION OF parted (PRIMARY KEY (n)) FOR VALUES FROM (10) TO (20);
    CREATE UNLOGGED TABLE unlogged (n integer PRIMARY KEY, v integer);
    CREATE TABLE \"we\"\"ird 'Name\" (n integer PRIMARY KEY, v integer)";

const WRITTEN: [&str; 18] = [
    "keyed",
    "bare",
    "nothing",
    "deferred",
    "uniq",
    "by_index",
    "index_gone",
    "whole",
    "whole_computed",
    "bare_computed",
    "key_computed",
    "computed",
    "parent",
    "child",
    "parted",
    "parted_keyed",
    "unlogged",
    "\"we\"\"ird 'Name\"",
];

/// Every statement on every table, each in a transaction of its own; what fails.
async fn failures(db: &Database) -> Vec<String> {
    let client = db.client().await;
    let mut failures = Vec::new();
    for table in WRITTEN {
        for sql in [
            format!("INSERT INTO {table} (n, v) VALUES (11, 1), (12, 1)"),
            format!("UPDATE {table} SET v = v + 1"),
            format!("UPDATE {table} SET n = n + 2 WHERE n = 12"),
            format!("DELETE FROM {table} WHERE n = 14"),
            format!("TRUNCATE {table}"),
        ] {
            if let Err(error) = client.batch_execute(&sql).await {
                failures.push(format!("{sql}: {}", error.as_db_error().unwrap().message()));
            }
        }
    }
    failures
}

/// Names of tables that are published, and of those that are not, with the reason.
fn told(protection: &Protection) -> (Vec<&str>, Vec<(&str, NotCapturedReason)>) {
    let published = protection.published.iter().map(|table| table.name.as_str()).collect();
    let reasons = protection.not_captured.iter().map(|one| (one.table.name.as_str(), one.reason)).collect();
    (published, reasons)
}

/// Protects in every way, and breaks what it can; the user's statements must succeed at every point.
pub async fn no_users_statement_fails(db: &Database, major: u32) {
    use NotCapturedReason::{NoReplicaIdentity, Unlogged};
    db.run(SHAPES).await;
    assert_eq!(failures(db).await, Vec::<String>::new(), "before");
    let changes = changes_of(db);
    let protection =
        changes.protect(&ProtectWishes::default()).await.unwrap_or_else(|e| panic!("{}", all_text(&e)));
    assert_eq!(failures(db).await, Vec::<String>::new(), "protected");
    let mut bare = vec![
        "bare",
        "bare_computed",
        "child",
        "deferred",
        "index_gone",
        "key_computed",
        "nothing",
        "parted_bare",
        "uniq",
    ];
    let mut captured = vec!["by_index", "computed", "keyed", "parent", "parted_keyed", "we\"ird 'Name"];
    // From 18 on the server refuses generated columns in an identity.
    if major >= 18 { &mut bare } else { &mut captured }.extend(["whole_computed"]);
    captured.push("whole");
    let sorted = |names: &mut Vec<&'static str>| names.sort_unstable();
    sorted(&mut bare);
    sorted(&mut captured);
    let mut missing: Vec<(&str, NotCapturedReason)> =
        bare.iter().map(|name| (*name, NoReplicaIdentity)).collect();
    missing.push(("unlogged", Unlogged));
    missing.sort_unstable();
    assert_eq!(told(&protection), (captured, missing));

    // The user takes identities away: those tables leave in the same transaction.
    db.run("ALTER TABLE keyed DROP CONSTRAINT keyed_pkey; ALTER TABLE by_index REPLICA IDENTITY DEFAULT")
        .await;
    assert_eq!(failures(db).await, Vec::<String>::new(), "identities just gone");
    let protection = changes.protect(&ProtectWishes::default()).await.unwrap();
    assert!(!protection.is_new);
    assert_eq!(failures(db).await, Vec::<String>::new(), "identities gone");
    assert!(!protection.published.contains(&TableName { schema: "public".into(), name: "keyed".into() }));

    let full =
        changes.protect(&ProtectWishes { identity_full: true, ..ProtectWishes::default() }).await.unwrap();
    assert_eq!(failures(db).await, Vec::<String>::new(), "identity full");
    let still = if major >= 18 {
        vec!["bare_computed", "key_computed", "unlogged", "whole_computed"]
    } else {
        vec!["unlogged"]
    };
    assert_eq!(told(&full).1.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), still);

    let mut stream = open(&changes, full.lsn).await;
    let (lines, reached) = drained(&changes, stream.as_mut()).await;
    assert!(lines.iter().any(|line| line.starts_with("UPDATE public.keyed")), "{lines:?}");
    stream.confirm(reached).await.unwrap();
    stream.end().await.unwrap();
    changes.unprotect().await.unwrap();
    assert_eq!(failures(db).await, Vec::<String>::new(), "unprotected");
}

/// Where nothing watches the schema, who drops a primary key makes his own UPDATE fail until somebody takes the table out:
/// the next capture does.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_lost_its_identity_is_free_when_the_next_stream_begins_and_a_new_one_joins() {
    let db = Database::source().await;
    db.run("CREATE TABLE t (n integer PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    let (changes, protection) = protected(&db).await;
    unwatched(&db).await;
    let before = changes.boundary().await.unwrap().schema_fingerprint;
    db.run("ALTER TABLE t DROP CONSTRAINT t_pkey; CREATE TABLE later (n integer PRIMARY KEY)").await;
    let refused = db.client().await.batch_execute("UPDATE t SET n = 2").await.unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("replica identity"));
    let mut stream = open(&changes, protection.lsn).await;
    db.run("UPDATE t SET n = 3; INSERT INTO later VALUES (1)").await;
    let (lines, _) = drained(&changes, stream.as_mut()).await;
    assert_eq!(lines, ["BEGIN", "INSERT public.later N 1", "COMMIT"]);
    assert_ne!(changes.boundary().await.unwrap().schema_fingerprint, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_of_a_user_fails_because_changes_are_captured() {
    no_users_statement_fails(&Database::source().await, 15).await;
}
