//! Messages of the server and to it, as they go over a session for replication.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol-message-formats.html>, read 2026-11-21.

use super::lend::Stream;
use crate::error::ServerMessage;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

/// Read at a time, if there is so much. Short messages share one such buffer; the memory of a long one, which the server
/// limits to 1 GiB, is its own and is given back with it.
const BUFFER_BYTES: usize = 256 << 10;
/// A buffer with less room left is replaced.
const ROOM_BYTES: usize = 16 << 10;

/// What Postgres itself allows a message to be, and a little for its header.
/// Source: `MaxAllocSize` in `memutils.h` of PostgreSQL 18, read 2026-11-21.
const LONGEST_MESSAGE: usize = (1 << 30) + 64;

/// Tag and length of a message.
const HEADER_BYTES: usize = 5;

/// One message: its tag, and what follows the length.
pub(super) struct Message {
    pub tag: u8,
    pub body: Bytes,
}

/// The reading half of a session.
pub(super) struct Wire {
    stream: ReadHalf<Stream>,
    buffer: BytesMut,
}

/// The writing half.
pub(super) struct Pen(WriteHalf<Stream>);

pub(super) fn halves(stream: Stream) -> (Wire, Pen) {
    let (read, write) = tokio::io::split(stream);
    (Wire { stream: read, buffer: BytesMut::new() }, Pen(write))
}

impl Wire {
    /// The next message; an error when the server says nothing for `silence`. A call that is dropped loses nothing.
    pub async fn next(&mut self, silence: Duration) -> io::Result<Message> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            let silent = |_| {
                let said = format!("the server was silent for {} seconds", silence.as_secs());
                io::Error::new(io::ErrorKind::TimedOut, said)
            };
            if tokio::time::timeout(silence, read).await.map_err(silent)?? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
    }

    /// A message that came in whole. Else makes room for what is missing of it.
    fn take(&mut self) -> io::Result<Option<Message>> {
        let missing = match self.buffer.split_first_chunk::<HEADER_BYTES>() {
            None => 0,
            Some(([tag, length @ ..], rest)) => {
                let length = u32::from_be_bytes(*length) as usize;
                if !(4..=LONGEST_MESSAGE).contains(&length) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a message of a length that none has",
                    ));
                }
                if rest.len() >= length - 4 {
                    let tag = *tag;
                    let mut body = self.buffer.split_to(length + 1).freeze();
                    body.advance(HEADER_BYTES);
                    return Ok(Some(Message { tag, body }));
                }
                length - 4 - rest.len()
            }
        };
        if missing > ROOM_BYTES {
            self.buffer.reserve(missing);
        } else if self.buffer.capacity() - self.buffer.len() < ROOM_BYTES {
            self.buffer.reserve(BUFFER_BYTES);
        }
        Ok(None)
    }
}

impl Pen {
    /// Writes messages, within `patience`.
    pub async fn write(&mut self, messages: &[u8], patience: Duration) -> io::Result<()> {
        let write = async {
            self.0.write_all(messages).await?;
            self.0.flush().await
        };
        let stuck = |_| io::Error::new(io::ErrorKind::TimedOut, "the server takes nothing");
        tokio::time::timeout(patience, write).await.map_err(stuck)?
    }
}

/// A message to the server.
pub(super) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("our messages are short");
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

/// A statement for the simple query protocol, the only one that a session for replication takes.
pub(super) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

/// Code and message of an error that the server sent.
pub(super) fn server_message(body: &[u8]) -> (String, ServerMessage) {
    let field = |tag: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find_map(|field| field.split_first().filter(|(first, _)| **first == tag));
        String::from_utf8_lossy(found.map_or(&[][..], |(_, text)| text)).into_owned()
    };
    let code = field(b'C');
    let message = ServerMessage::new(&code, &field(b'M'));
    (code, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
    use tokio_postgres::tls::{ChannelBinding, TlsStream};

    struct Plain(DuplexStream);

    impl AsyncRead for Plain {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, into)
        }
    }

    impl AsyncWrite for Plain {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    impl TlsStream for Plain {
        fn channel_binding(&self) -> ChannelBinding {
            ChannelBinding::none()
        }
    }

    const PATIENCE: Duration = Duration::from_secs(60);

    async fn read_back(bytes: Vec<u8>, at_a_time: usize) -> io::Result<Vec<(u8, usize)>> {
        let (server, client) = tokio::io::duplex(at_a_time);
        let writer = tokio::spawn(async move {
            let mut server = server;
            let _ = server.write_all(&bytes).await;
        });
        let (mut wire, _pen) = halves(Box::new(Plain(client)));
        let mut read = Vec::new();
        let end = loop {
            match wire.next(PATIENCE).await {
                Ok(message) => read.push((message.tag, message.body.len())),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break Ok(read),
                Err(error) => break Err(error),
            }
        };
        drop(wire);
        writer.await.unwrap();
        end
    }

    #[tokio::test]
    async fn messages_come_out_whole_however_their_bytes_come_in() {
        let lengths = [0, 1, 7, 5_000, 300_000, 2, 3_000_000, 0, 40];
        let bytes: Vec<u8> = lengths.iter().flat_map(|length| message(b'd', &vec![7; *length])).collect();
        let wanted: Vec<(u8, usize)> = lengths.iter().map(|length| (b'd', *length)).collect();
        for at_a_time in [1 << 10, 8 << 10, 1 << 20] {
            assert_eq!(
                read_back(bytes.clone(), at_a_time).await.unwrap(),
                wanted,
                "{at_a_time} bytes at a time"
            );
        }
        assert_eq!(read_back(bytes[..60].to_vec(), 1).await.unwrap(), [(b'd', 0), (b'd', 1), (b'd', 7)]);
    }

    #[tokio::test]
    async fn a_length_that_no_message_has_is_an_error() {
        for length in [0_u32, 3, u32::MAX] {
            let bytes = [&b"d"[..], &length.to_be_bytes()].concat();
            assert_eq!(read_back(bytes, 64).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn an_error_of_the_server_has_a_code_and_a_message() {
        let (code, said) = server_message(b"SERROR\0C55006\0Mslot is active\0Dsecret\0\0");
        assert_eq!((code.as_str(), said.to_string().as_str()), ("55006", "slot is active (SQLSTATE 55006)"));
    }
}
