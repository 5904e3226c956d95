//! The source: a server of its own that archives its WAL, and connections that load it.

use crate::commits::{End, ends};
use crate::load::script;
use crate::schema::SCHEMA;
use keepsake_testkit::cluster::{
    Cluster, as_server_user, finish, folder, give_to_servers, psql_command, until,
};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// Connections that load at once.
const CONNECTIONS: u64 = 4;

/// Of the source and of every recovery of it.
pub const SETTINGS: [&str; 4] =
    ["max_prepared_transactions=20", "deadlock_timeout=50ms", "autovacuum=off", "wal_level=logical"];

pub struct Source {
    pub cluster: Cluster,
    pub folder: TempDir,
}

impl Source {
    /// With the schema and its first rows.
    pub fn new() -> Self {
        let folder = folder();
        // Small segments of WAL, so that little is archived that was never written.
        Cluster::make(&folder.path().join("source"), &["--wal-segsize=1"]);
        let archive = folder.path().join("archive");
        std::fs::create_dir(&archive).unwrap();
        give_to_servers(&archive);
        let archiving = format!("archive_command=cp %p {}/%f", archive.display());
        let own = ["archive_mode=on", &archiving, "max_wal_senders=8", "max_replication_slots=8"];
        let cluster = Cluster::run(&folder.path().join("source"), &[&SETTINGS[..], &own].concat());
        cluster.sql(SCHEMA);
        Self { cluster, folder }
    }

    pub fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// A physical copy, from which every recovery begins.
    pub fn base_backup(&self) {
        let mut copy = as_server_user("pg_basebackup");
        copy.args(["--checkpoint=fast", "--no-sync", "--wal-method=none", "--dbname", &self.cluster.url()]);
        finish(copy.arg("--pgdata").arg(self.folder.path().join("base")));
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

    /// Ends of transactions behind `start`, of WAL that is archived whole.
    pub fn ends_since(&self, start: &str) -> Vec<End> {
        let end = self.lsn();
        let file = self.cluster.sql("SELECT pg_walfile_name(pg_switch_wal())");
        until("the last WAL is archived", || self.archive().join(&file).exists());
        ends(&self.archive(), start, &end)
    }
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
