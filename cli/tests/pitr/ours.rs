//! Our recovery beside Postgres's own, at random targets of one loaded source.

use crate::content::Content;
use crate::physical::recover;
use crate::source::Source;
use crate::target::Target;
use keepsake_testkit::cluster::{Cluster, Major, finish};
use keepsake_testkit::environment;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keepsake");

/// Targets of every test run; each takes some seconds. `KEEPSAKE_PITR_TARGETS=50` asks for a long one.
const TARGETS: u64 = 4;

/// Transactions of each connection: before the full backup is there, and after it.
const TRANSACTIONS: [u32; 2] = [60, 120];

/// A repository in a folder, who may open it, and a server for what is restored from it.
pub struct Bench {
    folder: TempDir,
    recipient: String,
    server: Cluster,
}

impl Bench {
    pub fn new(source: &Source, major: Major) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("repo")).unwrap();
        let key = folder.path().join("key");
        let recipient = finish(Command::new(PROGRAM).args(["keygen", "--out"]).arg(key)).trim().to_owned();
        let restored = source.folder.path().join("restored");
        major.make(&restored, &[]);
        Self { folder, recipient, server: major.run(&restored, &["autovacuum=off"]) }
    }

    /// A source under load that both have backed up, and that is captured from then on; with the position behind the load.
    pub fn begin(
        source: &Source,
        restores_to: Major,
        seed: u64,
        transactions: u32,
    ) -> (Self, Following, String) {
        let bench = Self::new(source, restores_to);
        finish(&mut bench.of_source(&["protect"], source));
        let load = source.load(seed, transactions);
        source.base_backup();
        bench.backup(source);
        load.finish();
        let start = source.lsn();
        let following = bench.follow(source);
        (bench, following, start)
    }

    /// Nobody captures any more, and everything stands.
    pub fn end(&self, following: Following, source: &Source) {
        drop(following);
        finish(&mut self.of_source(&["capture", "--once"], source));
    }

    fn repo(&self) -> String {
        format!("file://{}", self.folder.path().join("repo").display())
    }

    /// A command that reads the source and seals what it writes.
    pub fn of_source(&self, words: &[&str], source: &Source) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(words).args(["--source", "env:SOURCE", "--name", "judged", "--repo", &self.repo()]);
        command.args(["--recipient", &self.recipient]);
        command.env("SOURCE", source.cluster.url()).stdin(Stdio::null());
        command
    }

    pub fn backup(&self, source: &Source) {
        let mut backup = self.of_source(&["backup", "--part-size", "65536"], source);
        finish(with_clients(&mut backup));
    }

    /// Captures in the background, until it is dropped.
    pub fn follow(&self, source: &Source) -> Following {
        let mut capture = self.of_source(&["capture", "--follow", "--segment-seconds", "1"], source);
        Following(capture.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// What `keepsake window` shows of the one lineage.
    pub fn window(&self) -> Value {
        let mut window = Command::new(PROGRAM);
        let shown = finish(window.args(["window", "--json", "--repo", &self.repo()]));
        serde_json::from_str::<Value>(&shown).unwrap()["lineages"][0].clone()
    }

    /// A new database that is to be restored to the target, and how the restore ended.
    pub fn try_restore(&self, name: &str, target: &Target) -> (String, Output) {
        self.server.sql(&format!("CREATE DATABASE {name}"));
        let url = format!("{}/{name}", self.server.url().rsplit_once('/').unwrap().0);
        let mut command = Command::new(PROGRAM);
        command.args(["restore", "--to", "env:TARGET", "--repo", &self.repo(), "--key-file"]);
        command.arg(self.folder.path().join("key")).args(target.arguments()).env("TARGET", &url);
        let ended = with_clients(&mut command).stdin(Stdio::null()).output().unwrap();
        (url, ended)
    }

    /// The content of a new database that is restored to the target; nothing if the transaction that the target names
    /// is refused, since it left nothing to capture.
    fn restore(&self, name: &str, target: &Target) -> Option<Content> {
        let (url, ended) = self.try_restore(name, target);
        let said = String::from_utf8_lossy(&ended.stderr);
        if matches!(target, Target::Xid { .. }) && said.contains("is not among the changes") {
            return None;
        }
        assert!(ended.status.success(), "{target:?}: {said}");
        Some(Content::of(&url))
    }

    /// Two recoveries to one target, Postgres's and ours, hold the same.
    pub fn compare(&self, source: &Source, number: u64, target: &Target) {
        let began = Instant::now();
        let theirs = Content::of(&recover(source, target, &format!("recovered-{number}")).url());
        let ours = self.restore(&format!("ours_{number}"), target);
        eprintln!("{number}: {target:?}, {:.1} s", began.elapsed().as_secs_f32());
        // Who refuses a transaction that left nothing must be right: with it and without it is the same state.
        let ours = ours.unwrap_or_else(|| {
            let other = recover(source, &target.other_side(), &format!("other-side-{number}"));
            Content::of(&other.url())
        });
        assert_eq!(theirs.differences(&ours), [""; 0], "{target:?}");
    }
}

/// Client programs of newer majors lie beside those that `cargo x test` names.
fn with_clients(command: &mut Command) -> &mut Command {
    match std::env::var_os("KEEPSAKE_TEST_PG_BIN") {
        Some(folder) => command.arg("--pg-bin").arg(folder),
        None => command,
    }
}

/// Captures in the background; ended when this is dropped.
pub struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

#[test]
fn our_recovery_is_that_of_postgres_at_random_targets_of_a_loaded_source() {
    let seed = environment::seed("KEEPSAKE_PITR_SEED");
    let targets = environment::number("KEEPSAKE_PITR_TARGETS").unwrap_or(TARGETS);
    eprintln!("point-in-time recovery: {targets} targets, KEEPSAKE_PITR_SEED={seed}");
    let source = Source::new(Major::DEBIAN);
    let (bench, following, start) = Bench::begin(&source, Major::DEBIAN, seed, TRANSACTIONS[0]);
    source.load(seed.wrapping_add(1), TRANSACTIONS[1]).finish();
    bench.end(following, &source);
    let ends = source.ends_since(&start);

    let mut random = StdRng::seed_from_u64(seed);
    for number in 0..targets {
        let target = Target::draw(&mut random, &ends);
        bench.compare(&source, number, &target);
    }
}
