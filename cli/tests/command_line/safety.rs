//! What a whole backup costs its source: other people's statements, connections, bytes and age.

use crate::bench::Bench;
use crate::database::{Database, Server};
use crate::program::said;
use keepsake_testkit::cluster::until;
use std::time::{Duration, Instant};

/// About 24 MB of rows.
fn source() -> Database {
    let source = Database::empty(Server::Source);
    source
        .sql("CREATE TABLE big AS SELECT n, repeat(md5(n::text), 30) AS x FROM generate_series(1, 24000) n");
    source
}

/// What sessions of backups do in this database; the readers' `COPY` waits for its reader most of the time.
fn count(source: &Database, which: &str) -> u64 {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'keepsake %' AND {which}"
    );
    source.sql(&sql).parse().unwrap()
}

fn restored_is_equal(bench: &Bench, source: &Database, more: &str) {
    let target = Database::empty(Server::Target);
    bench.restore(&bench.repo(), &target, &[]).ok();
    target.sql(more);
    assert_eq!(target.content(), source.content());
}

#[test]
fn a_change_of_a_table_during_a_slow_backup_gets_through_and_the_backup_is_equal() {
    let (bench, source) = (Bench::new(), source());
    // 64 Mbit/s: the table takes three seconds, and the change may wait for one.
    let slow = ["--bandwidth-limit-mbps", "64", "--lock-patience-seconds", "1", "--jobs", "1", "--verbose"];
    let child = bench.backup_command(&source.url(), &slow).spawn().unwrap();
    until("the table is read", || count(&source, "query LIKE 'COPY%' AND state = 'active'") > 0);

    // Without the run's giving way this would wait for the whole table.
    let change = "ALTER TABLE big ADD added integer";
    source.sql(&format!("SET lock_timeout = '30s'; {change}"));

    let stderr = said(child);
    assert!(stderr.contains("giving way to a statement that waits behind our lock"), "{stderr}");
    assert_eq!(bench.list(&bench.repo())["backups"].as_array().unwrap().len(), 1, "{stderr}");
    // The backup is of the state before the change.
    restored_is_equal(&bench, &source, change);
}

#[test]
fn a_table_that_is_emptied_during_its_backup_fails_it_and_the_next_run_succeeds() {
    let (bench, source) = (Bench::new(), source());
    // About 90 MB: a socket may hold 36 of them, and what lies there was read in time.
    source.sql("INSERT INTO big SELECT n, repeat(md5(n::text), 30) FROM generate_series(24001, 96000) n");
    let slow = ["--bandwidth-limit-mbps", "64", "--lock-patience-seconds", "1", "--jobs", "1"];
    let child = bench.backup_command(&source.url(), &slow).spawn().unwrap();
    until("the table is read", || count(&source, "query LIKE 'COPY%' AND state = 'active'") > 0);

    source.sql("SET lock_timeout = '30s'; TRUNCATE big");

    let stderr = said(child);
    assert!(stderr.contains("table public.big was truncated, rewritten or replaced"), "{stderr}");
    assert_eq!(bench.list(&bench.repo())["backups"].as_array().unwrap().len(), 0);
    bench.backup(&source.url(), &[]).ok();
    restored_is_equal(&bench, &source, "SELECT 1");
}

#[test]
fn a_backup_whose_snapshot_grows_too_old_is_given_up_and_leaves_no_session() {
    let (bench, source) = (Bench::new(), source());
    let slow = ["--bandwidth-limit-mbps", "8", "--max-snapshot-age-seconds", "2"];
    bench.backup(&source.url(), &slow).failed(12, &["this policy allows 2 s"]);
    until("the source is left alone", || source.sessions() == 0);
    assert_eq!(bench.list(&bench.repo())["backups"].as_array().unwrap().len(), 0);
    bench.backup(&source.url(), &[]).ok();
}

#[test]
fn a_backup_opens_no_more_connections_than_it_says() {
    let (bench, source) = (Bench::new(), source());
    let arguments =
        ["--jobs", "3", "--part-size", "1000000", "--relay-seconds", "2", "--bandwidth-limit-mbps", "64"];
    let mut child = bench.backup_command(&source.url(), &arguments).spawn().unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(count(&source, "true"));
    }
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    // Three readers and four beside them are allowed; three readers and a holder must have been seen.
    assert!((4..=7).contains(&most), "{most} connections");
}

#[test]
fn a_slow_backup_takes_as_many_bytes_as_its_limit_allows() {
    let (bench, source) = (Bench::new(), source());
    let began = Instant::now();
    let ended = bench.backup(&source.url(), &["--bandwidth-limit-mbps", "64", "--json"]).ok();
    let bytes = ended.json()["raw_bytes"].as_u64().unwrap();
    // Not how fast, which depends on the machine, but how slow: 8 MB a second, and one piece of each of two readers.
    let least = (bytes.saturating_sub(4 << 20)) / 8_000_000;
    assert!(began.elapsed() >= Duration::from_secs(least), "{bytes} bytes in {:?}", began.elapsed());
}

#[test]
fn large_objects_take_their_time_at_a_bandwidth_limit() {
    let (bench, source) = (Bench::new(), Database::empty(Server::Source));
    source.sql("SELECT lo_from_bytea(9, decode(repeat('6b', 8000000), 'hex'))");
    let began = Instant::now();
    bench.backup(&source.url(), &["--bandwidth-limit-mbps", "64"]).ok();
    // Once for the archive and once, as text of twice the length, for the digest; each a piece of 2 MB ahead at most.
    let least = Duration::from_millis((24 - 4) * 1000 / 8);
    assert!(began.elapsed() >= least, "in {:?}", began.elapsed());
}
