//! Changes as the server streams them from our slot.

use super::PostgresChanges;
use super::align;
use super::lend::Lend;
use super::pulse::{Pulse, SILENCE, patience};
use super::slot::{self, SlotName};
use super::wire::{Message, Pen, Wire, halves, query, server_message};
use crate::address::Address;
use crate::connect::log_in;
use crate::error::{ConnectError, Said, passes};
use crate::session::{Session, pinned, set};
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use keepsake_domain::{Lsn, quote_identifier};
use keepsake_steps::ports::{ChangeMessage, ChangeStream, SourceError};
use std::io;
use std::time::Duration;

const STREAM: &str = "stream changes";

/// For the server's last words after ours. It first sends what it has begun, which may be a large transaction; then the
/// slot itself is asked whether it took our last confirmation.
const FAREWELL: Duration = Duration::from_secs(10);

/// An open stream.
pub(super) struct SlotStream {
    source: PostgresChanges,
    slot: SlotName,
    place: String,
    wire: Wire,
    pulse: Pulse,
    /// Everything before was handed out, so it may be confirmed.
    given: Lsn,
    /// For the next message.
    silence: Duration,
}

pub(super) async fn open(source: &PostgresChanges, from: Lsn) -> Result<SlotStream, SourceError> {
    let session = Session::open(&source.url).await?;
    let slot = source.slot.clone();
    let (place, state) = (session.place.clone(), slot::state(&session, &slot).await?);
    let state = state.ok_or_else(|| slot.lost(&place, "there is no such slot"))?;
    if let Some(how) = &state.lost {
        return Err(slot.lost(&place, how));
    }
    align::mend(&session, &slot).await;
    let (mut wire, mut pen) = log_in_for_replication(source, &place).await?;
    let mut settings = pinned(session.version, &session.encoding);
    let patience = patience(session.version);
    settings.push(patience.server);
    let mut opening = Opening { wire: &mut wire, pen: &mut pen, slot: &slot, place: &place };
    opening.pin(&set(&settings)).await?;
    opening.start(from).await?;
    let pulse = Pulse::begin(pen, state.confirmed_lsn);
    let given = from.max(state.confirmed_lsn);
    Ok(SlotStream { source: source.clone(), slot, place, wire, pulse, given, silence: patience.ours })
}

async fn log_in_for_replication(source: &PostgresChanges, place: &str) -> Result<(Wire, Pen), SourceError> {
    let lend = Lend::default();
    let connected = log_in(&Address::of(&source.url)?, lend.clone()).await?;
    // The driver's task lets the session go once the stream is not its own any more.
    let stream = lend.take();
    drop(connected);
    stream.map(halves).ok_or_else(|| {
        let said = "a socket of Unix cannot be one of several hosts here";
        ConnectError::permanent("open a session for replication", place, said).into()
    })
}

/// A session for replication that does not stream yet.
struct Opening<'a> {
    wire: &'a mut Wire,
    pen: &'a mut Pen,
    slot: &'a SlotName,
    place: &'a str,
}

impl Opening<'_> {
    async fn pin(&mut self, statements: &str) -> Result<(), SourceError> {
        self.say(statements).await?;
        loop {
            let message = self.hear().await?;
            match message.tag {
                b'E' => return Err(refused(self.slot, self.place, &message.body)),
                // A statement's end, a parameter's new value, a notice.
                b'C' | b'S' | b'N' => {}
                b'Z' => return Ok(()),
                tag => return Err(strange(self.place, tag)),
            }
        }
    }

    /// Logical replication from the slot: protocol 1, which every server speaks, sends whole transactions in the order
    /// of their commits.
    async fn start(&mut self, from: Lsn) -> Result<(), SourceError> {
        let publication = quote_identifier(self.slot.publication()).replace('\'', "''");
        let statement = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names '{publication}', messages 'true')",
            quote_identifier(self.slot.name()),
        );
        self.say(&statement).await?;
        loop {
            let message = self.hear().await?;
            match message.tag {
                b'W' => return Ok(()),
                b'E' => return Err(refused(self.slot, self.place, &message.body)),
                b'S' | b'N' => {}
                tag => return Err(strange(self.place, tag)),
            }
        }
    }

    async fn say(&mut self, statement: &str) -> Result<(), SourceError> {
        self.pen.write(&query(statement), SILENCE).await.map_err(|error| broken(self.place, error))
    }

    async fn hear(&mut self) -> Result<Message, SourceError> {
        self.wire.next(SILENCE).await.map_err(|error| broken(self.place, error))
    }
}

fn broken(place: &str, error: io::Error) -> SourceError {
    SourceError::Unreachable { place: place.to_owned(), cause: Box::new(error) }
}

fn strange(place: &str, tag: u8) -> SourceError {
    let said = format!("a message '{}' that does not belong here", char::from(tag).escape_default());
    ConnectError::permanent(STREAM, place, said).into()
}

/// How the server says that the slot is another's now, and that it is gone or its WAL is.
/// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>, read 2026-11-21, and servers from 14 to 18.
const IN_USE: &str = "55006";
const SLOT_IS_LOST: [&str; 2] = ["42704", "55000"];

fn refused(slot: &SlotName, place: &str, body: &[u8]) -> SourceError {
    let (code, said) = server_message(body);
    if code == IN_USE {
        return slot.busy(place);
    }
    if SLOT_IS_LOST.contains(&code.as_str()) && said.to_string().contains("replication slot") {
        return slot.lost(place, &said.to_string());
    }
    let (act, place, transient) = (STREAM.to_owned(), place.to_owned(), passes(&code));
    SourceError::Statement { act, place, transient, cause: Box::new(said) }
}

/// What a message of the stream says; `None` is one of a kind that nobody waits for.
/// Source: <https://www.postgresql.org/docs/current/protocol-replication.html>, read 2026-11-21.
enum Heard {
    Change(ChangeMessage),
    AnswerWanted(ChangeMessage),
}

fn heard(mut body: Bytes) -> Option<Heard> {
    let tag = body.try_get_u8().ok()?;
    match tag {
        b'w' => {
            let (start, end) = (body.try_get_u64().ok()?, body.try_get_u64().ok()?);
            body.try_get_u64().ok()?;
            Some(Heard::Change(ChangeMessage::Wal { start: Lsn(start), end: Lsn(end), payload: body }))
        }
        b'k' => {
            let end = body.try_get_u64().ok()?;
            body.try_get_u64().ok()?;
            let keepalive = ChangeMessage::Keepalive { end: Lsn(end) };
            let is_asked = body.try_get_u8().ok()? == 1;
            Some(if is_asked { Heard::AnswerWanted(keepalive) } else { Heard::Change(keepalive) })
        }
        _ => None,
    }
}

impl SlotStream {
    fn broken(&self, error: io::Error) -> SourceError {
        broken(&self.place, error)
    }

    /// Reads what the server still sends, until it says that it ended.
    async fn farewell(&mut self) -> Result<(), SourceError> {
        self.pulse.finish().await.map_err(|error| broken(&self.place, error))?;
        loop {
            let message = self.wire.next(FAREWELL).await.map_err(|error| self.broken(error))?;
            match message.tag {
                b'Z' => return Ok(()),
                b'E' => return Err(refused(&self.slot, &self.place, &message.body)),
                _ => {}
            }
        }
    }
}

#[async_trait]
impl ChangeStream for SlotStream {
    async fn next(&mut self) -> Result<ChangeMessage, SourceError> {
        loop {
            let message = self.wire.next(self.silence).await.map_err(|error| broken(&self.place, error))?;
            let change = match message.tag {
                b'd' => match heard(message.body) {
                    Some(Heard::Change(change)) => change,
                    Some(Heard::AnswerWanted(change)) => {
                        self.pulse.answer();
                        change
                    }
                    None => return Err(strange(&self.place, b'd')),
                },
                b'E' => return Err(refused(&self.slot, &self.place, &message.body)),
                b'N' | b'S' => continue,
                b'c' | b'C' | b'Z' => {
                    return Err(self.broken(io::Error::other("the server ended the stream")));
                }
                tag => return Err(strange(&self.place, tag)),
            };
            let (ChangeMessage::Wal { start: reached, .. } | ChangeMessage::Keepalive { end: reached }) =
                change;
            self.given = self.given.max(reached);
            return Ok(change);
        }
    }

    async fn confirm(&mut self, lsn: Lsn) -> Result<(), SourceError> {
        if lsn > self.given {
            let said = format!("{lsn} was not streamed; the stream reached {}", self.given);
            return Err(ConnectError::permanent("confirm changes", &self.place, said).into());
        }
        self.pulse.confirm(lsn).await.map_err(|error| self.broken(error))
    }

    async fn end(mut self: Box<Self>) -> Result<(), SourceError> {
        if let Ok(ended) = tokio::time::timeout(FAREWELL, self.farewell()).await {
            return ended;
        }
        // The connection goes first, or its rest would be sent to nobody.
        let Self { source, slot, pulse, wire, place, .. } = *self;
        let confirmed = pulse.confirmed();
        drop((pulse, wire));
        let session = Session::open(&source.url).await?;
        match slot::state(&session, &slot).await? {
            Some(state) if state.confirmed_lsn >= confirmed => Ok(()),
            _ => {
                let cause = Said(format!("the server did not take the confirmation of {confirmed}"));
                Err(SourceError::Unreachable { place, cause: Box::new(cause) })
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use keepsake_domain::{Classified, FailureClass};

    #[test]
    fn changes_and_keepalives_are_told_apart_and_what_is_cut_off_is_neither() {
        let numbers = |from: u64| [from.to_be_bytes(), (from + 1).to_be_bytes(), [9; 8]].concat();
        let wal = [&b"w"[..], &numbers(5), b"payload"].concat();
        let Some(Heard::Change(change)) = heard(wal.clone().into()) else { unreachable!() };
        let payload = Bytes::from_static(b"payload");
        assert_eq!(change, ChangeMessage::Wal { start: Lsn(5), end: Lsn(6), payload });
        let keepalive = |asks: u8| [&b"k"[..], &numbers(7)[..16], &[asks]].concat();
        assert!(matches!(heard(keepalive(0).into()), Some(Heard::Change(_))));
        let wanted = heard(keepalive(1).into());
        assert!(
            matches!(wanted, Some(Heard::AnswerWanted(ChangeMessage::Keepalive { end })) if end == Lsn(7))
        );
        for cut in [&b""[..], &wal[..20], &keepalive(0)[..17], b"x123"] {
            assert!(heard(Bytes::copy_from_slice(cut)).is_none());
        }
    }

    #[test]
    fn a_slot_in_use_passes_and_a_lost_one_does_not() {
        let slot = SlotName::of_source("shop");
        let refused = |body: &[u8]| refused(&slot, "h:1/d", body);
        let busy = refused(b"SERROR\0C55006\0Mreplication slot \"keepsake_shop\" is active for PID 7\0\0");
        assert_eq!(busy.class(), FailureClass::Transient);
        for body in [
            &b"C42704\0Mreplication slot \"keepsake_shop\" does not exist\0\0"[..],
            b"C55000\0Mcannot read from logical replication slot \"keepsake_shop\"\0\0",
            b"C55000\0Mcan no longer get changes from replication slot \"keepsake_shop\"\0\0",
        ] {
            let lost = refused(body);
            assert!(matches!(lost, SourceError::SlotLost { .. }), "{lost}");
            assert_eq!(lost.class(), FailureClass::Permanent);
        }
        assert_eq!(refused(b"C57P01\0Mterminating connection\0\0").class(), FailureClass::Transient);
        assert_eq!(refused(b"C42501\0Mpermission denied\0\0").class(), FailureClass::Permanent);
    }
}
