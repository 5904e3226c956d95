//! Rows that a statement gives back, each behind the number of what asked for it.

use crate::{CopyText, RowsHasher, TornRow};

/// Digests rows of `COPY` text whose first column is a number, without that column, and counts how often each number
/// came.
pub struct NumberedRows {
    hasher: RowsHasher,
    counts: Vec<u64>,
    /// The number that is being read; `None` behind it.
    number: Option<usize>,
    strange: u64,
}

impl NumberedRows {
    /// Numbers from zero to below this are counted.
    #[must_use]
    pub fn up_to(numbers: usize) -> Self {
        Self { hasher: RowsHasher::new(), counts: vec![0; numbers], number: Some(0), strange: 0 }
    }

    /// The next bytes of the text; they may begin and end anywhere.
    pub fn update(&mut self, mut slice: &[u8]) {
        while !slice.is_empty() {
            slice = match self.number {
                Some(number) => self.read_number(number, slice),
                None => self.read_row(slice),
            };
        }
    }

    /// What was digested, how often each number came, and how many rows came with other numbers.
    ///
    /// # Errors
    /// [`TornRow`] when the last row has no newline: the stream was cut off.
    pub fn finish(self) -> Result<(CopyText, Vec<u64>, u64), TornRow> {
        Ok((self.hasher.finish()?, self.counts, self.strange))
    }

    /// A row without further columns ends right behind its number.
    fn read_number<'a>(&mut self, number: usize, slice: &'a [u8]) -> &'a [u8] {
        let end = slice.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(slice.len());
        let digit =
            |number: usize, byte: &u8| number.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
        let number = slice[..end].iter().fold(number, digit);
        self.number = Some(number);
        let Some(behind) = slice.get(end) else { return &[] };
        match self.counts.get_mut(number) {
            Some(count) => *count += 1,
            None => self.strange += 1,
        }
        self.number = None;
        if *behind == b'\t' { &slice[end + 1..] } else { &slice[end..] }
    }

    fn read_row<'a>(&mut self, slice: &'a [u8]) -> &'a [u8] {
        let end = memchr::memchr(b'\n', slice).map(|end| end + 1);
        let (row, rest) = slice.split_at(end.unwrap_or(slice.len()));
        self.hasher.update(row);
        if end.is_some() {
            self.number = Some(0);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stream_that_ends_inside_a_row_is_an_error() {
        let mut rows = NumberedRows::up_to(1);
        rows.update(b"0\tAnna");
        assert!(rows.finish().is_err());
    }

    proptest! {
        #[test]
        fn rows_are_digested_without_their_numbers_wherever_they_are_cut(
            rows in prop::collection::vec((0usize..12, prop::option::of("[a-z\t]{0,6}")), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let (mut text, mut plain, mut counts, mut strange) = (String::new(), RowsHasher::new(), vec![0; 10], 0);
            for (number, row) in &rows {
                match row {
                    Some(row) => text.push_str(&format!("{number}\t{row}\n")),
                    None => text.push_str(&format!("{number}\n")),
                }
                plain.update(format!("{}\n", row.as_deref().unwrap_or_default()).as_bytes());
                match counts.get_mut(*number) {
                    Some(count) => *count += 1,
                    None => strange += 1,
                }
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let mut found = NumberedRows::up_to(10);
            cuts.windows(2).for_each(|pair| found.update(&text.as_bytes()[pair[0]..pair[1]]));
            prop_assert_eq!(found.finish(), Ok((plain.finish().expect("whole rows"), counts, strange)));
        }
    }
}
