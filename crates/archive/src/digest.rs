//! The rows digest of `COPY` text as it streams by.

use crate::CopyText;
use keepsake_domain::RowsDigest;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

/// Counts and digests rows of `COPY … TO STDOUT` text, in constant memory, whatever slices it arrives in.
///
/// Inside `COPY` text a newline within a value is escaped, so each byte 0x0A ends a row. A row's hash is XXH3-128
/// of its bytes without that newline; the digest is the sum of all hashes modulo 2^128.
#[derive(Default)]
pub struct RowsHasher {
    text: CopyText,
    open_row: Option<OpenRow>,
}

/// A row whose end has not arrived yet.
struct OpenRow {
    hasher: Box<Xxh3Default>,
    bytes: u64,
}

/// The stream ended inside a row: it was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rows end inside a row, after {rows} whole rows and {torn_bytes} bytes of the next")]
pub struct TornRow {
    /// Whole rows before the end.
    pub rows: u64,
    /// Bytes of the row that has no end.
    pub torn_bytes: u64,
}

impl RowsHasher {
    /// Before the first row.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes of the text; they may begin and end anywhere.
    pub fn update(&mut self, mut slice: &[u8]) {
        self.text.raw_bytes += slice.len() as u64;
        while let Some(end) = memchr::memchr(b'\n', slice) {
            let hash = self.end_row(&slice[..end]);
            self.text.rows_digest += RowsDigest(hash);
            self.text.rows += 1;
            slice = &slice[end + 1..];
        }
        if !slice.is_empty() {
            let row = self.open_row.get_or_insert_with(|| OpenRow { hasher: Box::default(), bytes: 0 });
            row.hasher.update(slice);
            row.bytes += slice.len() as u64;
        }
    }

    fn end_row(&mut self, rest: &[u8]) -> u128 {
        match self.open_row.take() {
            None => xxh3_128(rest),
            Some(mut row) => {
                row.hasher.update(rest);
                row.hasher.digest128()
            }
        }
    }

    /// What was counted.
    ///
    /// # Errors
    /// [`TornRow`] when the last row has no newline: the stream was cut off.
    pub fn finish(self) -> Result<CopyText, TornRow> {
        match self.open_row {
            None => Ok(self.text),
            Some(row) => Err(TornRow { rows: self.text.rows, torn_bytes: row.bytes }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(rows: &[Vec<u8>]) -> Vec<u8> {
        rows.iter().flat_map(|row| row.iter().copied().chain([b'\n'])).collect()
    }

    fn digest(bytes: &[u8]) -> Result<CopyText, TornRow> {
        let mut hasher = RowsHasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Rows of `COPY` text: any bytes but a newline; some longer than XXH3's inner block.
    fn row() -> impl Strategy<Value = Vec<u8>> {
        let byte = any::<u8>().prop_map(|b| if b == b'\n' { b'n' } else { b });
        prop_oneof![prop::collection::vec(byte.clone(), 0..20), prop::collection::vec(byte, 200..2000)]
    }

    #[test]
    fn the_digest_of_a_known_text_never_changes() {
        // Archives that exist hold digests made this way: another value here breaks every one of them.
        let found = digest(b"1\tAnna\n2\t\\N\n").expect("whole rows");
        let sum = xxh3_128(b"1\tAnna").wrapping_add(xxh3_128(b"2\t\\N"));
        assert_eq!(found, CopyText { rows: 2, raw_bytes: 12, rows_digest: RowsDigest(sum) });
        assert_eq!(found.rows_digest.to_string(), "754f226eb0035b480327e07cba4604c8");
    }

    #[test]
    fn no_rows_and_one_empty_row_differ() {
        assert_eq!(digest(b""), Ok(CopyText::default()));
        assert_eq!(digest(b"\n").map(|text| text.rows), Ok(1));
        assert_ne!(digest(b"\n"), digest(b""));
    }

    #[test]
    fn a_stream_that_ends_inside_a_row_is_an_error() {
        assert_eq!(digest(b"1\n2\n3"), Err(TornRow { rows: 2, torn_bytes: 1 }));
    }

    proptest! {
        #[test]
        fn the_cut_into_slices_does_not_matter(
            rows in prop::collection::vec(row(), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let text = text(&rows);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut hasher = RowsHasher::new();
            cuts.windows(2).for_each(|pair| hasher.update(&text[pair[0]..pair[1]]));
            prop_assert_eq!(hasher.finish(), digest(&text));
        }

        #[test]
        fn neither_the_order_nor_the_cut_into_parts_matters(
            rows in prop::collection::vec(row(), 0..20).prop_shuffle(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut sorted = rows.clone();
            sorted.sort();
            let cut = cut.index(rows.len() + 1);
            let parts = [digest(&text(&rows[..cut])), digest(&text(&rows[cut..]))];
            let sum: RowsDigest = parts.iter().flatten().map(|part| part.rows_digest).sum();
            prop_assert_eq!(Ok(sum), digest(&text(&sorted)).map(|text| text.rows_digest));
        }

        #[test]
        fn a_lost_doubled_or_changed_row_changes_it(
            rows in prop::collection::vec(row(), 1..20),
            which in any::<prop::sample::Index>(),
        ) {
            let which = which.index(rows.len());
            let (mut lost, mut doubled, mut changed) = (rows.clone(), rows.clone(), rows.clone());
            lost.remove(which);
            doubled.push(rows[which].clone());
            changed[which].push(b'x');
            let original = digest(&text(&rows)).map(|text| text.rows_digest);
            for other in [lost, doubled, changed] {
                prop_assert_ne!(&digest(&text(&other)).map(|text| text.rows_digest), &original);
            }
        }

        #[test]
        fn every_cut_that_is_not_between_rows_is_found(
            rows in prop::collection::vec(row(), 1..10),
            cut in any::<prop::sample::Index>(),
        ) {
            let text = text(&rows);
            let cut = cut.index(text.len());
            let between = cut == 0 || text[cut - 1] == b'\n';
            prop_assert_eq!(digest(&text[..cut]).is_ok(), between);
        }
    }
}
