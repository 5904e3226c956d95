//! Where PostgreSQL's own programs are, and which of them fits a server.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Debian keeps each major version in a folder of its own under this one.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";
/// `--version` answers in milliseconds; a program that hangs must not hang the run.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// A folder with `pg_dump` and `pg_restore`.
///
/// If it lies as Debian's do (`/usr/lib/postgresql/15/bin`), its siblings are candidates too, so that the client of
/// the server's major version is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgBin {
    folders: Vec<PathBuf>,
}

/// One program and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub path: PathBuf,
    pub major: u32,
    /// As `--version` prints it.
    pub version: String,
}

impl PgBin {
    /// The programs in this folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let mut folders = vec![folder.clone()];
        if let Some(root) = root_of_majors(&folder) {
            folders.extend(majors_in(root).into_iter().filter(|sibling| *sibling != folder));
        }
        Self { folders }
    }

    /// Whatever Debian's packages installed.
    #[must_use]
    pub fn debian() -> Self {
        Self { folders: majors_in(Path::new(DEBIAN_ROOT)) }
    }

    /// All programs of this name that run.
    pub(crate) async fn all(&self, name: &str) -> Vec<Program> {
        let mut found = Vec::new();
        for folder in &self.folders {
            let path = folder.join(name);
            if let Some(version) = version_of(&path).await
                && let Some(major) = major_of(&version)
            {
                found.push(Program { path, major, version });
            }
        }
        found.sort_by_key(|program| program.major);
        found
    }

    /// Where was looked, for people.
    pub(crate) fn places(&self) -> String {
        let places: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        if places.is_empty() { DEBIAN_ROOT.to_owned() } else { places.join(", ") }
    }
}

/// `<root>` of `<root>/<major>/bin`.
fn root_of_majors(folder: &Path) -> Option<&Path> {
    let of_major = folder.parent().filter(|_| folder.ends_with("bin"))?;
    of_major.file_name()?.to_str()?.parse::<u32>().ok()?;
    of_major.parent()
}

fn majors_in(root: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect());
    let mut folders: Vec<PathBuf> = folders.unwrap_or_default();
    folders.sort();
    folders
}

/// The oldest that is at least as new as the server: newer ones may use settings that the server does not know.
pub(crate) fn fitting(programs: &[Program], server_major: u32) -> Option<&Program> {
    programs.iter().filter(|program| program.major >= server_major).min_by_key(|program| program.major)
}

async fn version_of(path: &Path) -> Option<String> {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_TIMEOUT, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// From `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(major: u32) -> Program {
        Program { path: PathBuf::from("/x"), major, version: String::new() }
    }

    #[test]
    fn the_program_nearest_above_the_server_is_chosen() {
        let programs = [program(14), program(16), program(18)];
        assert_eq!(fitting(&programs, 15).map(|p| p.major), Some(16));
        assert_eq!(fitting(&programs, 14).map(|p| p.major), Some(14));
        assert_eq!(fitting(&programs, 19), None);
    }

    #[test]
    fn siblings_are_found_where_folders_are_named_by_majors() {
        assert_eq!(root_of_majors(Path::new("/x/postgresql/15/bin")), Some(Path::new("/x/postgresql")));
        assert_eq!(root_of_majors(Path::new("/opt/bin")), None);
        assert_eq!(root_of_majors(Path::new("/x/15/lib")), None);
    }

    #[test]
    fn versions_of_releases_and_betas_are_read() {
        assert_eq!(major_of("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("pg_dump (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major_of("something else"), None);
    }
}
