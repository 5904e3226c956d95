//! Brings a stream of any pieces into the chunk size that uploads want.

use crate::StepError;
use crate::ports::{Chunk, ChunkReceiver, ChunkSender};
use bytes::{Bytes, BytesMut};
use keepsake_archive::CHUNK_BYTES;

/// Passes bytes on in chunks of exactly 8 MiB, the last one shorter, and the end only after an end.
pub(crate) async fn rechunk(mut from: ChunkReceiver, to: ChunkSender) -> Result<(), StepError> {
    let gone = || StepError::WorkerDied { what: "a stream".to_owned() };
    let mut open = BytesMut::with_capacity(CHUNK_BYTES);
    loop {
        match from.recv().await {
            Some(Chunk::Data(bytes)) => {
                let mut bytes: Bytes = bytes;
                while open.len() + bytes.len() >= CHUNK_BYTES {
                    open.extend_from_slice(&bytes.split_to(CHUNK_BYTES - open.len()));
                    let full = std::mem::replace(&mut open, BytesMut::with_capacity(CHUNK_BYTES));
                    to.send(Chunk::Data(full.freeze())).await.map_err(|_| gone())?;
                }
                open.extend_from_slice(&bytes);
            }
            Some(Chunk::End) => break,
            None => return Err(gone()),
        }
    }
    if !open.is_empty() {
        to.send(Chunk::Data(open.freeze())).await.map_err(|_| gone())?;
    }
    to.send(Chunk::End).await.map_err(|_| gone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ports::chunks;

    async fn through(pieces: Vec<usize>, end: bool) -> (Vec<usize>, bool) {
        let (sender, from) = chunks();
        let (to, mut rechunked) = chunks();
        let feed = async move {
            for piece in pieces {
                sender.send(Chunk::Data(Bytes::from(vec![7; piece]))).await.unwrap();
            }
            if end {
                sender.send(Chunk::End).await.unwrap();
            }
        };
        let collect = async move {
            let (mut sizes, mut ended) = (Vec::new(), false);
            while let Some(chunk) = rechunked.recv().await {
                match chunk {
                    Chunk::Data(bytes) => sizes.push(bytes.len()),
                    Chunk::End => ended = true,
                }
            }
            (sizes, ended)
        };
        tokio::join!(feed, rechunk(from, to), collect).2
    }

    #[tokio::test]
    async fn all_chunks_but_the_last_are_full() {
        let (sizes, ended) = through(vec![CHUNK_BYTES - 1, 3, 2 * CHUNK_BYTES], true).await;
        assert_eq!(sizes, [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES, 2]);
        assert!(ended);
    }

    #[tokio::test]
    async fn a_cut_stream_has_no_end() {
        assert!(!through(vec![10], false).await.1);
    }
}
