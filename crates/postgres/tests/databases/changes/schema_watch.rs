//! What watches the schema: whom it takes in and out, what it tells, and that it is in nobody's way.

use super::*;
use keepsake_domain::DdlMessage;
use serde_json::Value;

async fn published(changes: &PostgresChanges) -> Vec<String> {
    let state = changes.capture_state().await.unwrap();
    state.published.iter().map(|table| table.name.clone()).collect()
}

/// What was defined since, in the order of the transactions.
async fn told(changes: &PostgresChanges, from: Lsn) -> (Vec<Value>, Lsn) {
    let mut stream = open(changes, from).await;
    let (decoder, reached) = decoded(changes, stream.as_mut()).await;
    stream.confirm(reached).await.unwrap();
    stream.end().await.unwrap();
    (decoder.told().iter().map(|one| serde_json::from_str(one).unwrap()).collect(), reached)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_joins_in_the_transaction_that_makes_it_and_its_first_rows_are_streamed() {
    let db = Database::source().await;
    db.run("CREATE TABLE parted (n integer) PARTITION BY RANGE (n); CREATE TABLE a PARTITION OF parted FOR VALUES FROM (0) TO (10)")
        .await;
    let (changes, protection) = protected(&db).await;
    assert_eq!(protection.not_watched, None);
    let mut stream = open(&changes, protection.lsn).await;
    for sql in [
        "BEGIN; CREATE TABLE t (n integer PRIMARY KEY); INSERT INTO t VALUES (1); COMMIT",
        "BEGIN; CREATE TABLE late (n integer NOT NULL); INSERT INTO late VALUES (1);
         ALTER TABLE late ADD PRIMARY KEY (n); INSERT INTO late VALUES (2); COMMIT",
        "ALTER TABLE parted ADD PRIMARY KEY (n); INSERT INTO parted VALUES (3);
         CREATE TABLE b PARTITION OF parted FOR VALUES FROM (10) TO (20); INSERT INTO parted VALUES (13)",
        "CREATE TABLE copied AS SELECT 4 AS n; ALTER TABLE copied REPLICA IDENTITY FULL; INSERT INTO copied VALUES (5)",
        "CREATE TABLE bare (n integer); INSERT INTO bare VALUES (6); UPDATE bare SET n = 7",
        "CREATE TEMPORARY TABLE gone (n integer PRIMARY KEY); INSERT INTO gone VALUES (8)",
        "BEGIN; CREATE TABLE never (n integer PRIMARY KEY); INSERT INTO never VALUES (9); ROLLBACK",
        "CREATE SCHEMA \"s x\" CREATE TABLE \"t \"\"y\" (n integer PRIMARY KEY); INSERT INTO \"s x\".\"t \"\"y\" VALUES (10)",
    ] {
        db.run(sql).await;
    }
    let (lines, _) = drained(&changes, stream.as_mut()).await;
    let inserted: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("INSERT ")).collect();
    let wanted = [
        "public.t N 1",
        "public.late N 2",
        "public.a N 3",
        "public.b N 13",
        "public.copied N 5",
        "s x.t \"y N 10",
    ];
    assert_eq!(inserted, wanted);
    assert_eq!(published(&changes).await, ["a", "b", "copied", "late", "t", "t \"y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_leaves_in_the_transaction_that_takes_its_identity_and_its_users_go_on_writing() {
    let db = Database::source().await;
    let tables = [
        ("keyed", "ALTER TABLE keyed DROP CONSTRAINT keyed_pkey"),
        ("nothing", "ALTER TABLE nothing REPLICA IDENTITY NOTHING"),
        ("by_index", "DROP INDEX by_index_i"),
        ("column_gone", "ALTER TABLE column_gone DROP COLUMN n"),
        ("inside", "ALTER TABLE parted DROP CONSTRAINT parted_pkey"),
        ("by_type", "DROP DOMAIN whole CASCADE"),
    ];
    db.run(
        "CREATE DOMAIN whole AS integer; CREATE TABLE by_type (n whole PRIMARY KEY, v integer);
         CREATE TABLE keyed (n integer PRIMARY KEY, v integer); CREATE TABLE nothing (n integer PRIMARY KEY, v integer);
         CREATE TABLE by_index (n integer NOT NULL, v integer); CREATE UNIQUE INDEX by_index_i ON by_index (n);
         ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_i;
         CREATE TABLE column_gone (n integer PRIMARY KEY, v integer); CREATE TABLE stays (n integer PRIMARY KEY, v integer);
         CREATE TABLE parted (n integer PRIMARY KEY, v integer) PARTITION BY RANGE (n);
         CREATE TABLE inside PARTITION OF parted FOR VALUES FROM (0) TO (10)",
    )
    .await;
    for table in tables.iter().map(|(table, _)| *table).chain(["stays"]) {
        db.run(&format!("INSERT INTO {table} VALUES (1, 1)")).await;
    }
    let (changes, _) = protected(&db).await;
    assert_eq!(published(&changes).await.len(), tables.len() + 1);
    for (table, sql) in tables {
        db.run(&format!("BEGIN; {sql}; UPDATE {table} SET v = 2; COMMIT")).await;
        db.run(&format!("UPDATE {table} SET v = 3; DELETE FROM {table}")).await;
    }
    assert_eq!(published(&changes).await, ["stays"]);
    let told = changes.protect(&ProtectWishes::default()).await.unwrap();
    assert_eq!((told.is_new, told.published.len(), told.not_captured.len()), (false, 1, tables.len()));
}

/// Whatever a schema can hold, on every major. What Postgres itself tells nobody of stays out, and what changes nothing.
pub async fn every_definition_is_told(db: &Database) {
    let changes = fingerprint::begin(db).await;
    let from = changes.protect(&ProtectWishes::default()).await.unwrap().lsn;
    db.run("TRUNCATE t").await;
    db.run_each(fingerprint::DEFINITIONS).await;
    let (told, _) = told(&changes, from).await;
    let of: Vec<&str> = told.iter().filter_map(|one| one["statement"].as_str()).collect();
    let is_ours = |sql: &str| sql.contains("EVENT TRIGGER") || sql.contains("PUBLICATION keepsake_");
    // Their options may be passwords.
    let secret = ["FOREIGN DATA WRAPPER", "SERVER", "USER MAPPING", "SUBSCRIPTION"];
    let is_secret = |sql: &str| {
        secret.iter().any(|what| ["CREATE", "ALTER"].iter().any(|how| sql.contains(&format!("{how} {what}"))))
    };
    assert!(!of.iter().any(|sql| is_secret(sql)), "{of:?}");
    let mut wanted = fingerprint::DEFINITIONS.split(';').filter(|sql| !is_ours(sql) && !is_secret(sql));
    assert_eq!(wanted.find(|sql| !of.iter().any(|told| told.trim() == sql.trim())), None);
    assert!(told.iter().all(|one| one["objects_total"].as_u64() > Some(0)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_definition_is_told_in_the_stream() {
    every_definition_is_told(&Database::source().await).await;
}

/// A message can be read by every slot of the database, and by whoever reads the log.
#[tokio::test(flavor = "multi_thread")]
async fn no_statement_is_told_that_may_hold_a_password() {
    let db = Database::source().await;
    let (changes, protection) = protected(&db).await;
    for sql in [
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (k 'hidden')",
        "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (user 'u', password 'hidden')",
        "alter  user\n mapping FOR PUBLIC SERVER s OPTIONS (SET password 'hidden')",
        "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere password=hidden' PUBLICATION p WITH (connect = false)",
        "ALTER SUBSCRIPTION s SET (slot_name = NONE)",
        "DROP SUBSCRIPTION s",
        // Whatever else is sent with them.
        "BEGIN; CREATE TABLE beside (n integer); DO $$ BEGIN IF false THEN ALTER ROLE nobody PASSWORD 'hidden'; END IF; END $$;
         COMMIT",
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'host=h Password = hidden' $$",
        "CREATE TABLE users (n integer, password text DEFAULT 'shown')",
        "ALTER TABLE users ADD COLUMN c text DEFAULT 'password=hidden'",
        "ALTER TABLE users ADD COLUMN d text DEFAULT 'c is not told again'",
    ] {
        db.run(sql).await;
    }
    let (told, _) = told(&changes, protection.lsn).await;
    let commands: Vec<&str> = told.iter().map(|one| one["command"].as_str().unwrap()).collect();
    let wanted = [
        "CREATE SUBSCRIPTION",
        "DROP SUBSCRIPTION",
        "CREATE USER MAPPING",
        "CREATE TABLE",
        "CREATE FUNCTION",
    ];
    assert_eq!(wanted.iter().find(|command| !commands.contains(command)), None, "{commands:?}");
    let all = serde_json::to_string(&told).unwrap();
    assert!(!all.contains("hidden") && all.contains("shown"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_watches_is_made_anew_whatever_somebody_changed_of_it() {
    let mut db = Database::source().await;
    let other = db.role("").await;
    let (changes, _) = protected(&db).await;
    let whole = "SELECT concat(
        (SELECT string_agg(concat_ws(' ', evtname, evtevent, evtenabled, evttags), ', ' ORDER BY evtname)
         FROM pg_event_trigger WHERE evtname LIKE 'keepsake%'),
        (SELECT string_agg(concat_ws(' ', proname, proowner, prosecdef, proconfig, proacl, prosrc), ', ' ORDER BY proname)
         FROM pg_proc WHERE pronamespace = 'keepsake_capture'::regnamespace))";
    let client = db.client().await;
    let state = async || client.query_one(whole, &[]).await.unwrap().get::<_, String>(0);
    let made = state().await;
    for sql in [
        "ALTER EVENT TRIGGER keepsake_capture_ddl DISABLE".to_owned(),
        "ALTER EVENT TRIGGER keepsake_capture_drop ENABLE".to_owned(),
        "ALTER EVENT TRIGGER keepsake_capture_drop ENABLE REPLICA".to_owned(),
        "DROP EVENT TRIGGER keepsake_capture_drop; CREATE EVENT TRIGGER keepsake_capture_drop ON sql_drop
         WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION keepsake_capture.noted();
         ALTER EVENT TRIGGER keepsake_capture_drop ENABLE ALWAYS".to_owned(),
        "DROP EVENT TRIGGER keepsake_capture_ddl; CREATE EVENT TRIGGER keepsake_capture_ddl ON ddl_command_start
         EXECUTE FUNCTION keepsake_capture.noted(); ALTER EVENT TRIGGER keepsake_capture_ddl ENABLE ALWAYS".to_owned(),
        "ALTER FUNCTION keepsake_capture.noted() SECURITY INVOKER".to_owned(),
        "ALTER FUNCTION keepsake_capture.noted() SET search_path = public".to_owned(),
        "ALTER FUNCTION keepsake_capture.note(text, text, text) SET lock_timeout = 0".to_owned(),
        "ALTER FUNCTION keepsake_capture.note(text, text, text) RESET ALL".to_owned(),
        "GRANT EXECUTE ON FUNCTION keepsake_capture.note(text, text, text) TO PUBLIC".to_owned(),
        format!("ALTER FUNCTION keepsake_capture.note(text, text, text) OWNER TO {other}"),
    ] {
        db.run(&sql).await;
        assert_ne!(state().await, made, "{sql}");
        assert_eq!(changes.protect(&ProtectWishes::default()).await.unwrap().not_watched, None, "{sql}");
        assert_eq!(state().await, made, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_tells_who_defined_what_and_where() {
    let mut db = Database::source().await;
    let role = db.role("").await;
    let (changes, protection) = protected(&db).await;
    db.run(&format!(
        "CREATE SCHEMA theirs AUTHORIZATION {role}; SET ROLE {role}; SET search_path = theirs, public;"
    ))
    .await;
    let client = db.client().await;
    client.batch_execute(&format!("SET ROLE {role}; SET search_path = theirs, public")).await.unwrap();
    client.batch_execute("CREATE TABLE t (n serial PRIMARY KEY)").await.unwrap();
    client.batch_execute("CREATE TEMPORARY TABLE nobodys (n integer); DROP TABLE nobodys").await.unwrap();
    client.batch_execute("DROP TABLE t").await.unwrap();
    let shown: String = client.query_one("SHOW search_path", &[]).await.unwrap().get(0);
    assert_eq!(shown, "theirs, public");
    let (told, _) = told(&changes, protection.lsn).await;
    let [schema, made, dropped] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(schema["command"], "CREATE SCHEMA");
    let mut made = made.clone();
    for looked in ["before", "after"] {
        let fingerprint = made.as_object_mut().unwrap().remove(looked);
        assert_eq!(fingerprint.unwrap().as_str().map(str::len), Some(64), "{looked}");
    }
    assert_eq!(
        made,
        serde_json::json!({"command": "CREATE TABLE", "objects_total": 4, "role": role, "search_path": "theirs, public", "granted": false,
            "inherits": false, "filled": null, "format": 2,
            "statement": "CREATE TABLE t (n serial PRIMARY KEY)",
            "objects": ["sequence theirs.t_n_seq", "table theirs.t", "index theirs.t_pkey", "sequence theirs.t_n_seq"]})
    );
    assert_eq!(
        (&dropped["command"], &dropped["objects"][0]),
        (&"DROP TABLE".into(), &"table theirs.t".into())
    );
}

/// Whatever a schema holds, on every major: what a statement's transaction sees is what the boundaries see.
pub async fn the_watch_sees_the_schema_that_the_boundaries_see(db: &Database) {
    let changes = fingerprint::begin(db).await;
    let from = changes.protect(&ProtectWishes::default()).await.unwrap().lsn;
    db.run("TRUNCATE t").await;
    db.run_each(fingerprint::DEFINITIONS).await;
    let (_, from) = told(&changes, from).await;
    let fingerprint = async || changes.boundary().await.unwrap().schema_fingerprint;
    let before = fingerprint().await;
    let user = db.client().await;
    let set = "SET quote_all_identifiers = on; SET extra_float_digits = 0; SET bytea_output = escape; SET DateStyle = 'German'";
    user.batch_execute(set).await.unwrap();
    for sql in [
        "CREATE TABLE fresh (id serial PRIMARY KEY, x text UNIQUE)",
        "ALTER TABLE fresh ADD COLUMN y text",
        "CREATE INDEX ON fresh (y)",
        "COMMENT ON COLUMN fresh.y IS 'x'",
    ] {
        user.batch_execute(sql).await.unwrap();
    }
    let after = fingerprint().await;
    let (whole, from) = told(&changes, from).await;
    let whole: Vec<DdlMessage> =
        whole.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect();
    assert_eq!(whole.len(), 4);
    assert!(keepsake_domain::is_all_told(&before, &after, &whole), "{whole:#?}");
    // Nobody looks for what cannot be run again by itself, and who makes tables in a function waits for nothing.
    for sql in [
        "DO $$ BEGIN CREATE TABLE inside (id integer PRIMARY KEY); END $$",
        "CREATE SCHEMA apart",
        "CREATE TABLE copied AS SELECT 1 AS n",
        "ALTER TABLE fresh DROP COLUMN y",
    ] {
        db.run(sql).await;
    }
    let (other, _) = told(&changes, from).await;
    let looked: Vec<bool> = other.iter().map(|one| one["after"].is_string()).collect();
    assert_eq!(looked, [false, false, false, false, true], "a column that is dropped is told twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn fingerprints_in_the_stream_are_those_of_the_boundaries() {
    the_watch_sees_the_schema_that_the_boundaries_see(&Database::source().await).await;
}

/// Each of these breaks what watches in another way; the user's statements must not notice.
#[tokio::test(flavor = "multi_thread")]
async fn no_definition_of_a_user_fails_because_the_schema_is_watched() {
    let mut db = Database::source().await;
    let role = db.role("").await;
    db.run(&format!("CREATE SCHEMA theirs AUTHORIZATION {role}")).await;
    let number = std::cell::Cell::new(0);
    let user = db.client().await;
    let define = async |how: &str| {
        let n = number.replace(number.get() + 1);
        for sql in [
            format!("CREATE TABLE t{n} (n integer PRIMARY KEY, v integer)"),
            format!("ALTER TABLE t{n} ADD COLUMN w integer DEFAULT 7"),
            format!("INSERT INTO t{n} VALUES (1, 1); UPDATE t{n} SET v = 2"),
            format!("CREATE INDEX ON t{n} (w); DROP TABLE t{n}"),
            format!("BEGIN; CREATE TABLE t{n} (n integer PRIMARY KEY); DROP TABLE t{n}; COMMIT"),
        ] {
            user.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{how}: {sql}: {error:?}"));
        }
    };
    let (changes, _) = protected(&db).await;
    define("watched").await;
    // Functions of the same names before the server's own, and a role that may nothing else.
    user.batch_execute(&format!(
        "SET ROLE {role}; SET search_path = theirs, pg_catalog;
         CREATE FUNCTION theirs.array_agg(text) RETURNS text[] LANGUAGE plpgsql AS 'BEGIN RAISE ''mine''; END';
         CREATE FUNCTION theirs.current_setting(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''mine''; END';
         CREATE FUNCTION theirs.note(text, text, text) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE ''mine''; END'"
    ))
    .await
    .unwrap();
    define("a role without rights, with functions of the same names").await;
    let long = format!("COMMENT ON SCHEMA theirs IS '{}'", "x".repeat(2 << 20));
    user.batch_execute(&long).await.unwrap();
    user.batch_execute("RESET ROLE; SET search_path = public").await.unwrap();
    user.batch_execute("SET session_replication_role = replica").await.unwrap();
    define("as a replica").await;
    user.batch_execute("RESET session_replication_role").await.unwrap();
    // Another transaction that made a table keeps the publication locked.
    let other = db.client().await;
    other.batch_execute("BEGIN; CREATE TABLE others (n integer PRIMARY KEY)").await.unwrap();
    define("beside one that holds the publication").await;
    other.batch_execute("COMMIT").await.unwrap();
    for (how, sql) in [
        ("the publication dropped", format!("DROP PUBLICATION {}", slot_of(&db))),
        (
            "its function replaced",
            "CREATE OR REPLACE FUNCTION keepsake_capture.note(event text, tag text, path text)
            RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'"
                .to_owned(),
        ),
        ("its function dropped", "DROP FUNCTION keepsake_capture.note(text, text, text)".to_owned()),
        (
            "rights on its schema taken",
            "REVOKE ALL ON SCHEMA keepsake_capture FROM PUBLIC, CURRENT_USER".to_owned(),
        ),
        ("one trigger dropped", "DROP EVENT TRIGGER keepsake_capture_drop".to_owned()),
        ("its schema dropped", "DROP SCHEMA keepsake_capture CASCADE".to_owned()),
    ] {
        user.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{how}: {error:?}"));
        define(how).await;
    }
    changes.unprotect().await.unwrap();
    define("unprotected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_watch_is_told_and_captures_all_the_same() {
    let mut db = Database::source().await;
    let role = db.role("REPLICATION").await;
    db.run(&format!(
        "GRANT CREATE ON DATABASE {} TO {role}; CREATE SCHEMA mine AUTHORIZATION {role}",
        db.name
    ))
    .await;
    let theirs = PostgresChanges::new(db.url_as(&role, PASSWORD), &db.name);
    let protection =
        theirs.protect(&ProtectWishes::default()).await.unwrap_or_else(|e| panic!("{}", all_text(&e)));
    let why = protection.not_watched.expect("it may not");
    assert!(why.contains("permission denied to create event trigger"), "{why}");
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'keepsake_capture'";
    assert_eq!(db.client().await.query_one(made, &[]).await.unwrap().get::<_, i64>(0), 0);
    // What a superuser made before counts for it too.
    assert_eq!(protected(&db).await.1.not_watched, None);
    assert_eq!(theirs.protect(&ProtectWishes::default()).await.unwrap().not_watched, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sources_on_one_database_the_last_takes_the_watch_away() {
    let db = Database::source().await;
    let (one, _) = protected(&db).await;
    let other = PostgresChanges::new(db.url(), &format!("{}_2", db.name));
    other.protect(&ProtectWishes::default()).await.unwrap();
    db.run("CREATE TABLE t (n integer PRIMARY KEY)").await;
    assert_eq!(
        (published(&one).await, published(&other).await),
        (vec!["t".to_owned()], vec!["t".to_owned()])
    );
    let watch = "event triggers and schema keepsake_capture".to_owned();
    assert!(!one.unprotect().await.unwrap().removed.contains(&watch));
    db.run("CREATE TABLE u (n integer PRIMARY KEY)").await;
    assert_eq!(published(&other).await, ["t", "u"]);
    assert!(other.unprotect().await.unwrap().removed.contains(&watch));
}

#[tokio::test(flavor = "multi_thread")]
async fn protecting_again_leaves_the_watch_as_it_is_and_mends_it_without_a_word_in_the_stream() {
    let db = Database::source().await;
    let (changes, protection) = protected(&db).await;
    let made = "SELECT string_agg(xmin::text, ' ' ORDER BY oid) FROM pg_event_trigger";
    let made = async || db.client().await.query_one(made, &[]).await.unwrap().get::<_, String>(0);
    let first = made().await;
    protected(&db).await;
    assert_eq!(made().await, first);

    db.run(
        "CREATE OR REPLACE FUNCTION keepsake_capture.note(event text, tag text, path text)
         RETURNS void LANGUAGE plpgsql AS 'BEGIN END'",
    )
    .await;
    protected(&db).await;
    assert_ne!(made().await, first);
    // Only what follows is told, not what protect did to what watches.
    db.run("CREATE TABLE t (n integer PRIMARY KEY)").await;
    let (told, _) = told(&changes, protection.lsn).await;
    let of: Vec<&str> = told.iter().map(|one| one["command"].as_str().unwrap()).collect();
    assert_eq!(of, ["CREATE TABLE"]);
    assert_eq!(published(&changes).await, ["t"]);
}
