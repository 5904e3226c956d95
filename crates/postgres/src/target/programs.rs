//! `pg_restore`, run so that it may be run again.

use super::PostgresTarget;
use super::books::{self, SectionState};
use crate::address::Address;
use crate::child::{ChildFailure, command, run, stream_in};
use crate::client_tools::{Program, fitting};
use crate::session::Session;
use keepsake_steps::ports::{Chunk, ChunkReceiver, TargetError};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const PRE_DATA: &str = "pre-data";
const POST_DATA: &str = "post-data";
const LARGE_OBJECTS: &str = "large-objects";

/// Connections for building indexes; beyond this a server is not served faster, and may run out of them.
const MOST_JOBS: u32 = 16;

/// In one transaction, so that it stands whole or not at all: a section that was begun and whose objects are there
/// was committed, and only its mark was lost.
pub(super) async fn restore_pre_data(
    target: &PostgresTarget,
    from: ChunkReceiver,
) -> Result<(), TargetError> {
    let session = target.session().await?;
    match books::section(&session, PRE_DATA).await? {
        SectionState::Done => return Ok(()),
        SectionState::InPieces => return Err(interrupted("the schema")),
        SectionState::Begun if !books::content(&session).await?.is_empty() => {
            return books::mark(&session, PRE_DATA, SectionState::Done).await;
        }
        SectionState::Begun | SectionState::Untouched => {}
    }
    let archive = received("the schema", from).await?;
    let restore = Restore::of(target, &session).await?;
    books::mark(&session, PRE_DATA, SectionState::Begun).await?;
    let whole = restore.section(PRE_DATA, &archive, &["--single-transaction"]).await;
    match whole {
        Err(ChildFailure::Failed(said)) if said.contains("max_locks_per_transaction") => {
            // More objects than one transaction may lock. Then a failure in the middle needs a new database.
            books::mark(&session, PRE_DATA, SectionState::InPieces).await?;
            restore
                .section(PRE_DATA, &archive, &["--exit-on-error"])
                .await
                .map_err(|f| failed("the schema", f))?;
        }
        other => other.map_err(|failure| failed("the schema", failure))?,
    }
    books::mark(&session, PRE_DATA, SectionState::Done).await
}

/// In parallel, so not in one transaction: a second call first drops what the first one made.
pub(super) async fn restore_post_data(
    target: &PostgresTarget,
    from: ChunkReceiver,
    jobs: u32,
) -> Result<(), TargetError> {
    let session = target.session().await?;
    let mut options = vec![format!("--jobs={}", jobs.clamp(1, MOST_JOBS))];
    match books::section(&session, POST_DATA).await? {
        SectionState::Done => return Ok(()),
        SectionState::Begun | SectionState::InPieces => {
            options.extend(["--clean".to_owned(), "--if-exists".to_owned()]);
        }
        SectionState::Untouched => {}
    }
    let archive = received("the schema", from).await?;
    let restore = Restore::of(target, &session).await?;
    books::mark(&session, POST_DATA, SectionState::Begun).await?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    restore.section(POST_DATA, &archive, &options).await.map_err(|failure| failed("the schema", failure))?;
    books::mark(&session, POST_DATA, SectionState::Done).await
}

/// Straight from the stream, since rows never lie on a disk in the clear; in one transaction, as for pre-data.
pub(super) async fn restore_large_objects(
    target: &PostgresTarget,
    from: ChunkReceiver,
) -> Result<(), TargetError> {
    let session = target.session().await?;
    match books::section(&session, LARGE_OBJECTS).await? {
        SectionState::Done => return Ok(()),
        SectionState::Begun | SectionState::InPieces
            if crate::inventory::large_objects(&session).await? > 0 =>
        {
            return books::mark(&session, LARGE_OBJECTS, SectionState::Done).await;
        }
        _ => {}
    }
    let restore = Restore::of(target, &session).await?;
    books::mark(&session, LARGE_OBJECTS, SectionState::Begun).await?;
    let mut child = restore.command();
    child.arg("--single-transaction");
    stream_in(child, &restore.address, from).await.map_err(|failure| failed("the large objects", failure))?;
    books::mark(&session, LARGE_OBJECTS, SectionState::Done).await
}

struct Restore {
    program: Program,
    address: Address,
}

impl Restore {
    async fn of(target: &PostgresTarget, session: &Session) -> Result<Self, TargetError> {
        let programs = target.pg_bin.all("pg_restore").await;
        // A program newer than the server may send settings that the server does not know; if there is none that
        // fits, the newest reads the most archives.
        let program = fitting(&programs, session.version / 10_000).or(programs.last()).cloned();
        let program = program.ok_or_else(|| TargetError::RestoreFailed {
            program: "pg_restore".to_owned(),
            said: format!("not found in {}", target.pg_bin.places()),
        })?;
        Ok(Self { program, address: Address::of(&target.url)? })
    }

    fn command(&self) -> Command {
        let mut child = command(&self.program, &self.address);
        let name = self.address.database().replace('\\', "\\\\").replace('\'', "\\'");
        child.args(["--no-password", "--no-tablespaces"]).arg(format!("--dbname=dbname='{name}'"));
        child
    }

    async fn section(
        &self,
        name: &str,
        archive: &NamedTempFile,
        options: &[&str],
    ) -> Result<(), ChildFailure> {
        let mut child = self.command();
        child.arg(format!("--section={name}")).args(options).arg(archive.path());
        run(child, &self.address).await
    }
}

/// The schema's archive in a file that only we can read: parallel restores need to seek. It holds no rows.
async fn received(what: &str, mut from: ChunkReceiver) -> Result<NamedTempFile, TargetError> {
    let broken = |error: std::io::Error| TargetError::RestoreFailed {
        program: "pg_restore".to_owned(),
        said: format!("its archive cannot be kept in a temporary file: {error}"),
    };
    let archive = NamedTempFile::new().map_err(broken)?;
    let mut file = tokio::fs::File::from_std(archive.reopen().map_err(broken)?);
    loop {
        match from.recv().await {
            Some(Chunk::Data(bytes)) => file.write_all(&bytes).await.map_err(broken)?,
            Some(Chunk::End) => break,
            None => return Err(TargetError::CutOff { what: what.to_owned() }),
        }
    }
    file.flush().await.map_err(broken)?;
    Ok(archive)
}

fn failed(what: &str, failure: ChildFailure) -> TargetError {
    match failure {
        ChildFailure::Failed(said) => TargetError::RestoreFailed { program: "pg_restore".to_owned(), said },
        ChildFailure::CutOff | ChildFailure::ReceiverGone => TargetError::CutOff { what: what.to_owned() },
    }
}

fn interrupted(what: &str) -> TargetError {
    TargetError::RestoreFailed {
        program: "pg_restore".to_owned(),
        said: format!("an earlier restore of {what} was interrupted, and it cannot be told where"),
    }
}
