//! A row of a change as the line of `COPY` text that the same row of a backup is.

use crate::pgoutput::Cell;
use std::fmt;

const NULL: &[u8] = b"\\N";
/// No value is written so: a backslash in a value is doubled, and no escape of `COPY` has this letter.
const UNCHANGED: &[u8] = b"\\U";

/// One row, or some of its columns, as a line of `COPY … (FORMAT text)` without its newline; equal rows are equal
/// bytes. Beside what `COPY` knows it can hold large values that a change left as they were; such a row is not whole.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopyRow(Box<[u8]>);

impl CopyRow {
    /// Cells in the order in which they shall stand.
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a Cell, IntoIter: Clone>) -> Self {
        let cells = cells.into_iter();
        // As long as the line is where nothing is escaped, so that it is neither moved nor cut off.
        let bytes = |cell: &Cell| match cell {
            Cell::Null => NULL.len() + 1,
            Cell::Unchanged => UNCHANGED.len() + 1,
            Cell::Text(text) => text.len() + 1,
        };
        let mut line = Vec::with_capacity(cells.clone().map(bytes).sum::<usize>().saturating_sub(1));
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                line.push(b'\t');
            }
            match cell {
                Cell::Null => line.extend_from_slice(NULL),
                Cell::Unchanged => line.extend_from_slice(UNCHANGED),
                Cell::Text(text) => escape(text, &mut line),
            }
        }
        Self(line.into())
    }

    /// A line that was written as this one is.
    #[must_use]
    pub fn of_line(line: &[u8]) -> Self {
        Self(line.into())
    }

    /// Whether it has so many columns; a row of none looks as one of an empty text does.
    #[must_use]
    pub fn has_columns(&self, columns: usize) -> bool {
        self.cells().count() == columns.max(1)
    }

    /// The first `columns` of it, at least one, and the rest; `None` where there is no rest.
    #[must_use]
    pub fn parted(&self, columns: usize) -> Option<(Self, Self)> {
        let mut tabs = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'\t');
        let (at, _) = tabs.nth(columns.checked_sub(1)?)?;
        Some((Self::of_line(&self.0[..at]), Self::of_line(&self.0[at + 1..])))
    }

    /// The line, without newline.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.0
    }

    /// Whether every value is known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !memchr::memmem::find_iter(&self.0, UNCHANGED).any(|_| self.cells().any(|cell| cell == UNCHANGED))
    }

    /// Places of the values that the change left as they were.
    #[must_use]
    pub fn unchanged(&self) -> Vec<usize> {
        let cells = self.cells().enumerate();
        cells.filter(|(_, cell)| *cell == UNCHANGED).map(|(index, _)| index).collect()
    }

    /// This row, with what it left unchanged taken from the row before it. Both have the same columns.
    #[must_use]
    pub fn over(&self, before: &Self) -> Self {
        let pick = |(new, old)| if new == UNCHANGED { old } else { new };
        Self::joined(self.cells().zip(before.cells()).map(pick))
    }

    /// This row, with NULL where it left a value unchanged.
    #[must_use]
    pub fn with_null_for_unchanged(&self) -> Self {
        Self::joined(self.cells().map(|cell| if cell == UNCHANGED { NULL } else { cell }))
    }

    /// As [`Self::over`], at these places only.
    #[must_use]
    pub fn over_at(&self, places: &[usize], before: &Self) -> Self {
        let pick = |(place, (new, old))| {
            if new == UNCHANGED && places.contains(&place) { old } else { new }
        };
        Self::joined(self.cells().zip(before.cells()).enumerate().map(pick))
    }

    /// The columns at these places, in this order. A place that the row does not have is left out.
    #[must_use]
    pub fn at(&self, places: &[usize]) -> Self {
        if places.is_empty() {
            return Self(Box::default());
        }
        if let [place] = places {
            return Self::joined(self.cells().nth(*place).into_iter());
        }
        let cells: Vec<&[u8]> = self.cells().collect();
        Self::joined(places.iter().filter_map(|place| cells.get(*place).copied()))
    }

    /// Bytes of the line.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the line has no bytes: of a row without columns, or of one empty text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A tab inside of a value is escaped, so each byte 0x09 stands between two values.
    fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let ends = memchr::memchr_iter(b'\t', &self.0).chain([self.0.len()]);
        ends.scan(0, |begin, end| Some(&self.0[std::mem::replace(begin, end + 1)..end]))
    }

    fn joined<'a>(cells: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut line = Vec::new();
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                line.push(b'\t');
            }
            line.extend_from_slice(cell);
        }
        Self(line.into())
    }
}

/// Says nothing of the row: what `Debug` shows ends in logs.
impl fmt::Debug for CopyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CopyRow({} bytes)", self.0.len())
    }
}

/// As the server escapes in `COPY … TO`: these letters, the backslash, and no other control character.
/// Source: `CopyAttributeOutText` in PostgreSQL's `commands/copyto.c`, read 2026-11-21.
fn escape(mut text: &[u8], line: &mut Vec<u8>) {
    while let Some((plain, letter)) = first_escaped(text) {
        line.extend_from_slice(&text[..plain]);
        line.extend_from_slice(&[b'\\', letter]);
        text = &text[plain + 1..];
    }
    line.extend_from_slice(text);
}

fn first_escaped(text: &[u8]) -> Option<(usize, u8)> {
    // Most values have none: a line of bytes is looked at without a branch for each.
    const AT_ONCE: usize = 32;
    let clean = |bytes: &&[u8]| !bytes.iter().fold(false, |found, byte| found | may_be_escaped(*byte));
    let begin = text.chunks(AT_ONCE).take_while(clean).map(<[u8]>::len).sum();
    text[begin..].iter().enumerate().find_map(|(at, byte)| Some((begin + at, letter(*byte)?)))
}

fn may_be_escaped(byte: u8) -> bool {
    (byte < b' ') | (byte == b'\\')
}

fn letter(byte: u8) -> Option<u8> {
    Some(match byte {
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0b => b'v',
        0x0c => b'f',
        b'\r' => b'r',
        b'\\' => b'\\',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn text(text: &[u8]) -> Cell {
        Cell::Text(Bytes::copy_from_slice(text))
    }

    #[test]
    fn a_row_is_written_as_copy_writes_it() {
        let row = CopyRow::of(&[text(b"a\tb\nc\\N"), Cell::Null, text(b""), text(b"\x01\x08\x0b\x0c\r")]);
        assert_eq!(row.line(), b"a\\tb\\nc\\\\N\t\\N\t\t\x01\\b\\v\\f\\r");
        assert_eq!(format!("{row:?}"), "CopyRow(24 bytes)");
    }

    #[test]
    fn a_text_that_looks_like_a_mark_is_none() {
        let row = CopyRow::of(&[text(b"\\U"), text(b"\\N"), text(b"\\\\U")]);
        assert!(row.is_whole() && row.unchanged().is_empty());
        assert_ne!(row.at(&[1]), CopyRow::of(&[Cell::Null]));
    }

    fn cell() -> impl Strategy<Value = Cell> {
        let bytes = prop::collection::vec(prop::sample::select(b"\\UNt\t\n\rx,\x0b\xff".to_vec()), 0..6);
        prop_oneof![
            Just(Cell::Null),
            Just(Cell::Unchanged),
            bytes.prop_map(|bytes| Cell::Text(Bytes::from(bytes)))
        ]
    }

    proptest! {
        #[test]
        fn rows_are_equal_as_their_cells_are(
            one in prop::collection::vec(cell(), 2),
            two in prop::collection::vec(cell(), 2),
        ) {
            prop_assert_eq!(CopyRow::of(&one) == CopyRow::of(&two), one == two);
            prop_assert!(!CopyRow::of(&one).line().contains(&b'\n'));
        }

        #[test]
        fn what_a_change_left_unchanged_comes_from_the_row_before(
            pairs in prop::collection::vec((cell(), cell()), 1..6),
            places in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        ) {
            let (new, old): (Vec<Cell>, Vec<Cell>) = pairs.iter().cloned().unzip();
            let merged: Vec<Cell> =
                pairs.into_iter().map(|(new, old)| if new == Cell::Unchanged { old } else { new }).collect();
            let row = CopyRow::of(&new).over(&CopyRow::of(&old));
            prop_assert_eq!(&row, &CopyRow::of(&merged));
            prop_assert_eq!(row.is_whole(), !merged.contains(&Cell::Unchanged));
            let places: Vec<usize> = places.iter().map(|place| place.index(merged.len())).collect();
            let picked: Vec<&Cell> = places.iter().map(|place| &merged[*place]).collect();
            prop_assert_eq!(row.at(&places), CopyRow::of(picked));
        }
    }
}
