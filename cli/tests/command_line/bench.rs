//! A repository in a folder, a recovery key, and the commands on them.

use crate::database::{Database, Server};
use crate::program::{Ended, command};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub struct Bench {
    folder: TempDir,
    pub recipient: String,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["repo", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let key = folder.path().join("recovery.key");
        let ended = crate::program::run(&["keygen", "--out", key.to_str().unwrap()]).ok();
        Self { folder, recipient: ended.stdout.trim().to_owned() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn key_file(&self) -> String {
        self.path("recovery.key").to_str().unwrap().to_owned()
    }

    pub fn repo(&self) -> String {
        self.repo_at("repo")
    }

    pub fn repo_at(&self, name: &str) -> String {
        format!("file://{}", self.path(name).display())
    }

    /// Another repository with the same bytes, to damage.
    pub fn copy(&self, name: &str) -> String {
        let status =
            Command::new("cp").arg("-a").arg(self.path("repo")).arg(self.path(name)).status().unwrap();
        assert!(status.success());
        self.repo_at(name)
    }

    /// What runs left in the folder for temporary things.
    pub fn leftovers(&self) -> usize {
        std::fs::read_dir(self.path("tmp")).unwrap().count()
    }

    /// Those of them that are work folders of backups.
    pub fn work_folders(&self) -> usize {
        let entries = std::fs::read_dir(self.path("tmp")).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("keepsake-"))
            .count()
    }

    /// A backup command of this source; the URL goes through the environment.
    pub fn backup_command(&self, source: &str, more: &[&str]) -> Command {
        let repo = self.repo();
        let mut arguments = vec!["backup", "--source", "env:SOURCE", "--repo", &repo, "--name", "party"];
        arguments.extend(["--recipient", &self.recipient]);
        arguments.extend(more);
        let mut command = command(&arguments);
        command.env("SOURCE", source).env("TMPDIR", self.path("tmp"));
        command
    }

    pub fn backup(&self, source: &str, more: &[&str]) -> Ended {
        ended(&mut self.backup_command(source, more))
    }

    /// A good backup of the test schema, in many parts; its summary.
    pub fn good_backup(&self, source: &Database) -> Value {
        self.backup(&source.url(), &["--json", "--part-size", "65536"]).ok().json()
    }

    /// A restore command with the recovery key; the URL goes through the environment.
    pub fn restore_command(&self, repo: &str, target: &Database, more: &[&str]) -> Command {
        let key_file = self.key_file();
        let mut arguments = vec!["restore", "--repo", repo, "--to", "env:TARGET", "--key-file", &key_file];
        arguments.extend(more);
        let mut command = command(&arguments);
        command.env("TARGET", target.url()).env("TMPDIR", self.path("tmp"));
        command
    }

    pub fn restore(&self, repo: &str, target: &Database, more: &[&str]) -> Ended {
        ended(&mut self.restore_command(repo, target, more))
    }

    pub fn verify(&self, repo: &str, more: &[&str]) -> Ended {
        let mut arguments = vec!["verify", "--repo", repo];
        arguments.extend(more);
        ended(command(&arguments).env("TMPDIR", self.path("tmp")))
    }

    pub fn list(&self, repo: &str) -> Value {
        let mut command = command(&["list", "--repo", repo, "--json"]);
        ended(command.env("TMPDIR", self.path("tmp"))).ok().json()
    }

    /// The one folder of the one backup in a repository.
    pub fn archive(&self, repo: &str) -> PathBuf {
        let mut folder = PathBuf::from(repo.strip_prefix("file://").unwrap()).join("party");
        for _ in 0..3 {
            folder = only_folder(&folder);
        }
        folder
    }
}

fn only_folder(folder: &Path) -> PathBuf {
    let folders: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

/// Runs to the end; whatever it printed, neither password is in it.
pub fn ended(command: &mut Command) -> Ended {
    let secrets: Vec<String> = [Server::Source, Server::Target]
        .iter()
        .flat_map(|server| {
            let password = &server.login().password;
            let escaped: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
            [password.clone(), escaped]
        })
        .collect();
    Ended::of(command.output().unwrap(), &secrets)
}
