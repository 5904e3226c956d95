//! Child processes: credentials by environment only, standard error bounded and cleaned, killed when dropped.

use crate::address::Address;
use crate::client_tools::Program;
use bytes::BytesMut;
use keepsake_steps::ports::{Chunk, ChunkReceiver, ChunkSender};
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// What is kept of a child's last words.
const SAID_CHARS: usize = 2_000;
/// Pieces in which standard output is handed on.
const PIECE_BYTES: usize = 1 << 20;

/// Whatever libpq would read from our own environment; only what we say counts.
const LIBPQ_VARIABLES: [&str; 16] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGOPTIONS",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGTZ",
    "PGDATESTYLE",
    "PGCLIENTENCODING",
    "PGTARGETSESSIONATTRS",
];

/// How a child's work ended without success.
#[derive(Debug)]
pub(crate) enum ChildFailure {
    /// It failed; its last words, cleaned.
    Failed(String),
    /// Who was to take its output went away; it was killed.
    ReceiverGone,
    /// Its input stopped before the end; it was killed.
    CutOff,
}

/// A child about to be started.
pub(crate) fn command(program: &Program, address: &Address) -> Command {
    let mut command = Command::new(&program.path);
    for name in LIBPQ_VARIABLES {
        command.env_remove(name);
    }
    command.envs(address.child_environment()).env("LC_ALL", "C").stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a child whose output is the stream; the end is sent only after it ended well.
pub(crate) async fn stream_out(
    mut command: Command,
    address: &Address,
    to: &ChunkSender,
) -> Result<(), ChildFailure> {
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let Some(output) = child.stdout.take() else {
        return Err(ChildFailure::Failed("its output is closed".to_owned()));
    };
    let said = last_words(&mut child);
    let work = async {
        let (pumped, said) = tokio::join!(pump(output, to), said);
        finished(&mut child, &said, address).await?;
        pumped
    };
    tokio::select! {
        biased;
        worked = work => worked?,
        () = to.closed() => return Err(ChildFailure::ReceiverGone),
    }
    to.send(Chunk::End).await.map_err(|_| ChildFailure::ReceiverGone)
}

/// Runs a child whose input is `first` and then the stream. A stream that is cut off kills it before its input ends,
/// so that it cannot take half an archive for a whole one.
pub(crate) async fn stream_in(
    mut command: Command,
    address: &Address,
    first: Chunk,
    mut from: ChunkReceiver,
) -> Result<(), ChildFailure> {
    let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()))?;
    let said = tokio::spawn(last_words(&mut child));
    let Some(mut input) = child.stdin.take() else {
        return Err(ChildFailure::Failed("its input is closed".to_owned()));
    };
    let mut next = Some(first);
    loop {
        match next {
            Some(Chunk::Data(bytes)) => {
                if input.write_all(&bytes).await.is_err() {
                    break; // It ended by itself; its status and last words tell why.
                }
            }
            Some(Chunk::End) => break,
            None => {
                let _ = child.kill().await;
                return Err(ChildFailure::CutOff);
            }
        }
        next = from.recv().await;
    }
    drop(input);
    let said = said.await.unwrap_or_default();
    finished(&mut child, &said, address).await
}

/// Runs a child without streams.
pub(crate) async fn run(mut command: Command, address: &Address) -> Result<(), ChildFailure> {
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let said = last_words(&mut child).await;
    finished(&mut child, &said, address).await
}

/// Runs a child and hands back what it printed.
pub(crate) async fn output(mut command: Command, address: &Address) -> Result<String, ChildFailure> {
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let printed = child.stdout.take();
    let read = async {
        let mut text = Vec::new();
        match printed {
            Some(mut printed) => printed.read_to_end(&mut text).await.map(|_| text),
            None => Ok(text),
        }
    };
    let (text, said) = tokio::join!(read, last_words(&mut child));
    finished(&mut child, &said, address).await?;
    let text = text.map_err(|error| ChildFailure::Failed(format!("its output broke: {error}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn spawn(command: &mut Command) -> Result<Child, ChildFailure> {
    command.spawn().map_err(|error| ChildFailure::Failed(format!("it cannot be started: {error}")))
}

async fn finished(child: &mut Child, said: &str, address: &Address) -> Result<(), ChildFailure> {
    let status: ExitStatus =
        child.wait().await.map_err(|error| ChildFailure::Failed(format!("its end was not seen: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(ChildFailure::Failed(format!("{status}: {}", cleaned(said, address.password().as_deref()))))
}

async fn pump(mut output: impl AsyncRead + Unpin, to: &ChunkSender) -> Result<(), ChildFailure> {
    loop {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let mut ended = false;
        while piece.len() < PIECE_BYTES && !ended {
            let read = output.read_buf(&mut piece).await;
            ended = read.map_err(|error| ChildFailure::Failed(format!("its output broke: {error}")))? == 0;
        }
        if !piece.is_empty() {
            to.send(Chunk::Data(piece.freeze())).await.map_err(|_| ChildFailure::ReceiverGone)?;
        }
        if ended {
            return Ok(());
        }
    }
}

/// Reads standard error to its end and keeps the last of it, so that a child that talks much is never blocked.
fn last_words(child: &mut Child) -> impl Future<Output = String> + Send + use<> {
    let errors = child.stderr.take();
    async move {
        let Some(mut errors) = errors else { return String::new() };
        let mut kept: Vec<u8> = Vec::new();
        let mut piece = vec![0; 8 << 10];
        while let Ok(count) = errors.read(&mut piece).await {
            if count == 0 {
                break;
            }
            kept.extend_from_slice(&piece[..count]);
            // Cleaning makes it shorter, so more is kept than is shown.
            let surplus = kept.len().saturating_sub(8 * SAID_CHARS);
            kept.drain(..surplus);
        }
        String::from_utf8_lossy(&kept).into_owned()
    }
}

/// Without the password, and without the lines in which a server quotes rows (a duplicate key's values).
fn cleaned(said: &str, password: Option<&str>) -> String {
    let quotes_rows = |line: &&str| ["DETAIL:", "CONTEXT:"].iter().any(|label| line.contains(label));
    let mut text: String = said.lines().filter(|line| !quotes_rows(line)).collect::<Vec<_>>().join("\n");
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        text = text.replace(password, "***");
    }
    let surplus = text.chars().count().saturating_sub(SAID_CHARS);
    text.chars().skip(surplus).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_carry_neither_password_nor_rows() {
        let said = "error: could not execute\nDETAIL:  Key (email)=(a@b.c) is duplicated.\nbad s3cret here";
        assert_eq!(cleaned(said, Some("s3cret")), "error: could not execute\nbad *** here");
    }

    #[test]
    fn only_the_end_of_a_long_story_is_kept() {
        let said = "x".repeat(5_000) + "end";
        let cleaned = cleaned(&said, None);
        assert_eq!(cleaned.len(), SAID_CHARS);
        assert!(cleaned.ends_with("end"));
    }
}
