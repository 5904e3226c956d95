//! `pg_restore`, run so that it may be run again.

use super::books::{self, SectionState};
use super::entries::parse;
use super::lent;
use super::rights::{rights, roles};
use super::{PostgresTarget, memory};
use crate::address::Address;
use crate::child::{ChildFailure, command, output, run, stream_in};
use crate::client_tools::{Program, fitting};
use crate::session::Session;
use keepsake_domain::{LeftOut, LeftOutRule, SchemaEntry, left_out};
use keepsake_steps::ports::{Chunk, ChunkReceiver, TargetError};
use std::collections::BTreeSet;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const SCHEMAS: &str = "schemas";
const PRE_DATA: &str = "pre-data";
const POST_DATA: &str = "post-data";
const LARGE_OBJECTS: &str = "large-objects";

/// Connections for building indexes; beyond this a server is not served faster, and may run out of them.
const MOST_JOBS: u32 = 16;

/// Schemas with their rights first: who is not a superuser may give a table only to a role that may create in its
/// schema, and `pg_restore` grants rights last. Then the rest.
pub(super) async fn restore_pre_data(
    target: &PostgresTarget,
    from: ChunkReceiver,
) -> Result<(), TargetError> {
    let session = target.session().await?;
    if books::section(&session, PRE_DATA).await? == SectionState::Done {
        return Ok(());
    }
    let archive = received("the schema", from).await?;
    let restore = Restore::of(target, &session).await?;
    let contents = restore.contents(&archive).await.map_err(|failure| failed("the schema", failure))?;
    let permitted = permitted(target, &session, &contents).await?;
    let of_schema = |entry: &SchemaEntry| entry.kind == "SCHEMA";
    let chosen = |schemas: bool| {
        let chosen = permitted.iter().filter(|(_, entry)| of_schema(entry) == schemas);
        chosen.map(|(line, _)| *line).collect::<Vec<_>>().join("\n")
    };
    restore_once(&session, &restore, &archive, SCHEMAS, &chosen(true)).await?;
    if !target.skips_ownership() {
        lent::lend(&session, permitted.iter().map(|(_, entry)| entry)).await?;
    }
    restore_once(&session, &restore, &archive, PRE_DATA, &chosen(false)).await
}

/// In one transaction, so that it stands whole or not at all: a stage that was begun and whose objects are there
/// was committed, and only its mark was lost.
async fn restore_once(
    session: &Session,
    restore: &Restore,
    archive: &NamedTempFile,
    name: &str,
    entries: &str,
) -> Result<(), TargetError> {
    match books::section(session, name).await? {
        SectionState::Done => return Ok(()),
        SectionState::InPieces => return Err(interrupted("the schema")),
        SectionState::Begun => {
            let content = books::content(session).await?;
            if content.iter().any(|object| name == SCHEMAS || !object.starts_with("schema ")) {
                return books::mark(session, name, SectionState::Done).await;
            }
        }
        SectionState::Untouched => {}
    }
    let list_file = kept(entries.as_bytes()).await?;
    let list = format!("--use-list={}", list_file.path().display());
    books::mark(session, name, SectionState::Begun).await?;
    // Rights belong to the section of whatever stands before them, and a list moves what it leaves out to the front;
    // so schemas are restored by their list alone.
    let mut options = vec![list.as_str()];
    if name == PRE_DATA {
        options.push("--section=pre-data");
    }
    let whole = restore.file(archive, &[&options[..], &["--single-transaction"]].concat()).await;
    match whole {
        Err(ChildFailure::Failed(said)) if said.contains("max_locks_per_transaction") => {
            // More objects than one transaction may lock. Then a failure in the middle needs a new database.
            books::mark(session, name, SectionState::InPieces).await?;
            let pieces = restore.file(archive, &[&options[..], &["--exit-on-error"]].concat()).await;
            pieces.map_err(|failure| failed("the schema", failure))?;
        }
        other => other.map_err(|failure| failed("the schema", failure))?,
    }
    books::mark(session, name, SectionState::Done).await
}

/// The entries that the target's provider and rights allow; what they do not is recorded.
///
/// # Errors
/// [`TargetError::OwnersOutOfReach`] before `pg_restore` would end in the middle.
async fn permitted<'a>(
    target: &PostgresTarget,
    session: &Session,
    contents: &'a str,
) -> Result<Vec<(&'a str, SchemaEntry)>, TargetError> {
    let (rights, roles) = (rights(session).await?, roles(session).await?);
    let (mut kept, mut omitted) = (Vec::new(), BTreeSet::new());
    for (line, entry) in parse(contents, &roles) {
        match left_out(&entry, &rights) {
            Some(rule) => drop(omitted.insert(LeftOut::of(rule, &entry))),
            None => kept.push((line, entry)),
        }
    }
    let beyond = rights.owners_out_of_reach(kept.iter().map(|(_, entry)| entry));
    if target.skips_ownership() {
        let object = "owners and rights of all objects".to_owned();
        omitted.insert(LeftOut { rule: LeftOutRule::Ownership, object });
    } else if !beyond.is_empty() {
        let role = session.one("read who we are", "SELECT current_user::text", &[]).await?.get(0);
        return Err(TargetError::OwnersOutOfReach { place: session.place.clone(), role, owners: beyond });
    }
    books::note_left_out(session, &omitted.into_iter().collect::<Vec<_>>()).await?;
    Ok(kept)
}

/// In parallel, so not in one transaction: a second call first drops what the first one made.
pub(super) async fn restore_post_data(
    target: &PostgresTarget,
    from: ChunkReceiver,
    jobs: u32,
) -> Result<(), TargetError> {
    let session = target.session().await?;
    let jobs = jobs.clamp(1, MOST_JOBS);
    let mut options = vec!["--section=post-data".to_owned(), format!("--jobs={jobs}")];
    match books::section(&session, POST_DATA).await? {
        // Whoever ended between the mark and this left rights lent.
        SectionState::Done => return lent::take_back(&session).await,
        SectionState::Begun | SectionState::InPieces => {
            options.extend(["--clean".to_owned(), "--if-exists".to_owned()]);
        }
        SectionState::Untouched => {}
    }
    let archive = received("the schema", from).await?;
    let mut restore = Restore::of(target, &session).await?;
    restore.address = memory::for_indexes(restore.address, &session, jobs).await?;
    books::mark(&session, POST_DATA, SectionState::Begun).await?;
    let contents = restore.contents(&archive).await.map_err(|failure| failed("the schema", failure))?;
    let permitted = permitted(target, &session, &contents).await?;
    let lines: Vec<&str> = permitted.iter().map(|(line, _)| *line).collect();
    let list_file = kept(lines.join("\n").as_bytes()).await?;
    options.push(format!("--use-list={}", list_file.path().display()));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    restore.file(&archive, &options).await.map_err(|failure| failed("the schema", failure))?;
    // Marked first: a second try of the section sets owners again, and needs what is lent.
    books::mark(&session, POST_DATA, SectionState::Done).await?;
    lent::take_back(&session).await
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
    skips_ownership: bool,
}

impl Restore {
    async fn of(target: &PostgresTarget, session: &Session) -> Result<Self, TargetError> {
        let programs = target.pg_bin.all("pg_restore").await;
        // A program newer than the server may send settings that the server does not know; if there is none that
        // fits, the newest reads the most archives.
        let program = fitting(&programs, session.version / 10_000).or(programs.last()).cloned();
        let program = program.ok_or_else(|| TargetError::NoClient {
            program: "pg_restore".to_owned(),
            places: target.pg_bin.places(),
        })?;
        Ok(Self { program, address: Address::of(&target.url)?, skips_ownership: target.skips_ownership() })
    }

    fn command(&self) -> Command {
        let mut child = command(&self.program, &self.address);
        let name = self.address.database().replace('\\', "\\\\").replace('\'', "\\'");
        if self.skips_ownership {
            child.args(["--no-owner", "--no-privileges"]);
        }
        child.args(["--no-password", "--no-tablespaces"]).arg(format!("--dbname=dbname='{name}'"));
        child
    }

    /// The archive's table of contents, one entry per line.
    async fn contents(&self, archive: &NamedTempFile) -> Result<String, ChildFailure> {
        let mut child = command(&self.program, &self.address);
        child.arg("--list").arg(archive.path());
        output(child, &self.address).await
    }

    async fn file(&self, archive: &NamedTempFile, options: &[&str]) -> Result<(), ChildFailure> {
        let mut child = self.command();
        child.args(options).arg(archive.path());
        run(child, &self.address).await
    }
}

/// The schema's archive in a file that only we can read: parallel restores need to seek. It holds no rows.
async fn received(what: &str, mut from: ChunkReceiver) -> Result<NamedTempFile, TargetError> {
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

async fn kept(bytes: &[u8]) -> Result<NamedTempFile, TargetError> {
    let file = NamedTempFile::new().map_err(broken)?;
    tokio::fs::write(file.path(), bytes).await.map_err(broken)?;
    Ok(file)
}

fn broken(error: std::io::Error) -> TargetError {
    TargetError::RestoreFailed {
        program: "pg_restore".to_owned(),
        said: format!("its input cannot be kept in a temporary file: {error}"),
    }
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
