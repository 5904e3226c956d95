//! `cargo x bench <subject>`: Keepsake beside its peers on one generated database, in turns, and a table of it.
//!
//! Every contender is a shell command that ends well or ends the bench. All of them read the same server over the
//! same loopback address, without TLS, and write to the same disk.

mod apply;
mod capture;
mod clients;
mod contender;
mod environment;
mod follow;
mod full;
mod incremental;
mod restore;
mod statements;
mod table;
mod transaction;
mod writes;

use crate::cloud::{LocalCloud, Parts};
use crate::sample::{self, Target};
use crate::{functions, say, setup};
use anyhow::{Context, Result, bail};
use clients::Clients;
use std::fs;
use std::path::{Path, PathBuf};

const USAGE: &str = "cargo x bench <full|restore> [--size-gb N] [--slow-rounds N] [--jobs N] [--source <postgres://…>] \
                     | <capture|apply|incremental> [--rows N] [--changes N] | follow [--seconds N] \
                     | transaction [--transaction-gb N]; each [--rounds N] [--level N] [--smoke]";

/// `COPY` text per unit of the sample's scale, about.
const BYTES_PER_SCALE: f64 = 25e6;

/// What was asked for.
pub struct Options {
    /// `COPY` text of the generated database, in 10^9 bytes.
    size_gb: f64,
    rounds: u32,
    /// Rounds of the contenders that take several times as long as the others.
    slow_rounds: u32,
    /// zstd level of Keepsake and of `COPY | zstd`; `None` for Keepsake's own.
    level: Option<i32>,
    /// Connections of every contender.
    jobs: u32,
    /// A database that stands, instead of a generated one.
    source: Option<String>,
    /// Rows of the database whose changes are captured.
    rows: u64,
    /// Changes that are captured.
    changes: u64,
    /// How long a capture is followed.
    seconds: u64,
    /// The large transaction, in 10^9 bytes of `COPY` text.
    transaction_gb: f64,
    /// A few megabytes, one round, unoptimised programs: shows that everything runs, and measures nothing.
    smoke: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            size_gb: 4.0,
            rounds: 3,
            slow_rounds: 1,
            level: None,
            jobs: 2,
            source: None,
            rows: 200_000,
            changes: 1_000_000,
            seconds: 60,
            transaction_gb: 5.0,
            smoke: false,
        }
    }
}

/// Runs `cargo x bench`.
///
/// # Errors
/// A contender failed, or a database could not be made.
pub fn run(arguments: &[String]) -> Result<()> {
    let (subject, rest) = arguments.split_first().with_context(|| format!("usage: {USAGE}"))?;
    let options = options(rest)?;
    setup::debian_packages()?;
    match subject.as_str() {
        "full" => full::run(&Bench::with_sample(options)?),
        "restore" => restore::run(&Bench::with_sample(options)?),
        "capture" => capture::run(&Bench::of_changes(options)?),
        "apply" => apply::run(&Bench::of_changes(options)?),
        "incremental" => incremental::run(&Bench::of_changes(options)?),
        "follow" => follow::run(&Bench::of_changes(options)?),
        "transaction" => transaction::run(&Bench::of_changes(options)?),
        _ => bail!("usage: {USAGE}"),
    }
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        if option == "--smoke" {
            options = Options { smoke: true, size_gb: 0.025, rounds: 1, rows: 2_000, ..options };
            options = Options { changes: 4_000, seconds: 3, transaction_gb: 0.02, ..options };
            continue;
        }
        let value = rest.next().with_context(|| format!("usage: {USAGE}"))?;
        match option.as_str() {
            "--size-gb" => options.size_gb = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            "--slow-rounds" => options.slow_rounds = value.parse()?,
            "--level" => options.level = Some(value.parse()?),
            "--jobs" => options.jobs = value.parse()?,
            "--source" => options.source = Some(value.clone()),
            "--rows" => options.rows = value.parse()?,
            "--changes" => options.changes = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--transaction-gb" => options.transaction_gb = value.parse()?,
            _ => bail!("unknown option {option}; usage: {USAGE}"),
        }
    }
    Ok(options)
}

/// Everything that the subjects share: the server with its database, the programs, and a key.
struct Bench {
    options: Options,
    clients: Clients,
    /// The server's URL up to the database's name, without the password.
    server: String,
    password: Option<String>,
    /// The source's name.
    database: String,
    folder: PathBuf,
    recipient: String,
    // Dropped last: it ends the server and removes the folder.
    cloud: LocalCloud,
}

impl Bench {
    /// With the WedSync sample in the database, or the database that was given.
    fn with_sample(options: Options) -> Result<Self> {
        let bench = Self::start(options)?;
        if bench.options.source.is_none() {
            let scale = (bench.options.size_gb * 1e9 / BYTES_PER_SCALE).round().max(1.0) as u32;
            say(&format!("generating the WedSync sample at scale {scale}"));
            sample::load(bench.cloud.postgres_url("source")?, scale, 1)?;
        }
        Ok(bench)
    }

    /// Without anything in the database: each subject makes its own, and writes to them.
    fn of_changes(options: Options) -> Result<Self> {
        if options.source.is_some() {
            bail!(
                "changes are made for the bench, in databases of its own: --source is for full and restore"
            );
        }
        Self::start(options)
    }

    fn start(options: Options) -> Result<Self> {
        let keepsake = functions::build_keepsake(&setup::root(), !options.smoke)?;
        let clients = Clients::find(keepsake, &options)?;
        say("starting Postgres 15 with fsync");
        let cloud = LocalCloud::start(Parts::Database)?;
        let url = match &options.source {
            Some(url) => url.clone(),
            None => cloud.postgres_url("source")?.to_owned(),
        };
        let Target { url, password } = Target::parse(&url)?;
        let url = url.split('?').next().unwrap_or_default();
        let (server, database) = url.rsplit_once('/').context("a database's URL ends with its name")?;
        let (server, database) = (server.to_owned(), database.to_owned());
        let folder = PathBuf::from(cloud.describe()["data_dir"].as_str().context("a folder")?).join("bench");
        fs::create_dir(&folder)?;
        let recipient = clients.draw_key(&folder.join("recovery.key"))?;
        Ok(Self { options, clients, server, password, database, folder, recipient, cloud })
    }

    /// Without TLS: all contenders are measured without.
    fn url(&self, database: &str) -> String {
        format!("{}/{database}?sslmode=disable", self.server)
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("recovery.key")
    }

    /// An answer of the server.
    fn ask(&self, database: &str, query: &str) -> Result<String> {
        Target { url: self.url(database), password: self.password.clone() }.ask(query)
    }

    /// An empty folder of this name.
    fn empty(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder)?;
        Ok(folder)
    }
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        bytes += if facts.is_dir() { bytes_below(&entry.path())? } else { facts.len() };
    }
    Ok(bytes)
}
