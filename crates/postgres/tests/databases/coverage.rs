use crate::support::*;
use keepsake_domain::{Coverage, CoverageKind};
use keepsake_steps::ports::Source;

async fn coverage_of(database: &Database) -> Coverage {
    let source = source_at(database.url());
    let held = source.take_snapshot().await.unwrap();
    source.shape(held.name()).await.unwrap().coverage
}

fn names(coverage: &Coverage, kind: CoverageKind) -> Vec<&str> {
    let all = coverage.not_covered.iter().chain(&coverage.limited);
    all.filter(|one| one.kind == kind).map(|one| one.what.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_that_sql_can_make_is_found_and_nothing_else_is_named() {
    let mut source_db = Database::source().await;
    let other_db = Database::source().await;
    let role = source_db.role("").await;
    let name = source_db.name.clone();
    source_db
        .run(&format!(
            "CREATE TABLE plain (id integer PRIMARY KEY); CREATE UNLOGGED TABLE fast (id integer PRIMARY KEY);
             CREATE TABLE blurred (n integer); CREATE TABLE late (n integer PRIMARY KEY DEFERRABLE); CREATE TABLE keyed (n integer NOT NULL UNIQUE);
             ALTER TABLE keyed REPLICA IDENTITY USING INDEX keyed_n_key;
             CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
             CREATE FOREIGN TABLE far (n integer) SERVER s; CREATE EXTENSION hstore; SELECT lo_create(7);
             CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM plain;
             CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
             CREATE EVENT TRIGGER {name}_watch ON ddl_command_end WHEN TAG IN ('CREATE RULE') EXECUTE FUNCTION watch();
             ALTER DATABASE {name} SET work_mem = '5MB'; ALTER ROLE {role} IN DATABASE {name} SET work_mem = '6MB'"
        ))
        .await;
    let slot = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
    source_db.client().await.query(slot.as_str(), &[]).await.unwrap();

    let coverage = coverage_of(&source_db).await;
    source_db
        .client()
        .await
        .query("SELECT pg_drop_replication_slot($1::text::name)", &[&name])
        .await
        .unwrap();

    use CoverageKind as Kind;
    for (kind, what) in [
        (Kind::ForeignTable, vec!["rows of foreign table public.far".to_owned()]),
        (Kind::ReplicationSlot, vec![format!("replication slot {name}")]),
        (Kind::RolePasswords, vec!["passwords of roles".to_owned()]),
        (Kind::ServerSettings, vec!["settings of the server".to_owned()]),
        (Kind::UnloggedTable, vec!["unlogged table public.fast".to_owned()]),
        (
            Kind::NoReplicaIdentity,
            ["blurred", "late"].map(|name| format!("table without replica identity public.{name}")).to_vec(),
        ),
        (Kind::LargeObjects, vec!["large objects: 1".to_owned()]),
        (Kind::MaterializedView, vec!["rows of materialised view public.totals".to_owned()]),
        (Kind::Extension, vec!["extension hstore 1.8".to_owned()]),
        (Kind::EventTrigger, vec![format!("event trigger {name}_watch")]),
        (
            Kind::DatabaseSettings,
            vec![
                "settings of the database: 1 for all roles".to_owned(),
                "settings of the database: 1 for single roles".to_owned(),
            ],
        ),
        (Kind::HiddenRows, vec![]),
        (Kind::Subscription, vec![]),
        (Kind::Tablespace, vec![]),
        (Kind::ExtensionTable, vec![]),
        (Kind::ExtensionFiles, vec![]),
        (Kind::ProviderSchema, vec![]),
        (Kind::SecurityLabels, vec![]),
        (Kind::SharedLabels, vec![]),
    ] {
        assert_eq!(names(&coverage, kind), what, "{kind:?}");
    }
    let other = format!("database {}", other_db.name);
    assert!(names(&coverage, Kind::OtherDatabase).contains(&other.as_str()));
    let roles =
        names(&coverage, Kind::Roles)[0].strip_prefix("roles with memberships and settings: ").unwrap();
    assert!(roles.parse::<u64>().unwrap() > 0);
    assert!(
        !serde_json::to_string(&coverage).unwrap().contains(&role),
        "names of roles are not told in clear"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_tables_subscriptions_and_rows_of_extensions_are_told() {
    let source_db = Database::source().await;
    let name = source_db.name.clone();
    let client = source_db.client().await;
    // A table that an extension made after its script ran is its member and not its configuration.
    client
        .batch_execute(
            "CREATE TEMPORARY TABLE gone (n integer); CREATE EXTENSION hstore; CREATE TABLE inside (n integer);
             INSERT INTO inside VALUES (1); ALTER EXTENSION hstore ADD TABLE inside",
        )
        .await
        .unwrap();
    let subscription = format!(
        "CREATE SUBSCRIPTION {name} CONNECTION 'host=nowhere.invalid' PUBLICATION p WITH (connect = false, slot_name = NONE)"
    );
    client.batch_execute(&subscription).await.unwrap();

    let coverage = coverage_of(&source_db).await;
    client.batch_execute(&format!("DROP SUBSCRIPTION {name}")).await.unwrap();

    assert_eq!(names(&coverage, CoverageKind::TemporaryTables), ["temporary tables"]);
    assert_eq!(names(&coverage, CoverageKind::Subscription), [format!("subscription {name}")]);
    assert_eq!(names(&coverage, CoverageKind::ExtensionTable), ["rows of extension table public.inside"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_hidden_from_the_reading_role_are_told() {
    let mut source_db = Database::source().await;
    let role = source_db.role("IN ROLE pg_read_all_data").await;
    source_db.run("CREATE TABLE veiled (n integer); ALTER TABLE veiled ENABLE ROW LEVEL SECURITY").await;
    let source = source_at(source_db.url_as(&role, PASSWORD));
    let held = source.take_snapshot().await.unwrap();
    let coverage = source.shape(held.name()).await.unwrap().coverage;
    assert_eq!(names(&coverage, CoverageKind::HiddenRows), ["rows of public.veiled"]);
}
