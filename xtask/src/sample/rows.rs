//! Rows in the text format of `COPY`, written to a sink in blocks; memory does not grow with the number of rows.
use super::calendar::{write_day, write_moment, write_number};
use super::random::Uuid;
use std::io::{self, Write};

const BLOCK_BYTES: usize = 128 * 1024;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes the rows of one table, column by column: each method but `end` writes one column.
pub struct Rows<'a> {
    sink: &'a mut dyn Write,
    block: Vec<u8>,
    at_line_start: bool,
    rows: u64,
    bytes: u64,
}

impl<'a> Rows<'a> {
    /// No rows yet.
    pub fn new(sink: &'a mut dyn Write) -> Self {
        Self { sink, block: Vec::with_capacity(BLOCK_BYTES * 2), at_line_start: true, rows: 0, bytes: 0 }
    }

    fn next_column(&mut self) {
        if !self.at_line_start {
            self.block.push(b'\t');
        }
        self.at_line_start = false;
    }

    /// NULL.
    pub fn null(&mut self) {
        self.next_column();
        self.block.extend_from_slice(b"\\N");
    }

    /// Text that is known to hold no backslash, tab or line end.
    pub fn plain(&mut self, text: &str) {
        self.next_column();
        self.block.extend_from_slice(text.as_bytes());
    }

    /// Any text.
    pub fn text(&mut self, text: &str) {
        self.next_column();
        write_escaped(&mut self.block, text);
    }

    /// What `write` appends, which must hold no bare backslash, tab or line end.
    pub fn with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.next_column();
        write(&mut self.block);
    }

    /// What `write` appends, or NULL when there is no value.
    pub fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
        match value {
            Some(value) => self.with(|out| write(out, value)),
            None => self.null(),
        }
    }

    /// A whole number.
    pub fn number(&mut self, value: i64) {
        self.with(|out| write_number(out, value));
    }

    /// An amount of money, given in hundredths.
    pub fn money(&mut self, cents: i64) {
        self.with(|out| {
            write_number(out, cents / 100);
            out.push(b'.');
            out.push(b'0' + (cents / 10 % 10) as u8);
            out.push(b'0' + (cents % 10) as u8);
        });
    }

    /// A truth value.
    pub fn boolean(&mut self, value: bool) {
        self.plain(if value { "t" } else { "f" });
    }

    /// A UUID.
    pub fn uuid(&mut self, id: Uuid) {
        self.with(|out| write_uuid(out, id));
    }

    /// A day, in days since 1970.
    pub fn day(&mut self, day: i64) {
        self.with(|out| write_day(out, day));
    }

    /// A moment, in microseconds since 1970.
    pub fn moment(&mut self, moment: i64) {
        self.with(|out| write_moment(out, moment));
    }

    /// A `bytea`.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.with(|out| {
            out.extend_from_slice(b"\\\\x");
            write_hex(out, bytes);
        });
    }

    /// Ends the row.
    pub fn end(&mut self) -> io::Result<()> {
        self.block.push(b'\n');
        self.at_line_start = true;
        self.rows += 1;
        if self.block.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.write_all(&self.block)?;
        self.bytes += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }

    /// Writes what is left; returns how many rows and bytes of COPY text there were in all.
    pub fn finish(mut self) -> io::Result<(u64, u64)> {
        self.flush()?;
        Ok((self.rows, self.bytes))
    }
}

/// Appends text with the escapes of COPY.
pub fn write_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => out.push(byte),
        }
    }
}

/// Appends text as the inside of a JSON string, with the escapes of COPY around those of JSON.
pub fn write_json_escaped(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\\\""),
            '\\' => out.extend_from_slice(b"\\\\\\\\"),
            '\t' => out.extend_from_slice(b"\\\\t"),
            '\n' => out.extend_from_slice(b"\\\\n"),
            '\r' => out.extend_from_slice(b"\\\\r"),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Appends a UUID.
pub fn write_uuid(out: &mut Vec<u8>, Uuid(high, low): Uuid) {
    let mut digits = [b'-'; 36];
    let (mut at, mut shift) = (0, 124);
    let bits = (u128::from(high) << 64) | u128::from(low);
    while at < 36 {
        if !matches!(at, 8 | 13 | 18 | 23) {
            digits[at] = HEX[(bits >> shift) as usize & 15];
            shift -= 4;
        }
        at += 1;
    }
    out.extend_from_slice(&digits);
}

/// Appends the hexadecimal digits of the bytes.
pub fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_are_escaped_separated_and_counted() {
        let mut sink = Vec::new();
        let mut rows = Rows::new(&mut sink);
        rows.text("a\tb\nc\\d\r");
        rows.null();
        rows.plain("");
        rows.money(12_305);
        rows.bytes(&[0, 255]);
        rows.uuid(Uuid(0x0123_4567_89ab_4cde, 0x8f01_2345_6789_abcd));
        rows.end().unwrap();
        let (count, bytes) = rows.finish().unwrap();
        let line = "a\\tb\\nc\\\\d\\r\t\\N\t\t123.05\t\\\\x00ff\t01234567-89ab-4cde-8f01-23456789abcd\n";
        assert_eq!(String::from_utf8(sink).unwrap(), line);
        assert_eq!((count, bytes), (1, line.len() as u64));
    }

    #[test]
    fn json_text_survives_both_escapes() {
        let mut out = Vec::new();
        write_json_escaped(&mut out, "\"\\\n");
        assert_eq!(String::from_utf8(out).unwrap(), "\\\\\"\\\\\\\\\\\\n");
    }
}
