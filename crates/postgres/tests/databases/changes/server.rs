//! Servers of a test's own, for what is set for a whole server.

use super::*;
use keepsake_domain::{Classified, ConnectionUrl, FailureClass, GovernorLimits, GovernorVerdict, govern};
use keepsake_steps::ports::{GovernedSlot, SourceError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_postgres::Client;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Postgres refuses to run as root; Debian's package makes this user.
const SERVER_USER: &str = "postgres";
/// A busy machine starts a server in this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that goes with its test.
struct Cluster {
    server: Child,
    folder: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGQUIT ends its children too, which a kill would leave.
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

fn as_server_user(folder: &Path, program: &str) -> Command {
    let program = format!("{PROGRAMS}/{program}");
    let mut command = if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        assert!(Command::new("chown").arg(SERVER_USER).arg(folder).status().unwrap().success());
        let mut command = Command::new("setpriv");
        command.args([
            &format!("--reuid={SERVER_USER}"),
            &format!("--regid={SERVER_USER}"),
            "--init-groups",
            "--",
            &program,
        ]);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Cluster {
    async fn with(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut initdb = as_server_user(folder.path(), "initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--locale=C.UTF-8", "--pgdata"]);
        assert!(initdb.arg(&data).status().unwrap().success());
        let mut server = as_server_user(folder.path(), "postgres");
        server.arg("-D").arg(&data).args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        server.args(["-c", &format!("unix_socket_directories={}", folder.path().display())]);
        for setting in settings {
            server.args(["-c", setting]);
        }
        let cluster = Self { server: server.spawn().unwrap(), folder };
        let until = Instant::now() + PATIENCE;
        while keepsake_postgres::connect(&cluster.url()).await.is_err() {
            assert!(Instant::now() < until, "the server does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cluster
    }

    /// Over its socket, whose folder stands where a host's name does.
    fn url(&self) -> ConnectionUrl {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{folder}/postgres").parse().unwrap()
    }

    async fn client(&self) -> Client {
        keepsake_postgres::connect(&self.url()).await.unwrap()
    }

    fn changes(&self) -> PostgresChanges {
        PostgresChanges::new(self.url(), "shop")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_write_logical_wal_is_refused_with_every_reason_and_nothing_is_made() {
    let cluster = Cluster::with(&["wal_level=replica", "max_wal_senders=0", "max_replication_slots=0"]).await;
    let error = cluster.changes().protect(&ProtectWishes::default()).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Permanent);
    let text = format!("{} {}", error, error.explanation().next);
    for wanted in
        ["wal_level is replica", "wal_level = logical", "replication slots", "max_wal_senders", "WAL senders"]
    {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    let count = cluster.client().await.query_one("SELECT count(*) FROM pg_publication", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 0);
}

/// The source's disk comes before our slot: the server drops its WAL at the bound that its owner set, and every answer
/// of ours says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_wal_the_server_removed_is_told_as_lost_and_protecting_begins_anew() {
    let cluster =
        Cluster::with(&["wal_level=logical", "max_slot_wal_keep_size=1MB", "max_wal_size=32MB"]).await;
    let (changes, client) = (cluster.changes(), cluster.client().await);
    client.batch_execute("CREATE TABLE t (n integer PRIMARY KEY)").await.unwrap();
    let first =
        changes.protect(&ProtectWishes::default()).await.unwrap_or_else(|e| panic!("{}", all_text(&e)));
    let slot = changes.capture_state().await.unwrap().slot.unwrap();
    assert!(slot.lost.is_none() && slot.safe_bytes.is_some(), "{slot:?}");
    for _ in 0..4 {
        client
            .batch_execute("INSERT INTO t SELECT COALESCE(max(n), 0) + 1 FROM t; SELECT pg_switch_wal()")
            .await
            .unwrap();
    }
    client.batch_execute("CHECKPOINT").await.unwrap();
    let slot = changes.capture_state().await.unwrap().slot.unwrap();
    assert!(slot.lost.as_ref().is_some_and(|how| how.contains("max_slot_wal_keep_size")), "{slot:?}");
    let Err(error) = changes.stream(first.lsn).await else { panic!("a stream from a lost slot") };
    assert!(matches!(error, SourceError::SlotLost { .. }), "{}", all_text(&error));
    assert!(error.explanation().next.contains("keepsake protect"));
    let look = changes.look().await.unwrap().expect("a slot");
    let verdict = govern(&GovernorLimits::default(), None, &look);
    let GovernorVerdict::Warn(reasons) = verdict else { panic!("{verdict:?}") };
    let told: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|told| told.contains("max_slot_wal_keep_size")), "{told:?}");

    let second = changes.protect(&ProtectWishes::default()).await.unwrap();
    assert!(second.is_new && second.lsn > first.lsn);
    client.batch_execute("INSERT INTO t VALUES (100)").await.unwrap();
    let mut stream = open(&changes, second.lsn).await;
    assert_eq!(drained(&changes, stream.as_mut()).await.0, ["BEGIN", "INSERT public.t N 100", "COMMIT"]);
    stream.end().await.unwrap();
    changes.unprotect().await.unwrap();
}

/// Values are printed as everywhere, whatever the server is set to.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_runs_with_our_settings_whatever_the_servers_are() {
    let cluster = Cluster::with(&[
        "wal_level=logical",
        "wal_sender_timeout=0",
        "datestyle=German",
        "timezone=Asia/Tokyo",
        "bytea_output=escape",
        "extra_float_digits=0",
    ])
    .await;
    let (changes, client) = (cluster.changes(), cluster.client().await);
    client
        .batch_execute("CREATE TABLE t (a timestamptz PRIMARY KEY, b bytea, c float8, d interval)")
        .await
        .unwrap();
    let protection = changes.protect(&ProtectWishes::default()).await.unwrap();
    client
        .batch_execute(
            "INSERT INTO t VALUES ('2026-11-20 14:30:00+01', '\\x0061', 0.1::float8 + 0.2, '1 day 2:03')",
        )
        .await
        .unwrap();
    let mut stream = open(&changes, protection.lsn).await;
    let (lines, _) = drained(&changes, stream.as_mut()).await;
    assert_eq!(
        lines[1],
        "INSERT public.t N 2026-11-20 13:30:00+00|\\x0061|0.30000000000000004|1 day 02:03:00"
    );
    stream.end().await.unwrap();
}
