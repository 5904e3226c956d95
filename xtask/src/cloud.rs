//! The local cloud: AWS's parts (ministack with our overlay), RDS (the double), and two Postgres clusters, on one machine.
//!
//! Everything listens on 127.0.0.1 on free ports and lives in a run folder; nothing outlives the process that started
//! it, however that ends, unless it was asked to stay (`LocalCloud::detach`).

mod describe;
mod keeper;
mod postgres;

use std::fs::{self, File};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{functions, setup};
use keeper::Keeper;
use postgres::Care;

/// The region of the local cloud's clients, and the other region that archives are copied to.
pub const REGION: &str = "eu-central-1";
/// The second region.
pub const DR_REGION: &str = "eu-west-1";

/// How long each part may take to answer its first call, on a machine that is busy with a build.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to start beside ministack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Not even that: the one Postgres cluster `source`, which cares for its disk as a production server does.
    Database,
    /// Nothing else.
    Aws,
    /// The Postgres clusters `source` and `catalog`, and the RDS double.
    All,
    /// All of that, and a cluster of each other major that we support.
    AllMajors,
}

/// A running local cloud. Ends when it is dropped.
pub struct LocalCloud {
    run_dir: PathBuf,
    describe: Value,
    keeper: Keeper,
}

impl LocalCloud {
    /// Starts the parts and waits until each answers. `cargo x setup` must have been done (`setup::ensure`).
    ///
    /// # Errors
    /// A part does not start; the text names its log and ends with the log's last lines. Nothing is left running.
    pub fn start(parts: Parts) -> Result<LocalCloud> {
        let id = random_hex(4)?;
        let run_dir = setup::local().join("run").join(&id);
        fs::create_dir_all(&run_dir).with_context(|| format!("create {}", run_dir.display()))?;
        // Postgres needs a short path (its socket's may have 107 bytes) that its own user can enter, which a checkout
        // in somebody's home may not be.
        let data_dir = PathBuf::from("/var/tmp").join(format!("keepsake-{id}"));
        postgres::create_data_dir(&data_dir)?;
        let keeper = Keeper::start(&run_dir, &data_dir)?;
        let describe = describe::plan(&id, &run_dir, &data_dir, free_port()?, free_port()?);
        let mut cloud = LocalCloud { run_dir, describe, keeper };
        if parts != Parts::Database {
            cloud.start_ministack()?;
        }
        if parts != Parts::Aws {
            cloud.start_postgres(&data_dir, parts)?;
        }
        if matches!(parts, Parts::All | Parts::AllMajors) {
            cloud.start_rds_double(&data_dir)?;
        }
        describe::write(&cloud.run_dir, &cloud.describe)?;
        Ok(cloud)
    }

    /// What runs where: `describe.json`. Keys: `id`, `run_dir`, `data_dir`, `region`, `dr_region`, `endpoint_url`,
    /// `rds_endpoint_url`, `rds_double` (whether it runs), `environment` (object), `postgres` (`source` and `catalog`,
    /// each with `url`, `host`, `port`, `user`, `password`, `database`, `log`, `programs`), `postgres_bin` (folders of the server
    /// programs of `14` to `18`), `ca_file`, `logs` (object).
    pub fn describe(&self) -> &Value {
        &self.describe
    }

    /// The folder with `describe.json` and the logs; removed when the cloud ends.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// The connection URL of a cluster (`source`, `catalog`, `postgres-14` and so on), as superuser.
    ///
    /// # Errors
    /// No such cluster was started.
    pub fn postgres_url(&self, cluster: &str) -> Result<&str> {
        self.describe["postgres"][cluster]["url"].as_str().with_context(|| format!("no cluster {cluster}"))
    }

    /// A command that reaches this cloud: endpoint, credentials and PATH are set.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(describe::environment(&self.describe));
        command
    }

    /// Ends everything and removes the run folder.
    pub fn stop(self) -> Result<()> {
        self.keeper.finish()
    }

    /// Lets everything run on after this process, until `cargo x cloud --stop`; answers the run folder.
    pub fn detach(self) -> Result<PathBuf> {
        self.keeper.detach()?;
        Ok(self.run_dir)
    }

    fn start_ministack(&mut self) -> Result<()> {
        let port = port_of(&self.describe["endpoint_url"])?;
        let state = self.run_dir.join("ministack");
        fs::create_dir_all(state.join("s3"))?;
        fs::create_dir_all(state.join("tmp"))?;
        let mut command = Command::new(setup::local().join("venv/bin/python"));
        command.arg("-B").arg(setup::sources().join("overlay.py")).env_clear();
        // The Lambda functions are its children and inherit this.
        command.envs(describe::environment(&self.describe)).envs([
            ("HOME", state.join("tmp")),
            ("TMPDIR", state.join("tmp")),
            ("S3_DATA_DIR", state.join("s3")),
        ]);
        command.env("KEEPSAKE_LOSE_ANSWERS", self.describe["lose_answers"].as_str().unwrap_or_default());
        command.envs([
            ("BIND_HOST", "127.0.0.1"),
            ("MINISTACK_HOST", "127.0.0.1"),
            ("GATEWAY_PORT", &port.to_string()),
            ("MINISTACK_REGION", REGION),
            ("S3_PERSIST", "1"),
            ("SFTP_ENABLED", "0"),
            ("IOT_MTLS_ENABLED", "0"),
            // AWS's own default for an account; ministack would cut it down to the machine's memory.
            ("LAMBDA_ACCOUNT_CONCURRENCY", "1000"),
        ]);
        self.keeper.run("ministack", command)?;
        wait_for("ministack", &self.log("ministack"), || Ok(TcpStream::connect(("127.0.0.1", port)).is_ok()))
    }

    fn start_postgres(&mut self, data_dir: &Path, parts: Parts) -> Result<()> {
        let certificate = postgres::certificate(data_dir)?;
        self.describe["ca_file"] = certificate.join("ca.pem").display().to_string().into();
        let debian = PathBuf::from(setup::POSTGRES_BIN);
        let mut clusters = vec![("source", "wedsync", debian.clone())];
        if parts != Parts::Database {
            clusters.push(("catalog", "keepsake", debian));
        }
        if parts == Parts::AllMajors {
            let names = ["postgres-14", "postgres-16", "postgres-17", "postgres-18"];
            for (name, major) in names.into_iter().zip(setup::OTHER_MAJORS) {
                clusters.push((name, "test", postgres::enterable(major, data_dir)?));
            }
        }
        for (cluster, database, programs) in clusters {
            let plan = postgres::Cluster::new(cluster, database, programs, data_dir, free_port()?)?;
            plan.create()?;
            let care = if parts == Parts::Database { Care::Durable } else { Care::None };
            self.keeper.run(cluster, plan.server(&certificate, care))?;
            wait_for(cluster, &self.log(cluster), || plan.answers())?;
            plan.create_database()?;
            self.describe["postgres"][cluster] = plan.describe(&self.log(cluster));
        }
        Ok(())
    }

    fn start_rds_double(&mut self, data_dir: &Path) -> Result<()> {
        let port = port_of(&self.describe["rds_endpoint_url"])?;
        let program = functions::target_folder(&setup::root()).join("debug/rds-double");
        let mut command = Command::new(program);
        command.envs(describe::environment(&self.describe));
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--pg-bin", setup::POSTGRES_BIN]);
        command.arg("--root").arg(data_dir.join("rds"));
        command.args(["--endpoint-url", self.describe["endpoint_url"].as_str().unwrap_or_default()]);
        self.keeper.run("rds-double", command)?;
        let log = self.log("rds-double");
        wait_for("rds-double", &log, || Ok(fs::read_to_string(&log)?.contains("listening")))?;
        self.describe["rds_double"] = true.into();
        Ok(())
    }

    fn log(&self, part: &str) -> PathBuf {
        self.run_dir.join(format!("{part}.log"))
    }
}

/// Runs `cargo x cloud [--detach | --stop]`: the whole cloud until Ctrl-C, or with `--detach` until `--stop`, which ends
/// every cloud of this checkout.
///
/// # Errors
/// A part does not start.
pub fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "--stop") {
        return keeper::stop_detached(&setup::local().join("run"));
    }
    setup::ensure()?;
    functions::build_workspace(&setup::root(), "--bins")?;
    println!("local cloud: starting");
    let cloud = LocalCloud::start(Parts::All)?;
    let end_it = if arguments.iter().any(|argument| argument == "--detach") {
        "`cargo x cloud --stop`"
    } else {
        "Ctrl-C"
    };
    println!("local cloud: it stands; end it with {end_it}\n\n{}", describe::how_to_reach(cloud.describe()));
    if end_it != "Ctrl-C" {
        cloud.detach()?;
        return Ok(());
    }
    loop {
        std::thread::park();
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

fn port_of(url: &Value) -> Result<u16> {
    let url = url.as_str().context("an endpoint url")?;
    url.rsplit(':').next().and_then(|port| port.parse().ok()).with_context(|| format!("no port in {url}"))
}

/// Asks until the answer is yes; gives up after `PATIENCE` with the end of the part's log.
fn wait_for(part: &str, log: &Path, mut is_up: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if is_up()? {
            return Ok(());
        }
        if keeper::has_ended(log) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(20)..].join("\n");
    bail!("{part} did not start; its log {} ends with:\n{tail}", log.display())
}

/// So many bytes of the kernel's randomness, in hexadecimal.
fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .context("read /dev/urandom")?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn new_log(run_dir: &Path, part: &str) -> Result<File> {
    File::create(run_dir.join(format!("{part}.log"))).with_context(|| format!("create the log of {part}"))
}
