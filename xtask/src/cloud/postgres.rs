//! The Postgres 15 clusters of the local cloud: `source`, which is backed up, and `catalog`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::setup::{self, POSTGRES_BIN, is_root, run_quietly};

/// The user that Postgres runs as when we are root; Debian's package creates it.
const SERVER_USER: &str = "postgres";

/// What a cluster cares for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Nothing: what a crash loses is lost, and tests are quick.
    None,
    /// The disk, as a production server does, with a memory and a log that fit a database of some gigabytes.
    Durable,
}

impl Care {
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::None => &["fsync=off", "synchronous_commit=off", "full_page_writes=off"],
            Self::Durable => &["shared_buffers=1GB", "max_wal_size=4GB", "checkpoint_timeout=15min"],
        }
    }
}

/// One cluster: TLS or not as the client likes, SCRAM passwords, logical decoding possible.
pub struct Cluster {
    name: &'static str,
    database: &'static str,
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    password: String,
}

impl Cluster {
    /// Plans a cluster in `data_dir/<name>` with a new password.
    pub fn new(
        name: &'static str,
        database: &'static str,
        programs: PathBuf,
        data_dir: &Path,
        port: u16,
    ) -> Result<Cluster> {
        let password = super::random_hex(16)?;
        Ok(Cluster { name, database, programs, folder: data_dir.join(name), port, password })
    }

    /// Creates the cluster's files.
    pub fn create(&self) -> Result<()> {
        let secret = self.folder.with_extension("secret");
        fs::write(&secret, &self.password)?;
        own(&secret)?;
        let mut initdb = as_server_user(&self.programs.join("initdb"));
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]);
        initdb.args(["--no-sync", "--no-instructions"]).arg("--pwfile").arg(&secret);
        initdb.arg("--pgdata").arg(&self.folder).current_dir("/");
        let made = run_quietly(&mut initdb).with_context(|| format!("create the cluster {}", self.name));
        fs::remove_file(&secret)?;
        made
    }

    /// The command that runs the server in the foreground.
    pub fn server(&self, certificate: &Path, care: Care) -> Command {
        let mut server = as_server_user(&self.programs.join("postgres"));
        server.arg("-D").arg(&self.folder);
        let sockets = self.folder.parent().unwrap_or(Path::new("/tmp")).display();
        let files = certificate.display();
        for setting in [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={sockets}"),
            "max_connections=300".to_owned(),
            "wal_level=logical".to_owned(),
            "max_replication_slots=20".to_owned(),
            "max_wal_senders=20".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={files}/server.pem"),
            format!("ssl_key_file={files}/server.key"),
            "log_line_prefix=%m [%p] %q%u@%d %a ".to_owned(),
        ] {
            server.arg("-c").arg(setting);
        }
        for setting in care.settings() {
            server.args(["-c", setting]);
        }
        server
    }

    /// Whether the server takes connections.
    pub fn answers(&self) -> Result<bool> {
        let mut ready = Command::new(format!("{POSTGRES_BIN}/pg_isready"));
        ready.args(["--quiet", "--host=127.0.0.1"]).arg(format!("--port={}", self.port));
        Ok(ready.status().context("start pg_isready")?.success())
    }

    /// Creates the cluster's database.
    pub fn create_database(&self) -> Result<()> {
        let mut psql = Command::new(format!("{POSTGRES_BIN}/psql"));
        psql.env("PGPASSWORD", &self.password).args(["--no-psqlrc", "--quiet"]);
        psql.args(["--host=127.0.0.1", "--username=postgres", &format!("--port={}", self.port)]);
        psql.arg("--command").arg(format!("create database {}", self.database));
        run_quietly(&mut psql).with_context(|| format!("create the database {}", self.database))
    }

    /// The cluster's part of `describe.json`.
    pub fn describe(&self, log: &Path) -> Value {
        let (port, password, database) = (self.port, &self.password, self.database);
        json!({
            "url": format!("postgres://postgres:{password}@127.0.0.1:{port}/{database}"),
            "host": "127.0.0.1",
            "port": port,
            "user": "postgres",
            "password": password,
            "database": database,
            "log": log,
            "programs": self.programs,
        })
    }
}

/// Creates the folder of all clusters, owned by the user that they run as.
pub fn create_data_dir(data_dir: &Path) -> Result<()> {
    fs::create_dir(data_dir).with_context(|| format!("create {}", data_dir.display()))?;
    own(data_dir)
}

/// The server programs of a major, where the user that Postgres runs as can enter: a checkout may lie in a home
/// that only its owner opens.
pub fn enterable(major: u32, data_dir: &Path) -> Result<PathBuf> {
    let programs = setup::postgres_bin(major);
    if !is_root() {
        return Ok(programs);
    }
    let native = programs.parent().context("the programs lie in a folder")?;
    let copy = data_dir.join(format!("programs-{major}"));
    run_quietly(Command::new("cp").args(["-r", "--"]).arg(native).arg(&copy))?;
    run_quietly(Command::new("chmod").args(["-R", "a+rX"]).arg(&copy))?;
    Ok(copy.join("bin"))
}

/// Makes a certificate for 127.0.0.1 and localhost; answers the folder of `ca.pem`, `server.pem` and `server.key`.
pub fn certificate(data_dir: &Path) -> Result<PathBuf> {
    let folder = data_dir.join("tls");
    fs::create_dir(&folder)?;
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(&folder);
        run_quietly(&mut command).context("make a certificate")
    };
    fs::write(folder.join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")?;
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -days 30 -subj /CN=local-cloud -keyout ca.key -out ca.pem"))?;
    openssl(&format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"))?;
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile san -out server.pem",
    )?;
    for file in ["server.key", "server.pem", "."] {
        own(&folder.join(file))?;
    }
    Ok(folder)
}

/// Gives a file to the user that Postgres runs as.
fn own(path: &Path) -> Result<()> {
    if is_root() {
        run_quietly(Command::new("chown").arg(SERVER_USER).arg(path))?;
    }
    Ok(())
}

/// A command that runs as another user when we are root, which Postgres refuses to be.
fn as_server_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={SERVER_USER}")).arg(format!("--regid={SERVER_USER}"));
    command.args(["--init-groups", "--"]).arg(program);
    command
}
