//! From a connection URL to a client, within a bounded time.

use crate::address::{Address, TlsMode};
use crate::error::{ConnectError, Said};
use crate::framed::{Framed, Layer, Rows};
use crate::tls::client_config;
use keepsake_domain::ConnectionUrl;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{Client, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// For look-up, TCP, TLS and login together: three times what one slow TCP connection is given.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens a connection, with TLS as the URL's `sslmode` says. Dropping the client ends it.
///
/// # Errors
/// [`ConnectError`], never with a credential.
pub async fn connect(url: &ConnectionUrl) -> Result<Client, ConnectError> {
    connect_with_task(url).await.map(|connected| connected.client)
}

/// An open connection and the task that keeps it.
pub(crate) struct Connected {
    pub client: Client,
    /// Aborting it cuts the connection at once, also in the middle of a stream.
    pub task: JoinHandle<()>,
    pub end: End,
}

/// How a connection ended, if it did. A server that ends an idle session says why, and no statement is there to hear it:
/// the next one fails as closed.
#[derive(Clone, Default)]
pub(crate) struct End(Arc<OnceLock<tokio_postgres::Error>>);

impl End {
    /// The reason for a statement's failure: the connection's own end, if that is why.
    pub fn cause<'a>(&'a self, error: &'a tokio_postgres::Error) -> &'a tokio_postgres::Error {
        if error.is_closed() { self.0.get().unwrap_or(error) } else { error }
    }
}

/// As [`connect`], with the task.
pub(crate) async fn connect_with_task(url: &ConnectionUrl) -> Result<Connected, ConnectError> {
    log_in(&Address::of(url)?, Rows).await
}

/// Whether the server, and a pooler before it, takes sessions with these settings.
pub(crate) async fn accepts(address: &Address) -> bool {
    log_in(address, Rows).await.is_ok()
}

/// A session whose bytes go through `layer`.
pub(crate) async fn log_in(address: &Address, layer: impl Layer) -> Result<Connected, ConnectError> {
    let slow = |_| ConnectError::Unreachable {
        place: address.place.clone(),
        cause: Box::new(Said(format!("no answer within {} seconds", LOGIN_TIMEOUT.as_secs()))),
    };
    tokio::time::timeout(LOGIN_TIMEOUT, log_in_whenever(address, layer)).await.map_err(slow)?
}

async fn log_in_whenever(address: &Address, layer: impl Layer) -> Result<Connected, ConnectError> {
    for (host, port) in address.host_names() {
        look_up(&address.place, &host, port).await?;
    }
    let failed = |error: tokio_postgres::Error| ConnectError::of_connect(&address.place, &error);
    let tls = MakeRustlsConnect::new(client_config(address)?);
    let mut framed = address.config.clone();
    framed.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    match address.config.get_hosts() {
        [Host::Unix(folder)] => {
            let socket = open_socket(address, folder).await?;
            // As libpq: no TLS on a socket of Unix, whatever the mode.
            let plain = Framed { mode: TlsMode::Disable, tls: NoTls, layer };
            let (client, connection) = framed.connect_raw(socket, plain).await.map_err(failed)?;
            Ok(keep(client, connection, address))
        }
        hosts if hosts.iter().all(|host| matches!(host, Host::Tcp(_))) => {
            let tls = Framed { mode: address.tls, tls, layer };
            let (client, connection) = framed.connect(tls).await.map_err(failed)?;
            Ok(keep(client, connection, address))
        }
        // A socket of Unix as one of several hosts has no place for another stream; there a row is held whole.
        _ => {
            let (client, connection) = address.config.connect(tls).await.map_err(failed)?;
            Ok(keep(client, connection, address))
        }
    }
}

async fn open_socket(address: &Address, folder: &Path) -> Result<UnixStream, ConnectError> {
    let port = address.config.get_ports().first().copied().unwrap_or(5432);
    let path = folder.join(format!(".s.PGSQL.{port}"));
    UnixStream::connect(&path).await.map_err(|error| ConnectError::Unreachable {
        place: address.place.clone(),
        cause: Box::new(Said(format!("socket {}: {error}", path.display()))),
    })
}

fn keep<S, T>(client: Client, connection: Connection<S, T>, address: &Address) -> Connected
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsStream + Unpin + Send + 'static,
{
    let place = address.place.clone();
    let end = End::default();
    let ended = end.clone();
    let task = tokio::spawn(async move {
        // Statements that wait for an answer hear that the connection is closed when it is dropped: after this block.
        let mut connection = pin!(connection);
        if let Err(error) = connection.as_mut().await {
            tracing::debug!(place, error = %ConnectError::of_statement("keep the session", &place, &error), "connection ended");
            let _ = ended.0.set(error);
        }
    });
    Connected { client, task, end }
}

/// The driver does not tell a wrong name from an unreachable host, so the name is looked up before.
async fn look_up(place: &str, host: &str, port: u16) -> Result<(), ConnectError> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(_) => Ok(()),
        // The resolver's "not known" and "no address"; "temporary failure" may pass.
        Err(error) if !error.to_string().to_lowercase().contains("temporary") => {
            Err(ConnectError::UnknownHost { place: place.to_owned() })
        }
        Err(error) => Err(ConnectError::Unreachable { place: place.to_owned(), cause: Box::new(error) }),
    }
}
