//! The source: a server of its own that archives its WAL, and connections that load it.

use crate::commits::{End, ends};
use crate::load::script;
use crate::schema::SCHEMA;
use keepsake_testkit::cluster::{
    Cluster, Major, as_server_user, finish, folder, give_to_servers, psql_command, until,
};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Connections that load at once.
const CONNECTIONS: u64 = 4;

/// Of the source and of every recovery of it.
pub const SETTINGS: [&str; 4] =
    ["max_prepared_transactions=20", "deadlock_timeout=50ms", "autovacuum=off", "wal_level=logical"];

pub struct Source {
    pub major: Major,
    pub cluster: Cluster,
    pub folder: TempDir,
}

impl Source {
    /// With the schema and its first rows.
    pub fn new(major: Major) -> Self {
        let folder = folder();
        // Small segments of WAL, so that little is archived that was never written.
        major.make(&folder.path().join("source"), &["--wal-segsize=1"]);
        let archive = folder.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        give_to_servers(&archive);
        let archiving = format!("archive_command=cp %p {}/%f", archive.display());
        let own = ["archive_mode=on", &archiving, "max_wal_senders=8", "max_replication_slots=8"];
        let cluster = major.run(&folder.path().join("source"), &[&SETTINGS[..], &own].concat());
        cluster.sql(SCHEMA);
        Self { major, cluster, folder }
    }

    pub fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// A physical copy, from which every recovery begins.
    pub fn base_backup(&self) {
        let mut copy = match self.major {
            Major::DEBIAN => as_server_user("pg_basebackup"),
            _ => Command::new(newest_client("pg_basebackup")),
        };
        copy.args(["--checkpoint=fast", "--no-sync", "--wal-method=none", "--dbname", &self.cluster.url()]);
        let base = self.folder.path().join("base");
        finish(copy.arg("--pgdata").arg(&base));
        give_to_servers(&base);
    }

    pub fn lsn(&self) -> String {
        self.cluster.sql("SELECT pg_current_wal_insert_lsn()")
    }

    /// Begins to load, each connection by a script of its own.
    pub fn load(&self, seed: u64, transactions: u32) -> Load {
        let connections = (0..CONNECTIONS).map(|number| {
            let mut command = psql_command(&self.cluster.url());
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut psql = command.spawn().unwrap();
            let mut stdin = psql.stdin.take().unwrap();
            let script = script(seed, number, transactions);
            // Ends with the psql that reads it.
            std::thread::spawn(move || stdin.write_all(script.as_bytes()));
            psql
        });
        Load { connections: connections.collect() }
    }

    /// Returns when all WAL until now is archived.
    pub fn archive_all(&self) {
        let file = self.cluster.sql("SELECT pg_walfile_name(pg_switch_wal())");
        until("the last WAL is archived", || self.archive().join(&file).exists());
    }

    /// Ends of transactions behind `start`, of WAL that is archived whole.
    pub fn ends_since(&self, start: &str) -> Vec<End> {
        let end = self.lsn();
        self.archive_all();
        ends(&self.archive(), start, &end)
    }
}

/// Of the newest major: it copies every older server. By its place beside those of `cargo x test`.
fn newest_client(program: &str) -> PathBuf {
    let folder = std::env::var("KEEPSAKE_TEST_PG_BIN").expect("KEEPSAKE_TEST_PG_BIN: run cargo x test");
    // By its name: it is a link.
    let majors = Path::new(&folder).ancestors().nth(2).unwrap();
    majors.join("18/bin").join(program)
}

/// Connections that load; ended when this is dropped.
pub struct Load {
    connections: Vec<Child>,
}

impl Load {
    pub fn finish(mut self) {
        for psql in &mut self.connections {
            psql.wait().unwrap();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for psql in &mut self.connections {
            let _ = psql.kill();
            let _ = psql.wait();
        }
    }
}
