//! Where a connection URL comes from: the argument, a variable of the environment, and `PGPASSWORD` for the password.

use crate::environment::Environment;
use crate::failure::Failure;
use crate::secret_text::SecretText;
use keepsake_domain::ConnectionUrl;

/// Reads a connection from an argument. `option` names it for people.
///
/// # Errors
/// When it is no URL, or names a variable that is not set. The text never appears.
pub fn connection(
    option: &str,
    text: &SecretText,
    environment: &Environment,
) -> Result<ConnectionUrl, Failure> {
    let next = "give postgres://user@host:5432/database, or env:NAME with the URL in that variable";
    let given = match text.expose().strip_prefix("env:") {
        Some(name) => environment.get(name).ok_or_else(|| {
            Failure::usage(format!("{option} names the variable {name}, which is not set"), next)
        })?,
        None => text.expose(),
    };
    let given = with_password(given, environment.get("PGPASSWORD"));
    given.parse().map_err(|invalid| Failure::usage(format!("{option}: {invalid}"), next))
}

/// Puts a password into a URL that has a user and none, as libpq does with `PGPASSWORD`.
fn with_password(url: &str, password: Option<&str>) -> String {
    let (Some(password), Some((scheme, rest))) = (password, url.split_once("://")) else {
        return url.to_owned();
    };
    let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    let Some((user, _)) = authority.rsplit_once('@') else { return url.to_owned() };
    if user.is_empty() || user.contains(':') {
        return url.to_owned();
    }
    format!("{scheme}://{user}:{}{}", escaped(password), &rest[user.len()..])
}

fn escaped(password: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    password
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_password_fills_only_a_gap() {
        for (url, full) in [
            ("postgres://anna@h:5/d?x=1", "postgres://anna:p%40%2F@h:5/d?x=1"),
            ("postgres://anna:own@h/d", "postgres://anna:own@h/d"),
            ("postgres://h/d", "postgres://h/d"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(with_password(url, Some("p@/")), full);
        }
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let Ok(text) = "env:NOWHERE".parse::<SecretText>();
        let failure = connection("--source", &text, &Environment::default()).expect_err("it is not set");
        assert!(failure.report().contains("--source names the variable NOWHERE"), "{}", failure.report());
    }
}
