//! Between the wire and the driver: the rows of a `COPY … TO STDOUT` in messages of a useful size.
//!
//! The server sends one message per row, and the driver gathers each whole message in memory and wakes its reader for
//! it. Here short rows become one message, so that a reader is woken once for many, and a long row becomes many, so
//! that no row is ever held whole, whatever its length. All other messages pass as they are.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// The largest message that comes out. The server sends 8 KiB at a time; a socket holds several of these.
const MESSAGE_BYTES: usize = 64 * 1024;

/// Tag and length of a message.
const HEADER_BYTES: usize = 5;

const COPY_DATA: u8 = b'd';

/// A stream of the server's messages, its rows reframed. Writes pass as they are.
pub(crate) struct CopyFrames<S> {
    inner: S,
    buffer: Box<[u8]>,
    /// What waits to be read, as it comes out.
    ready: std::ops::Range<usize>,
    /// What came in and is no whole header yet.
    rest: std::ops::Range<usize>,
    message: Message,
}

/// The message that is under way.
#[derive(Clone, Copy)]
struct Message {
    is_row: bool,
    /// Bytes of it that have not come in.
    missing: usize,
}

impl<S> CopyFrames<S> {
    /// From the first message on.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            buffer: vec![0; HEADER_BYTES + MESSAGE_BYTES].into_boxed_slice(),
            ready: 0..0,
            rest: 0..0,
            message: Message { is_row: false, missing: 0 },
        }
    }

    /// Reframes what lies in `buffer[from..to]`, in place. What comes out is never longer than what came in and the
    /// header's room before it, since a row that goes on needs one header more, and all others had one.
    fn reframe(&mut self, from: usize, to: usize) {
        let (mut read, mut write) = (from, 0);
        let mut row_begins: Option<usize> = None;
        loop {
            let count = self.message.missing.min(to - read);
            if count > 0 {
                if self.message.is_row && row_begins.is_none() {
                    row_begins = Some(write);
                    write += HEADER_BYTES;
                }
                self.buffer.copy_within(read..read + count, write);
                self.message.missing -= count;
                (read, write) = (read + count, write + count);
            }
            let Some(next) = next_message(&self.buffer[read..to]).filter(|_| self.message.missing == 0)
            else {
                break;
            };
            self.message = next;
            if next.is_row {
                read += HEADER_BYTES;
            } else {
                self.end_row(row_begins.take(), write);
            }
        }
        self.end_row(row_begins, write);
        (self.ready, self.rest) = (0..write, read..to);
    }

    /// Writes the header of the row message that began there and ends here.
    fn end_row(&mut self, begins: Option<usize>, ends: usize) {
        let Some(begins) = begins else { return };
        let bytes = u32::try_from(ends - begins - 1).expect("a buffer is smaller than 4 GiB");
        self.buffer[begins] = COPY_DATA;
        self.buffer[begins + 1..begins + HEADER_BYTES].copy_from_slice(&bytes.to_be_bytes());
    }
}

/// `None` when the header is not whole. A header that cannot be passes on, for the driver to complain of.
fn next_message(bytes: &[u8]) -> Option<Message> {
    let (header, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let [tag, length @ ..] = *header;
    // The length counts itself and not the tag.
    let length = u32::from_be_bytes(length) as usize;
    let is_row = tag == COPY_DATA && length >= 4;
    let missing = if is_row { length - 4 } else { (length + 1).max(HEADER_BYTES) };
    Some(Message { is_row, missing })
}

impl<S: AsyncRead + Unpin> CopyFrames<S> {
    /// Reads once and reframes; false at the end of the stream, where an unfinished header comes out as it is.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // Room for the header of a row that goes on.
        let kept = self.rest.len();
        self.buffer.copy_within(self.rest.clone(), HEADER_BYTES);
        self.rest = HEADER_BYTES..HEADER_BYTES + kept;
        let mut into = ReadBuf::new(&mut self.buffer[HEADER_BYTES + kept..]);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut into))?;
        let count = into.filled().len();
        if count == 0 {
            (self.ready, self.rest) = (self.rest.clone(), 0..0);
            return Poll::Ready(Ok(!self.ready.is_empty()));
        }
        self.reframe(HEADER_BYTES, HEADER_BYTES + kept + count);
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CopyFrames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Ends: each turn takes bytes from the stream, or ends, or waits.
        while this.ready.is_empty() {
            if !ready!(this.poll_fill(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
        let count = this.ready.len().min(into.remaining());
        into.put_slice(&this.buffer[this.ready.start..this.ready.start + count]);
        this.ready.start += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CopyFrames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for CopyFrames<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

#[cfg(test)]
#[path = "copy_frames_tests.rs"]
mod tests;
