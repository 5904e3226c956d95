//! A connector of the driver that agrees on TLS as libpq does, and lays something over its streams, with TLS and
//! without: [`CopyFrames`] for reading rows, `changes/lend.rs` for a session that streams changes.
//!
//! The driver lets another stream stand between it and its socket only in TLS's place. So it is told to begin with TLS
//! at once, and the request for TLS, which it would send, is sent here.

use crate::address::TlsMode;
use crate::copy_frames::CopyFrames;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

/// Length and code. Source: <https://www.postgresql.org/docs/current/protocol-message-formats.html>, read 2026-11-21.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const GRANTED: u8 = b'S';

/// What is laid over a stream, between the wire and the driver.
pub(crate) trait Layer: Clone + Send + Sync + 'static {
    type Over<S: TlsStream + Unpin + Send + 'static>: TlsStream + Unpin + Send + 'static;

    fn over<S: TlsStream + Unpin + Send + 'static>(&self, stream: S) -> Self::Over<S>;
}

/// Rows in messages of a useful size.
#[derive(Clone, Copy)]
pub(crate) struct Rows;

impl Layer for Rows {
    type Over<S: TlsStream + Unpin + Send + 'static> = CopyFrames<S>;

    fn over<S: TlsStream + Unpin + Send + 'static>(&self, stream: S) -> CopyFrames<S> {
        CopyFrames::new(stream)
    }
}

/// `tls` makes the handshake where `mode` and the server want one; `layer` is laid over what it gives.
#[derive(Clone)]
pub(crate) struct Framed<T, L> {
    pub mode: TlsMode,
    pub tls: T,
    pub layer: L,
}

impl<S, T: MakeTlsConnect<S>, L: Layer> MakeTlsConnect<S> for Framed<T, L>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Stream: Unpin + Send + 'static,
    T::TlsConnect: Send + 'static,
    <T::TlsConnect as TlsConnect<S>>::Future: Send,
{
    type Stream = L::Over<MaybeTls<S, T::Stream>>;
    type TlsConnect = Framed<T::TlsConnect, L>;
    type Error = T::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, Self::Error> {
        let tls = self.tls.make_tls_connect(domain)?;
        Ok(Framed { mode: self.mode, tls, layer: self.layer.clone() })
    }
}

impl<S, T: TlsConnect<S> + Send + 'static, L: Layer> TlsConnect<S> for Framed<T, L>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T::Stream: Unpin + Send + 'static,
    T::Future: Send,
{
    type Stream = L::Over<MaybeTls<S, T::Stream>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, mut stream: S) -> Self::Future {
        Box::pin(async move {
            let stream = if is_granted(self.mode, &mut stream).await? {
                MaybeTls::Tls(self.tls.connect(stream).await.map_err(Into::into)?)
            } else {
                MaybeTls::Plain(stream)
            };
            Ok(self.layer.over(stream))
        })
    }
}

/// Asks the server for TLS, unless nobody wants it; an error where it must be and is not.
async fn is_granted<S>(mode: TlsMode, stream: &mut S) -> Result<bool, Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if mode == TlsMode::Disable {
        return Ok(false);
    }
    stream.write_all(&SSL_REQUEST).await?;
    stream.flush().await?;
    let granted = stream.read_u8().await? == GRANTED;
    if granted || mode == TlsMode::Prefer { Ok(granted) } else { Err("server does not support TLS".into()) }
}

/// Bytes as the socket gives them, or through TLS. Without TLS there is no channel that a login could be bound to.
pub(crate) enum MaybeTls<S, T> {
    Plain(S),
    Tls(T),
}

impl<S: AsyncRead + AsyncWrite + Unpin, T: TlsStream + Unpin> TlsStream for MaybeTls<S, T> {
    fn channel_binding(&self) -> ChannelBinding {
        match self {
            Self::Plain(_) => ChannelBinding::none(),
            Self::Tls(stream) => stream.channel_binding(),
        }
    }
}

impl<S: AsyncRead + Unpin, T: AsyncRead + Unpin> AsyncRead for MaybeTls<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl<S: AsyncWrite + Unpin, T: AsyncWrite + Unpin> AsyncWrite for MaybeTls<S, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
