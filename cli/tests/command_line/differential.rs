//! What changes come to since a full backup brings a restore to the same rows as the changes themselves do.

use crate::bench::ended;
use crate::database::{Database, Server};
use crate::program::{Ended, command};
use crate::protected::{Point, Protected, point_after, without_sequences};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// Keys that move, large values that stay, rows without keys, partitions whose rows may lie elsewhere on another server.
pub const SCHEMA: &str = "
    CREATE TABLE guests (id integer PRIMARY KEY, name text, photo text);
    ALTER TABLE guests ALTER photo SET STORAGE EXTERNAL;
    CREATE TABLE swapped (id integer PRIMARY KEY, photo text);
    ALTER TABLE swapped ALTER photo SET STORAGE EXTERNAL;
    CREATE TABLE lines (line text, n integer); ALTER TABLE lines REPLICA IDENTITY FULL;
    CREATE TABLE hashed (id text PRIMARY KEY, n integer) PARTITION BY HASH (id);
    CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE days (id serial PRIMARY KEY, note text);
    INSERT INTO guests SELECT n, 'guest ' || n, repeat(md5(n::text), 100) FROM generate_series(1, 60) n;
    INSERT INTO swapped SELECT n, repeat(md5(n::text), 100) FROM generate_series(1, 8) n;
    INSERT INTO lines SELECT 'line', n % 4 FROM generate_series(1, 20) n;
    INSERT INTO hashed SELECT 'key ' || n, n FROM generate_series(1, 30) n;
    INSERT INTO days (note) SELECT 'day' FROM generate_series(1, 10)";

/// The next transaction of a history that a number chooses. Every one can follow every other.
pub fn transaction(seed: &mut u64) -> String {
    let mut number = |below: u64| {
        // A generator of congruences; only that it is spread and the same each time matters.
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % below
    };
    let (one, two, what) = (1 + number(60), 1 + number(60), number(12));
    let statement = match what {
        0 => format!(
            "INSERT INTO guests VALUES ({one}, 'new', repeat('{two}', 3000)) ON CONFLICT (id) DO UPDATE SET name = 'again'"
        ),
        1 => format!("UPDATE guests SET name = name || '.' WHERE id BETWEEN {one} AND {one} + 9"),
        2 => format!("DELETE FROM guests WHERE id BETWEEN {one} AND {one} + 5"),
        3 => format!("UPDATE guests SET photo = repeat('{one}', 2000) WHERE id = {two}"),
        4 => format!(
            "DELETE FROM guests WHERE id > 1000; UPDATE guests SET id = id + 1000, photo = photo || '' WHERE id = {one};
             UPDATE guests SET id = {two}, photo = 'small' WHERE id > 1000 AND NOT EXISTS (SELECT FROM guests WHERE id = {two})"
        ),
        5 => format!(
            "UPDATE swapped SET id = -id WHERE id = 1 + {one} % 8; UPDATE swapped SET id = 1 + {one} % 8 WHERE id = 1 + ({one} + 1) % 8; UPDATE swapped SET id = 1 + ({one} + 1) % 8 WHERE id < 0"
        ),
        6 => format!("DELETE FROM lines WHERE ctid IN (SELECT ctid FROM lines WHERE n = {one} % 4 LIMIT 2)"),
        7 => format!(
            "INSERT INTO lines VALUES ('line', {one} % 4), ('line', {one} % 4); UPDATE lines SET line = 'l' || {two} WHERE n = {two} % 4"
        ),
        8 => format!(
            "UPDATE hashed SET id = id || '.' WHERE n BETWEEN {one} AND {one} + 5; INSERT INTO hashed VALUES ('{seed:x}', {two})"
        ),
        9 => format!("DELETE FROM hashed WHERE n = {one}; INSERT INTO days (note) VALUES ('{two}')"),
        10 => format!("TRUNCATE days; INSERT INTO days (note) VALUES ('{one}'), ('{two}')"),
        _ => format!("UPDATE days SET note = note || '{one}'; DELETE FROM days WHERE id % 3 = {two} % 3"),
    };
    format!("BEGIN; {statement}; COMMIT")
}

pub fn differential(protected: &Protected, more: &[&str]) -> Ended {
    ended(&mut differential_command(protected, more))
}

pub fn differential_command(protected: &Protected, more: &[&str]) -> Command {
    let (repo, key) = (protected.bench.repo(), protected.bench.key_file());
    let mut arguments = vec!["differential", "--repo", &repo, "--key-file", &key];
    arguments.extend(["--recipient", protected.bench.recipient.as_str(), "--json"]);
    command(&[&arguments[..], more].concat())
}

/// Points of a history in four segments, with a differential behind the second.
fn history(protected: &Protected, seed: u64) -> (Vec<Point>, Value) {
    let (mut seed, mut points, mut made) = (seed, Vec::new(), Value::Null);
    for segment in 0..4 {
        // One statement of psql each costs a process; together they cost one.
        let transactions: Vec<String> = (0..8).map(|_| transaction(&mut seed)).collect();
        protected.source.sql(&transactions.join("; "));
        points.push(point_after(
            &protected.source,
            &transaction(&mut seed).replace("BEGIN; ", "").replace("; COMMIT", ""),
        ));
        protected.capture(false);
        if segment == 1 {
            made = differential(protected, &[]).ok().json();
        }
    }
    (points, made)
}

fn recovered(protected: &Protected, target: &Database, named: &[&str]) -> Value {
    let restored = protected.restore(target, &[named, &["--json"]].concat()).ok().json();
    assert_eq!(restored["certificate"]["verdict"], "passed", "{named:?}");
    restored["certificate"]["recovered"].clone()
}

#[test]
fn a_restore_by_a_differential_gives_the_rows_that_one_by_segments_gives_whatever_the_history() {
    for seed in [1, 2] {
        let protected = Protected::with(SCHEMA);
        protected.backup();
        let (points, made) = history(&protected, seed);
        assert_eq!((&made["is_new"], &made["segments"]), (&true.into(), &2.into()), "{made}");
        let (by_it, alone) = (Database::empty(Server::Target), Database::empty(Server::Target));
        let folded = recovered(&protected, &by_it, &["--latest"]);
        let all = recovered(&protected, &alone, &["--latest", "--without-differential"]);
        assert_eq!((&folded["segments"], &folded["differential"]), (&2.into(), &made["end_lsn"]));
        assert_eq!((&all["segments"], all.get("differential")), (&4.into(), None));
        for same in ["transactions", "lsn", "at"] {
            assert_eq!(folded[same], all[same], "seed {seed}: {same}");
        }
        assert_eq!(by_it.rows(), alone.rows(), "seed {seed}");
        assert_eq!(by_it.rows(), protected.source.rows(), "seed {seed}");
        if seed > 1 {
            continue;
        }
        // Behind it and at its end; what lies before its end goes by segments.
        for (index, point) in points.iter().enumerate() {
            let target = Database::empty(Server::Target);
            let recovered = recovered(&protected, &target, &["--at", &point.time]);
            assert_eq!(recovered.get("differential").is_some(), index > 0, "{recovered}");
            assert_eq!(recovered["segments"], [1, 0, 1, 2][index], "{recovered}");
            assert_eq!(without_sequences(&target.rows()), without_sequences(&point.rows), "{index}");
        }
    }
}

/// The only file of differentials whose name ends so.
fn file(protected: &Protected, ending: &str) -> PathBuf {
    let mut found = files(protected, ending);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Manifests of differentials: without one there is none.
pub fn manifests(protected: &Protected) -> Vec<PathBuf> {
    files(protected, ".json")
}

fn files(protected: &Protected, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![protected.bench.path("repo")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = path.to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if text.contains("/differential/") && text.ends_with(ending) && !text.contains("/keys/") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_differential_that_is_damaged_is_refused_by_its_name_and_the_segments_serve_without_it() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    let mut seed = 7;
    protected.source.sql(&transaction(&mut seed));
    protected.capture(false);
    differential(&protected, &[]).ok();
    let again = differential(&protected, &[]).ok().json();
    assert_eq!(again["is_new"], false, "{again}");

    let target = Database::empty(Server::Target);
    let plan = protected.restore(&target, &["--latest", "--plan"]).ok().stdout;
    assert!(plan.contains("a differential instead of 1 segments"), "{plan}");
    let refused = || {
        let ended = protected.restore(&target, &["--latest"]);
        assert!(ended.stderr.contains("--without-differential"), "{}", ended.stderr);
        ended.failed(13, &["differential \"", ".json\""]);
        assert_eq!(target.sql("SELECT to_regnamespace('keepsake_restore') IS NULL").trim(), "t");
    };
    let (object, manifest) = (file(&protected, ".diff.zst.age"), file(&protected, ".json"));
    let (bytes, json) = (std::fs::read(&object).unwrap(), std::fs::read(&manifest).unwrap());
    let verify = || {
        protected
            .bench
            .verify(&protected.bench.repo(), &["--deep", "--key-file", &protected.bench.key_file()])
    };
    verify().ok();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    std::fs::write(&object, &flipped).unwrap();
    refused();
    assert_eq!(verify().code, Some(14));
    std::fs::write(&object, &bytes[..bytes.len() - 1]).unwrap();
    refused();
    std::fs::remove_file(&object).unwrap();
    refused();
    std::fs::write(&object, &bytes).unwrap();
    std::fs::write(&manifest, &json[..json.len() / 2]).unwrap();
    refused();
    let without = Database::empty(Server::Target);
    protected.restore(&without, &["--latest", "--without-differential"]).ok();
    assert_eq!(without.rows(), protected.source.rows());
    // Without its manifest there is none, and nobody misses it.
    std::fs::remove_file(&manifest).unwrap();
    let plan = protected.restore(&target, &["--latest", "--plan"]).ok().stdout;
    assert!(!plan.contains("differential"), "{plan}");
    protected.restore(&target, &["--latest"]).ok();
}

#[test]
fn a_differential_of_nothing_is_refused_and_rows_are_stored_unreadably() {
    let protected = Protected::with(SCHEMA);
    protected.backup();
    differential(&protected, &[]).failed(12, &["nothing was captured behind full backup"]);
    protected.source.sql("INSERT INTO guests VALUES (900, 'a name that nobody may read', NULL)");
    protected.capture(false);
    differential(&protected, &[]).ok();
    let stored = std::fs::read(file(&protected, ".diff.zst.age")).unwrap();
    assert!(stored.starts_with(b"age-encryption.org/v1"));
    assert!(!stored.windows(6).any(|part| part == b"nobody"));
}
