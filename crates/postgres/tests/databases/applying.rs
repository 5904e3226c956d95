//! Changes of a real server, folded and applied to another: what comes out is what the source holds.

mod later_keys;
mod pair;

use crate::support::*;
use bytes::Bytes;
use keepsake_domain::{Bound, Classified, FailureClass, Lsn, RecoveryTarget};
use keepsake_steps::BATCH_BYTES;
use keepsake_steps::ports::{ChangePosition, ChangeTarget, TargetError};
use pair::{Pair, differing};

/// Everything that a change can be to a row: keys of several kinds, names that need quotes, columns that no statement may
/// set, keys that wander, large values that stay, tables without keys, partitions, and references in a circle.
const SCHEMA: &str = r#"
    CREATE TABLE plain (id integer PRIMARY KEY, gone text, name text);
    ALTER TABLE plain DROP COLUMN gone;
    INSERT INTO plain SELECT n, 'name ' || n FROM generate_series(1, 200) n;
    CREATE TABLE "Quoted ""T" ("the ""key" text, "Part" integer, "upper" text GENERATED ALWAYS AS (upper("the ""key")) STORED,
        PRIMARY KEY ("Part", "the ""key"));
    INSERT INTO "Quoted ""T" VALUES (E'tab\tnew\nback\\slash', 1), ('', 2), ('\N', 3);
    CREATE TABLE counted (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n integer, big text);
    ALTER TABLE counted ALTER big SET STORAGE EXTERNAL;
    INSERT INTO counted (n, big) SELECT n, repeat(md5(n::text), 200) FROM generate_series(1, 40) n;
    CREATE TABLE toasted (id integer PRIMARY KEY, big text, other text, small text);
    ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL;
    INSERT INTO toasted SELECT n, repeat(md5(n::text), 200), repeat(md5('o' || n), 200), 's' FROM generate_series(1, 40) n;
    CREATE TABLE keyless (a integer, b json, c point, d text);
    ALTER TABLE keyless REPLICA IDENTITY FULL;
    INSERT INTO keyless SELECT n % 5, '{"n": 1}', '(1,2)', CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'x y' END
        FROM generate_series(1, 60) n;
    CREATE TABLE by_index (id integer, u uuid NOT NULL, v numeric, x char(5));
    CREATE UNIQUE INDEX by_u ON by_index (u); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_u;
    INSERT INTO by_index SELECT n, md5(n::text)::uuid, n / 7.0, 'a' FROM generate_series(1, 50) n;
    CREATE TABLE ranged (id integer, day date, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
    CREATE TABLE ranged_2 (note text, day date NOT NULL, id integer NOT NULL);
    ALTER TABLE ranged ATTACH PARTITION ranged_2 FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
    INSERT INTO ranged SELECT n, '2026-01-01'::date + n, 'n' FROM generate_series(1, 300) n;
    CREATE TABLE hashed (id text PRIMARY KEY, v integer) PARTITION BY HASH (id);
    CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO hashed SELECT 'k' || n, n FROM generate_series(1, 50) n;
    CREATE TABLE parent (id integer PRIMARY KEY, v text); CREATE TABLE child () INHERITS (parent);
    ALTER TABLE child ADD PRIMARY KEY (id);
    INSERT INTO parent VALUES (1, 'p'), (2, 'p'); INSERT INTO child VALUES (1, 'c'), (2, 'c');
    CREATE TABLE chicken (id integer PRIMARY KEY, egg integer);
    CREATE TABLE egg (id integer PRIMARY KEY, chicken integer REFERENCES chicken DEFERRABLE INITIALLY DEFERRED);
    ALTER TABLE chicken ADD FOREIGN KEY (egg) REFERENCES egg DEFERRABLE INITIALLY DEFERRED;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fired'; END $$;
    CREATE TABLE watched (id integer PRIMARY KEY, v integer);
    CREATE TRIGGER never BEFORE INSERT ON watched FOR EACH ROW WHEN (NEW.v < 0) EXECUTE FUNCTION refuse();
    CREATE TABLE emptied (id serial PRIMARY KEY, v text); INSERT INTO emptied (v) SELECT 'old' FROM generate_series(1, 30)"#;

/// Thirty transactions and some that end in nothing.
const HISTORY: [&str; 31] = [
    "INSERT INTO plain VALUES (1001, 'new'), (1002, NULL), (1003, E'a\\tb\\nc\\\\d')",
    "UPDATE plain SET name = name || '!' WHERE id % 2 = 0",
    "UPDATE plain SET id = id + 5000 WHERE id < 20; DELETE FROM plain WHERE id BETWEEN 30 AND 40",
    "BEGIN; UPDATE plain SET id = -1 WHERE id = 50; UPDATE plain SET id = 50 WHERE id = 51; UPDATE plain SET id = 51 WHERE id = -1; COMMIT",
    r#"UPDATE "Quoted ""T" SET "the ""key" = 'x' WHERE "Part" = 1; INSERT INTO "Quoted ""T" VALUES (E'\t', 9)"#,
    r#"DELETE FROM "Quoted ""T" WHERE "the ""key" = ''; DELETE FROM "Quoted ""T" WHERE "Part" = 3"#,
    "UPDATE counted SET n = n + 1 WHERE id < 10; DELETE FROM counted WHERE id = 11",
    "INSERT INTO counted (n, big) VALUES (7, 'small'), (8, repeat('y', 9000)); UPDATE counted SET n = -n WHERE id > 35",
    "UPDATE toasted SET small = 'changed' WHERE id < 10",
    "UPDATE toasted SET id = id + 100 WHERE id BETWEEN 5 AND 15",
    "UPDATE toasted SET big = repeat('z', 5000) WHERE id BETWEEN 20 AND 25; UPDATE toasted SET small = 't' WHERE id BETWEEN 18 AND 30",
    "BEGIN; UPDATE toasted SET id = 0 WHERE id = 1; UPDATE toasted SET id = 1 WHERE id = 2; UPDATE toasted SET id = 2, other = 'o' WHERE id = 0; COMMIT",
    "BEGIN; UPDATE toasted SET small = 'a' WHERE id = 30; DELETE FROM toasted WHERE id = 30; INSERT INTO toasted VALUES (30, 'b', NULL, 'c'); COMMIT",
    "DELETE FROM keyless WHERE ctid IN (SELECT ctid FROM keyless WHERE a = 1 LIMIT 3)",
    "INSERT INTO keyless SELECT 1, '{\"n\": 2}', '(3,4)', 'x' FROM generate_series(1, 4); UPDATE keyless SET d = 'y' WHERE a = 2",
    "UPDATE by_index SET v = v + 0.50, x = 'bc' WHERE id < 25; DELETE FROM by_index WHERE id > 45",
    "UPDATE by_index SET u = md5('other' || id)::uuid WHERE id IN (1, 2, 3)",
    "UPDATE ranged SET day = day + 180 WHERE id < 5; DELETE FROM ranged WHERE id > 290",
    "INSERT INTO ranged VALUES (1000, '2026-12-31', NULL), (1001, '2026-01-01', 'm'); UPDATE ranged SET note = 'u' WHERE id % 7 = 0",
    "UPDATE hashed SET id = 'other ' || id WHERE v < 10; DELETE FROM hashed WHERE v > 45; INSERT INTO hashed VALUES ('ü', 99)",
    "UPDATE parent SET v = 'changed' WHERE id = 1; UPDATE ONLY parent SET v = 'only' WHERE id = 2; DELETE FROM child WHERE id = 2",
    "BEGIN; INSERT INTO chicken VALUES (1, 1); INSERT INTO egg VALUES (1, 1); COMMIT",
    "BEGIN; DELETE FROM chicken; INSERT INTO chicken VALUES (1, NULL), (2, 1); COMMIT",
    "INSERT INTO watched SELECT n, n FROM generate_series(1, 10) n",
    "TRUNCATE emptied RESTART IDENTITY; INSERT INTO emptied (v) VALUES ('after')",
    "BEGIN; UPDATE emptied SET v = 'changed'; TRUNCATE emptied; INSERT INTO emptied (v) VALUES ('again'); COMMIT",
    "BEGIN; INSERT INTO watched VALUES (100, 1); SAVEPOINT s; INSERT INTO watched VALUES (101, 1); ROLLBACK TO s; INSERT INTO watched VALUES (102, 1); COMMIT",
    "BEGIN; DELETE FROM plain; ROLLBACK; DELETE FROM watched WHERE id = 3",
    "TRUNCATE hashed; INSERT INTO hashed VALUES ('only', 1)",
    "UPDATE plain SET id = -id; UPDATE plain SET id = -id WHERE id % 3 = 0",
    "TRUNCATE ranged_1, keyless; INSERT INTO keyless VALUES (9, NULL, NULL, NULL), (9, NULL, NULL, NULL)",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_history_applied_in_one_batch_or_in_many_gives_what_the_source_holds() {
    for batch_bytes in [BATCH_BYTES, 1, 20_000] {
        let pair = Pair::with(SCHEMA).await;
        for transaction in HISTORY {
            pair.source.run(transaction).await;
        }
        pair.is_equal_after(batch_bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_commit_as_the_target_gives_the_state_behind_it_and_no_other() {
    let pair = Pair::with(SCHEMA).await;
    let mut states = Vec::new();
    for transaction in HISTORY {
        pair.source.run(transaction).await;
        let commits = commits(&pair.messages().await);
        states.push((*commits.last().unwrap(), pair.source_content().await));
    }
    for (lsn, state) in states {
        // Everything before the commit of the next one, and not a byte of that.
        let inclusive = RecoveryTarget::Lsn { lsn, bound: Bound::Inclusive };
        pair.catch_up(inclusive, BATCH_BYTES).await.unwrap();
        assert_eq!(differing(&state, &pair.target_content().await), Vec::<String>::new(), "{lsn}");
    }
}

fn commits(messages: &[(Lsn, Bytes)]) -> Vec<Lsn> {
    use keepsake_archive::pgoutput::Message;
    let commit = |(_, bytes): &(Lsn, Bytes)| match Message::parse(bytes).unwrap() {
        Message::Begin(begin) => Some(begin.final_lsn),
        _ => None,
    };
    messages.iter().filter_map(commit).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_value_that_stays_does_so_in_a_column_whose_domain_refuses_null() {
    let pair = Pair::with(
        "CREATE DOMAIN known AS text NOT NULL; CREATE DOMAIN described AS known CHECK (length(VALUE) > 3);
         CREATE DOMAIN number AS integer CHECK (VALUE > 0); CREATE SCHEMA \"Own\";
         CREATE DOMAIN \"Own\".\"Few\" AS numeric(6, 2)[] NOT NULL;
         CREATE TABLE pictures (id number PRIMARY KEY, taken described, small text, prices \"Own\".\"Few\");
         ALTER TABLE pictures ALTER taken SET STORAGE EXTERNAL;
         INSERT INTO pictures SELECT n, repeat(md5(n::text), 200), 's', ARRAY[n / 3.0] FROM generate_series(1, 20) n",
    )
    .await;
    for transaction in [
        "UPDATE pictures SET small = 'changed' WHERE id < 10",
        "UPDATE pictures SET id = id + 100 WHERE id > 15",
        "DELETE FROM pictures WHERE id IN (3, 117); UPDATE pictures SET taken = repeat('x', 4000) WHERE id = 4",
    ] {
        pair.source.run(transaction).await;
    }
    pair.is_equal_after(BATCH_BYTES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_that_rows_use_are_asked_of_many_sequences_at_once() {
    let database = Database::target().await;
    // More than one statement asks for; some tables hold nothing.
    database
        .run(
            "DO $$ BEGIN FOR n IN 1..410 LOOP
                EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY)', n);
                IF n % 2 = 0 THEN EXECUTE format('INSERT INTO t%s VALUES (%s), (-7)', n, n); END IF;
             END LOOP; END $$;
             CREATE TABLE down (id bigint PRIMARY KEY);
             CREATE SEQUENCE downwards INCREMENT -1 MINVALUE -50 OWNED BY down.id;
             INSERT INTO down VALUES (-9), (-3), (-60)",
        )
        .await;
    let found = target_at(database.url()).numbers_in_use().await.unwrap();
    let of = |name: &str| {
        found.iter().find(|one| one.sequence.name == name).map(|one| (one.number, one.counts_down))
    };
    assert_eq!(found.len(), 206);
    assert_eq!(
        (of("t2_id_seq"), of("t410_id_seq"), of("t409_id_seq")),
        (Some((2, false)), Some((410, false)), None)
    );
    assert_eq!(of("downwards"), Some((-9, true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_come_through_changes_as_they_come_through_a_backup() {
    let zoo = include_str!("../../../../cli/tests/judge/zoo/all.sql");
    let zoo = zoo.replace("ROLE_A", "CURRENT_USER").replace("ROLE_B", "CURRENT_USER");
    let (types, rest) = zoo.split_once("INSERT INTO values_of_all_types").unwrap();
    let rows = rest.split_once(";\n").unwrap().0;
    let pair = Pair::with(types).await;
    let insert = format!("INSERT INTO values_of_all_types {rows}");
    // Inserted, folded with an update in one batch, and updated and deleted in the next.
    pair.source.run(&format!("SET search_path = public, contrib; {insert}")).await;
    pair.catch_up(RecoveryTarget::Latest, 1).await.unwrap_or_else(|error| panic!("{}", all_text(&error)));
    pair.source.run(&format!("SET search_path = public, contrib; {insert}")).await;
    pair.source.run("UPDATE values_of_all_types SET i = 7; DELETE FROM values_of_all_types WHERE id = (SELECT min(id) FROM values_of_all_types)").await;
    // The whole row as its identity: every value is found again by what it prints.
    pair.source.run("ALTER TABLE values_of_all_types REPLICA IDENTITY FULL").await;
    pair.source.run("UPDATE values_of_all_types SET t = t || '.' WHERE t IS NOT NULL").await;
    pair.is_equal_after(BATCH_BYTES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_comes_twice_or_died_before_its_end_changes_nothing_twice() {
    let pair = Pair::with(SCHEMA).await;
    for transaction in HISTORY {
        pair.source.run(transaction).await;
    }
    let messages = pair.messages().await;
    let batches = pair.batches(&messages, ChangePosition::default(), RecoveryTarget::Latest, 5_000);
    assert!(batches.len() > 5, "{}", batches.len());
    let target = target_at(pair.target.url());
    for (index, batch) in batches.iter().enumerate() {
        if index % 3 == 1 {
            // Dies in its last statement: the server is told nothing more, and everything of the batch is gone.
            let mut broken = batch.clone();
            let mut change = broken.tables[0].clone();
            change.table.name = "no_such_table".to_owned();
            broken.tables.push(change);
            let mut dies = target.change_applier().await.unwrap();
            assert!(dies.apply(&broken).await.is_err());
        }
        let (mut one, mut two) =
            (target.change_applier().await.unwrap(), target.change_applier().await.unwrap());
        // At the same time, and again later.
        let (first, second) = tokio::join!(one.apply(batch), two.apply(batch));
        first.unwrap_or_else(|error| panic!("{}", all_text(&error)));
        second.unwrap_or_else(|error| panic!("{}", all_text(&error)));
        one.apply(batch).await.unwrap();
    }
    pair.is_equal_after(BATCH_BYTES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_doubled_row_is_told_with_table_key_and_position_and_nothing_is_applied() {
    for (damage, found) in [
        ("DELETE FROM plain WHERE id = 100", "holds 0 rows instead of 1"),
        ("INSERT INTO plain VALUES (100, 'secret again')", "holds 2 rows instead of 1"),
    ] {
        for change in ["DELETE FROM plain WHERE id = 100", "UPDATE plain SET name = 'other' WHERE id = 100"] {
            let pair = Pair::with(SCHEMA).await;
            pair.source.run("UPDATE watched SET v = 1; INSERT INTO watched VALUES (1, 1)").await;
            pair.source.run(change).await;
            pair.target.run(damage).await;
            let before = pair.target_content().await;
            let told = pair.catch_up(RecoveryTarget::Latest, BATCH_BYTES).await.unwrap_err();
            let TargetError::RowsDiffer { lsn, .. } = &told else { panic!("{}", all_text(&told)) };
            assert!(*lsn > Lsn(0));
            assert_eq!(told.class(), FailureClass::Integrity);
            let text = all_text(&told);
            assert!(
                text.contains("public.plain") && text.contains(found) && text.contains("key (id)"),
                "{text}"
            );
            assert!(!text.contains("secret"), "{text}");
            assert_eq!(differing(&before, &pair.target_content().await), Vec::<String>::new());
        }
    }
    // Without a key too: one of two equal rows is gone.
    let pair = Pair::with(SCHEMA).await;
    pair.source.run("DELETE FROM keyless").await;
    pair.target.run("DELETE FROM keyless WHERE ctid = (SELECT min(ctid) FROM keyless)").await;
    let told = pair.catch_up(RecoveryTarget::Latest, BATCH_BYTES).await.unwrap_err();
    assert!(matches!(told, TargetError::RowsDiffer { .. }), "{}", all_text(&told));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_another_position_or_behind_the_end_are_refused() {
    let pair = Pair::with(SCHEMA).await;
    for transaction in &HISTORY[..4] {
        pair.source.run(transaction).await;
    }
    let messages = pair.messages().await;
    let batches = pair.batches(&messages, ChangePosition::default(), RecoveryTarget::Latest, 1);
    let target = target_at(pair.target.url());
    let mut applier = target.change_applier().await.unwrap();
    let refused = applier.apply(&batches[1]).await.unwrap_err();
    assert!(matches!(refused, TargetError::ChangesElsewhere { .. }), "{}", all_text(&refused));
    applier.apply(&batches[0]).await.unwrap();
    target.end_changes(&[]).await.unwrap();
    let refused = applier.apply(&batches[1]).await.unwrap_err();
    assert_eq!(refused.class(), FailureClass::Conflict);
    // What stands stays success.
    applier.apply(&batches[0]).await.unwrap();
    assert!(applier.applied().await.unwrap().has_ended);
}
