//! Our recovery beside Postgres's own, at random targets of one loaded source.

use crate::content::Content;
use crate::physical::recover;
use crate::source::Source;
use crate::target::Target;
use keepsake_testkit::cluster::{Cluster, finish};
use keepsake_testkit::environment;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keepsake");

/// Targets of every test run; each takes some seconds. `KEEPSAKE_PITR_TARGETS=50` asks for a long one.
const TARGETS: u64 = 4;

/// Transactions of each connection: before the full backup is there, and after it.
const TRANSACTIONS: [u32; 2] = [60, 120];

/// A repository in a folder, and who may open it.
struct Bench {
    folder: TempDir,
    recipient: String,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("repo")).unwrap();
        let key = folder.path().join("key");
        let recipient = finish(Command::new(PROGRAM).args(["keygen", "--out"]).arg(key)).trim().to_owned();
        Self { folder, recipient }
    }

    /// A command on the source.
    fn of_source(&self, words: &[&str], source: &Source) -> Command {
        let mut command = Command::new(PROGRAM);
        let repo = format!("file://{}", self.folder.path().join("repo").display());
        command.args(words).args(["--source", "env:SOURCE", "--name", "judged", "--repo", &repo]);
        command.env("SOURCE", source.cluster.url()).stdin(Stdio::null());
        command
    }

    /// The same with who may open what it writes.
    fn sealing(&self, words: &[&str], source: &Source) -> Command {
        let mut command = self.of_source(words, source);
        command.args(["--recipient", &self.recipient]);
        command
    }

    /// The content of a new database that is restored to the target; nothing if the transaction that the target names
    /// is refused, since it left nothing to capture.
    fn restore(&self, server: &Cluster, name: &str, target: &Target) -> Option<Content> {
        server.sql(&format!("CREATE DATABASE {name}"));
        let url = format!("{}/{name}", server.url().rsplit_once('/').unwrap().0);
        let repo = format!("file://{}", self.folder.path().join("repo").display());
        let mut command = Command::new(PROGRAM);
        command.args(["restore", "--to", "env:TARGET", "--repo", &repo, "--key-file"]);
        command.arg(self.folder.path().join("key")).args(target.arguments()).env("TARGET", &url);
        let ended = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        if matches!(target, Target::Xid { .. }) && said.contains("is not among the changes") {
            return None;
        }
        assert!(ended.status.success(), "{target:?}: {said}");
        Some(Content::of(&url))
    }
}

/// Captures in the background; ended when this is dropped.
struct Following(Child);

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
    let (source, bench) = (Source::new(), Bench::new());
    finish(&mut bench.sealing(&["protect"], &source));
    let load = source.load(seed, TRANSACTIONS[0]);
    source.base_backup();
    finish(&mut bench.sealing(&["backup", "--part-size", "65536"], &source));
    load.finish();
    let start = source.lsn();
    let mut capture = bench.sealing(&["capture", "--follow", "--segment-seconds", "1"], &source);
    let following = Following(capture.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    source.load(seed.wrapping_add(1), TRANSACTIONS[1]).finish();
    drop(following);
    finish(&mut bench.sealing(&["capture", "--once"], &source));
    let ends = source.ends_since(&start);

    let restored = source.folder.path().join("restored");
    Cluster::make(&restored, &[]);
    let server = Cluster::run(&restored, &["autovacuum=off"]);
    let mut random = StdRng::seed_from_u64(seed);
    for number in 0..targets {
        let began = Instant::now();
        let target = Target::draw(&mut random, &ends);
        let theirs = Content::of(&recover(&source, &target, &format!("recovered-{number}")).url());
        let ours = bench.restore(&server, &format!("ours_{number}"), &target);
        eprintln!("{number}: {target:?}, {:.1} s", began.elapsed().as_secs_f32());
        // Who refuses a transaction that left nothing must be right: with it and without it is the same state.
        let ours = ours.unwrap_or_else(|| {
            let other = recover(&source, &target.other_side(), &format!("other-side-{number}"));
            Content::of(&other.url())
        });
        assert_eq!(theirs.differences(&ours), [""; 0], "{target:?}, KEEPSAKE_PITR_SEED={seed}");
    }
}
