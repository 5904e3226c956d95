//! Rights that a restore without superuser lends to owners, and takes back.

use crate::support::*;
use keepsake_postgres::connect;
use keepsake_steps::ports::{SchemaSection, Source, Target};

/// What `app` may create in schema `shop` and in the database, and what is written down as lent.
async fn lent(target_db: &Database, app: &str) -> (bool, bool, i64) {
    let client = target_db.client().await;
    let may = "SELECT has_schema_privilege($1::name, 'shop', 'CREATE'), has_database_privilege($1::name, current_database(), 'CREATE'),
        (SELECT count(*) FROM keepsake_restore.lent)";
    let row = client.query_one(may, &[&app]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_were_lent_are_taken_back_also_when_the_restore_died_before_it() {
    let (mut source_db, mut target_db) = (Database::source().await, Database::target().await);
    let (app, boss) = (source_db.role("").await, source_db.role("").await);
    source_db
        .run(&format!(
            "CREATE SCHEMA shop AUTHORIZATION {boss}; CREATE TABLE shop.t (n integer PRIMARY KEY);
             ALTER TABLE shop.t OWNER TO {app}; CREATE PUBLICATION news FOR TABLE shop.t; ALTER PUBLICATION news OWNER TO {app}"
        ))
        .await;
    let keeper = target_db.role("CREATEROLE").await;
    target_db.run(&format!("ALTER DATABASE {} OWNER TO {keeper}", target_db.name)).await;
    let (source, target) = (source_at(source_db.url()), target_at(target_db.url_as(&keeper, PASSWORD)));
    let held = source.take_snapshot().await.unwrap();
    target.begin(BACKUP).await.unwrap();
    let globals = serde_json::json!({ "roles": [{ "name": app, "referenced": true }, { "name": boss, "referenced": true }] });
    target_db.owns_roles(&target.create_missing_roles(&globals).await.unwrap());

    restore_section(&source, held.name(), &target, SchemaSection::PreData).await;
    assert_eq!(lent(&target_db, &app).await, (true, true, 2), "lent for the time of the restore");
    restore_section(&source, held.name(), &target, SchemaSection::PostData).await;
    assert_eq!(lent(&target_db, &app).await, (false, false, 0));

    // As whoever dies between the section's mark and the taking back leaves it.
    let keeper = connect(&target_db.url_as(&keeper, PASSWORD)).await.unwrap();
    let name = &target_db.name;
    keeper
        .batch_execute(&format!(
            "GRANT CREATE ON SCHEMA shop TO {app}; GRANT CREATE ON DATABASE {name} TO {app};
             INSERT INTO keepsake_restore.lent VALUES ('SCHEMA shop', '{app}'), ('DATABASE {name}', '{app}')"
        ))
        .await
        .unwrap();
    // The section stands, so nothing of the stream is read.
    target.restore_schema(SchemaSection::PostData, stream(Vec::new(), true), 1).await.unwrap();
    assert_eq!(lent(&target_db, &app).await, (false, false, 0));
}
