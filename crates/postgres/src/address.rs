//! A connection URL taken apart: what the driver understands, what TLS needs, what child processes get.

use crate::ConnectError;
use keepsake_domain::ConnectionUrl;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// For one TCP connection. Libpq waits without end by default, which a function of 15 minutes must not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the driver takes from a URL. All else is libpq's or another client's (`pgbouncer=true`) and is left out.
const DRIVER_OPTIONS: [&str; 14] = [
    "user",
    "password",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "options",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
];

/// As libpq names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// A URL, understood. Has no `Debug`, since it holds a password.
pub(crate) struct Address {
    pub place: String,
    pub config: Config,
    pub tls: TlsMode,
    /// File with root certificates, as given.
    pub root_certificates: Option<PathBuf>,
}

impl Address {
    pub fn of(url: &ConnectionUrl) -> Result<Self, ConnectError> {
        let unusable = |said: &str| ConnectError::permanent("use the connection URL", url.place(), said);
        let (base, options) = url.expose().split_once('?').unwrap_or((url.expose(), ""));
        let mut tls = TlsMode::Prefer;
        let mut root_certificates = None;
        let mut kept = Vec::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name {
                "sslmode" => {
                    tls = tls_mode(value).ok_or_else(|| unusable("its sslmode is not one of libpq's"))?
                }
                "sslrootcert" if value != "system" => root_certificates = Some(PathBuf::from(decoded(value))),
                _ if DRIVER_OPTIONS.contains(&name) => kept.push(option),
                _ => {}
            }
        }
        let text = format!("{}?{}", with_escaped_user_info(base), kept.join("&"));
        // The driver's own error may quote the URL.
        let mut config: Config =
            text.parse().map_err(|_| unusable("it is not a URL that the driver understands"))?;
        if config.get_hosts().is_empty() {
            return Err(unusable("it names no host"));
        }
        // As libpq: a root certificate that is given is also used.
        if tls == TlsMode::Require && root_certificates.is_some() {
            tls = TlsMode::VerifyCa;
        }
        config.ssl_mode(match tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        config.application_name("keepsake").keepalives_idle(Duration::from_secs(60));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        Ok(Self { place: url.place().to_owned(), config, tls, root_certificates })
    }

    /// Host names with their ports, to be looked up. Sockets and plain addresses need no look-up.
    pub fn host_names(&self) -> Vec<(String, u16)> {
        let port_of = |index: usize| {
            let ports = self.config.get_ports();
            ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432)
        };
        let hosts = self.config.get_hosts().iter().enumerate();
        hosts
            .filter_map(|(index, host)| match host {
                Host::Tcp(name) => Some((name.clone(), port_of(index))),
                Host::Unix(_) => None,
            })
            .collect()
    }

    /// The same address, whose sessions begin with this setting.
    pub fn with_setting(&self, name: &str, value: &str) -> Self {
        let mut config = self.config.clone();
        let before = config.get_options().unwrap_or_default();
        config.options(format!("{before} -c {name}={value}").trim_start().to_owned());
        Self {
            place: self.place.clone(),
            config,
            tls: self.tls,
            root_certificates: self.root_certificates.clone(),
        }
    }

    /// What `pg_dump` and `pg_restore` need to connect, as libpq's environment variables.
    pub fn child_environment(&self) -> Vec<(&'static str, String)> {
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let ports: Vec<String> = self.config.get_ports().iter().map(u16::to_string).collect();
        let mut variables = vec![
            ("PGHOST", hosts.join(",")),
            ("PGSSLMODE", self.tls.name().to_owned()),
            ("PGAPPNAME", "keepsake".to_owned()),
            ("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT.as_secs().to_string()),
            ("PGDATABASE", self.database().to_owned()),
        ];
        if !ports.is_empty() {
            variables.push(("PGPORT", ports.join(",")));
        }
        if let Some(user) = self.config.get_user() {
            variables.push(("PGUSER", user.to_owned()));
        }
        if let Some(options) = self.config.get_options() {
            variables.push(("PGOPTIONS", options.to_owned()));
        }
        if let Some(password) = self.password() {
            variables.push(("PGPASSWORD", password));
        }
        if let Some(file) = crate::tls::root_file(self) {
            variables.push(("PGSSLROOTCERT", file.display().to_string()));
        }
        variables
    }

    /// The password as the server gets it; to be kept out of what child processes say.
    pub fn password(&self) -> Option<String> {
        self.config.get_password().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The database, which is the user's when none is named.
    pub fn database(&self) -> &str {
        self.config.get_dbname().or_else(|| self.config.get_user()).unwrap_or("postgres")
    }
}

impl TlsMode {
    fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

fn tls_mode(name: &str) -> Option<TlsMode> {
    let modes = [TlsMode::Disable, TlsMode::Prefer, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull];
    if name == "allow" {
        return Some(TlsMode::Prefer);
    }
    modes.into_iter().find(|mode| mode.name() == name)
}

/// The driver ends user and password at the first `@`; a password may hold one, so all but the last are escaped.
fn with_escaped_user_info(base: &str) -> String {
    let Some((scheme, rest)) = base.split_once("://") else { return base.to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    match authority.rsplit_once('@') {
        Some((user_info, host)) => format!("{scheme}://{}@{host}/{path}", user_info.replace('@', "%40")),
        None => format!("{scheme}://{authority}/{path}"),
    }
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        out.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn address(url: &str) -> Address {
        Address::of(&url.parse().unwrap()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn options_of_other_clients_do_not_disturb_the_driver() {
        let address = address(
            "postgres://u:p%40q@h:6543/d?sslmode=verify-full&pgbouncer=true&sslrootcert=/a%20b.pem&gssencmode=disable",
        );
        assert_eq!(address.tls, TlsMode::VerifyFull);
        assert_eq!(address.root_certificates, Some(PathBuf::from("/a b.pem")));
        assert_eq!(address.password().as_deref(), Some("p@q"));
        assert_eq!(address.host_names(), [("h".to_owned(), 6543)]);
    }

    #[test]
    fn a_setting_stands_beside_the_options_that_were_given() {
        let plain = address("postgres://u@h/d").with_setting("work_mem", "9kB");
        assert_eq!(plain.config.get_options(), Some("-c work_mem=9kB"));
        let more = address("postgres://u@h/d?options=-c%20jit%3Doff").with_setting("work_mem", "9kB");
        assert_eq!(more.config.get_options(), Some("-c jit=off -c work_mem=9kB"));
    }

    #[test]
    fn a_password_with_an_unescaped_at_sign_is_whole() {
        let address = address("postgres://u:p@q@h/d");
        assert_eq!(address.password().as_deref(), Some("p@q"));
        assert_eq!(address.host_names(), [("h".to_owned(), 5432)]);
    }

    #[test]
    fn an_unknown_sslmode_is_an_error_and_not_plain_text() {
        assert!(Address::of(&"postgres://u@h/d?sslmode=verify".parse().unwrap()).is_err());
    }

    #[test]
    fn require_with_a_root_certificate_verifies_as_libpq_does() {
        assert_eq!(address("postgres://u@h/d?sslmode=require&sslrootcert=/x").tls, TlsMode::VerifyCa);
    }
}
