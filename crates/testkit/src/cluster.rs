//! A Postgres server of a test's own, for what must not be done to the shared ones: it is copied, archived, promoted, or
//! stopped in the middle. Everything waits, so no runtime is needed.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where Debian keeps the programs of Postgres 15, `pg_basebackup` and `pg_waldump` among them.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// Postgres refuses to run as root; Debian's package makes this user.
const SERVER_USER: &str = "postgres";

/// A server starts, a session ends and a part is written within a second or two; no machine is so busy that it takes hundreds of times
/// that, and a test that hangs ends.
const PATIENCE: Duration = Duration::from_secs(600);

/// Between two looks at what is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// A running server. It ends, as after a crash, when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    server: Child,
    port: u16,
}

/// A major version whose servers a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Major(pub u32);

impl Major {
    /// The one that Debian brings, with all programs. Of the others `cargo x test` brings the server alone.
    pub const DEBIAN: Self = Self(15);

    fn programs(self) -> PathBuf {
        if self == Self::DEBIAN {
            return PROGRAMS.into();
        }
        let variable = format!("KEEPSAKE_TEST_POSTGRES_{}_BIN", self.0);
        let folder = std::env::var(&variable).map_err(|_| format!("{variable} is not set: run cargo x test"));
        folder.expect("the programs of that major").into()
    }

    /// As [`Cluster::make`].
    ///
    /// # Panics
    /// When `initdb` fails.
    pub fn make(self, folder: &Path, options: &[&str]) {
        let trusted = ["--username=postgres", "--auth=trust", "--no-sync", "--locale=C.UTF-8"];
        let mut initdb = run_as_server_user(&self.programs().join("initdb"));
        finish(initdb.args(trusted).args(options).arg("--pgdata").arg(folder));
    }

    /// As [`Cluster::run`].
    ///
    /// # Panics
    /// When the server takes no connection within a minute; its log is in the panic.
    #[must_use]
    pub fn run(self, folder: &Path, settings: &[&str]) -> Cluster {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let mut command = run_as_server_user(&self.programs().join("postgres"));
        command.arg("-D").arg(folder).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let log = folder.with_extension("log");
        let file = std::fs::File::create(&log).expect("a log");
        let server = command.stdout(Stdio::null()).stderr(file).spawn().expect("postgres starts");
        let mut cluster = Cluster { server, port };
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let began = Instant::now();
        while !cluster.answers() {
            let ended = cluster.server.try_wait().expect("a child");
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "the server ended: {}", said());
            std::thread::sleep(PAUSE);
        }
        cluster
    }
}

impl Cluster {
    /// Makes a cluster in `folder`, which must not be there. Everybody may log in over the loopback address.
    ///
    /// # Panics
    /// When `initdb` fails.
    pub fn make(folder: &Path, options: &[&str]) {
        Major::DEBIAN.make(folder, options);
    }

    /// Runs the cluster in `folder` on a free port, with these settings, until it takes connections.
    ///
    /// # Panics
    /// When it does not within a minute; its log is in the panic.
    #[must_use]
    pub fn run(folder: &Path, settings: &[&str]) -> Self {
        Major::DEBIAN.run(folder, settings)
    }

    fn answers(&self) -> bool {
        let ready =
            || psql_command(&self.url()).stdin(Stdio::null()).output().expect("psql").status.success();
        TcpStream::connect(("127.0.0.1", self.port)).is_ok() && ready()
    }

    /// Of its database `postgres`, as superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// What statements print in that database, unaligned.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, statements: &str) -> String {
        psql(&self.url(), statements)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Postgres's immediate shutdown: its children are gone when it is.
        let pid = self.server.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.server.wait();
    }
}

/// A folder that servers may write to, and that is removed with this.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    give_to_servers(folder.path());
    folder
}

/// Gives a folder with all that is in it, or a file, to the user that servers run as.
///
/// # Panics
/// When that is refused.
pub fn give_to_servers(path: &Path) {
    if is_root() {
        finish(Command::new("chown").args(["--recursive", SERVER_USER]).arg(path));
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A program of Postgres 15, or another by its path, as a user that Postgres accepts.
#[must_use]
pub fn as_server_user(program: &str) -> Command {
    run_as_server_user(&Path::new(PROGRAMS).join(program))
}

fn run_as_server_user(program: &Path) -> Command {
    let mut command = if is_root() { Command::new("setpriv") } else { Command::new(program) };
    if is_root() {
        let user = [format!("--reuid={SERVER_USER}"), format!("--regid={SERVER_USER}")];
        command.args(user).args(["--init-groups", "--"]).arg(program);
    }
    // The server's user may not be allowed to enter the folder that the test runs in.
    command.current_dir("/").env("TZ", "UTC");
    command
}

/// Runs a command to its end; answers what it printed.
///
/// # Panics
/// When it fails, with what it said.
pub fn finish(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `psql` that reads its statements from standard input, prints unaligned, and goes on after an error.
#[must_use]
pub fn psql_command(url: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname", url]);
    command
}

/// What statements print, unaligned.
///
/// # Panics
/// When one fails.
pub fn psql(url: &str, statements: &str) -> String {
    let mut command = psql_command(url);
    finish(command.args(["--set=ON_ERROR_STOP=1", "--command", statements])).trim_end().to_owned()
}

/// Looks until it is so.
///
/// # Panics
/// When it is not within a minute.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(PAUSE);
    }
}
