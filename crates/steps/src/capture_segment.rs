//! One segment's way: messages from the server into the bytes of a segment, in constant memory.

use crate::StepError;
use crate::chain::Capture;
use crate::known_history::OpenStream;
use crate::ports::{Boundary, ChangeMessage, Chunk, ChunkSender, Mark};
use crate::relations::Relations;
use crate::told_schema::ToldSchema;
use bytes::{Bytes, BytesMut};
use keepsake_archive::{MessageHead, SegmentEnd, SegmentWriter, TableChanges};
use keepsake_domain::{BoundaryFacts, DDL_MESSAGE_PREFIX, FailureClass, Lsn, Position, Timestamp, widen_xid};
use std::time::Duration;

/// Bytes that go to the sealer at once. A message may have up to 1 GiB, which is then held twice.
const PIECE_BYTES: usize = 1 << 20;

/// Commits are told to the microsecond.
const A_MOMENT: Duration = Duration::from_micros(1);

/// How often a segment goes on because the schema changed between its end and what was read of the source then: whoever defines
/// something all the time does not keep it from ending.
const ENDS_TRIED: usize = 2;

/// What one segment came to.
pub(crate) struct Filled {
    pub end_lsn: Lsn,
    /// Up to when, by the source's clock, everything that was committed is in this segment or before it. The boundary may
    /// be hours later, while capture catches up.
    pub at: Timestamp,
    pub boundary: Boundary,
    pub holds: SegmentEnd,
    /// Earliest and latest time of a commit.
    pub commits: Option<(Timestamp, Timestamp)>,
    pub tables: Vec<TableChanges>,
    pub told: ToldSchema,
}

impl Filled {
    pub(crate) fn boundary_facts(&self) -> BoundaryFacts {
        BoundaryFacts {
            position: Position { lsn: self.end_lsn, at: self.at },
            snapshot: self.boundary.snapshot.clone(),
            schema_fingerprint: self.boundary.schema_fingerprint.clone(),
        }
    }
}

/// The open stream, and what it taught that the next segment needs too.
pub(crate) struct Reading<'a> {
    capture: &'a Capture<'a>,
    stream: OpenStream,
    /// A segment ends at the first commit behind so many bytes.
    bytes: u64,
    /// A segment ends at a mark that is left after so long.
    span: Option<Duration>,
    /// A mark that was left and not reached yet.
    mark: Option<Mark>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(
        capture: &'a Capture<'a>,
        stream: OpenStream,
        bytes: u64,
        span: Option<Duration>,
        mark: Option<Mark>,
    ) -> Self {
        Self { capture, stream, bytes, span, mark }
    }

    pub(crate) async fn confirm(&mut self, lsn: Lsn) -> Result<(), StepError> {
        self.stream.confirm(lsn).await
    }

    pub(crate) async fn end(self) -> Result<(), StepError> {
        self.stream.end().await
    }

    /// Streams one segment, which begins with that fingerprint of the schema. `near` is the number of a transaction at its start,
    /// `earliest` the time that is reached there.
    pub(crate) async fn fill(
        &mut self,
        (near, earliest, schema): (u64, Timestamp, &str),
        to: &ChunkSender,
    ) -> Result<Filled, StepError> {
        let mut segment = Segment::begin(near);
        let (end_lsn, boundary) = self.ended(&mut segment, schema, to).await?;
        let reached = self.mark.filter(|mark| mark.lsn <= end_lsn);
        self.mark = self.mark.filter(|mark| mark.lsn > end_lsn);
        // A commit behind the end may have the very time of the last one before it.
        let before_last = |(_, last): (Timestamp, Timestamp)| last - A_MOMENT;
        let at = reached.map(|mark| mark.at).or(segment.commits.map(before_last)).unwrap_or(earliest);
        let at = at.max(earliest);
        let Segment { mut raw, writer, commits, told, .. } = segment;
        let sequences = &boundary.sequences;
        let holds = writer.end(end_lsn, sequences, &mut raw);
        let holds = holds.map_err(|cause| StepError::Work { key: "a segment's end".to_owned(), cause })?;
        send(&mut raw, 1, to).await?;
        to.send(Chunk::End).await.map_err(|_| gone())?;
        let tables = self.stream.relations.take_counts();
        Ok(Filled { end_lsn, at, boundary, holds, commits, tables, told })
    }

    /// Where the segment ends, and the source behind that. What was defined in between is in no message yet: then the segment
    /// goes on to a mark behind it.
    async fn ended(
        &mut self,
        segment: &mut Segment,
        schema: &str,
        to: &ChunkSender,
    ) -> Result<(Lsn, Boundary), StepError> {
        let mut tries = 1;
        loop {
            let end_lsn = self.messages(segment, to).await?;
            // Only now: its snapshot must be of after everything up to the end had been received.
            let boundary = self.capture.source.boundary().await?;
            if boundary.snapshot.xmax <= segment.highest_xid {
                return Err(still_open(segment.highest_xid, &boundary));
            }
            let is_short = segment.told.is_short_of(schema, &boundary.schema_fingerprint);
            if !is_short || tries == ENDS_TRIED {
                return Ok((end_lsn, boundary));
            }
            self.mark = Some(self.capture.source.mark().await?);
            tries += 1;
        }
    }

    /// Messages up to the segment's end, which is answered: everything before it was received.
    async fn messages(&mut self, segment: &mut Segment, to: &ChunkSender) -> Result<Lsn, StepError> {
        let clock = self.capture.clock;
        let span = self.span.filter(|_| self.mark.is_none());
        let mut due = std::pin::pin!(async move {
            match span {
                Some(span) => clock.sleep(span).await,
                None => std::future::pending().await,
            }
        });
        loop {
            let message = {
                let mut next = std::pin::pin!(self.stream.next());
                loop {
                    // The message's future is kept: dropping it in the middle could lose what it has read.
                    tokio::select! {
                        biased;
                        message = &mut next => break message?,
                        () = &mut due, if self.mark.is_none() => {
                            self.mark = Some(self.capture.source.mark().await?);
                        }
                    }
                }
            };
            let end = match message {
                ChangeMessage::Keepalive { end } if !segment.is_inside => self.marked_before(end),
                ChangeMessage::Keepalive { .. } => None,
                ChangeMessage::Wal { start, payload, .. } => {
                    let ended = segment.message(start, &payload, &mut self.stream.relations)?;
                    send(&mut segment.raw, PIECE_BYTES, to).await.map(|sent| segment.sent += sent)?;
                    let is_full = segment.sent + segment.raw.len() as u64 >= self.bytes;
                    ended.filter(|end| is_full || self.marked_before(*end).is_some())
                }
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    /// The mark, if the stream has reached it.
    fn marked_before(&self, lsn: Lsn) -> Option<Lsn> {
        self.mark.map(|mark| mark.lsn).filter(|mark| *mark <= lsn)
    }
}

/// A segment under way.
struct Segment {
    raw: BytesMut,
    sent: u64,
    writer: SegmentWriter,
    is_inside: bool,
    commits: Option<(Timestamp, Timestamp)>,
    near: u64,
    highest_xid: u64,
    /// Where the commit record of the open transaction begins.
    commit_lsn: Lsn,
    told: ToldSchema,
}

impl Segment {
    fn begin(near: u64) -> Self {
        let mut raw = BytesMut::new();
        let writer = SegmentWriter::begin(&mut raw);
        Self {
            raw,
            sent: 0,
            writer,
            is_inside: false,
            commits: None,
            near,
            highest_xid: 0,
            commit_lsn: Lsn(0),
            told: ToldSchema::default(),
        }
    }

    /// Takes one message; answers where a transaction ended with it.
    fn message(
        &mut self,
        lsn: Lsn,
        payload: &Bytes,
        relations: &mut Relations,
    ) -> Result<Option<Lsn>, StepError> {
        let head = MessageHead::of(payload)?;
        for description in relations.missing(&head, payload)? {
            self.writer.message(lsn, &description, &mut self.raw);
        }
        self.writer.message(lsn, payload, &mut self.raw);
        relations.take(&head, payload);
        match head {
            MessageHead::Begin { final_lsn, commit_at, xid } => {
                (self.is_inside, self.commit_lsn) = (true, final_lsn);
                let (first, last) = self.commits.unwrap_or((commit_at, commit_at));
                self.commits = Some((first.min(commit_at), last.max(commit_at)));
                self.highest_xid = self.highest_xid.max(widen_xid(xid, self.near));
            }
            MessageHead::Commit { end_lsn } => {
                self.is_inside = false;
                return Ok(Some(end_lsn));
            }
            MessageHead::Logical { is_transactional: true, prefix, content, .. }
                if prefix == DDL_MESSAGE_PREFIX =>
            {
                self.told.take(self.commit_lsn, &content);
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Sends what is there if it is enough; answers how much went.
async fn send(raw: &mut BytesMut, enough: usize, to: &ChunkSender) -> Result<u64, StepError> {
    if raw.len() < enough {
        return Ok(0);
    }
    let piece = raw.split().freeze();
    let sent = piece.len() as u64;
    to.send(Chunk::Data(piece)).await.map_err(|_| gone())?;
    Ok(sent)
}

fn gone() -> StepError {
    StepError::WorkerDied { what: "an upload".to_owned() }
}

/// A full backup could not join here; with a number drawn before the snapshot this cannot be.
fn still_open(xid: u64, boundary: &Boundary) -> StepError {
    StepError::found(
        FailureClass::Transient,
        format!(
            "transaction {xid} was streamed, and the source's snapshot ends at {}",
            boundary.snapshot.xmax
        ),
        "this segment was not written; what was captured before stands and the source keeps the rest",
        "run keepsake capture again",
    )
}
