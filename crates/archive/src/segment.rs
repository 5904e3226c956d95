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

use bytes::{Buf, BufMut, Bytes, BytesMut};
use keepsake_domain::{Lsn, SequenceValue};
use serde::{Deserialize, Serialize};

/// The version that this code writes, and the only one that it reads.
pub const SEGMENT_VERSION: u32 = 1;

const HEADER: &[u8] = b"keepsake segment 1\n";
const HEADER_NAME: &[u8] = b"keepsake segment ";

/// Kind, position and length.
const PREFIX_BYTES: usize = 13;

/// A message of Postgres has at most 1 GiB, so a longer record is damage and nothing is allocated for it.
/// Source: `MaxAllocSize` in <https://doxygen.postgresql.org/memutils_8h_source.html>, read 2026-11-21.
const RECORD_LIMIT_BYTES: usize = 1 << 30;

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

/// Why the bytes are no segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Written by a newer program.
    #[error("segment \"{key}\" has version {found}; this program reads version {SEGMENT_VERSION}")]
    UnknownVersion {
        /// Where it lies.
        key: String,
        /// What it says.
        found: String,
    },
    /// The records do not fit together.
    #[error("segment \"{key}\" is corrupt, found by its records: {detail} (behind {records} records)")]
    Damaged {
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
        into.put_slice(HEADER);
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

fn put(kind: u8, lsn: Lsn, payload: &[u8], into: &mut BytesMut) {
    into.reserve(PREFIX_BYTES + payload.len());
    into.put_u8(kind);
    into.put_u64(lsn.0);
    // A longer one cannot come from Postgres, and would be refused when it is read.
    into.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    into.put_slice(payload);
}

/// Reads a segment from pieces of any size. Holds one record and the piece behind it.
#[derive(Debug)]
pub struct SegmentDecoder {
    key: String,
    buffer: BytesMut,
    at: At,
    counted: SegmentEnd,
    records: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Header,
    Messages,
    BehindSequences,
    End(SegmentEnd),
}

impl SegmentDecoder {
    /// Reads the segment that lies at `key`, which errors name.
    #[must_use]
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            buffer: BytesMut::new(),
            at: At::Header,
            counted: SegmentEnd::default(),
            records: 0,
        }
    }

    /// The next bytes of the segment.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next record; `None` when more bytes are needed. What was answered before an error must not be used.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn next_record(&mut self) -> Result<Option<SegmentRecord>, SegmentError> {
        if self.at == At::Header && !self.header()? {
            return Ok(None);
        }
        if let At::End(_) = self.at {
            return if self.buffer.is_empty() { Ok(None) } else { Err(self.damaged("bytes follow its end")) };
        }
        let Some(mut prefix) = self.buffer.get(..PREFIX_BYTES) else { return Ok(None) };
        let (kind, lsn, length) = (prefix.get_u8(), Lsn(prefix.get_u64()), prefix.get_u32() as usize);
        if length > RECORD_LIMIT_BYTES {
            return Err(self.damaged(format!("a record of {length} bytes")));
        }
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        let payload = self.buffer.split_to(length).freeze();
        let record = self.record(kind, lsn, payload)?;
        self.records += 1;
        Ok(Some(record))
    }

    /// Whether the segment was read to its end, and what it holds.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`] when it was cut off.
    pub fn finish(mut self) -> Result<SegmentEnd, SegmentError> {
        match (self.next_record()?, self.at) {
            (None, At::End(end)) => Ok(end),
            _ => Err(self.damaged("it was cut off before its end")),
        }
    }

    fn header(&mut self) -> Result<bool, SegmentError> {
        let known = self.buffer.len().min(HEADER.len());
        if self.buffer[..known] != HEADER[..known] {
            let name = self.buffer.strip_prefix(HEADER_NAME);
            let line = name.and_then(|rest| rest.split(|byte| *byte == b'\n').next());
            let found = line.and_then(|line| std::str::from_utf8(line).ok());
            return Err(match found.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())) {
                Some(found) => {
                    SegmentError::UnknownVersion { key: self.key.clone(), found: found.to_owned() }
                }
                None => self.damaged("it does not begin as a segment does"),
            });
        }
        if known < HEADER.len() {
            return Ok(false);
        }
        self.buffer.advance(HEADER.len());
        self.at = At::Messages;
        Ok(true)
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
                sequences.map(SegmentRecord::Sequences).map_err(|_| self.damaged("its sequences are no JSON"))
            }
            (At::BehindSequences, b'z') => {
                let end: SegmentEnd =
                    serde_json::from_slice(&payload).map_err(|_| self.damaged("its end is no JSON"))?;
                if end != self.counted {
                    let detail = format!("its end counts {end:?}, and there are {:?}", self.counted);
                    return Err(self.damaged(detail));
                }
                self.at = At::End(end);
                Ok(SegmentRecord::End(end))
            }
            _ => Err(self.damaged(format!("a record of kind {kind} in the wrong place"))),
        }
    }

    fn damaged(&self, detail: impl Into<String>) -> SegmentError {
        SegmentError::Damaged { key: self.key.clone(), records: self.records, detail: detail.into() }
    }
}

#[cfg(test)]
#[path = "segment_tests.rs"]
pub(crate) mod tests;
