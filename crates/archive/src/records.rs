//! What the bytes of segments and differentials have in common: a line that says what they are, then records.
//!
//! ```text
//! keepsake segment 1\n
//! kind (1 byte)  WAL position (8, big endian)  length (4, big endian)  that many bytes
//! ```

use crate::SegmentError;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use keepsake_domain::Lsn;

/// Kind, position and length.
const PREFIX_BYTES: usize = 13;

/// A message of Postgres has at most 1 GiB, and so has a row; a longer record is damage and nothing is allocated for it.
/// Source: `MaxAllocSize` in <https://doxygen.postgresql.org/memutils_8h_source.html>, read 2026-11-21.
const RECORD_LIMIT_BYTES: usize = 1 << 30;

/// The first line.
fn header(what: &str, version: u32) -> String {
    format!("keepsake {what} {version}\n")
}

/// Writes the first line.
pub(crate) fn begin(what: &str, version: u32, into: &mut BytesMut) {
    into.put_slice(header(what, version).as_bytes());
}

/// Writes one record.
pub(crate) fn put(kind: u8, lsn: Lsn, payload: &[u8], into: &mut BytesMut) {
    into.reserve(PREFIX_BYTES + payload.len());
    into.put_u8(kind);
    into.put_u64(lsn.0);
    // A longer one cannot come from Postgres, and would be refused when it is read.
    into.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    into.put_slice(payload);
}

/// Reads records from pieces of any size. Holds one record and the piece behind it.
#[derive(Debug)]
pub(crate) struct RecordReader {
    what: &'static str,
    version: u32,
    key: String,
    buffer: BytesMut,
    has_begun: bool,
    records: u64,
}

impl RecordReader {
    pub fn new(what: &'static str, version: u32, key: String) -> Self {
        Self { what, version, key, buffer: BytesMut::new(), has_begun: false, records: 0 }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether nothing was fed that was not answered.
    pub fn is_drained(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Kind, position and payload of the next record; `None` when more bytes are needed.
    pub fn next(&mut self) -> Result<Option<(u8, Lsn, Bytes)>, SegmentError> {
        if !self.has_begun && !self.begins()? {
            return Ok(None);
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
        Ok(Some((kind, lsn, payload)))
    }

    /// A record was taken and is as it must be.
    pub fn taken(&mut self) {
        self.records += 1;
    }

    fn begins(&mut self) -> Result<bool, SegmentError> {
        let header = header(self.what, self.version);
        let known = self.buffer.len().min(header.len());
        if self.buffer[..known] != header.as_bytes()[..known] {
            let name = self.buffer.strip_prefix(format!("keepsake {} ", self.what).as_bytes());
            let line = name.and_then(|rest| rest.split(|byte| *byte == b'\n').next());
            let found = line.and_then(|line| std::str::from_utf8(line).ok());
            return Err(match found.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())) {
                Some(found) => SegmentError::UnknownVersion {
                    what: self.what,
                    version: self.version,
                    key: self.key.clone(),
                    found: found.to_owned(),
                },
                None => self.damaged(format!("it does not begin as a {} does", self.what)),
            });
        }
        self.has_begun = known == header.len();
        if self.has_begun {
            self.buffer.advance(known);
        }
        Ok(self.has_begun)
    }

    pub fn damaged(&self, detail: impl Into<String>) -> SegmentError {
        SegmentError::Damaged {
            what: self.what,
            key: self.key.clone(),
            records: self.records,
            detail: detail.into(),
        }
    }
}
