use super::*;
use keepsake_domain::{Classified, FailureClass};
use keepsake_steps::ports::SourceError;

async fn objects(db: &Database) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM pg_publication)
        + (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())";
    db.client().await.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_rights_hears_of_all_that_it_lacks_and_nothing_is_made() {
    let mut db = Database::source().await;
    db.run("CREATE TABLE t (n integer PRIMARY KEY)").await;
    let role = db.role("").await;
    let changes = PostgresChanges::new(db.url_as(&role, PASSWORD), &db.name);
    let error = changes.protect(&ProtectWishes::default()).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    let text = format!("{} {}", error, error.explanation().next);
    for wanted in
        ["may not replicate", "REPLICATION", "may not make a publication", "GRANT CREATE ON DATABASE"]
    {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    assert!(!all_text(&error).contains(PASSWORD));
    assert_eq!(objects(&db).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_told_and_not_published() {
    use keepsake_domain::NotCapturedReason::{Foreign, NotOwner, OwnedByExtension};
    let mut db = Database::source().await;
    let role = db.role("REPLICATION").await;
    db.run(&format!(
        "GRANT CREATE ON DATABASE {} TO {role}; CREATE SCHEMA mine AUTHORIZATION {role};
         SET ROLE {role}; CREATE TABLE mine.t (n integer PRIMARY KEY); RESET ROLE;
         CREATE TABLE theirs (n integer PRIMARY KEY);
         CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE far (n integer) SERVER s;
         CREATE EXTENSION hstore; CREATE TABLE inside (n integer PRIMARY KEY); ALTER EXTENSION hstore ADD TABLE inside",
        db.name
    ))
    .await;
    let changes = PostgresChanges::new(db.url_as(&role, PASSWORD), &db.name);
    let protection = changes
        .protect(&ProtectWishes { identity_full: true, ..ProtectWishes::default() })
        .await
        .unwrap_or_else(|e| panic!("{}", all_text(&e)));
    let published: Vec<String> = protection.published.iter().map(ToString::to_string).collect();
    assert_eq!(published, ["mine.t"]);
    let reasons: Vec<_> =
        protection.not_captured.iter().map(|one| (one.table.name.as_str(), one.reason)).collect();
    assert_eq!(reasons, [("far", Foreign), ("inside", OwnedByExtension), ("theirs", NotOwner)]);
    changes.unprotect().await.unwrap();
    assert_eq!(objects(&db).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_our_name_that_is_anothers_is_neither_used_nor_dropped() {
    let db = Database::source().await;
    db.run(&format!("SELECT pg_create_logical_replication_slot('{}', 'test_decoding')", slot_of(&db))).await;
    let changes = changes_of(&db);
    let wishes = ProtectWishes::default();
    for error in [changes.protect(&wishes).await.unwrap_err(), changes.unprotect().await.unwrap_err()] {
        assert!(
            matches!(&error, SourceError::CannotCapture { what, .. } if what.contains("test_decoding")),
            "{error}"
        );
    }
    assert_eq!(objects(&db).await, 1);
}
