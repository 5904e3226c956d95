//! Real Postgres clusters: made, run and destroyed.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio_postgres::NoTls;

/// The cluster's own superuser, as on RDS.
const ADMIN: &str = "rdsadmin";
/// The user that Postgres runs as when we are root, which it refuses to be; Debian's package creates it.
const SERVER_USER: &str = "postgres";
/// A cluster on a busy machine answers within this time.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// A fast shutdown without fsync takes well under a second.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Server programs of one version.
#[derive(Debug, Clone)]
pub(super) struct Server {
    bin: PathBuf,
    /// For example `15.18`.
    pub(super) version: String,
}

impl Server {
    /// The servers in these folders, by their major.
    pub(super) async fn find_all(bins: &[PathBuf]) -> Result<BTreeMap<u32, Server>> {
        let mut servers = BTreeMap::new();
        for bin in bins {
            let program = bin.join("postgres");
            let output = Command::new(&program).arg("--version").output().await;
            let output = output.with_context(|| format!("run {}", program.display()))?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
            let version = version.with_context(|| format!("no version in \"{}\"", text.trim()))?;
            let major = version.split('.').next().and_then(|major| major.parse().ok());
            let major = major.with_context(|| format!("no major version in \"{version}\""))?;
            servers.insert(major, Server { bin: bin.clone(), version: version.to_owned() });
        }
        Ok(servers)
    }
}

/// A running cluster.
pub(super) struct Cluster {
    folder: PathBuf,
    port: u16,
    server: Child,
}

/// User, password and database of a new cluster.
pub(super) struct Master<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    pub(super) database: Option<&'a str>,
}

impl Cluster {
    /// Makes a cluster in `folder`, starts it, and waits until it has its user and database.
    pub(super) async fn create(
        server: &Server,
        folder: PathBuf,
        certificate: &Path,
        master: &Master<'_>,
    ) -> Result<Self> {
        let mut initdb = as_server_user(&server.bin.join("initdb"));
        initdb.args([
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        ]);
        initdb.args(["--username", ADMIN, "--pgdata"]).arg(&folder);
        run(&mut initdb).await?;
        // Over the network only with TLS and password; the folder of the socket is closed to others.
        let access = format!("local all {ADMIN} trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n");
        tokio::fs::write(folder.join("pg_hba.conf"), access).await.context("write pg_hba.conf")?;
        let port = free_port()?;
        let running = start(server, &folder, certificate, port)?;
        let cluster = Self { folder, port, server: running };
        match cluster.set_up(master).await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                cluster.destroy().await?;
                Err(error)
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    async fn set_up(&self, master: &Master<'_>) -> Result<()> {
        let client = self.connect().await?;
        let (user, password) = (quoted(master.user, '"'), quoted(master.password, '\''));
        client.batch_execute(&format!("create role {user} superuser login password {password}")).await?;
        if let Some(database) = master.database {
            client.batch_execute(&format!("create database {} owner {user}", quoted(database, '"'))).await?;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<tokio_postgres::Client> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.folder).port(self.port).user(ADMIN).dbname("postgres");
        let pause = Duration::from_millis(100);
        let tries = START_PATIENCE.as_millis() / pause.as_millis();
        let mut last = None;
        for _ in 0..tries {
            match config.connect(NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return Ok(client);
                }
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(pause).await;
        }
        let log = tokio::fs::read_to_string(self.folder.join("server.log")).await.unwrap_or_default();
        bail!("the cluster does not answer: {last:?}; its log: {log}")
    }

    /// Stops the cluster and removes its folder.
    pub(super) async fn destroy(mut self) -> Result<()> {
        if let Some(pid) = self.server.id() {
            // SIGINT is Postgres's fast shutdown.
            run(Command::new("kill").args(["-INT", &pid.to_string()])).await?;
        }
        if tokio::time::timeout(STOP_PATIENCE, self.server.wait()).await.is_err() {
            self.server.kill().await.context("kill the cluster")?;
        }
        tokio::fs::remove_dir_all(&self.folder).await.context("remove the cluster's folder")
    }
}

fn start(server: &Server, folder: &Path, certificate: &Path, port: u16) -> Result<Child> {
    let log = std::fs::File::create(folder.join("server.log")).context("create the cluster's log")?;
    let mut command = as_server_user(&server.bin.join("postgres"));
    command.arg("-D").arg(folder);
    let (sockets, files) = (folder.display(), certificate.display());
    for setting in [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        format!("unix_socket_directories={sockets}"),
        "password_encryption=scram-sha-256".to_owned(),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={files}/server.pem"),
        format!("ssl_key_file={files}/server.key"),
        "fsync=off".to_owned(),
        "synchronous_commit=off".to_owned(),
        "full_page_writes=off".to_owned(),
    ] {
        command.arg("-c").arg(setting);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    command.spawn().context("start the cluster")
}

/// Makes a folder that the server's user owns.
pub(super) async fn make_folder(folder: &Path) -> Result<()> {
    tokio::fs::create_dir_all(folder).await.with_context(|| format!("create {}", folder.display()))?;
    give_to_server(folder).await
}

/// A self-signed certificate for the clusters; answers its folder.
pub(super) async fn make_certificate(root: &Path) -> Result<PathBuf> {
    let folder = root.join("tls");
    make_folder(&folder).await?;
    let mut openssl = Command::new("openssl");
    openssl.args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost"
            .split(' '),
    );
    openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    openssl.args(["-keyout", "server.key", "-out", "server.pem"]).current_dir(&folder);
    run(&mut openssl).await.context("make a certificate")?;
    run(Command::new("chmod").arg("0600").arg(folder.join("server.key"))).await?;
    for file in ["server.key", "server.pem"] {
        give_to_server(&folder.join(file)).await?;
    }
    Ok(folder)
}

async fn give_to_server(path: &Path) -> Result<()> {
    if is_root() { run(Command::new("chown").arg(SERVER_USER).arg(path)).await } else { Ok(()) }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A program as a user that Postgres accepts, which gets SIGINT when we die in whatever way.
fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args([&format!("--reuid={SERVER_USER}"), &format!("--regid={SERVER_USER}"), "--init-groups"]);
    }
    command.args(["--pdeathsig", "INT", "--"]).arg(program).current_dir("/");
    command
}

async fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.with_context(|| format!("start {:?}", command.as_std().get_program()))?;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.as_std(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

fn quoted(text: &str, quote: char) -> String {
    format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}")))
}
