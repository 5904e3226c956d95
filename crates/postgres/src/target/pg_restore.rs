//! The `pg_restore` that reads an archive and writes to the target's server.

use super::PostgresTarget;
use crate::address::Address;
use crate::child::{ChildFailure, command, output, run, stream_in};
use crate::client_tools::{PgBin, Program, fitting};
use crate::session::{Session, TRANSACTION_TIMEOUT_SINCE};
use keepsake_steps::ports::{Chunk, ChunkReceiver, TargetError};
use std::ffi::OsStr;
use std::path::Path;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// An archive begins with `PGDMP` and the three bytes of its format's version.
const HEADER_BYTES: usize = 8;
/// `pg_restore` from this major on turns `transaction_timeout` off in every session, whatever the server.
const SETS_TRANSACTION_TIMEOUT_SINCE: u32 = 17;

/// How its sessions are called in the server's views (`application_name`).
pub(super) const SESSIONS: &str = "keepsake pg_restore";

/// The program, chosen for one archive and one server.
pub(super) struct Restore {
    program: Program,
    pub(super) address: Address,
    skips_ownership: bool,
    /// The server does not know the one setting that the program makes on its own account.
    server_is_older: bool,
}

/// The newest `pg_restore` that runs, and all of them.
pub(super) async fn programs(pg_bin: &PgBin) -> Result<(Program, Vec<Program>), TargetError> {
    let programs = pg_bin.all("pg_restore").await;
    let newest = programs
        .last()
        .cloned()
        .ok_or_else(|| TargetError::NoClient { program: "pg_restore".to_owned(), places: pg_bin.places() })?;
    Ok((newest, programs))
}

impl Restore {
    /// For an archive that begins with these bytes: the oldest program that reads the archive and is no older than
    /// the server; if there is none, the newest.
    pub(super) async fn of(
        target: &PostgresTarget,
        session: &Session,
        header: &[u8],
    ) -> Result<Self, TargetError> {
        let (newest, programs) = programs(&target.pg_bin).await?;
        let major = (session.version / 10_000).max(oldest_reader(header));
        let program = fitting(&programs, major).cloned().unwrap_or(newest);
        Ok(Self {
            server_is_older: program.major >= SETS_TRANSACTION_TIMEOUT_SINCE
                && session.version < TRANSACTION_TIMEOUT_SINCE,
            address: Address::of(&target.url)?,
            skips_ownership: target.skips_ownership(),
            program,
        })
    }

    /// For an archive in a file.
    pub(super) async fn of_file(
        target: &PostgresTarget,
        session: &Session,
        archive: &Path,
    ) -> Result<Self, TargetError> {
        let mut header = [0; HEADER_BYTES];
        let mut file = tokio::fs::File::open(archive).await.map_err(super::programs::broken)?;
        // A file that is shorter is no archive; the program itself says so.
        let _ = file.read_exact(&mut header).await;
        Self::of(target, session, &header).await
    }

    /// Whether everything can go in one transaction. It cannot where the program's own setting fails, because that
    /// would end the transaction.
    pub(super) fn in_one_transaction(&self) -> bool {
        !self.server_is_older
    }

    /// The archive's table of contents, one entry per line.
    pub(super) async fn contents(&self, archive: &Path) -> Result<String, ChildFailure> {
        let mut child = command(&self.program, &self.address);
        child.arg("--list").arg(archive);
        output(child, &self.address).await
    }

    /// The statements of the entries that a list names, in its order; nothing is restored.
    pub(super) async fn script(&self, archive: &Path, list: &Path) -> Result<String, ChildFailure> {
        let mut child = command(&self.program, &self.address);
        child.arg(format!("--use-list={}", list.display())).arg("--file=-").arg(archive);
        output(child, &self.address).await
    }

    pub(super) async fn file<S: AsRef<OsStr>>(
        &self,
        archive: &Path,
        options: &[S],
    ) -> Result<(), ChildFailure> {
        let mut child = self.command();
        child.args(options).arg(archive);
        self.judged(run(child, &self.address).await)
    }

    /// An archive that is read once, from `first` on.
    pub(super) async fn stream(
        &self,
        options: &[&str],
        first: Chunk,
        from: ChunkReceiver,
    ) -> Result<(), ChildFailure> {
        let mut child = self.command();
        child.args(options);
        self.judged(stream_in(child, &self.address, first, from).await)
    }

    fn command(&self) -> Command {
        let mut child = command(&self.program, &self.address);
        let name = self.address.database().replace('\\', "\\\\").replace('\'', "\\'");
        if self.skips_ownership {
            child.args(["--no-owner", "--no-privileges"]);
        }
        child
            .env("PGAPPNAME", SESSIONS)
            .args(["--no-password", "--no-tablespaces"])
            .arg(format!("--dbname=dbname='{name}'"));
        child
    }

    fn judged(&self, ended: Result<(), ChildFailure>) -> Result<(), ChildFailure> {
        match ended {
            Err(ChildFailure::Failed(said)) if self.server_is_older && only_the_setting_failed(&said) => {
                Ok(())
            }
            other => other,
        }
    }
}

/// The oldest major whose `pg_restore` reads this archive. Source: `K_VERS_1_14` to `K_VERS_1_16` in
/// `pg_backup_archiver.h` of PostgreSQL 18.6, read 2026-11-21. Of a later format only the program itself can tell.
fn oldest_reader(header: &[u8]) -> u32 {
    match header.get(..HEADER_BYTES) {
        Some([b'P', b'G', b'D', b'M', b'P', 1, 15, _]) => 16,
        Some([b'P', b'G', b'D', b'M', b'P', 1, 16, _]) => 17,
        _ => 0,
    }
}

/// Whether every error is that the server does not know `transaction_timeout`: then nothing of the archive failed.
///
/// The program's own count must agree, so that an error which was cut off from its last words is not missed.
fn only_the_setting_failed(said: &str) -> bool {
    let lines = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    let counted = said.lines().find_map(|line| line.split_once("errors ignored on restore: "));
    let counted = counted.and_then(|(_, number)| number.trim().parse::<usize>().ok());
    let errors = lines("pg_restore: error:");
    errors > 0 && counted == Some(errors) && lines("\"transaction_timeout\"") == errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_reader_follows_from_the_archives_format() {
        assert_eq!(oldest_reader(b"PGDMP\x01\x0e\x00rest"), 0);
        assert_eq!(oldest_reader(b"PGDMP\x01\x0f\x00rest"), 16);
        assert_eq!(oldest_reader(b"PGDMP\x01\x10\x00rest"), 17);
        assert_eq!(oldest_reader(b"PGD"), 0);
    }

    const SETTING: &str = "pg_restore: error: could not execute query: ERROR:  unrecognized configuration \
        parameter \"transaction_timeout\"\nCommand was: SET transaction_timeout = 0;\n";
    const OTHER: &str = "pg_restore: error: could not execute query: ERROR:  role \"a\" does not exist\n";

    #[test]
    fn nothing_but_the_programs_own_setting_is_forgiven() {
        let told = |errors: &str, count: usize| {
            format!("exit status: 1: {errors}pg_restore: warning: errors ignored on restore: {count}")
        };
        assert!(only_the_setting_failed(&told(SETTING, 1)));
        assert!(!only_the_setting_failed(&told(&format!("{SETTING}{OTHER}"), 2)));
        assert!(!only_the_setting_failed(&told(OTHER, 1)));
        assert!(!only_the_setting_failed(&told(SETTING, 2)), "an error is not among the last words");
        assert!(!only_the_setting_failed(SETTING), "it ended before it counted");
        assert!(!only_the_setting_failed("exit status: 1: "));
    }
}
