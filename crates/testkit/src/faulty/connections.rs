//! What a source or a target hands out: connections and held transactions, with the faults of the same script.

use super::OfScript;
use crate::Faults;
use async_trait::async_trait;
use keepsake_domain::{Lsn, PartPlan, SequenceValue, Timestamp, TransactionSnapshot};
use keepsake_steps::ports::{
    AppliedChanges, ChangeApplier, ChangeBatch, ChangeMessage, ChangeStream, ChunkReceiver, ChunkSender,
    GiveWay, HeldSnapshot, RowReader, RowWriter, SourceError, Strain, TargetError, Waiting,
};
use std::sync::Arc;
use std::time::Duration;

/// A reading connection with faults.
pub struct FaultyRowReader {
    inner: Box<dyn RowReader>,
    faults: Arc<Faults>,
}

impl FaultyRowReader {
    pub(super) fn wrap(inner: Box<dyn RowReader>, faults: &Arc<Faults>) -> Box<dyn RowReader> {
        Box::new(Self { inner, faults: Arc::clone(faults) })
    }
}

#[async_trait]
impl RowReader for FaultyRowReader {
    async fn copy_out(&mut self, part: &PartPlan, to: &ChunkSender) -> Result<(), SourceError> {
        let act = self.inner.copy_out(part, to);
        self.faults.around("RowReader.copy_out".to_owned(), act, SourceError::of_script).await
    }

    async fn copy_large_objects_out(&mut self, to: &ChunkSender) -> Result<(), SourceError> {
        let act = self.inner.copy_large_objects_out(to);
        self.faults.around("RowReader.copy_large_objects_out".to_owned(), act, SourceError::of_script).await
    }

    async fn sequences(&mut self) -> Result<Vec<SequenceValue>, SourceError> {
        let act = self.inner.sequences();
        self.faults.around("RowReader.sequences".to_owned(), act, SourceError::of_script).await
    }
}

/// A writing connection with faults.
pub struct FaultyRowWriter {
    inner: Box<dyn RowWriter>,
    faults: Arc<Faults>,
}

impl FaultyRowWriter {
    pub(super) fn wrap(inner: Box<dyn RowWriter>, faults: &Arc<Faults>) -> Box<dyn RowWriter> {
        Box::new(Self { inner, faults: Arc::clone(faults) })
    }
}

#[async_trait]
impl RowWriter for FaultyRowWriter {
    async fn copy_in(&mut self, part: &PartPlan, from: ChunkReceiver) -> Result<u64, TargetError> {
        let act = self.inner.copy_in(part, from);
        self.faults.around("RowWriter.copy_in".to_owned(), act, TargetError::of_script).await
    }
}

/// A transaction that holds a snapshot, with faults.
pub struct FaultyHeldSnapshot {
    inner: Box<dyn HeldSnapshot>,
    faults: Arc<Faults>,
}

impl FaultyHeldSnapshot {
    pub(super) fn wrap(inner: Box<dyn HeldSnapshot>, faults: &Arc<Faults>) -> Box<dyn HeldSnapshot> {
        Box::new(Self { inner, faults: Arc::clone(faults) })
    }
}

#[async_trait]
impl HeldSnapshot for FaultyHeldSnapshot {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn snapshot(&self) -> &TransactionSnapshot {
        self.inner.snapshot()
    }

    fn lsn(&self) -> Lsn {
        self.inner.lsn()
    }

    fn taken_at(&self) -> Timestamp {
        self.inner.taken_at()
    }

    fn backend_pid(&self) -> i32 {
        self.inner.backend_pid()
    }

    async fn check(&self, patience: Duration) -> Result<Strain, SourceError> {
        let act = self.inner.check(patience);
        self.faults.around("HeldSnapshot.check".to_owned(), act, SourceError::of_script).await
    }

    async fn give_way(&self, waiting: &Waiting, how: GiveWay) -> Result<(), SourceError> {
        let act = self.inner.give_way(waiting, how);
        self.faults.around("HeldSnapshot.give_way".to_owned(), act, SourceError::of_script).await
    }

    async fn end_readers(&self) -> Result<(), SourceError> {
        let act = self.inner.end_readers();
        self.faults.around("HeldSnapshot.end_readers".to_owned(), act, SourceError::of_script).await
    }

    async fn end(self: Box<Self>) -> Result<(), SourceError> {
        let Self { inner, faults } = *self;
        faults.around("HeldSnapshot.end".to_owned(), inner.end(), SourceError::of_script).await
    }
}

/// A stream of changes with faults.
pub struct FaultyChangeStream {
    inner: Box<dyn ChangeStream>,
    faults: Arc<Faults>,
}

impl FaultyChangeStream {
    pub(super) fn wrap(inner: Box<dyn ChangeStream>, faults: &Arc<Faults>) -> Box<dyn ChangeStream> {
        Box::new(Self { inner, faults: Arc::clone(faults) })
    }
}

#[async_trait]
impl ChangeStream for FaultyChangeStream {
    async fn next(&mut self) -> Result<ChangeMessage, SourceError> {
        let act = self.inner.next();
        self.faults.around("ChangeStream.next".to_owned(), act, SourceError::of_script).await
    }

    async fn confirm(&mut self, lsn: Lsn) -> Result<(), SourceError> {
        let act = self.inner.confirm(lsn);
        self.faults.around("ChangeStream.confirm".to_owned(), act, SourceError::of_script).await
    }

    async fn end(self: Box<Self>) -> Result<(), SourceError> {
        let Self { inner, faults } = *self;
        faults.around("ChangeStream.end".to_owned(), inner.end(), SourceError::of_script).await
    }
}

/// A connection that applies changes, with faults.
pub struct FaultyChangeApplier {
    inner: Box<dyn ChangeApplier>,
    faults: Arc<Faults>,
}

impl FaultyChangeApplier {
    pub(super) fn wrap(inner: Box<dyn ChangeApplier>, faults: &Arc<Faults>) -> Box<dyn ChangeApplier> {
        Box::new(Self { inner, faults: Arc::clone(faults) })
    }
}

#[async_trait]
impl ChangeApplier for FaultyChangeApplier {
    async fn applied(&mut self) -> Result<AppliedChanges, TargetError> {
        let act = self.inner.applied();
        self.faults.around("ChangeApplier.applied".to_owned(), act, TargetError::of_script).await
    }

    async fn apply(&mut self, batch: &ChangeBatch) -> Result<(), TargetError> {
        let act = self.inner.apply(batch);
        self.faults.around("ChangeApplier.apply".to_owned(), act, TargetError::of_script).await
    }
}
