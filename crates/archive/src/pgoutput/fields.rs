//! Fields of a message, one after the other, each checked against the bytes that are left.

use super::PgoutputError;
use bytes::Bytes;
use keepsake_domain::{Lsn, Timestamp};

/// Postgres counts from 2000-01-01, in microseconds.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

pub(super) struct Fields {
    rest: Bytes,
    length: usize,
}

impl Fields {
    pub fn of(bytes: &Bytes) -> Self {
        Self { rest: bytes.clone(), length: bytes.len() }
    }

    pub fn refused(&self, what: &'static str) -> PgoutputError {
        PgoutputError { what, at: self.length - self.rest.len(), length: self.length }
    }

    fn take(&mut self, count: usize) -> Result<Bytes, PgoutputError> {
        if self.rest.len() < count {
            return Err(self.refused("cut off"));
        }
        Ok(self.rest.split_to(count))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PgoutputError> {
        let bytes = self.take(N)?;
        bytes.as_ref().try_into().map_err(|_| self.refused("cut off"))
    }

    pub fn u8(&mut self) -> Result<u8, PgoutputError> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, PgoutputError> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, PgoutputError> {
        self.array().map(i32::from_be_bytes)
    }

    /// How many columns; whatever it says, each takes a byte at least, so nothing is set aside for it.
    pub fn count(&mut self) -> Result<u16, PgoutputError> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn lsn(&mut self) -> Result<Lsn, PgoutputError> {
        self.array().map(|bytes| Lsn(u64::from_be_bytes(bytes)))
    }

    pub fn instant(&mut self) -> Result<Timestamp, PgoutputError> {
        let since = self.array().map(i64::from_be_bytes)?;
        let instant = since.checked_add(EPOCH_MICROSECONDS).map(Timestamp::from_microsecond);
        instant.and_then(Result::ok).ok_or_else(|| self.refused("an instant that no calendar has"))
    }

    /// Ends with a zero byte.
    pub fn name(&mut self) -> Result<String, PgoutputError> {
        let end = memchr::memchr(0, &self.rest).ok_or_else(|| self.refused("a name without end"))?;
        let name = self.take(end + 1)?;
        let name = std::str::from_utf8(&name[..end]).map_err(|_| self.refused("a name that is not UTF-8"))?;
        Ok(name.to_owned())
    }

    /// Begins with its length.
    pub fn counted(&mut self) -> Result<Bytes, PgoutputError> {
        let length = self.u32()?;
        let length = usize::try_from(length).map_err(|_| self.refused("cut off"))?;
        self.take(length)
    }

    pub fn end(&self) -> Result<(), PgoutputError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.refused("more bytes than the message")) }
    }
}
