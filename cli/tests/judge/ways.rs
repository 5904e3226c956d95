//! The two ways from a source to a target: ours, and the one that everybody trusts.

use crate::server::{Database, newest, program};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keepsake");

/// A repository in a folder with its recovery key.
pub struct Bench {
    folder: TempDir,
    recipient: String,
    /// Where the client programs are.
    programs: PathBuf,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("repo")).unwrap();
        let key = folder.path().join("key");
        let output = keepsake(&["keygen", "--out", key.to_str().unwrap()]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let programs = std::env::var("KEEPSAKE_TEST_PG_BIN").expect("run cargo x test").into();
        Self { recipient: text(&output.stdout).trim().to_owned(), folder, programs }
    }

    /// From now on the client programs of this major alone, as in an image that carries no others.
    pub fn with_only(&mut self, major: u32) {
        let link = self.folder.path().join(format!("only-{major}"));
        std::os::unix::fs::symlink(program("pg_restore", major).parent().unwrap(), &link).unwrap();
        self.programs = link;
    }

    /// From now on those of every major that the tests have.
    pub fn with_all(&mut self) {
        self.programs = std::env::var("KEEPSAKE_TEST_PG_BIN").expect("run cargo x test").into();
    }

    fn repo(&self) -> String {
        format!("file://{}", self.folder.path().join("repo").display())
    }

    pub fn backup(&self, source: &Database, more: &[&str]) -> Output {
        let repo = self.repo();
        let mut command = keepsake(&["backup", "--source", "env:SOURCE", "--repo", &repo, "--json"]);
        command.args(["--name", "judged", "--recipient", &self.recipient]).args(more);
        command.arg("--pg-bin").arg(&self.programs);
        command.env("SOURCE", source.login_url()).output().unwrap()
    }

    /// A restore that must pass its proof; answers its certificate.
    pub fn restore_whole(&self, target: &Database) -> Value {
        let restore = answer(&self.restore(target, &[]));
        assert_eq!(restore["certificate"]["verdict"], "passed", "{restore}");
        restore["certificate"].clone()
    }

    /// A backup whose larger tables are cut into ranges.
    pub fn backup_whole(&self, source: &Database) {
        answer(&self.backup(source, &["--part-size", "65536"]));
    }

    pub fn restore(&self, target: &Database, more: &[&str]) -> Output {
        let (repo, key) = (self.repo(), self.folder.path().join("key"));
        let mut command = keepsake(&["restore", "--to", "env:TARGET", "--repo", &repo, "--json"]);
        command.arg("--key-file").arg(key).args(more).arg("--pg-bin").arg(&self.programs);
        command.env("TARGET", target.login_url()).output().unwrap()
    }
}

fn keepsake(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null());
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}\n{}", text(&output.stderr), text(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Backup and restore by the real program.
pub fn by_keepsake(source: &Database, target: &Database) {
    let bench = Bench::new();
    bench.backup_whole(source);
    bench.restore_whole(target);
}

/// As [`try_pg_dump`]; any error is fatal.
pub fn by_pg_dump(source: &Database, target: &Database) {
    let restored = try_pg_dump(source, target);
    assert!(restored.status.success(), "pg_restore: {}", text(&restored.stderr));
}

/// `pg_dump --format=custom` of the source's major, which must end well, and how `pg_restore` of the target's ended.
pub fn try_pg_dump(source: &Database, target: &Database) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    let dumped = dump(source, &file);
    assert!(dumped.status.success(), "pg_dump: {}", text(&dumped.stderr));
    // An older pg_restore does not read what a newer pg_dump wrote.
    let major = source.server.major().max(target.server.major());
    let mut command = Command::new(program("pg_restore", major));
    command.args(["--exit-on-error", "--no-tablespaces", "--dbname", &target.url()]).arg(&file);
    command.output().unwrap()
}

fn dump(source: &Database, file: &Path) -> Output {
    let mut command = Command::new(program("pg_dump", source.server.major()));
    // Keepsake leaves subscriptions out, and says so.
    command.args([
        "--format=custom",
        "--compress=0",
        "--no-subscriptions",
        "--dbname",
        &source.url(),
        "--file",
    ]);
    command.arg(file).output().unwrap()
}

/// The schema as the newest `pg_dump` writes it.
pub fn schema(database: &Database) -> String {
    let mut command = Command::new(newest("pg_dump"));
    command.args(["--schema-only", "--no-subscriptions", "--no-tablespaces", "--dbname", &database.url()]);
    // As the server has it: of a database without encoding not all bytes are text.
    let encoding = database.sql("SHOW server_encoding");
    command.args(["--encoding", if encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" }]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "pg_dump: {}", text(&output.stderr));
    text(&output.stdout)
}
