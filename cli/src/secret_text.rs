//! Texts that may hold a credential, and the last line of defence for everything that is printed.

use std::{convert::Infallible, fmt, str::FromStr};

/// An argument as it was given. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretText {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Blanks what looks like a credential: everything between `://` and the last `@` of a word, values of `password=`,
/// and age secret keys.
#[must_use]
pub fn redact(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(redact_word).collect()
}

fn redact_word(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(begin) = word.find("://").map(|at| at + 3)
        && let Some(end) = word[begin..].rfind('@')
    {
        word.replace_range(begin..begin + end, "…");
    }
    for (mark, stops) in [("password=", "&'\",;)"), ("AGE-SECRET-KEY-", "&'\",;)")] {
        let mut from = 0;
        while let Some(begin) = word[from..].find(mark).map(|at| from + at + mark.len()) {
            let stop = |c: char| c.is_whitespace() || stops.contains(c);
            let end = word[begin..].find(stop).map_or(word.len(), |length| begin + length);
            word.replace_range(begin..end, "…");
            from = begin;
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_credentials_wherever_they_stand() {
        for (text, plain) in [
            ("'postgres://anna:s3cr@t@h/d' found", "'postgres://…@h/d' found"),
            ("host=h password=s3cret user=a", "host=h password=… user=a"),
            ("postgres://h/d?user=a&password=s3cret&x=1", "postgres://h/d?user=a&password=…&x=1"),
            ("key AGE-SECRET-KEY-1ABC\n", "key AGE-SECRET-KEY-…\n"),
            ("s3://bucket/prefix and file:///folder", "s3://bucket/prefix and file:///folder"),
        ] {
            assert_eq!(redact(text), plain);
        }
    }

    #[test]
    fn debug_hides_the_text() {
        let Ok(text) = "postgres://a:s3cret@h/d".parse::<SecretText>();
        assert!(!format!("{text:?}").contains("s3cret"));
    }
}
