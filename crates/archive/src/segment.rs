//! The bytes of a segment before compression and encryption: messages of `pgoutput` as the server sent them, where the
//! sequences stood, and an end that counts both.
//!
//! ```text
//! keepsake segment 1\n
//! kind (1 byte)  WAL position (8, big endian)  length (4, big endian)  that many bytes
//! ```
//!
//! Kind `w` is one message, protocol version 1 in text format. `s` comes once behind all messages: a JSON array of
//! [`SequenceValue`]. `z` is the end: JSON of [`SegmentEnd`]; a segment without it was cut off. A segment holds whole
//! transactions only, and each relation's description before its first change.

use crate::records::{RecordReader, begin, put};
use bytes::{Bytes, BytesMut};
use keepsake_domain::{Lsn, SequenceValue};
use serde::{Deserialize, Serialize};

/// The version that this code writes, and the only one that it reads.
pub const SEGMENT_VERSION: u32 = 1;

const WHAT: &str = "segment";

/// What a segment holds. JSON shape: these fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SegmentEnd {
    /// Commits.
    pub transactions: u64,
    /// Rows inserted, updated and deleted, and `TRUNCATE` statements.
    pub changes: u64,
}

impl SegmentEnd {
    fn count(&mut self, message: &[u8]) {
        match message.first() {
            Some(b'C') => self.transactions += 1,
            Some(b'I' | b'U' | b'D' | b'T') => self.changes += 1,
            _ => {}
        }
    }
}

/// One record of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentRecord {
    /// A message of `pgoutput`.
    Message {
        /// Where the server says that it belongs; zero where it does not say.
        lsn: Lsn,
        /// As it was sent.
        payload: Bytes,
    },
    /// Where the sequences stood at the segment's end.
    Sequences(Vec<SequenceValue>),
    /// Nothing follows.
    End(SegmentEnd),
}

/// Why the bytes are no segment, or no differential.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Written by a newer program.
    #[error("{what} \"{key}\" has version {found}; this program reads version {version}")]
    UnknownVersion {
        /// A segment or a differential.
        what: &'static str,
        /// The version that is read.
        version: u32,
        /// Where it lies.
        key: String,
        /// What it says.
        found: String,
    },
    /// The records do not fit together.
    #[error("{what} \"{key}\" is corrupt, found by its records: {detail} (behind {records} records)")]
    Damaged {
        /// A segment or a differential.
        what: &'static str,
        /// Where it lies.
        key: String,
        /// Records that were read before.
        records: u64,
        /// What was found.
        detail: String,
    },
}

/// Writes a segment into a buffer that its caller hands on and empties.
#[derive(Debug)]
pub struct SegmentWriter {
    counted: SegmentEnd,
}

impl SegmentWriter {
    /// Begins a segment.
    #[must_use]
    pub fn begin(into: &mut BytesMut) -> Self {
        begin(WHAT, SEGMENT_VERSION, into);
        Self { counted: SegmentEnd::default() }
    }

    /// The next message; at most 1 GiB, as Postgres sends them.
    pub fn message(&mut self, lsn: Lsn, payload: &[u8], into: &mut BytesMut) {
        self.counted.count(payload);
        put(b'w', lsn, payload, into);
    }

    /// Ends the segment, with where the sequences stand. Answers what it holds.
    ///
    /// # Errors
    /// Never in practice: both are plain data.
    pub fn end(
        self,
        lsn: Lsn,
        sequences: &[SequenceValue],
        into: &mut BytesMut,
    ) -> Result<SegmentEnd, serde_json::Error> {
        put(b's', lsn, &serde_json::to_vec(sequences)?, into);
        put(b'z', lsn, &serde_json::to_vec(&self.counted)?, into);
        Ok(self.counted)
    }
}

/// Reads a segment from pieces of any size. Holds one record and the piece behind it.
#[derive(Debug)]
pub struct SegmentDecoder {
    records: RecordReader,
    at: At,
    counted: SegmentEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Messages,
    BehindSequences,
    End(SegmentEnd),
}

impl SegmentDecoder {
    /// Reads the segment that lies at `key`, which errors name.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        let records = RecordReader::new(WHAT, SEGMENT_VERSION, key.into());
        Self { records, at: At::Messages, counted: SegmentEnd::default() }
    }

    /// The next bytes of the segment.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.records.feed(bytes);
    }

    /// The next record; `None` when more bytes are needed. What was answered before an error must not be used.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn next_record(&mut self) -> Result<Option<SegmentRecord>, SegmentError> {
        if let At::End(_) = self.at {
            let is_drained = self.records.is_drained();
            return if is_drained { Ok(None) } else { Err(self.records.damaged("bytes follow its end")) };
        }
        let Some((kind, lsn, payload)) = self.records.next()? else { return Ok(None) };
        let record = self.record(kind, lsn, payload)?;
        self.records.taken();
        Ok(Some(record))
    }

    /// Whether the segment was read to its end, and what it holds.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`] when it was cut off.
    pub fn finish(mut self) -> Result<SegmentEnd, SegmentError> {
        match (self.next_record()?, self.at) {
            (None, At::End(end)) => Ok(end),
            _ => Err(self.records.damaged("it was cut off before its end")),
        }
    }

    fn record(&mut self, kind: u8, lsn: Lsn, payload: Bytes) -> Result<SegmentRecord, SegmentError> {
        match (self.at, kind) {
            (At::Messages, b'w') => {
                self.counted.count(&payload);
                Ok(SegmentRecord::Message { lsn, payload })
            }
            (At::Messages, b's') => {
                self.at = At::BehindSequences;
                let sequences = serde_json::from_slice(&payload);
                sequences
                    .map(SegmentRecord::Sequences)
                    .map_err(|_| self.records.damaged("its sequences are no JSON"))
            }
            (At::BehindSequences, b'z') => {
                let end: SegmentEnd = serde_json::from_slice(&payload)
                    .map_err(|_| self.records.damaged("its end is no JSON"))?;
                if end != self.counted {
                    let detail = format!("its end counts {end:?}, and there are {:?}", self.counted);
                    return Err(self.records.damaged(detail));
                }
                self.at = At::End(end);
                Ok(SegmentRecord::End(end))
            }
            _ => Err(self.records.damaged(format!("a record of kind {kind} in the wrong place"))),
        }
    }
}

#[cfg(test)]
#[path = "segment_tests.rs"]
pub(crate) mod tests;
