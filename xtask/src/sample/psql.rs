//! A `psql` child process: one question, or one script that is streamed to it.
use anyhow::{Context, Result, bail};
use std::io::{self, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

/// A database by its URL, with the password kept apart: what stands on a command line can be read by every user.
pub struct Target {
    /// Without the password.
    pub url: String,
    /// As the server wants it.
    pub password: Option<String>,
}

impl Target {
    /// Takes `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// On anything else. The text of the error never holds the URL.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").context("the database must be given as postgres://…")?;
        if !matches!(scheme, "postgres" | "postgresql") {
            bail!("the database must be given as postgres://…");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if tail.contains('@') || tail.contains("password=") {
            bail!(
                "a password must stand before the host, with / ? # @ : in it written as %2F %3F %23 %40 %3A"
            );
        }
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match user.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password)?)),
            None => (user, None),
        };
        let at = if user.is_empty() { "" } else { "@" };
        Ok(Self { url: format!("{scheme}://{user}{at}{host}{tail}"), password })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]);
        command
            .args(["--dbname", &self.url])
            .env("PGCONNECT_TIMEOUT", "20")
            .env("PGAPPNAME", "wedsync sample");
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password);
        }
        command
    }

    /// The answer to one query.
    ///
    /// # Errors
    /// When psql is missing, or with what psql says.
    pub fn ask(&self, query: &str) -> Result<String> {
        let output =
            self.command().args(["--command", query]).stdin(Stdio::null()).output().context(MISSING)?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs the script that `write` streams. When psql fails, its own words are the error, and not the broken pipe
    /// that followed from it.
    ///
    /// # Errors
    /// When psql is missing, or with what psql says.
    pub fn run<T>(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<T>) -> Result<T> {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context(MISSING)?;
        let (input, complaints) = streams(&mut child)?;
        let mut input = BufWriter::with_capacity(64 * 1024, input);
        let written = write(&mut input).and_then(|value| input.flush().map(|()| value));
        // Closes the pipe also after a failure; the script commits only at its end, so what is cut off is rolled back.
        drop(input);
        let status = child.wait().context("wait for psql")?;
        let complaints = complaints.join().unwrap_or_default();
        if !status.success() {
            bail!("{}", complaints.trim());
        }
        written.context("write to psql")
    }
}

const MISSING: &str = "start psql, which is in Debian's package postgresql-client";

fn streams(child: &mut Child) -> Result<(ChildStdin, thread::JoinHandle<String>)> {
    let input = child.stdin.take().context("psql without input")?;
    let mut errors = child.stderr.take().context("psql without error output")?;
    let complaints = thread::spawn(move || {
        let mut text = Vec::new();
        // What could be read before the failure is still the best there is to say.
        let _ = errors.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    Ok((input, complaints))
}

fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| (digit.unwrap_or(b'?') as char).to_digit(16));
        let [Some(high), Some(low)] = digits else { bail!("a bad %-escape in the password") };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok().context("a password that is not UTF-8")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_password_leaves_the_url() {
        let target = Target::parse("postgres://ute:s%40%2Fx@db.example:5433/wed?sslmode=require").unwrap();
        assert_eq!(target.url, "postgres://ute@db.example:5433/wed?sslmode=require");
        assert_eq!(target.password.as_deref(), Some("s@/x"));
        assert!(!format!("{:?}", target.command().get_args().collect::<Vec<_>>()).contains("s@/x"));
        assert_eq!(Target::parse("postgresql:///wed?host=/tmp").unwrap().url, "postgresql:///wed?host=/tmp");
    }

    #[test]
    fn a_url_that_could_leak_its_password_is_refused_without_repeating_it() {
        for url in
            ["mysql://a:secret@h/d", "postgres://a:sec/ret@h/d", "postgres://h/d?password=secret", "secret"]
        {
            let error = Target::parse(url).err().unwrap();
            assert!(!format!("{error:#}").contains("ret"), "{error:#}");
        }
    }
}
