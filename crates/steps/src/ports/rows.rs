use super::{ChunkReceiver, ChunkSender, SourceError, TargetError};
use async_trait::async_trait;
use keepsake_domain::{PartPlan, SequenceValue};

/// One connection that reads rows, in a snapshot where it belongs to a source.
#[async_trait]
pub trait RowReader: Send {
    /// Sends a part's rows as `COPY` text, in pieces of any size up to 8 MiB, then [`super::Chunk::End`] after the server said
    /// that the copy is complete. Session settings are pinned, so that two servers print equal rows equally.
    ///
    /// # Errors
    /// [`SourceError`]; then no end is sent.
    async fn copy_out(&mut self, part: &PartPlan, to: &ChunkSender) -> Result<(), SourceError>;

    /// Sends the content of all large objects as rows (object id, chunk number, chunk of up to 256 KiB), ordered,
    /// for their digest.
    ///
    /// # Errors
    /// As for `copy_out`.
    async fn copy_large_objects_out(&mut self, to: &ChunkSender) -> Result<(), SourceError>;

    /// Where all sequences stand now. Sequences are not transactional: values are at or after the snapshot.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn sequences(&mut self) -> Result<Vec<SequenceValue>, SourceError>;
}

/// One connection that writes rows.
#[async_trait]
pub trait RowWriter: Send {
    /// Loads one part in one transaction, and records it there as loaded.
    ///
    /// `from` carries `COPY` text; the transaction commits only after [`super::Chunk::End`]. A part that was loaded
    /// before is not loaded again: see [`super::Target::loaded_parts`].
    ///
    /// # Errors
    /// [`TargetError`]; then nothing of the part stays.
    async fn copy_in(&mut self, part: &PartPlan, from: ChunkReceiver) -> Result<u64, TargetError>;
}
