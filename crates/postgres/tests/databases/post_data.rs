//! Post-data whose statements fail or whose process dies, at each statement in turn: the next try comes to the same as one
//! that nothing happened to.

use crate::support::*;
use keepsake_postgres::{PostgresSource, PostgresTarget};
use keepsake_steps::ports::{SchemaSection, Target, TargetError};
use std::time::{Duration, Instant};

/// Indexes and keys of partitions of partitions, one that was attached by hand, and what needs them.
const SCHEMA: &str = "
    CREATE TABLE events (at integer, kind integer, what text, PRIMARY KEY (at, kind)) PARTITION BY RANGE (at);
    CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (0) TO (10) PARTITION BY LIST (kind);
    CREATE TABLE events_old_odd PARTITION OF events_old FOR VALUES IN (1, 3);
    CREATE TABLE events_rest PARTITION OF events DEFAULT;
    CREATE INDEX events_what ON events (what);
    CREATE INDEX events_only ON ONLY events (kind);
    CREATE INDEX events_only_rest ON events_rest (kind);
    ALTER INDEX events_only ATTACH PARTITION events_only_rest;
    CREATE INDEX of_its_own ON events_rest (what, at);
    CREATE TABLE notes (at integer, kind integer, FOREIGN KEY (at, kind) REFERENCES events);
    CREATE VIEW by_key AS SELECT at, kind, what COLLATE \"C\" AS what FROM events GROUP BY at, kind;
    CREATE VIEW by_view AS SELECT count(*) FROM by_key;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER touch AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TABLE guests (id integer PRIMARY KEY, name text UNIQUE)";

/// What post-data makes, and who belongs to whom.
const STANDS: &str = "
    SELECT pg_get_indexdef(x.indexrelid) || ', valid: ' || x.indisvalid || ', of ' || COALESCE(h.inhparent::regclass::text, 'none')
    FROM pg_index x LEFT JOIN pg_inherits h ON h.inhrelid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
    WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) || ' ' || convalidated
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND NOT (contype = 'f' AND conparentid <> 0)
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT relname || ': ' || pg_get_viewdef(oid) FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace
    ORDER BY 1";

/// Beyond the statements of the schema, of which there are some thirty.
const MOST_STATEMENTS: u32 = 100;

/// Behind it a server of these tests is taken to hang; no machine is so slow.
const PATIENCE: Duration = Duration::from_secs(300);

async fn stands(db: &Database) -> Vec<String> {
    db.client().await.query(STANDS, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// An archive of the schema, and what stands where it came from.
struct Trial {
    archive: Vec<u8>,
    stands: Vec<String>,
}

impl Trial {
    async fn new() -> Self {
        let db = Database::source().await;
        db.run(SCHEMA).await;
        let source: PostgresSource = source_at(db.url());
        let held = keepsake_steps::ports::Source::take_snapshot(&source).await.unwrap();
        let (dumped, archive) = schema_of(&source, held.name()).await;
        dumped.unwrap();
        Self { archive: archive.unwrap(), stands: stands(&db).await }
    }

    /// A database that waits for its post-data, whose statements do this when they ended.
    async fn target(&self, body: &str) -> (Database, PostgresTarget) {
        let db = Database::target().await;
        let target = target_at(db.url());
        target.begin(BACKUP).await.unwrap();
        self.restore(&target, SchemaSection::PreData, 1).await.unwrap();
        // What the restore itself tries and keeps in its books is none of them, and nothing of a second try is, which begins by
        // dropping: workers may lock each other out by themselves, and then the try alone must not be disturbed.
        db.run(&format!(
            "CREATE SCHEMA fails; CREATE SEQUENCE fails.statements;
             CREATE FUNCTION fails.statement() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF current_setting('application_name') <> 'keepsake pg_restore' THEN RETURN; END IF;
                 IF current_query() LIKE '%DROP %' THEN PERFORM setval('fails.statements', 1000000); RETURN; END IF;
                 {body} END $$;
             CREATE EVENT TRIGGER fails ON ddl_command_end EXECUTE FUNCTION fails.statement()"
        ))
        .await;
        (db, target)
    }

    async fn restore(
        &self,
        target: &PostgresTarget,
        section: SchemaSection,
        jobs: u32,
    ) -> Result<(), TargetError> {
        target.restore_schema(section, stream(self.archive.clone(), true), jobs).await
    }

    async fn is_whole(&self, db: &Database, what: &str) {
        db.run("DROP EVENT TRIGGER IF EXISTS fails").await;
        assert_eq!(stands(db).await, self.stands, "{what}");
    }
}

/// Whether the statement of this number was reached.
async fn was_reached(db: &Database, number: u32) -> bool {
    let sql = "SELECT last_value FROM fails.statements";
    db.client().await.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) >= i64::from(number)
}

/// Each number in turn, until no statement has it. Answers how many there were.
async fn for_each_statement(
    every: usize,
    body: impl Fn(u32) -> String,
    round: impl AsyncFn(&Trial, &Database, &PostgresTarget, u32),
) -> u32 {
    let trial = Trial::new().await;
    for number in (1..MOST_STATEMENTS).step_by(every) {
        let (db, target) = trial.target(&body(number)).await;
        round(&trial, &db, &target, number).await;
        trial.is_whole(&db, &format!("statement {number}")).await;
        if !was_reached(&db, number).await {
            return number - 1;
        }
    }
    panic!("there is no end of statements");
}

#[tokio::test(flavor = "multi_thread")]
async fn whichever_statement_of_post_data_fails_among_workers_the_try_alone_comes_to_the_whole() {
    let fails_once = |number| {
        format!(
            "IF nextval('fails.statements') = {number} THEN RAISE EXCEPTION 'statement {number} fails'; END IF;"
        )
    };
    let statements = for_each_statement(1, fails_once, async |trial, _, target, number| {
        let restored = trial.restore(target, SchemaSection::PostData, 4).await;
        restored.unwrap_or_else(|error| panic!("statement {number}: {}", all_text(&error)));
    });
    assert!(statements.await > 20, "less than the schema has");
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_post_data_ends_the_next_call_comes_to_the_whole() {
    let fails_from_there_on = |number| {
        format!(
            "IF nextval('fails.statements') >= {number} THEN RAISE EXCEPTION 'gone before {number}'; END IF;"
        )
    };
    for_each_statement(3, fails_from_there_on, async |trial, db, target, number| {
        let first = trial.restore(target, SchemaSection::PostData, 1).await;
        assert_eq!(first.is_err(), was_reached(db, number).await, "statement {number}");
        db.run("DROP EVENT TRIGGER fails").await;
        let again = trial.restore(target, SchemaSection::PostData, 1).await;
        again.unwrap_or_else(|error| panic!("statement {number}: {}", all_text(&error)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_pg_restore_left_at_work_is_ended_before_the_next_begins() {
    let waits_once = "IF nextval('fails.statements') = 5 THEN PERFORM pg_advisory_xact_lock(4711); END IF;";
    let trial = Trial::new().await;
    let (db, target) = trial.target(waits_once).await;
    let client = db.client().await;
    client.batch_execute("SELECT pg_advisory_lock(4711)").await.unwrap();
    {
        let restoring = trial.restore(&target, SchemaSection::PostData, 2);
        let waits = async {
            let began = Instant::now();
            let sql = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted";
            while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
                assert!(began.elapsed() < PATIENCE, "no statement waits");
            }
        };
        tokio::select! {
            _ = restoring => panic!("it did not wait"),
            () = waits => {}
        }
        // Here it is dropped, and its process killed; the server goes on with what the session asked for.
    }
    let again = tokio::time::timeout(PATIENCE, trial.restore(&target, SchemaSection::PostData, 2)).await;
    again.expect("it waits for what was left").unwrap_or_else(|error| panic!("{}", all_text(&error)));
    client.batch_execute("SELECT pg_advisory_unlock(4711)").await.unwrap();
    trial.is_whole(&db, "behind a killed one").await;
}
