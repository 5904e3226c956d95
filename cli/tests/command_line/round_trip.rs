//! What was backed up comes back, looked at by psql and pg_dump.

use crate::bench::Bench;
use crate::database::{Database, Server};
use std::process::{Command, Stdio};

/// Requirement of the workers; the command line runs the same steps.
const MEMORY_LIMIT_BYTES: u64 = 256 << 20;

#[test]
fn a_restored_database_is_equal_row_for_row_to_another_eye() {
    let (bench, source, target) = (Bench::new(), Database::filled(), Database::empty(Server::Target));
    let summary = bench.good_backup(&source);
    assert!(summary["parts"].as_u64().unwrap() > 20, "large tables are cut: {summary}");
    assert!(summary["peak_memory_bytes"].as_u64().unwrap() < MEMORY_LIMIT_BYTES, "{summary}");
    assert_eq!(summary["large_objects"], 2);

    let restored = bench.restore(&bench.repo(), &target, &["--json", "--record"]).ok().json();

    assert_eq!(restored["certificate"]["verdict"], "passed");
    assert!(restored["peak_memory_bytes"].as_u64().unwrap() < MEMORY_LIMIT_BYTES, "{restored}");
    assert_eq!(target.content(), source.content());
    let listed = &bench.list(&bench.repo())["backups"][0];
    assert_eq!((&listed["verdict"], &listed["rows"]), (&"passed".into(), &summary["rows"]));
}

#[test]
fn a_row_that_is_larger_than_the_memory_limit_comes_back_within_it() {
    let (bench, source, target) =
        (Bench::new(), Database::empty(Server::Source), Database::empty(Server::Target));
    // 300 MB of COPY text in one row, whatever the server stores of it.
    source.sql("CREATE TABLE wide (id int PRIMARY KEY, x bytea); INSERT INTO wide VALUES (1, decode(repeat('6b', 150000000), 'hex'))");

    let backup = bench.backup(&source.url(), &["--json"]).ok().json();
    let restored = bench.restore(&bench.repo(), &target, &["--json"]).ok().json();

    assert_eq!(restored["certificate"]["verdict"], "passed");
    for summary in [&backup, &restored] {
        let peak = summary["peak_memory_bytes"].as_u64().unwrap();
        assert!(peak < MEMORY_LIMIT_BYTES, "{summary}");
    }
}

#[test]
fn every_depth_of_verify_passes_on_a_good_backup() {
    let (bench, source) = (Bench::new(), Database::filled());
    bench.good_backup(&source);
    let (repo, key) = (bench.repo(), bench.key_file());
    for (more, depth) in [
        (vec![], "objects"),
        (vec!["--key-file", &key], "key"),
        (vec!["--deep"], "bytes"),
        (vec!["--deep", "--key-file", &key], "rows"),
    ] {
        let mut arguments = vec!["--json"];
        arguments.extend(more);
        let answer = bench.verify(&repo, &arguments).ok().json();
        assert_eq!((&answer["verdict"], &answer["depth"]), (&"passed".into(), &depth.into()));
    }
}

#[test]
fn a_relay_over_a_database_that_is_written_to_reads_one_consistent_state() {
    let (bench, source, target) =
        (Bench::new(), Database::empty(Server::Source), Database::empty(Server::Target));
    // Money moves between two tables that are read at different times, with ballast between them.
    source.sql(
        "CREATE TABLE a_account (id int PRIMARY KEY, money bigint);
         CREATE TABLE b_ballast AS SELECT n, md5(n::text) || md5((n + 1)::text) AS x FROM generate_series(1, 400000) n;
         CREATE TABLE c_account (id int PRIMARY KEY, money bigint);
         INSERT INTO a_account SELECT n, 1000 FROM generate_series(1, 50) n;
         INSERT INTO c_account SELECT n, 1000 FROM generate_series(1, 50) n;",
    );
    let transfer =
        "BEGIN; UPDATE a_account SET money = money - 1; UPDATE c_account SET money = money + 1; COMMIT;\n";
    let mut writer = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--dbname", &source.url()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut statements = writer.stdin.take().unwrap();
    let feed = std::thread::spawn(move || {
        use std::io::Write;
        while statements.write_all(transfer.as_bytes()).is_ok() {}
    });

    // 28 MB at 20 Mbit/s: 11 seconds on any machine, five relays.
    let slow = ["--bandwidth-limit-mbps", "20", "--jobs", "1", "--part-size", "4194304"];
    let relayed = [&slow[..], &["--relay-seconds", "2", "-v"]].concat();
    let ended = bench.backup(&source.url(), &relayed);
    let alive = writer.try_wait().unwrap().is_none();
    writer.kill().unwrap();
    writer.wait().unwrap();
    feed.join().unwrap();

    let ended = ended.ok();
    assert!(alive, "the writer must have written all the time");
    assert!(ended.stderr.contains("relay_number=3"), "no relay in 11 seconds:\n{}", ended.stderr);
    bench.restore(&bench.repo(), &target, &[]).ok();
    let money = "SELECT (SELECT sum(money) FROM a_account) + (SELECT sum(money) FROM c_account)";
    assert_eq!(target.sql(money), "100000");
    let moved = "SELECT 1000 - min(money) FROM a_account";
    assert_ne!(source.sql(moved), target.sql(moved), "the source went on while it was read");
}

#[test]
fn two_backups_of_one_source_at_once_both_stand_and_verify() {
    let (bench, source) = (Bench::new(), Database::filled());
    let both: Vec<_> =
        (0..2).map(|_| bench.backup_command(&source.url(), &["--json"]).spawn().unwrap()).collect();
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(bench.list(&bench.repo())["backups"].as_array().unwrap().len(), 2);
    bench.verify(&bench.repo(), &["--deep", "--key-file", &bench.key_file()]).ok();
}

#[test]
fn a_copy_restores_when_the_first_repository_is_gone() {
    let (bench, source, target) = (Bench::new(), Database::filled(), Database::empty(Server::Target));
    std::fs::create_dir(bench.path("copy")).unwrap();
    let copy = bench.repo_at("copy");
    let summary = bench.backup(&source.url(), &["--copy-to", &copy, "--json"]).ok().json();
    assert_eq!(summary["copies"][0]["repository"].as_str().unwrap().trim_end_matches('/'), copy);
    std::fs::remove_dir_all(bench.path("repo")).unwrap();

    bench.restore(&copy, &target, &[]).ok();

    assert_eq!(target.content(), source.content());
}

#[test]
fn a_plan_shows_everything_and_changes_nothing() {
    let (bench, source, target) = (Bench::new(), Database::filled(), Database::empty(Server::Target));
    let summary = bench.good_backup(&source);
    let before = target.content();
    let plan = bench.restore(&bench.repo(), &target, &["--plan", "--json"]).ok().json();
    assert_eq!((&plan["backup_id"], &plan["rows"]), (&summary["backup_id"], &summary["rows"]));
    assert_eq!(target.content(), before);
}
