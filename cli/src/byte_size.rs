//! Sizes as they are given on the command line: bytes, or a number with a unit.

/// Reads `8589934592`, `8GiB` or `512 MiB`. Units are those that sizes are shown in. Decimal ones and Postgres's own, which
/// mean binary ones by the same letters, are refused: 8GB would be one or the other.
///
/// # Errors
/// Text for people.
fn byte_size(text: &str) -> Result<u64, String> {
    let digits = text.trim().trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text.trim()[digits.len()..].trim();
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => {
            return Err(format!(
                "unit {unit:?} is none of B, KiB, MiB, GiB and TiB (1 GiB is 1073741824 bytes)"
            ));
        }
    };
    let number: u64 =
        digits.parse().map_err(|_| "give bytes, or a whole number with a unit: 8GiB".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than can be".to_owned())
}

/// The same, of a size that must not be smaller.
///
/// # Errors
/// Text for people.
pub fn at_least(least: u64) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync {
    move |text| match byte_size(text)? {
        enough if enough >= least => Ok(enough),
        _ => Err(format!("it must be {least} bytes at least")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_bytes_or_a_number_with_a_binary_unit_and_nothing_is_guessed() {
        for (text, bytes) in
            [("0", 0), ("65536", 65_536), ("8GiB", 8 << 30), ("512 MiB", 512 << 20), ("7B", 7)]
        {
            assert_eq!(byte_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "GiB", "8GB", "8gb", "8G", "-1", "1.5GiB", "99999999TiB", "99999999999999999999", "8GiBs"]
        {
            assert!(byte_size(text).is_err(), "{text}");
        }
        assert!(at_least(65_536)("64KiB").is_ok() && at_least(65_536)("63KiB").is_err());
    }
}
