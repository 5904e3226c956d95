use crate::support::*;
use keepsake_domain::{Classified, FailureClass, PartPlan, TableName};
use keepsake_steps::ports::{SchemaSection, Source, Target, TargetError, chunks};

fn part(number: u32) -> PartPlan {
    PartPlan {
        number,
        table: TableName { schema: "public".to_owned(), name: "t".to_owned() },
        columns: vec!["n".to_owned()],
        range: None,
        filter: String::new(),
        root: None,
        size_bytes: 0,
    }
}

async fn target_with_table() -> Database {
    let target_db = Database::target().await;
    let target = target_at(target_db.url());
    target.begin(BACKUP).await.unwrap();
    target_db.run("CREATE TABLE t (n integer)").await;
    target_db
}

async fn count(database: &Database) -> i64 {
    database.client().await.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_cut_off_loads_nothing() {
    let target_db = target_with_table().await;
    let target = target_at(target_db.url());
    let mut writer = target.writer().await.unwrap();
    let cut = writer.copy_in(&part(1), stream(b"1\n2\n3\n".to_vec(), false)).await.unwrap_err();
    assert!(matches!(cut, TargetError::CutOff { .. }), "{}", all_text(&cut));
    assert_eq!(cut.class(), FailureClass::Integrity);
    assert_eq!(count(&target_db).await, 0);
    assert!(target.loaded_parts().await.unwrap().is_empty());
    // The same connection then loads it whole.
    assert_eq!(writer.copy_in(&part(1), stream(b"1\n2\n3\n".to_vec(), true)).await.unwrap(), 3);
    assert_eq!(count(&target_db).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_a_part_twice_loads_it_once() {
    let target_db = target_with_table().await;
    let target = target_at(target_db.url());
    let (mut one, mut two) = (target.writer().await.unwrap(), target.writer().await.unwrap());
    let rows = || stream(b"1\n2\n".to_vec(), true);
    // At the same time, and again later.
    let (part_7, part_7_too) = (part(7), part(7));
    let (first, second) = tokio::join!(one.copy_in(&part_7, rows()), two.copy_in(&part_7_too, rows()));
    assert_eq!((first.unwrap(), second.unwrap()), (2, 2));
    assert_eq!(one.copy_in(&part(7), rows()).await.unwrap(), 2);
    assert_eq!(count(&target_db).await, 2);
    let loaded = target.loaded_parts().await.unwrap();
    assert_eq!(loaded.iter().map(|part| (part.number, part.rows)).collect::<Vec<_>>(), [(7, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_fit_load_nothing_and_are_not_quoted() {
    let target_db = target_with_table().await;
    let target = target_at(target_db.url());
    let rows = b"1\nthe-secret-of-a-row\n".to_vec();
    let refused = target.writer().await.unwrap().copy_in(&part(1), stream(rows, true)).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Permanent);
    assert!(!all_text(&refused).contains("the-secret-of-a-row"), "{}", all_text(&refused));
    assert_eq!(count(&target_db).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_holds_anything_is_refused() {
    for sql in [
        "CREATE TABLE mine (n integer)",
        "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE mine AS ENUM ('a')",
        "SELECT lo_create(77)",
        "CREATE SCHEMA mine",
    ] {
        let target_db = Database::target().await;
        target_db.run(sql).await;
        let target = target_at(target_db.url());
        assert!(!target.facts(BACKUP).await.unwrap().user_objects.is_empty(), "{sql}");
        let refused = target.begin(BACKUP).await.unwrap_err();
        assert!(matches!(refused, TargetError::NotEmpty { .. }), "{sql}: {}", all_text(&refused));
        let books = "SELECT to_regnamespace('keepsake_restore') IS NULL";
        assert!(target_db.client().await.query_one(books, &[]).await.unwrap().get::<_, bool>(0), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_interrupted_goes_on_and_a_foreign_one_is_refused() {
    let target_db = target_with_table().await;
    let target = target_at(target_db.url());
    assert!(target.facts(BACKUP).await.unwrap().user_objects.is_empty());
    target.begin(BACKUP).await.unwrap();
    let other = "01990a5d-0000-774b-bcce-b302099a8057";
    let facts = target.facts(other).await.unwrap();
    assert!(facts.user_objects[0].contains(BACKUP), "{:?}", facts.user_objects);
    assert!(matches!(target.begin(other).await, Err(TargetError::NotEmpty { .. })));
    target.finish().await.unwrap();
    assert!(
        matches!(target.begin(BACKUP).await, Err(TargetError::NotEmpty { .. })),
        "a finished restore is content"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_section_is_restored_once_however_often_it_is_asked() {
    let (source_db, target_db) = (Database::source().await, Database::target().await);
    source_db
        .run(
            "CREATE TABLE t (n integer PRIMARY KEY); CREATE INDEX by_n ON t (n); SELECT lo_create(5);
            CREATE TABLE p (k integer PRIMARY KEY, v text) PARTITION BY LIST (k);
            CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1, 2) PARTITION BY LIST (k);
            CREATE TABLE p11 PARTITION OF p1 FOR VALUES IN (1);
            CREATE INDEX p_v ON p (v); CREATE TABLE points (k integer REFERENCES p)",
        )
        .await;
    let (source, target) = (source_at(source_db.url()), target_at(target_db.url()));
    let held = source.take_snapshot().await.unwrap();
    target.begin(BACKUP).await.unwrap();
    let large_objects = || {
        pipe(
            |to| async {
                let to = to;
                match source.dump_large_objects(held.name(), &to).await {
                    Err(keepsake_steps::ports::SourceError::ReceiverGone { .. }) => Ok(()),
                    other => other,
                }
            },
            |from| target.restore_large_objects(from),
        )
    };
    let section = |section| {
        let (source, target, name) = (&source, &target, held.name());
        pipe(
            move |to| async move {
                match source.dump_schema(name, &to).await {
                    Err(keepsake_steps::ports::SourceError::ReceiverGone { .. }) => Ok(()),
                    other => other,
                }
            },
            move |from| target.restore_schema(section, from, 2),
        )
    };
    for forget in [
        "SELECT 1",
        // A mark that was lost after the section was committed.
        "UPDATE keepsake_restore.sections SET state = 'begun'",
    ] {
        section(SchemaSection::PreData).await;
        section(SchemaSection::PreData).await;
        section(SchemaSection::PostData).await;
        large_objects().await;
        target_db.run(forget).await;
    }
    section(SchemaSection::PostData).await;
    let objects = target.objects().await.unwrap();
    assert_eq!(objects, source.shape(held.name()).await.unwrap().objects);
    assert!(objects.contains(&"index public.by_n".to_owned()));
    assert_eq!(target.large_objects().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_archive_that_was_cut_off_restores_nothing() {
    let (source_db, target_db) = (Database::source().await, Database::target().await);
    source_db.run("CREATE TABLE t (n integer)").await;
    let (source, target) = (source_at(source_db.url()), target_at(target_db.url()));
    let held = source.take_snapshot().await.unwrap();
    let (sent, bytes) = schema_of(&source, held.name()).await;
    sent.unwrap();
    let bytes = bytes.unwrap();
    target.begin(BACKUP).await.unwrap();
    let cut =
        target.restore_schema(SchemaSection::PreData, stream(bytes.clone(), false), 1).await.unwrap_err();
    assert!(matches!(cut, TargetError::CutOff { .. }), "{}", all_text(&cut));
    let half = bytes[..bytes.len() / 2].to_vec();
    let failed = target.restore_schema(SchemaSection::PreData, stream(half, true), 1).await.unwrap_err();
    assert!(matches!(failed, TargetError::RestoreFailed { .. }), "{}", all_text(&failed));
    assert!(target.objects().await.unwrap().is_empty());
    target.restore_schema(SchemaSection::PreData, stream(bytes, true), 1).await.unwrap();
    assert_eq!(target.objects().await.unwrap(), ["table public.t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_pg_restore_fail_the_restore_and_are_all_told() {
    let (source_db, target_db) = (Database::source().await, Database::target().await);
    source_db.run("CREATE TABLE t (n integer); CREATE INDEX one ON t (n); CREATE INDEX two ON t (n)").await;
    let (source, target) = (source_at(source_db.url()), target_at(target_db.url()));
    let held = source.take_snapshot().await.unwrap();
    target.begin(BACKUP).await.unwrap();
    restore_section(&source, held.name(), &target, SchemaSection::PreData).await;
    target_db.run("ALTER TABLE t RENAME n TO m").await;
    let (to, from) = chunks();
    let (_, failed) = tokio::join!(
        async {
            let to = to;
            source.dump_schema(held.name(), &to).await
        },
        target.restore_schema(SchemaSection::PostData, from, 2)
    );
    let failed = failed.unwrap_err();
    let text = failed.to_string();
    assert!(matches!(failed, TargetError::RestoreFailed { .. }), "{text}");
    assert!(text.contains("CREATE INDEX one") && text.contains("CREATE INDEX two"), "{text}");
    // Corrected, the next call converges.
    target_db.run("ALTER TABLE t RENAME m TO n; CREATE INDEX one ON t (n)").await;
    restore_section(&source, held.name(), &target, SchemaSection::PostData).await;
    assert_eq!(target.objects().await.unwrap(), ["index public.one", "index public.two", "table public.t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_roles_that_a_server_does_not_know_are_told_and_everything_else_is_added_once() {
    let mut target_db = Database::target().await;
    let role = target_db.role("").await;
    let target = target_at(target_db.url());
    let globals = serde_json::json!({
        "roles": [{ "name": role, "settings": ["no_such_setting=1", "work_mem=5MB"] }],
        "memberships": [{ "role": "pg_no_such_role", "member": role }, { "role": "pg_monitor", "member": role }],
        "database": { "settings": [{ "role": null, "settings": ["no_such_setting=1", "work_mem=6MB"] }] }
    });
    let first = target.restore_globals(&globals).await.unwrap();
    assert_eq!(first.refused.len(), 3, "{first:?}");
    assert!(first.refused.iter().all(|told| told.contains("SQLSTATE 42704")), "{first:?}");
    assert_eq!(
        first.added,
        [
            format!("grant pg_monitor to {role}"),
            format!("set work_mem for role {role}"),
            "set work_mem for the database".to_owned()
        ]
    );

    let again = target.restore_globals(&globals).await.unwrap();

    assert_eq!((again.added, again.refused), (Vec::new(), first.refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_parents_are_not_there_load_nothing_and_wait_and_dangling_ones_are_told() {
    let target_db = target_with_table().await;
    target_db
        .run("ALTER TABLE t ADD PRIMARY KEY (n); CREATE TABLE child (n integer CONSTRAINT of_t REFERENCES t)")
        .await;
    let target = target_at(target_db.url());
    let mut writer = target.writer().await.unwrap();
    let of_child = |number| PartPlan {
        table: TableName { schema: "public".into(), name: "child".into() },
        ..part(number)
    };
    let rows = || stream(b"41\n42\n".to_vec(), true);
    let waits = writer.copy_in(&of_child(2), rows()).await.unwrap_err();
    assert!(matches!(waits, TargetError::MissingReference { .. }), "{}", all_text(&waits));
    assert!(target.loaded_parts().await.unwrap().is_empty());

    // With its parents there, the same connection loads it.
    assert_eq!(writer.copy_in(&part(1), rows()).await.unwrap(), 2);
    assert_eq!(writer.copy_in(&of_child(2), rows()).await.unwrap(), 2);

    let dangling = writer.copy_in(&of_child(3), stream(b"4711\n".to_vec(), true)).await.unwrap_err();
    assert!(matches!(dangling, TargetError::MissingReference { .. }), "{}", all_text(&dangling));
    assert_eq!(dangling.class(), FailureClass::Permanent);
    let told = all_text(&dangling);
    assert!(told.contains("of_t") && told.contains("23503") && !told.contains("4711"), "{told}");
    assert_eq!(target.loaded_parts().await.unwrap().len(), 2);
}
