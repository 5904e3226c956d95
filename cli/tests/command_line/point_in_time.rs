//! Changes that were captured bring a restore to any point in time, and what was damaged brings it nowhere.

use crate::bench::ended;
use crate::database::{Database, Server};
use crate::program::command;
use crate::protected::{Protected, point_after, without_sequences};
use keepsake_testkit::cluster::until;
use std::io::Write;
use std::process::{Child, Command, Stdio};

const SCHEMA: &str = "
    CREATE TABLE guests (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, note text);
    CREATE TABLE gifts (id integer PRIMARY KEY, guest integer REFERENCES guests, price numeric(8, 2));
    CREATE TABLE diary (line text);
    INSERT INTO guests (name, note) SELECT 'guest ' || n, repeat(md5(n::text), 100) FROM generate_series(1, 500) n;
    INSERT INTO gifts SELECT n, n, n / 3.0 FROM generate_series(1, 300) n;
    INSERT INTO diary VALUES ('before')";

/// Each leaves another state.
const HISTORY: [&str; 4] = [
    "INSERT INTO guests (name) VALUES ('late'); UPDATE gifts SET price = price + 1 WHERE id < 50",
    "BEGIN; UPDATE guests SET name = 'x' WHERE id = 1; UPDATE guests SET name = 'guest 1' WHERE id = 2;
     UPDATE guests SET name = 'guest 2' WHERE id = 1; COMMIT",
    "DELETE FROM gifts WHERE id % 2 = 0; UPDATE guests SET note = note || '.' WHERE id % 100 = 0",
    "TRUNCATE gifts; DELETE FROM guests",
];

#[test]
fn a_sequence_that_is_set_back_behind_the_target_hands_out_no_number_that_a_restored_row_uses() {
    let protected = Protected::with(
        "CREATE TABLE guests (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
         CREATE TABLE seats (id smallint PRIMARY KEY, name text);
         CREATE SEQUENCE seats_down INCREMENT -1 MINVALUE -99 OWNED BY seats.id;
         ALTER TABLE seats ALTER id SET DEFAULT nextval('seats_down');
         INSERT INTO guests (name) SELECT 'early' FROM generate_series(1, 20)",
    );
    protected.backup();
    let insert = "INSERT INTO guests (name) SELECT 'late' FROM generate_series(1, 24);
        INSERT INTO seats (name) SELECT 'seat' FROM generate_series(1, 9)";
    let before = point_after(&protected.source, insert);
    protected.source.sql(
        "TRUNCATE guests RESTART IDENTITY; SELECT setval('seats_down', -1, false);
         INSERT INTO guests (name) SELECT 'other' FROM generate_series(1, 24)",
    );
    protected.capture(false);

    let target = Database::empty(Server::Target);
    protected.restore(&target, &["--at", &before.time]).ok();
    assert_eq!(without_sequences(&target.rows()), without_sequences(&before.rows));
    target.sql("INSERT INTO guests (name) VALUES ('next'); INSERT INTO seats (name) VALUES ('next')");
    assert_eq!(target.sql("SELECT max(id) FROM guests").trim(), "45");
    assert_eq!(target.sql("SELECT min(id) FROM seats").trim(), "-10");
}

#[test]
fn a_mistake_is_undone_by_a_restore_to_the_moment_before_it_however_that_is_named() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    let mut points = Vec::new();
    for transaction in HISTORY {
        points.push(point_after(&protected.source, transaction));
        if points.len() == 2 {
            protected.capture(false);
        }
    }
    protected.source.sql("INSERT INTO diary VALUES ('not captured')");
    protected.capture(false);

    let (before, mistake) = (&points[2], &points[3]);
    for named in [
        ["--at", &before.time].as_slice(),
        &["--lsn", &before.lsn],
        &["--xid", &before.xid],
        &["--before-xid", &mistake.xid],
    ] {
        let target = Database::empty(Server::Target);
        let restored = protected.restore(&target, &[named, &["--json"]].concat()).ok().json();
        assert_eq!(restored["certificate"]["verdict"], "passed");
        let point = &restored["certificate"]["recovered"];
        assert_eq!((&point["transactions"], &point["segments"]), (&3.into(), &2.into()), "{named:?}");
        let held = without_sequences(&before.rows);
        assert_eq!(without_sequences(&target.rows()), held, "{named:?}");
        assert_eq!(target.schema(), protected.source.schema());
        // What watches the source stays there.
        assert_eq!(restored["certificate"]["left_out"][0]["object"], "schema keepsake_capture");
        let ours = "SELECT count(*) FROM pg_event_trigger, pg_namespace WHERE nspname = 'keepsake_capture'";
        assert_eq!((target.sql(ours).trim(), protected.source.sql(ours).trim()), ("0", "3"));
    }
    // Everything, but for what is not captured: that comes back as the backup held it, and the plan said so.
    let target = Database::empty(Server::Target);
    let plan = protected.restore(&target, &["--latest", "--plan"]).ok().stdout;
    assert!(plan.contains("NOT CAPTURED public.diary"), "{plan}");
    assert!(target.rows().iter().all(|line| line.trim().is_empty()), "a plan changes nothing");
    protected.restore(&target, &["--latest"]).ok();
    let all = |rows: &[String]| -> Vec<String> {
        rows.iter().filter(|line| !line.starts_with("public.diary")).cloned().collect()
    };
    assert_eq!(all(&target.rows()), all(&protected.source.rows()));
    assert_eq!(target.sql("SELECT string_agg(line, ',') FROM diary").trim(), "before");
}

#[test]
fn a_point_that_was_not_captured_is_refused_and_the_nearest_ones_are_told() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    protected.source.sql(HISTORY[0]);
    protected.capture(false);
    let target = Database::empty(Server::Target);
    for named in
        [["--at", "2199-01-01 00:00:00+00"], ["--lsn", "FFFFFFFF/0"], ["--at", "1999-01-01 00:00:00Z"]]
    {
        protected.restore(&target, &named).failed(12, &["cannot be restored", "nearest point"]);
    }
    let usage = protected.restore(&target, &["--at", "2026-11-20 14:30:00"]);
    assert!(usage.stderr.contains("names no time zone"), "{}", usage.stderr);
    assert_eq!(usage.code, Some(2));
}

#[test]
fn damaged_changes_are_refused_before_anything_is_changed() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    for transaction in &HISTORY[..2] {
        protected.source.sql(transaction);
        protected.capture(false);
    }
    let objects = protected.segments(".seg.zst.age");
    let whole = std::fs::read(&objects[1]).unwrap();
    let target = Database::empty(Server::Target);
    let refused = |texts: &[&str]| {
        let ended = protected.restore(&target, &["--latest"]);
        ended.failed(13, texts);
        assert!(target.rows().iter().all(|line| line.trim().is_empty()), "something was applied");
        assert_eq!(target.sql("SELECT to_regnamespace('keepsake_restore') IS NULL").trim(), "t");
    };
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&objects[1], &flipped).unwrap();
    refused(&["cannot be restored"]);
    std::fs::write(&objects[1], &whole[..whole.len() - 1]).unwrap();
    refused(&["cannot be restored"]);
    // The bytes of the segment before, which open with their own run's key only.
    std::fs::copy(&objects[0], &objects[1]).unwrap();
    refused(&["cannot be restored"]);
    std::fs::remove_file(&objects[1]).unwrap();
    refused(&["cannot be restored"]);
    std::fs::write(&objects[1], &whole).unwrap();
    protected.restore(&target, &["--latest"]).ok();
}

#[test]
fn foreign_keys_of_tables_that_are_not_captured_never_fail_a_restore_at_its_end_and_are_told() {
    let protected = Protected::with(
        "CREATE TABLE guests (id integer PRIMARY KEY, name text);
         CREATE TABLE words (word text UNIQUE, id integer UNIQUE);
         CREATE TABLE diary (line text, guest integer, CONSTRAINT \"of Whom\" FOREIGN KEY (guest) REFERENCES guests ON DELETE CASCADE);
         COMMENT ON CONSTRAINT \"of Whom\" ON diary IS 'one; and two';
         CREATE TABLE greetings (id integer PRIMARY KEY, word text REFERENCES words (word));
         CREATE TABLE wishes (id integer, PRIMARY KEY (id), word integer REFERENCES words (id));
         CREATE TABLE seats (id integer PRIMARY KEY, guest integer REFERENCES guests);
         CREATE TABLE notes (day integer, guest integer REFERENCES guests) PARTITION BY LIST (day);
         CREATE TABLE notes_1 PARTITION OF notes FOR VALUES IN (1);
         INSERT INTO guests SELECT n, 'guest' FROM generate_series(1, 9) n; INSERT INTO words VALUES ('hello', 1);
         INSERT INTO diary VALUES ('first', 1), ('last', 9); INSERT INTO notes VALUES (1, 9); INSERT INTO seats VALUES (1, 1)",
    );
    protected.backup();
    protected.source.sql(
        "DELETE FROM notes; DELETE FROM guests WHERE id = 9; INSERT INTO words VALUES ('welcome', 2);
         INSERT INTO greetings VALUES (1, 'welcome'); INSERT INTO seats VALUES (2, 2); INSERT INTO wishes VALUES (1, 1)",
    );
    protected.capture(false);

    let target = Database::empty(Server::Target);
    let plan = protected.restore(&target, &["--latest", "--plan"]).ok().stdout;
    assert!(plan.contains("NOT CAPTURED public.diary") && plan.contains("without validation"), "{plan}");
    let restored = protected.restore(&target, &["--latest", "--json"]).ok().json();
    let certificate = &restored["certificate"];
    assert_eq!(certificate["verdict"], "passed");
    let left_out: Vec<(&str, &str)> = certificate["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["rule"].as_str().unwrap(), one["object"].as_str().unwrap()))
        .collect();
    let expected = [
        ("foreign_key_validation", "validation of foreign key \"of Whom\" on public.diary"),
        ("foreign_key_validation", "validation of foreign key greetings_word_fkey on public.greetings"),
        // As in every restore of a source whose schema is watched.
        ("schema_watch", "schema keepsake_capture"),
    ];
    // From version 18 on the key of a partitioned table is made too.
    let partitioned = match target.sql("SHOW server_version_num").trim().parse::<u32>().unwrap() {
        ..180_000 => ("foreign_key", "foreign key notes_guest_fkey on public.notes"),
        _ => ("foreign_key_validation", "validation of foreign key notes_guest_fkey on public.notes"),
    };
    let told: std::collections::BTreeSet<_> = left_out.into_iter().collect();
    assert_eq!(told, expected.into_iter().chain([partitioned]).collect());
    let not_captured: Vec<&str> = certificate["recovered"]["not_captured"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| table["name"].as_str().unwrap())
        .collect();
    assert_eq!(not_captured, ["diary", "notes_1", "words"]);
    let recovered = &certificate["recovered"];
    assert_eq!((&recovered["not_captured_known"], recovered.get("not_held")), (&true.into(), None));
    // Those that rows obey are validated, the others are not, and the comment is there.
    let keys = "SELECT string_agg(conname || ' ' || convalidated, ',' ORDER BY conname COLLATE \"C\") FROM pg_constraint
        WHERE contype = 'f' AND conrelid <> 'notes'::regclass AND conparentid = 0";
    assert_eq!(
        target.sql(keys).trim(),
        "greetings_word_fkey false,of Whom false,seats_guest_fkey true,wishes_word_fkey true"
    );
    let comment = "SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'of Whom'";
    assert_eq!(target.sql(comment).trim(), "one; and two");
}

#[test]
fn a_transaction_that_is_not_there_is_refused_before_anything_is_changed() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    let rolled_back = protected.source.sql("BEGIN; SELECT pg_current_xact_id(); ROLLBACK");
    protected.source.sql(HISTORY[0]);
    protected.capture(false);
    let target = Database::empty(Server::Target);
    let refused = protected.restore(&target, &["--xid", rolled_back.trim()]);
    assert!(refused.stderr.contains("nothing was changed on the target"), "{}", refused.stderr);
    refused.failed(12, &["is not among the changes"]);
    assert_eq!(target.sql("SELECT to_regnamespace('keepsake_restore') IS NULL").trim(), "t");
    protected.restore(&target, &["--latest"]).ok();
}

#[test]
fn changes_behind_the_point_are_not_read_so_that_their_damage_does_not_matter() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    let first = point_after(&protected.source, HISTORY[0]);
    protected.capture(false);
    let second = point_after(&protected.source, HISTORY[1]);
    protected.capture(false);
    let last = protected.segments(".seg.zst.age").pop().unwrap();
    std::fs::write(&last, b"damaged").unwrap();
    for named in [["--at", &first.time], ["--lsn", &first.lsn], ["--xid", &first.xid]] {
        let target = Database::empty(Server::Target);
        protected.restore(&target, &named).ok();
        assert_eq!(without_sequences(&target.rows()), without_sequences(&first.rows), "{named:?}");
    }
    let target = Database::empty(Server::Target);
    protected.restore(&target, &["--at", &second.time]).failed(13, &["cannot be restored"]);
}

#[test]
fn the_newest_point_says_why_it_is_not_further_and_the_window_prints_points_that_restore_takes() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    let before = point_after(&protected.source, HISTORY[0]);
    protected.capture(false);
    protected.source.sql("ALTER TABLE gifts ADD note text");
    protected.capture(false);
    let target = Database::empty(Server::Target);
    let plan = protected.restore(&target, &["--latest", "--plan"]).ok().stdout;
    assert!(plan.contains("NOT FURTHER the schema changed"), "{plan}");
    let window = ended(&mut command(&["window", "--repo", &protected.bench.repo()])).ok().stdout;
    let (_, span) = window.split_once("from ").unwrap();
    let (oldest, rest) = span.split_once(" to ").unwrap();
    for point in [oldest, rest] {
        let time = point.split_once(", ").unwrap().0;
        protected.restore(&target, &["--at", time, "--plan"]).ok();
    }
    let time = rest.split_once(", ").unwrap().0;
    protected.restore(&target, &["--at", time, "--record"]).ok();
    assert_eq!(without_sequences(&target.rows()), without_sequences(&before.rows));
    let list = protected.bench.list(&protected.bench.repo());
    let recovered = &list["backups"][0]["recovered"];
    assert_eq!(
        (&recovered["transactions"], &recovered["not_captured"][0]["name"]),
        (&1.into(), &"diary".into())
    );
    let shown = ended(&mut command(&["list", "--repo", &protected.bench.repo()])).ok().stdout;
    assert!(shown.contains("brought to") && shown.contains("1 tables are not captured"), "{shown}");
}

#[test]
fn a_restore_that_is_killed_while_it_applies_goes_on_and_is_proven() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    for transaction in HISTORY {
        protected.source.sql(transaction);
    }
    protected.capture(false);
    let target = Database::empty(Server::Target);
    let mut killed =
        protected.bench.restore_command(&protected.bench.repo(), &target, &["--latest"]).spawn().unwrap();
    until("changes are being applied", || {
        target.sql("SELECT to_regclass('keepsake_restore.changes') IS NOT NULL").trim() == "t"
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let restored = protected.restore(&target, &["--latest", "--json"]).ok().json();
    assert_eq!(restored["certificate"]["verdict"], "passed");
    assert_eq!(without_sequences(&target.rows()), without_sequences(&protected.source.rows()));
}

/// Sessions that write without end, until they are dropped.
struct Writers(Vec<Child>);

impl Writers {
    fn on(source: &Database, count: usize) -> Self {
        let write = |number: usize| {
            let mut psql = Command::new("psql")
                .args(["--no-psqlrc", "--quiet", "--dbname", &source.url()])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut input = psql.stdin.take().unwrap();
            std::thread::spawn(move || {
                let transfer = format!(
                    "BEGIN; UPDATE account SET money = money - 1 WHERE id = 1 + (random() * 98)::int;
                     INSERT INTO ledger (writer) VALUES ({number}), ({number}); SAVEPOINT s;
                     UPDATE account SET money = money + 1, id = id WHERE id = 100;
                     DELETE FROM ledger WHERE id = (SELECT min(id) FROM ledger WHERE writer = {number}); COMMIT;\n"
                );
                // Ends when nobody reads any more.
                while input.write_all(transfer.as_bytes()).is_ok() {}
            });
            psql
        };
        Self((0..count).map(write).collect())
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        for writer in &mut self.0 {
            let _ = writer.kill();
            let _ = writer.wait();
        }
    }
}

#[test]
fn full_backups_in_the_middle_of_writes_join_their_changes_with_nothing_lost_and_nothing_twice() {
    let protected = Protected::with(
        "CREATE TABLE account (id integer PRIMARY KEY, money bigint); CREATE TABLE ledger (id bigserial PRIMARY KEY, writer integer);
         INSERT INTO account SELECT n, 1000 FROM generate_series(1, 100) n",
    );
    let writers = Writers::on(&protected.source, 3);
    let written = |count: u64| {
        let sql = "SELECT last_value FROM ledger_id_seq";
        let before: u64 = protected.source.sql(sql).trim().parse().unwrap();
        until("more was written", || {
            protected.source.sql(sql).trim().parse::<u64>().unwrap() > before + count
        });
    };
    for _ in 0..2 {
        written(50);
        protected.capture(false);
        written(50);
        protected.backup();
    }
    written(50);
    drop(writers);
    until("the last transactions are over", || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        protected.source.sql(sql).trim() == "0"
    });
    protected.capture(false);
    let list = protected.bench.list(&protected.bench.repo());
    for backup in list["backups"].as_array().unwrap() {
        let target = Database::empty(Server::Target);
        let id = backup["backup_id"].as_str().unwrap();
        let restored = protected.restore(&target, &["--latest", "--backup", id, "--json"]).ok().json();
        assert_eq!(restored["certificate"]["verdict"], "passed");
        assert!(restored["certificate"]["recovered"]["transactions"].as_u64().unwrap() > 0, "{restored}");
        assert_eq!(without_sequences(&target.rows()), without_sequences(&protected.source.rows()));
    }
}
