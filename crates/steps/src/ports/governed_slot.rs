use super::SourceError;
use async_trait::async_trait;
use keepsake_domain::{SlotLook, TableName};

/// Our slot as whoever watches over the source sees it. Needs SQL only, so it works while everything else of capture
/// does not.
#[async_trait]
pub trait GovernedSlot: Send + Sync {
    /// The slot's name on the server.
    fn name(&self) -> &str;

    /// What the slot costs its server now; `None` when there is no slot, which costs nothing. Changes nothing.
    ///
    /// # Errors
    /// [`SourceError`].
    async fn look(&self) -> Result<Option<SlotLook>, SourceError>;

    /// Takes tables out of our publication that lost their replica identity since they were published: until then their
    /// owner's UPDATE and DELETE fail. Answers them; a second call finds none.
    ///
    /// # Errors
    /// [`SourceError`]. A table that is locked is left to the next call.
    async fn release_tables(&self) -> Result<Vec<TableName>, SourceError>;

    /// Ends whoever streams from the slot and drops it; whether there was one. The publication stays, so that the next
    /// capture knows that it was not given up.
    ///
    /// # Errors
    /// [`SourceError`]; then the slot may still be there.
    async fn drop_slot(&self) -> Result<bool, SourceError>;
}
