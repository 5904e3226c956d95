//! `pg_restore`, run so that it may be run again.

use super::books::{self, SectionState};
use super::entries::parse;
use super::left_behind;
use super::lent;
use super::pg_restore::Restore;
use super::rights::rights;
use super::unlinked::Unlinked;
use super::{PostgresTarget, clean, foreign_keys, later_keys, memory, roles};
use crate::child::ChildFailure;
use crate::session::Session;
use keepsake_domain::{LeftOut, LeftOutRule, SchemaEntry, left_out};
use keepsake_steps::ports::{Chunk, ChunkReceiver, TargetError};
use std::collections::BTreeSet;
use tokio::io::AsyncWriteExt;

const SCHEMAS: &str = "schemas";
const PRE_DATA: &str = "pre-data";
pub(super) const POST_DATA: &str = "post-data";
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
    let restore = Restore::of_file(target, &session, &archive.path()).await?;
    let contents =
        restore.contents(&archive.path()).await.map_err(|failure| failed("the schema", failure))?;
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
    archive: &Unlinked,
    name: &str,
    entries: &str,
) -> Result<(), TargetError> {
    match books::section(session, name).await? {
        SectionState::Done => return Ok(()),
        SectionState::InPieces => return Err(interrupted("the schema")),
        SectionState::Begun => {
            left_behind::end(session).await?;
            let content = books::content(session).await?;
            if content.iter().any(|object| name == SCHEMAS || !object.starts_with("schema ")) {
                return books::mark(session, name, SectionState::Done).await;
            }
        }
        SectionState::Untouched => {}
    }
    let list_file = Unlinked::holding(entries.as_bytes()).await.map_err(broken)?;
    let list = format!("--use-list={}", list_file.path().display());
    books::mark(session, name, SectionState::Begun).await?;
    // Rights belong to the section of whatever stands before them, and a list moves what it leaves out to the front;
    // so schemas are restored by their list alone.
    let mut options = vec![list.as_str()];
    if name == PRE_DATA {
        options.push("--section=pre-data");
    }
    let whole = if restore.in_one_transaction() {
        restore.file(&archive.path(), &[&options[..], &["--single-transaction"]].concat()).await
    } else {
        in_pieces(session, restore, archive, name, &options).await?
    };
    match whole {
        Err(ChildFailure::Failed(said)) if said.contains("max_locks_per_transaction") => {
            options.push("--exit-on-error");
            in_pieces(session, restore, archive, name, &options).await?
        }
        other => other,
    }
    .map_err(|failure| failed("the schema", failure))?;
    books::mark(session, name, SectionState::Done).await
}

/// In many transactions: because one may not lock so many objects, or because the server does not know a setting of
/// the program. Then a failure in the middle needs a new database.
async fn in_pieces(
    session: &Session,
    restore: &Restore,
    archive: &Unlinked,
    name: &str,
    options: &[&str],
) -> Result<Result<(), ChildFailure>, TargetError> {
    books::mark(session, name, SectionState::InPieces).await?;
    Ok(restore.file(&archive.path(), options).await)
}

/// The entries that the target's provider and rights allow; what they do not is recorded.
async fn permitted<'a>(
    target: &PostgresTarget,
    session: &Session,
    contents: &'a str,
) -> Result<Vec<(&'a str, SchemaEntry)>, TargetError> {
    let (rights, roles) = (rights(session).await?, roles::names(session).await?);
    let (mut kept, mut omitted) = (Vec::new(), BTreeSet::new());
    for (line, entry) in parse(contents, &roles) {
        match left_out(&entry, &rights) {
            Some(rule) => drop(omitted.insert(LeftOut::of(rule, &entry))),
            None => kept.push((line, entry)),
        }
    }
    if target.skips_ownership() {
        let object = "owners and rights of all objects".to_owned();
        omitted.insert(LeftOut { rule: LeftOutRule::Ownership, object });
    }
    books::note_left_out(session, &omitted.into_iter().collect::<Vec<_>>()).await?;
    Ok(kept)
}

/// In parallel, so not in one transaction: a second call first drops what the first one made. Workers of one
/// `pg_restore` may lock each other out, on partitioned tables for one; so a failure in parallel is tried again
/// one object after another, and only that counts.
pub(super) async fn restore_post_data(
    target: &PostgresTarget,
    from: ChunkReceiver,
    jobs: u32,
) -> Result<(), TargetError> {
    let session = target.session().await?;
    let mut options = vec!["--section=post-data".to_owned()];
    let state = books::section(&session, POST_DATA).await?;
    if state == SectionState::Done {
        // Whoever ended between the mark and this left rights lent.
        return lent::take_back(&session).await;
    }
    let archive = received("the schema", from).await?;
    let mut restore = Restore::of_file(target, &session, &archive.path()).await?;
    // Where the program's own setting fails its errors are counted, and those of parallel workers are not.
    let jobs = if restore.in_one_transaction() { jobs.clamp(1, MOST_JOBS) } else { 1 };
    restore.address = memory::for_indexes(restore.address, &session, jobs).await?;
    books::mark(&session, POST_DATA, SectionState::Begun).await?;
    let contents =
        restore.contents(&archive.path()).await.map_err(|failure| failed("the schema", failure))?;
    let permitted = permitted(target, &session, &contents).await?;
    let (lines, foreign_keys) = foreign_keys::part(&session, &restore, &archive, &permitted).await?;
    if state != SectionState::Untouched {
        again(&session, &mut options).await?;
        foreign_keys::drop_all(&session, &foreign_keys).await?;
    }
    let list_file = Unlinked::holding(lines.join("\n").as_bytes()).await.map_err(broken)?;
    options.push(format!("--use-list={}", list_file.path().display()));
    let mut restored = restore.file(&archive.path(), &arguments(&options, jobs)).await;
    if let (Err(ChildFailure::Failed(said)), true) = (&restored, jobs > 1) {
        tracing::warn!(said, "post-data failed in parallel and is restored again, one object after another");
        again(&session, &mut options).await?;
        restored = restore.file(&archive.path(), &arguments(&options, 1)).await;
    }
    restored.map_err(|failure| failed("the schema", failure))?;
    foreign_keys::make(&session, &foreign_keys).await?;
    later_keys::make(&session).await?;
    // Marked first: a second try of the section sets owners again, and needs what is lent.
    books::mark(&session, POST_DATA, SectionState::Done).await?;
    lent::take_back(&session).await
}

/// Makes way for a second try: nothing of the one before is still at work, and nothing of it is in the way.
async fn again(session: &Session, options: &mut Vec<String>) -> Result<(), TargetError> {
    left_behind::end(session).await?;
    clean::drop_partitioned(session).await?;
    options.extend(["--clean".to_owned(), "--if-exists".to_owned()]);
    Ok(())
}

fn arguments(options: &[String], jobs: u32) -> Vec<String> {
    options.iter().cloned().chain([format!("--jobs={jobs}")]).collect()
}

/// Straight from the stream, since rows never lie on a disk in the clear; in one transaction, as for pre-data.
pub(super) async fn restore_large_objects(
    target: &PostgresTarget,
    mut from: ChunkReceiver,
) -> Result<(), TargetError> {
    let session = target.session().await?;
    match books::section(&session, LARGE_OBJECTS).await? {
        SectionState::Done => return Ok(()),
        SectionState::InPieces => return Err(interrupted("the large objects")),
        SectionState::Begun => {
            left_behind::end(&session).await?;
            if crate::inventory::large_objects(&session).await? > 0 {
                return books::mark(&session, LARGE_OBJECTS, SectionState::Done).await;
            }
        }
        SectionState::Untouched => {}
    }
    let cut_off = || TargetError::CutOff { what: "the large objects".to_owned() };
    let first = from.recv().await.ok_or_else(cut_off)?;
    let header: &[u8] = if let Chunk::Data(bytes) = &first { bytes } else { &[] };
    let restore = Restore::of(target, &session, header).await?;
    let (state, options): (_, &[&str]) = if restore.in_one_transaction() {
        (SectionState::Begun, &["--single-transaction"])
    } else {
        (SectionState::InPieces, &[])
    };
    books::mark(&session, LARGE_OBJECTS, state).await?;
    let restored = restore.stream(options, first, from).await;
    restored.map_err(|failure| failed("the large objects", failure))?;
    books::mark(&session, LARGE_OBJECTS, SectionState::Done).await
}

/// The schema's archive in a file, since parallel restores need to seek. It holds no rows.
pub(super) async fn received(what: &str, mut from: ChunkReceiver) -> Result<Unlinked, TargetError> {
    let archive = Unlinked::new().map_err(broken)?;
    let mut file = archive.writer().map_err(broken)?;
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

pub(super) fn broken(error: std::io::Error) -> TargetError {
    TargetError::RestoreFailed {
        program: "pg_restore".to_owned(),
        said: format!("its input cannot be kept in a temporary file: {error}"),
    }
}

pub(super) fn failed(what: &str, failure: ChildFailure) -> TargetError {
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
