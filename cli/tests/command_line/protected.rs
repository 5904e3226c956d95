//! A source under protection in a database of its own, and points of its history.

use crate::bench::{Bench, ended};
use crate::database::{Database, Server, psql};
use crate::program::{Ended, command};
use async_trait::async_trait;
use keepsake_domain::{Lsn, ParseStatement};
use keepsake_folder::FolderRepository;
use keepsake_postgres::PostgresChanges;
use keepsake_steps::ports::{
    Boundary, CaptureState, ChangeSource, ChangeStream, Mark, ProtectWishes, Protection, SourceError,
    Unprotected,
};
use keepsake_steps::{Capture, SegmentBounds, Until, capture_changes, protect_source};
use keepsake_testkit::{MemoryKeyHolder, TestClock};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use uuid::Uuid;

/// A source under protection; its slot goes away with its database.
pub struct Protected {
    pub bench: Bench,
    pub source: Database,
    pub name: String,
}

impl Protected {
    pub fn with(schema: &str) -> Self {
        let protected = Self::not_yet(schema);
        protected.capture(true);
        protected
    }

    /// By the program.
    pub fn by_program(schema: &str) -> Self {
        let protected = Self::not_yet(schema);
        protected.run("protect", &[]).ok();
        protected
    }

    fn not_yet(schema: &str) -> Self {
        let source = Database::empty(Server::Source);
        source.sql(schema);
        let id = Uuid::now_v7().simple().to_string();
        Self { bench: Bench::new(), source, name: format!("pitr-{}", &id[12..]) }
    }

    /// A command that reads the source and writes to the repository.
    pub fn command(&self, what: &str, more: &[&str]) -> Command {
        let repo = self.bench.repo();
        let mut arguments = vec![what, "--source", "env:SOURCE", "--repo", &repo, "--name", &self.name];
        arguments.extend(["--recipient", &self.bench.recipient]);
        arguments.extend(more);
        let mut command = command(&arguments);
        command.env("SOURCE", self.source.url()).env("TMPDIR", self.bench.path("tmp"));
        command
    }

    pub fn run(&self, what: &str, more: &[&str]) -> Ended {
        ended(&mut self.command(what, more))
    }

    /// A full backup that joins what is captured.
    pub fn backup(&self) {
        self.backup_with(&["--json"]).ok();
    }

    /// The same, with more options.
    pub fn backup_with(&self, more: &[&str]) -> Ended {
        self.source.wait_for_older_writers();
        self.run("backup", more)
    }

    /// What `keepsake protect` and `keepsake capture --once` do, for whom no statement is plain.
    pub fn capture(&self, is_first: bool) {
        self.captured(is_first, keepsake_domain::no_plain_statement);
    }

    /// What `keepsake capture --once` does.
    pub fn capture_with(&self, parse_statement: ParseStatement) {
        self.captured(false, parse_statement);
    }

    /// The same, while somebody runs these statements where the first segment ends.
    pub fn capture_while(&self, statements: &str) {
        let source = PostgresChanges::new(self.source.url().parse().unwrap(), &self.name);
        let (url, statements) = (self.source.url(), Mutex::new(Some(statements.to_owned())));
        let source = Meanwhile { source, url, statements };
        self.captured_from(&source, false, keepsake_statements::plain_statement);
    }

    /// The manifest of the newest segment.
    pub fn newest_manifest(&self) -> Value {
        let is_manifest = |path: &PathBuf| {
            path.parent().and_then(|folder| folder.file_name()).is_some_and(|name| name == "changes")
        };
        let mut manifests = self.segments(".json").into_iter().filter(is_manifest);
        serde_json::from_slice(&std::fs::read(manifests.next_back().unwrap()).unwrap()).unwrap()
    }

    fn captured(&self, is_first: bool, parse_statement: ParseStatement) {
        let source = PostgresChanges::new(self.source.url().parse().unwrap(), &self.name);
        self.captured_from(&source, is_first, parse_statement);
    }

    fn captured_from(&self, source: &dyn ChangeSource, is_first: bool, parse_statement: ParseStatement) {
        let repository = FolderRepository::from_url(&self.bench.repo()).unwrap();
        let (holder, clock) =
            (MemoryKeyHolder::new("unused"), TestClock::at("2026-11-21T12:00:00Z".parse().unwrap()));
        let recovery = [self.bench.recipient.parse().unwrap()];
        let capture = Capture {
            source,
            repository: &repository,
            key_holder: &holder,
            recovery: &recovery,
            clock: &clock,
            name: &self.name,
            wishes: ProtectWishes::default(),
            level: 3,
            parse_statement,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            if is_first {
                protect_source(&capture).await.unwrap();
            } else {
                capture_changes(&capture, SegmentBounds::default(), Until::CaughtUp, &|_| {}).await.unwrap();
            }
        });
    }

    /// What can be restored of the one lineage.
    pub fn window(&self) -> Value {
        let repo = self.bench.repo();
        ended(&mut command(&["window", "--repo", &repo, "--json"])).ok().json()["lineages"][0].clone()
    }

    pub fn restore(&self, target: &Database, more: &[&str]) -> Ended {
        self.bench.restore(&self.bench.repo(), target, more)
    }

    /// Files of segments, by their names: keys begin with their positions.
    pub fn segments(&self, ending: &str) -> Vec<PathBuf> {
        let root = self.bench.path("repo").join(&self.name);
        let mut found = Vec::new();
        let mut folders = vec![root];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_str().unwrap().ends_with(ending)
                    && path.to_str().unwrap().contains("/changes/")
                {
                    found.push(path);
                }
            }
        }
        found.sort_by_key(|path| path.file_name().unwrap().to_owned());
        found
    }
}

/// A source in which something happens between the end of a segment and what is read then.
struct Meanwhile {
    source: PostgresChanges,
    url: String,
    statements: Mutex<Option<String>>,
}

#[async_trait]
impl ChangeSource for Meanwhile {
    async fn capture_state(&self) -> Result<CaptureState, SourceError> {
        self.source.capture_state().await
    }

    async fn protect(&self, wishes: &ProtectWishes) -> Result<Protection, SourceError> {
        self.source.protect(wishes).await
    }

    async fn unprotect(&self) -> Result<Unprotected, SourceError> {
        self.source.unprotect().await
    }

    async fn stream(&self, from: Lsn) -> Result<Box<dyn ChangeStream>, SourceError> {
        self.source.stream(from).await
    }

    async fn mark(&self) -> Result<Mark, SourceError> {
        self.source.mark().await
    }

    async fn boundary(&self) -> Result<Boundary, SourceError> {
        if let Some(statements) = self.statements.lock().unwrap().take() {
            psql(&self.url, &statements);
        }
        self.source.boundary().await
    }
}

/// What was there after the transactions of the history, and how each is named.
pub struct Point {
    pub rows: Vec<String>,
    pub lsn: String,
    pub time: String,
    pub xid: String,
}

pub fn point_after(source: &Database, transaction: &str) -> Point {
    let mut xid = String::new();
    for statement in transaction.split("BEGIN;").filter(|text| !text.trim().is_empty()) {
        let statement = statement.replace("COMMIT", "");
        xid = source.sql(&format!("BEGIN; {statement}; SELECT pg_current_xact_id(); COMMIT"));
    }
    let lsn = source.sql("SELECT pg_current_wal_insert_lsn()");
    let time = source
        .sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'");
    let xid = xid.lines().last().unwrap().trim().to_owned();
    Point { rows: source.rows(), lsn: lsn.trim().to_owned(), time: time.trim().to_owned(), xid }
}

pub fn without_sequences(rows: &[String]) -> Vec<String> {
    rows.iter().filter(|line| line.starts_with("public.")).cloned().collect()
}
