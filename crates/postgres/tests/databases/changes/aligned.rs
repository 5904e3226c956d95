//! The publication follows what becomes of tables while changes are streamed, and what others make of it.

use super::*;
use keepsake_domain::{NotCapturedReason, TableName};
use keepsake_steps::ports::Boundary;

async fn boundary(changes: &PostgresChanges) -> Boundary {
    changes.boundary().await.unwrap_or_else(|error| panic!("{}", all_text(&error)))
}

fn names(boundary: &Boundary) -> Vec<(&str, NotCapturedReason)> {
    boundary.not_captured.iter().map(|one| (one.table.name.as_str(), one.reason)).collect()
}

fn table(name: &str) -> TableName {
    TableName { schema: "public".to_owned(), name: name.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_made_or_gets_a_key_while_changes_are_streamed_joins_at_the_next_boundary() {
    let db = Database::source().await;
    db.run("CREATE TABLE keyless (n integer); CREATE TABLE loses (n integer PRIMARY KEY)").await;
    let (changes, protection) = protected(&db).await;
    unwatched(&db).await;
    let mut stream = open(&changes, protection.lsn).await;
    let first = boundary(&changes).await;
    assert_eq!(names(&first), [("keyless", NotCapturedReason::NoReplicaIdentity)]);
    db.run(
        "CREATE TABLE made (n integer PRIMARY KEY); ALTER TABLE keyless ADD PRIMARY KEY (n);
        ALTER TABLE loses DROP CONSTRAINT loses_pkey; CREATE UNLOGGED TABLE light (n integer PRIMARY KEY)",
    )
    .await;
    let second = boundary(&changes).await;
    assert_ne!(second.schema_fingerprint, first.schema_fingerprint);
    let expected = [("light", NotCapturedReason::Unlogged), ("loses", NotCapturedReason::NoReplicaIdentity)];
    assert_eq!(names(&second), expected);
    // The stream was open all the time.
    db.run("INSERT INTO made VALUES (1); INSERT INTO keyless VALUES (2); INSERT INTO loses VALUES (3); UPDATE loses SET n = 4")
        .await;
    let (lines, _) = drained(&changes, stream.as_mut()).await;
    assert_eq!(lines, ["BEGIN", "INSERT public.made N 1", "INSERT public.keyless N 2", "COMMIT"]);
    let third = boundary(&changes).await;
    assert_eq!(
        third.schema_fingerprint, second.schema_fingerprint,
        "nothing changed, and nothing was made anew"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_left_out_of_the_publication_is_published_again_and_shows_in_the_fingerprint() {
    let db = Database::source().await;
    db.run("CREATE TABLE t (n integer PRIMARY KEY, v integer); CREATE TABLE u (n integer PRIMARY KEY, v integer);
        CREATE TABLE root (n integer) PARTITION BY RANGE (n); CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
        CREATE SCHEMA more; CREATE TABLE more.bare (n integer)")
        .await;
    let (changes, protection) = protected(&db).await;
    let mut stream = open(&changes, protection.lsn).await;
    let mut before = boundary(&changes).await;
    let ours = slot_of(&db);
    for harm in [
        format!("ALTER PUBLICATION {ours} SET TABLE t WHERE (n > 5), u"),
        format!("ALTER PUBLICATION {ours} SET TABLE t, u (n)"),
        format!("ALTER PUBLICATION {ours} SET (publish = 'insert', publish_via_partition_root = true)"),
        format!("ALTER PUBLICATION {ours} SET TABLE u"),
        format!("ALTER PUBLICATION {ours} ADD TABLE root"),
        format!("ALTER PUBLICATION {ours} ADD TABLES IN SCHEMA more"),
    ] {
        db.run(&harm).await;
        let after = boundary(&changes).await;
        assert_ne!(after.schema_fingerprint, before.schema_fingerprint, "{harm}");
        assert_eq!(names(&after), names(&before), "{harm}");
        assert_eq!(changes.capture_state().await.unwrap().published, [table("t"), table("u")], "{harm}");
        db.run("INSERT INTO t VALUES (1, 2); UPDATE t SET v = 3; DELETE FROM t; INSERT INTO u VALUES (4, 5); TRUNCATE u;
            INSERT INTO root VALUES (1); UPDATE root SET n = 2; INSERT INTO more.bare VALUES (1); UPDATE more.bare SET n = 2")
            .await;
        let (lines, _) = drained(&changes, stream.as_mut()).await;
        let wanted = [
            "BEGIN",
            "INSERT public.t N 1|2",
            "UPDATE public.t N 1|3",
            "DELETE public.t K 1|NULL",
            "INSERT public.u N 4|5",
            "TRUNCATE public.u",
            "COMMIT",
        ];
        assert_eq!(lines, wanted, "{harm}");
        before = after;
    }
}

/// A maintenance of hours on one table must not keep others from being captured.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_locked_keeps_no_other_out_and_is_told_until_it_joins() {
    let db = Database::source().await;
    let (changes, _) = protected(&db).await;
    unwatched(&db).await;
    db.run("CREATE TABLE a (n integer PRIMARY KEY); CREATE TABLE b (n integer PRIMARY KEY)").await;
    let user = db.client().await;
    user.batch_execute("BEGIN; LOCK TABLE a IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    assert_eq!(names(&boundary(&changes).await), [("a", NotCapturedReason::NotPublishedYet)]);
    assert_eq!(changes.capture_state().await.unwrap().published, [table("b")]);
    // Protecting tells it too, and is success: the next boundary tries again.
    let again = changes.protect(&ProtectWishes::default()).await.unwrap();
    assert_eq!((again.published, again.not_captured.len()), (vec![table("b")], 1));
    user.batch_execute("COMMIT").await.unwrap();
    assert_eq!(names(&boundary(&changes).await), []);
    assert_eq!(changes.capture_state().await.unwrap().published, [table("a"), table("b")]);
}
