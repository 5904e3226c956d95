//! The rows digest: what proves that a restored table holds what the source held.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    ops::{AddAssign, SubAssign},
    str::FromStr,
};

/// The sum, modulo 2^128, of a 128-bit hash of each row's `COPY` text.
///
/// Neither the order of rows nor the cut of a table into parts changes it; a lost, doubled or altered row does.
/// Text shape: 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RowsDigest(pub u128);

/// The text is no rows digest.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a rows digest of 32 hexadecimal digits")]
pub struct InvalidRowsDigest(String);

impl AddAssign for RowsDigest {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

/// Takes rows out again that were added.
impl SubAssign for RowsDigest {
    fn sub_assign(&mut self, other: Self) {
        self.0 = self.0.wrapping_sub(other.0);
    }
}

impl std::iter::Sum for RowsDigest {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), |mut sum, item| {
            sum += item;
            sum
        })
    }
}

impl fmt::Display for RowsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for RowsDigest {
    type Err = InvalidRowsDigest;
    fn from_str(text: &str) -> Result<Self, InvalidRowsDigest> {
        let plain =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let invalid = || InvalidRowsDigest(text.to_owned());
        if !plain {
            return Err(invalid());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| invalid())
    }
}

impl TryFrom<String> for RowsDigest {
    type Error = InvalidRowsDigest;
    fn try_from(text: String) -> Result<Self, InvalidRowsDigest> {
        text.parse()
    }
}

impl From<RowsDigest> for String {
    fn from(digest: RowsDigest) -> Self {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_wraps_instead_of_failing() {
        let sum: RowsDigest = [RowsDigest(u128::MAX), RowsDigest(2)].into_iter().sum();
        assert_eq!(sum, RowsDigest(1));
    }

    #[test]
    fn what_was_added_can_be_taken_out_in_any_order() {
        let mut sum = RowsDigest(5);
        sum -= RowsDigest(u128::MAX);
        sum += RowsDigest(u128::MAX);
        assert_eq!(sum, RowsDigest(5));
    }

    #[test]
    fn only_the_printed_form_is_read() {
        assert_eq!(RowsDigest(255).to_string().parse(), Ok(RowsDigest(255)));
        for text in ["", "ff", "+0000000000000000000000000000001", "0000000000000000000000000000000G"] {
            assert!(text.parse::<RowsDigest>().is_err(), "{text}");
        }
    }
}
