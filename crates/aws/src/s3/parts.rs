//! Chunks of any size in, parts of one size out.

use bytes::{Bytes, BytesMut};
use keepsake_steps::ports::{Chunk, ChunkReceiver};

/// Bytes per part of an upload; S3 wants at least 5 MiB of all but the last. As large as a chunk of the port, so that
/// chunks pass through without being copied.
pub(crate) const PART_BYTES: usize = 8 * 1024 * 1024;

/// The stream ended without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CutOff;

/// Cuts a stream of chunks into parts of [`PART_BYTES`] and a last, shorter one.
pub(crate) struct Parts {
    chunks: ChunkReceiver,
    kept: BytesMut,
    has_ended: bool,
}

impl Parts {
    pub(crate) fn new(chunks: ChunkReceiver) -> Self {
        Self { chunks, kept: BytesMut::new(), has_ended: false }
    }

    /// The next part, never empty; `None` after the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, CutOff> {
        while self.kept.len() < PART_BYTES && !self.has_ended {
            match self.chunks.recv().await {
                Some(Chunk::Data(bytes)) if self.kept.is_empty() && bytes.len() == PART_BYTES => {
                    return Ok(Some(bytes));
                }
                Some(Chunk::Data(bytes)) => self.kept.extend_from_slice(&bytes),
                Some(Chunk::End) => self.has_ended = true,
                None => return Err(CutOff),
            }
        }
        let part = self.kept.split_to(self.kept.len().min(PART_BYTES)).freeze();
        Ok(Some(part).filter(|part| !part.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepsake_steps::ports::chunks;

    async fn cut(lengths: &[usize], ends: bool) -> (Vec<usize>, Result<Option<Bytes>, CutOff>) {
        let (to, from) = chunks();
        let sender = async move {
            for length in lengths {
                to.send(Chunk::Data(Bytes::from(vec![1; *length]))).await.expect("taken");
            }
            if ends {
                to.send(Chunk::End).await.expect("taken");
            }
        };
        let receiver = async {
            let (mut parts, mut sizes) = (Parts::new(from), Vec::new());
            loop {
                match parts.next().await {
                    Ok(Some(part)) => sizes.push(part.len()),
                    last => return (sizes, last),
                }
            }
        };
        tokio::join!(sender, receiver).1
    }

    #[tokio::test]
    async fn parts_have_one_size_whatever_the_chunks_have() {
        for lengths in
            [&[PART_BYTES, PART_BYTES, 5][..], &[1, PART_BYTES, PART_BYTES - 1, 5], &[PART_BYTES * 2 + 5]]
        {
            assert_eq!(cut(lengths, true).await, (vec![PART_BYTES, PART_BYTES, 5], Ok(None)), "{lengths:?}");
        }
        assert_eq!(cut(&[], true).await, (vec![], Ok(None)));
    }

    #[tokio::test]
    async fn a_stream_without_its_end_has_no_last_part() {
        assert_eq!(cut(&[PART_BYTES, 5], false).await, (vec![PART_BYTES], Err(CutOff)));
    }
}
