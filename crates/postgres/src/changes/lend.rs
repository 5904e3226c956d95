//! A session for replication, logged in by the driver.
//!
//! The driver knows hosts, TLS, passwords and channel binding, and nothing of replication. So its stream is lent to it:
//! the wish for replication is added to the first message that it writes, and once the login stands its stream is taken
//! back and is ours.

use crate::framed::Layer;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// The parameter of a startup message that asks for replication within one database.
/// Source: <https://www.postgresql.org/docs/current/protocol-replication.html>, read 2026-11-21.
const REPLICATION: &[u8] = b"replication\0database\0";

/// Length and protocol version, which stand before the parameters.
const STARTUP_HEADER_BYTES: usize = 8;

/// The server's bytes, through TLS where it is used.
pub(super) type Stream = Box<dyn TlsStream + Send + Unpin>;

/// Where the stream of the last login lies until it is taken.
#[derive(Clone, Default)]
pub(crate) struct Lend(Arc<Mutex<Option<Stream>>>);

impl Lend {
    /// Takes the stream back. Until then a dropped client ends the session.
    pub(super) fn take(&self) -> Option<Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Layer for Lend {
    type Over<S: TlsStream + Unpin + Send + 'static> = Lent;

    fn over<S: TlsStream + Unpin + Send + 'static>(&self, stream: S) -> Lent {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stream));
        Lent { lender: self.clone(), has_begun: false, startup: Vec::new() }
    }
}

/// What the driver holds: the stream until it is taken back, then nothing.
pub(crate) struct Lent {
    lender: Lend,
    has_begun: bool,
    /// What is not written yet of the startup message.
    startup: Vec<u8>,
}

impl Lent {
    fn with<T>(&self, act: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match self.lender.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(stream) => act(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_startup(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.startup.is_empty() {
            let written = ready!(self.with(|stream| stream.poll_write(cx, &self.startup)))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.startup.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The driver's startup message, asking for replication. The driver writes it whole, and first.
fn with_replication(startup: &[u8]) -> Option<Vec<u8>> {
    let (header, parameters) = startup.split_at_checked(STARTUP_HEADER_BYTES)?;
    let (length, version) = header.split_at(STARTUP_HEADER_BYTES / 2);
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if length as usize != startup.len() {
        return None;
    }
    let length = length + u32::try_from(REPLICATION.len()).ok()?;
    Some([&length.to_be_bytes(), version, REPLICATION, parameters].concat())
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_read(cx, into))
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.has_begun {
            self.has_begun = true;
            let Some(startup) = with_replication(bytes) else {
                return Poll::Ready(Err(io::Error::other("the driver began with no whole startup message")));
            };
            self.startup = startup;
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_startup(cx))?;
        self.with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_startup(cx))?;
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}

impl TlsStream for Lent {
    fn channel_binding(&self) -> ChannelBinding {
        let stream = self.lender.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream.as_ref().map_or_else(ChannelBinding::none, |stream| stream.channel_binding())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_asked_for_in_a_message_that_says_its_length() {
        let plain = b"\0\0\0\x10\0\x03\0\0user\0me\0";
        let asked = with_replication(plain).unwrap();
        assert_eq!(asked, b"\0\0\0\x25\0\x03\0\0replication\0database\0user\0me\0");
        assert_eq!(usize::from(asked[3]), asked.len());
    }

    #[test]
    fn what_is_no_whole_startup_message_is_refused() {
        for bytes in [&b""[..], b"\0\0\0\x10", b"\0\0\0\x11\0\x03\0\0user\0me\0"] {
            assert_eq!(with_replication(bytes), None);
        }
    }
}
