//! A streaming standby as the source: its snapshot is held and relayed as a primary's is, and its replay may end us.

use crate::bench::Bench;
use crate::database::{Database, Server};
use crate::program::said;
use keepsake_domain::Lineage;
use keepsake_postgres::PostgresChanges;
use keepsake_steps::ports::ChangeSource;
use keepsake_testkit::cluster::{self, Cluster, as_server_user, until};
use std::collections::BTreeSet;
use std::path::PathBuf;
use tempfile::TempDir;

/// A primary and a standby of it.
struct Pair {
    standby: Cluster,
    primary: Cluster,
    _folder: TempDir,
}

impl Pair {
    /// With the standby's settings.
    fn new(settings: &[&str]) -> Self {
        let folder = cluster::folder();
        let data = |name: &str| -> PathBuf { folder.path().join(name) };
        Cluster::make(&data("primary"), &[]);
        let primary = Cluster::run(&data("primary"), &["autovacuum=off"]);
        primary.sql(
            "CREATE TABLE big AS SELECT n, repeat(md5(n::text), 30) AS x FROM generate_series(1, 24000) n;
             CREATE TABLE purse AS SELECT n, 1000 AS amount FROM generate_series(1, 20) n",
        );
        let copy = ["--checkpoint=fast", "--no-sync", "--write-recovery-conf", "--dbname", &primary.url()];
        cluster::finish(as_server_user("pg_basebackup").args(copy).arg("--pgdata").arg(data("standby")));
        let standby = Cluster::run(&data("standby"), settings);
        Self { standby, primary, _folder: folder }
    }

    /// Waits until the standby has replayed what the primary has written.
    fn catch_up(&self) {
        let written = self.primary.sql("SELECT pg_current_wal_lsn()");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        until("the standby has replayed it", || self.standby.sql(&replayed) == "t");
    }
}

/// Moves money within one transaction: the sum is the same in each consistent state, and in no other.
const MOVE: &str =
    "WITH two AS (SELECT a, 1 + (a + 6) % 20 AS b FROM (SELECT 1 + (random() * 19)::int AS a) r)
    UPDATE purse SET amount = amount + CASE n WHEN (SELECT a FROM two) THEN -5 ELSE 5 END
    WHERE n IN (SELECT a FROM two UNION SELECT b FROM two)";

const HOLDERS: &str = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'keepsake % holder'";

const ROWS: &str = "SELECT md5(string_agg(md5(b::text), '' ORDER BY n)) FROM big b";

#[test]
fn a_standby_is_backed_up_through_a_relay_while_its_primary_writes() {
    let pair = Pair::new(&["hot_standby_feedback=on", "max_standby_streaming_delay=60s"]);
    let bench = Bench::new();
    // 64 Mbit/s: about three seconds, which one holder does not last.
    let slow = ["--bandwidth-limit-mbps", "64", "--relay-seconds", "2", "--jobs", "1", "--json"];
    let mut child = bench.backup_command(&pair.standby.url(), &slow).spawn().unwrap();
    let (mut moves, mut holders) = (0, BTreeSet::new());
    while child.try_wait().unwrap().is_none() {
        pair.primary.sql(MOVE);
        moves += 1;
        holders.extend(pair.standby.sql(HOLDERS).lines().map(str::to_owned));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(moves > 10, "the primary wrote too little: {moves}");
    assert!(holders.len() > 1, "one holder lasted for the whole backup: {holders:?}");

    let target = Database::empty(Server::Target);
    bench.restore(&bench.repo(), &target, &[]).ok();
    assert_eq!(target.sql("SELECT sum(amount), count(*) FROM purse"), "20000|20");
    assert_eq!(target.sql(ROWS), pair.primary.sql(ROWS));
}

#[test]
fn a_standby_that_ends_our_transaction_fails_the_backup_with_its_reason_and_the_next_run_succeeds() {
    let pair = Pair::new(&["hot_standby_feedback=off", "max_standby_streaming_delay=0"]);
    let bench = Bench::new();
    let slow = ["--bandwidth-limit-mbps", "16", "--jobs", "1"];
    let child = bench.backup_command(&pair.standby.url(), &slow).spawn().unwrap();
    let reads = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'";
    until("rows are read", || pair.standby.sql(reads) != "0");

    // The row versions that die here are those that our snapshot still sees.
    pair.primary.sql("DELETE FROM purse WHERE n > 10");
    pair.primary.sql("VACUUM purse");

    let stderr = said(child);
    assert!(stderr.contains("ended our transaction because it was in the way of its replay"), "{stderr}");
    assert!(stderr.contains("next: set hot_standby_feedback = on"), "{stderr}");
    assert_eq!(bench.list(&bench.repo())["backups"].as_array().unwrap().len(), 0);
    pair.catch_up();
    bench.backup(&pair.standby.url(), &[]).ok();
    let target = Database::empty(Server::Target);
    bench.restore(&bench.repo(), &target, &[]).ok();
    assert_eq!(target.sql("SELECT count(*) FROM purse"), "10");
    assert_eq!(target.sql(ROWS), pair.primary.sql(ROWS));
}

/// Also before the first checkpoint behind the promotion, which may take minutes.
#[test]
fn a_promoted_standby_is_of_a_new_lineage_at_once() {
    let pair = Pair::new(&[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lineage = |cluster: &Cluster| {
        let changes = PostgresChanges::new(cluster.url().parse().unwrap(), "shop");
        runtime.block_on(changes.capture_state()).unwrap().lineage
    };
    let before = lineage(&pair.primary);
    assert_eq!(lineage(&pair.standby), before);
    assert_eq!(pair.standby.sql("SELECT pg_promote()"), "t");
    assert_eq!(lineage(&pair.standby), Lineage { timeline: before.timeline + 1, ..before });
}
