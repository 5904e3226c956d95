//! Runs that are stopped in the middle.

use crate::bench::Bench;
use crate::database::{Database, Server};
use crate::program::said;
use keepsake_testkit::cluster::until;
use std::process::{Child, Command};

/// Enough rows that level 19 takes some seconds, in parts of which some are finished early.
fn slow_source() -> Database {
    let source = Database::empty(Server::Source);
    source.sql(
        "CREATE TABLE slow AS SELECT n, md5(n::text) || md5((n + 1)::text) AS x FROM generate_series(1, 400000) n",
    );
    source
}

/// A backup that has written its first part and is reading on.
fn in_the_middle(bench: &Bench, source: &Database) -> Child {
    let slow = ["--level", "19", "--jobs", "1", "--part-size", "4194304"];
    let child = bench.backup_command(&source.url(), &slow).spawn().unwrap();
    let parts = || {
        let find = Command::new("find").arg(bench.path("repo")).args(["-name", "*.copy.zst.age"]).output();
        String::from_utf8(find.unwrap().stdout).unwrap().lines().count()
    };
    until("the first part stands", || parts() > 0);
    child
}

fn send(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn the_next_run_succeeds(bench: &Bench, source: &Database) {
    let target = Database::empty(Server::Target);
    bench.backup(&source.url(), &[]).ok();
    assert_eq!(bench.list(&bench.repo())["backups"].as_array().unwrap().len(), 1);
    bench.verify(&bench.repo(), &["--deep", "--key-file", &bench.key_file()]).ok();
    bench.restore(&bench.repo(), &target, &[]).ok();
    assert_eq!(target.content(), source.content());
}

#[test]
fn a_backup_killed_in_the_middle_is_none_and_the_next_run_succeeds() {
    let (bench, source) = (Bench::new(), slow_source());
    let mut child = in_the_middle(&bench, &source);
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!(bench.list(&bench.repo())["backups"].as_array().unwrap().len(), 0);
    bench.verify(&bench.repo(), &[]).failed(14, &["no backup stands"]);
    until("the source is left alone", || source.sessions() == 0);
    assert_eq!(bench.leftovers(), 1, "the killed run's work folder");
    the_next_run_succeeds(&bench, &source);
    assert_eq!(bench.leftovers(), 0, "the next run takes it away, and its own too");
}

#[test]
fn an_interrupted_backup_says_so_and_leaves_no_session_and_no_unfinished_object() {
    let (bench, source) = (Bench::new(), slow_source());
    let child = in_the_middle(&bench, &source);
    send(&child, "-INT");
    let output = child.wait_with_output().unwrap();

    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("error: interrupted\nat risk: this run made no backup"), "{stderr}");
    until("the source is left alone", || source.sessions() == 0);
    assert_eq!(bench.list(&bench.repo())["backups"].as_array().unwrap().len(), 0);
    the_next_run_succeeds(&bench, &source);
}

#[test]
fn a_run_whose_snapshot_holder_is_ended_by_the_server_fails_and_makes_no_backup() {
    let (bench, source) = (Bench::new(), slow_source());
    let child = in_the_middle(&bench, &source);
    source.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle in transaction'",
    );
    let stderr = said(child);
    assert!(stderr.lines().any(|line| line.starts_with("error: ")), "{stderr}");
    assert_eq!(bench.list(&bench.repo())["backups"].as_array().unwrap().len(), 0);
}

#[test]
fn a_restore_killed_in_the_middle_goes_on_where_it_ended() {
    let (bench, source, target) = (Bench::new(), slow_source(), Database::empty(Server::Target));
    bench.backup(&source.url(), &["--part-size", "1048576"]).ok();
    let repo = bench.repo();
    let mut child = bench.restore_command(&repo, &target, &["--jobs", "1"]).spawn().unwrap();
    let exists = || target.sql("SELECT to_regclass('public.slow') IS NOT NULL") == "t";
    let grows = || target.sql("SELECT pg_relation_size('public.slow') > 0") == "t";
    until("the first rows arrive", || exists() && grows());
    child.kill().unwrap();
    child.wait().unwrap();
    until("the target is left alone", || target.sessions() == 0);

    bench.restore(&repo, &target, &[]).ok();

    assert_eq!(target.content(), source.content());
}

#[test]
fn a_restore_killed_while_pg_restore_works_leaves_no_file_and_goes_on() {
    let (bench, source, target) =
        (Bench::new(), Database::empty(Server::Source), Database::empty(Server::Target));
    // The index is built only when nobody holds the lock.
    source.sql(
        "CREATE FUNCTION gated(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE
             AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN n; END';
         CREATE TABLE t AS SELECT 1 AS n; CREATE INDEX ON t (gated(n))",
    );
    bench.backup(&source.url(), &[]).ok();
    let repo = bench.repo();
    let lock = target.open_transaction("SELECT pg_advisory_lock(4711)");
    let mut child = bench.restore_command(&repo, &target, &[]).spawn().unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("pg_restore builds the index", || target.sql(waits) == "1");
    assert_eq!(bench.leftovers(), 0, "no name of the schema's archive is there to be left");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(bench.leftovers(), 0);
    drop(lock);
    until("the target is left alone", || target.sessions() == 0);

    bench.restore(&repo, &target, &[]).ok();

    assert_eq!(target.content(), source.content());
}
