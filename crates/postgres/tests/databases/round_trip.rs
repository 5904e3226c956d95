use crate::support::*;
use keepsake_domain::{Classified, ConnectionUrl};
use keepsake_steps::ports::{SchemaSection, Source, Target};

const NASTY: &str = include_str!("nasty.sql");

async fn copy_everything(source_db: &Database, target_db: &mut Database) {
    let target_url = target_db.url();
    copy_everything_to(source_db, target_db, target_url).await;
}

async fn copy_everything_to(source_db: &Database, target_db: &mut Database, target_url: ConnectionUrl) {
    let (source, target) = (source_at(source_db.url()), target_at(target_url));
    let held = source.take_snapshot().await.unwrap();
    let shape = source.shape(held.name()).await.unwrap();
    let (content, parts) = content_of(&source, held.name()).await;
    let mut reader = source.reader(held.name()).await.unwrap();
    let sequences = reader.sequences().await.unwrap();
    let large_objects = large_objects_of(reader.as_mut()).await;

    target.begin(BACKUP).await.unwrap();
    let created = target.create_missing_roles(&shape.globals).await.unwrap();
    target_db.owns_roles(&created);
    restore_section(&source, held.name(), &target, SchemaSection::PreData).await;
    let mut writer = target.writer().await.unwrap();
    for (part, rows) in parts {
        let count = digest(&rows).rows;
        let loaded = writer.copy_in(&part, stream(rows, true)).await;
        assert_eq!(loaded.unwrap_or_else(|e| panic!("{}", all_text(&e))), count, "{}", part.table);
    }
    pipe(
        |to| async {
            let to = to;
            source.dump_large_objects(held.name(), &to).await
        },
        |from| target.restore_large_objects(from),
    )
    .await;
    restore_section(&source, held.name(), &target, SchemaSection::PostData).await;
    target.set_sequences(&sequences).await.unwrap();
    target.finish().await.unwrap();

    assert_eq!(content_of_target(&target).await, content);
    let mut reader = target.reader().await.unwrap();
    assert_eq!(reader.sequences().await.unwrap(), sequences);
    assert_eq!(large_objects_of(reader.as_mut()).await, large_objects);
    assert_eq!(target.large_objects().await.unwrap(), shape.large_objects);
    assert_eq!(target.objects().await.unwrap(), shape.objects);
    held.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nasty_database_comes_back_equal() {
    let (mut source_db, mut target_db) = (Database::source().await, Database::target().await);
    let role = source_db.role("").await;
    source_db.run(&NASTY.replace("some_role", &role)).await;
    let source = source_at(source_db.url());
    let facts = source.preflight(6).await.unwrap();
    assert_eq!(facts.database, source_db.name);
    assert!(facts.pg_dump.starts_with("pg_dump (PostgreSQL)"), "{}", facts.pg_dump);

    copy_everything(&source_db, &mut target_db).await;

    // The comparison above is only worth something if there was something to compare.
    let held = source.take_snapshot().await.unwrap();
    let shape = source.shape(held.name()).await.unwrap();
    let (content, parts) = content_of(&source, held.name()).await;
    assert!(parts.iter().any(|(part, _)| part.range.is_some_and(|range| range.to.is_some())), "no ranges");
    assert_eq!(content["we\"ird Schéma.ta\"ble, \\1"].rows, 3);
    assert_eq!(content["public.nothing"].rows, 2);
    assert_eq!(content["public.big"].rows, 20_000);
    assert_eq!(content["public.fast"].rows, 1);
    assert_eq!(shape.large_objects, 3);
    for object in [
        "policy own_rows on public.guests",
        "trigger touch on public.guests",
        "materialized view public.totals",
        "index public.guests_name_lower",
        "extension hstore",
        "function public.touch()",
        "table constraint a_b on public.a",
        "rule no_delete on public.shown",
    ] {
        assert!(shape.objects.iter().any(|there| there == object), "{object} is not in {:#?}", shape.objects);
    }
    let uncovered: Vec<&str> = shape.coverage.not_covered.iter().map(|one| one.what.as_str()).collect();
    assert!(uncovered.contains(&"rows of foreign table public.elsewhere"), "{uncovered:?}");
    let totals = target_db.client().await.query_one("SELECT sum(n)::bigint FROM totals", &[]).await.unwrap();
    assert_eq!(totals.get::<_, i64>(0), 20_000, "the materialised view was not filled");
    let sql = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'guests'";
    let owner = target_db.client().await.query_one(sql, &[]).await.unwrap();
    assert_eq!(owner.get::<_, String>(0), role);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_stream_is_bounded_and_holds_no_rows() {
    let source_db = Database::source().await;
    source_db.run("CREATE TABLE t (v text); INSERT INTO t VALUES ('a row that must not be here')").await;
    let source = source_at(source_db.url());
    let held = source.take_snapshot().await.unwrap();
    let (sent, bytes) = schema_of(&source, held.name()).await;
    sent.unwrap();
    let bytes = bytes.unwrap();
    assert!(bytes.starts_with(b"PGDMP"));
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("CREATE TABLE public.t"));
    assert!(!text.contains("must not be here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_latin1_comes_back_equal_in_utf8() {
    let source_db = Database::source_with("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'").await;
    let mut target_db = Database::target().await;
    source_db
        .run("CREATE TABLE g (name text); INSERT INTO g VALUES ('Jürgen'), ('Zoë'), (E'tab\\there')")
        .await;
    copy_everything(&source_db, &mut target_db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_cover_every_row_while_rows_are_added() {
    let source_db = Database::source().await;
    source_db.run("CREATE TABLE t AS SELECT i, repeat('x', 200) v FROM generate_series(1, 5000) i").await;
    let source = source_at(source_db.url());
    let shaped = source.take_snapshot().await.unwrap();
    let tables = source.shape(shaped.name()).await.unwrap().tables;
    shaped.end().await.unwrap();
    // Blocks are added after the plan, before and after the snapshot that is read.
    source_db.run("INSERT INTO t SELECT i, repeat('y', 200) FROM generate_series(5001, 9000) i").await;
    let held = source.take_snapshot().await.unwrap();
    source_db.run("INSERT INTO t SELECT i, repeat('z', 200) FROM generate_series(9001, 12000) i").await;

    let parts = keepsake_domain::cut(&tables, fine());
    assert!(parts.len() > 10, "{} parts", parts.len());
    let mut reader = source.reader(held.name()).await.unwrap();
    let mut numbers: Vec<u32> = Vec::new();
    for part in &parts {
        let rows = String::from_utf8(rows_of(reader.as_mut(), part).await).unwrap();
        numbers.extend(rows.lines().map(|row| row.split('\t').next().unwrap().parse::<u32>().unwrap()));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=9000).collect::<Vec<u32>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_read_without_reading_the_whole_table() {
    let source_db = Database::source().await;
    source_db
        .run("CREATE TABLE t AS SELECT i, repeat('x', 200) v FROM generate_series(1, 5000) i; ANALYZE t")
        .await;
    let plan = "EXPLAIN SELECT i, v FROM ONLY t WHERE ctid >= '(10,0)'::tid AND ctid < '(20,0)'::tid";
    let rows = source_db.client().await.query(plan, &[]).await.unwrap();
    let text: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(text.join("\n").contains("Tid Range Scan"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_supported_server_version_round_trips() {
    // Optional servers: version 15 is always there by the other tests.
    for variable in ["KEEPSAKE_TEST_POSTGRES_14_URL", "KEEPSAKE_TEST_POSTGRES_18_URL"] {
        if std::env::var(variable).is_err() {
            continue;
        }
        let mut source_db = Database::on(variable).await;
        let role = source_db.role("").await;
        source_db.run(&NASTY.replace("some_role", &role)).await;
        let source = source_at(source_db.url());
        match source.preflight(6).await {
            Ok(_) => {
                let mut target_db = Database::on(variable).await;
                copy_everything(&source_db, &mut target_db).await;
            }
            Err(error) => {
                assert!(error.to_string().contains("older than the server"), "{}", all_text(&error));
                assert_eq!(error.class(), keepsake_domain::FailureClass::Permanent);
            }
        }
    }
}

/// Managed servers give nobody superuser: the restoring role owns the database and may make roles, no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_superuser_is_restored_by_its_owner() {
    let (mut source_db, mut target_db) = (Database::source().await, Database::target().await);
    let owner = source_db.role("").await;
    source_db
        .run(&format!(
            "CREATE EXTENSION hstore; GRANT CREATE ON SCHEMA public TO {owner}; SET ROLE {owner};
             CREATE TABLE t (id serial PRIMARY KEY, h hstore, v text CHECK (v <> ''));
             INSERT INTO t (h, v) SELECT 'a=>1', 'row ' || i FROM generate_series(1, 1000) i;
             CREATE TABLE of_t (t_id integer REFERENCES t); INSERT INTO of_t VALUES (1), (NULL);
             ALTER TABLE of_t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON of_t TO {owner} USING (true);
             GRANT SELECT ON t TO PUBLIC; SELECT lo_from_bytea(9, 'photo')"
        ))
        .await;
    let restorer = target_db.role("CREATEROLE").await;
    target_db.run(&format!("ALTER DATABASE {} OWNER TO {restorer}", target_db.name)).await;
    let target_url = target_db.url_as(&restorer, PASSWORD);
    copy_everything_to(&source_db, &mut target_db, target_url).await;
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner = $1";
    let owned = target_db.client().await.query_one(tables, &[&owner]).await.unwrap();
    assert_eq!(owned.get::<_, i64>(0), 2);
    let rights = "SELECT has_table_privilege('public', 't', 'SELECT') AND NOT has_table_privilege('public', 'of_t', 'SELECT')
                  AND has_schema_privilege($1, 'public', 'CREATE')";
    let rights = target_db.client().await.query_one(rights, &[&owner]).await.unwrap();
    assert!(rights.get::<_, bool>(0), "rights were lost or added");
    let login = "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1";
    let login = target_db.client().await.query_one(login, &[&owner]).await.unwrap();
    assert!(!login.get::<_, bool>(0), "a restored role must not let anybody in");
}
