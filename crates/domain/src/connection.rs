//! A connection URL that cannot be printed by accident.

use std::{fmt, str::FromStr};

/// A `postgres://user:password@host:port/database?options` URL.
///
/// `Debug` and `Display` never show user, password or options; the whole text is only handed out by
/// [`ConnectionUrl::expose`], for the driver and for child processes' environment.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionUrl {
    text: String,
    place: String,
}

/// The text is no Postgres URL. Carries no part of the text, which may hold a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the connection must be a URL like postgres://user@host:5432/database")]
pub struct InvalidConnectionUrl;

impl ConnectionUrl {
    /// The whole URL with its secrets.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Host, port and database, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl FromStr for ConnectionUrl {
    type Err = InvalidConnectionUrl;
    fn from_str(text: &str) -> Result<Self, InvalidConnectionUrl> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or(InvalidConnectionUrl)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // A password may hold an unescaped @, so the last one divides.
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let database = path.split('?').next().unwrap_or_default();
        if host.is_empty() || host.contains('?') || path.contains('@') && !path.contains('?') {
            return Err(InvalidConnectionUrl);
        }
        Ok(Self { text: text.to_owned(), place: format!("{host}/{database}") })
    }
}

impl fmt::Display for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionUrl({})", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_place_and_never_the_secret() {
        let url: ConnectionUrl =
            "postgres://anna:s3cr@t@db.example.org:5432/wedsync?options=x".parse().expect("valid");
        assert_eq!(url.to_string(), "db.example.org:5432/wedsync");
        assert!(!format!("{url:?} {url}").contains("cr"));
    }

    #[test]
    fn refuses_other_schemes_without_repeating_them() {
        let error = "mysql://anna:s3cret@h/d".parse::<ConnectionUrl>().expect_err("not Postgres");
        assert!(!error.to_string().contains("s3cret"));
        assert!("postgres:///d".parse::<ConnectionUrl>().is_err());
    }
}
