//! Whether the source's log is still the one that was captured: a source that was set back to an older copy of itself has
//! another one at the same positions.

use crate::StepError;
use crate::list_changes::StandingChanges;
use crate::ports::{ChangeMessage, ChangeStream};
use crate::relations::Relations;
use keepsake_archive::{MessageHead, heartbeat_said};
use keepsake_domain::{Lsn, Timestamp};

/// What the newest segment's end is known by: times are to the microsecond, and no manifest says more without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landmark {
    /// The latest commit.
    Commit(Timestamp),
    /// The mark at which a segment without transactions ended.
    Heartbeat(Timestamp),
    /// A clock that was set back leaves nothing to be known by.
    Unknown,
    /// Nothing was captured yet, so nothing can be sent again.
    Nothing,
}

impl Landmark {
    /// That of the newest manifest.
    pub(crate) fn of(end: &StandingChanges) -> Self {
        let Some(segment) = end.segment() else { return Self::Nothing };
        match segment.last_commit_at {
            Some(at) => Self::Commit(at),
            None if segment.ended_at == segment.started_at => Self::Unknown,
            None => Self::Heartbeat(segment.ended_at),
        }
    }

    fn is(self, head: &MessageHead) -> bool {
        match (self, head) {
            (Self::Commit(wanted), MessageHead::Begin { commit_at, .. }) => wanted == *commit_at,
            (Self::Heartbeat(wanted), MessageHead::Logical { prefix, content, .. }) => {
                heartbeat_said(prefix, content) == Some(wanted)
            }
            _ => false,
        }
    }
}

/// An open stream, with what it has described.
pub(crate) struct OpenStream {
    stream: Box<dyn ChangeStream>,
    pub relations: Relations,
    /// Read and not yet taken.
    pending: Option<ChangeMessage>,
}

impl OpenStream {
    pub(crate) fn new(stream: Box<dyn ChangeStream>) -> Self {
        Self { stream, relations: Relations::default(), pending: None }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<ChangeMessage, StepError> {
        match self.pending.take() {
            Some(message) => Ok(message),
            None => Ok(self.stream.next().await?),
        }
    }

    /// Tells the server what stands.
    pub(crate) async fn confirm(&mut self, lsn: Lsn) -> Result<(), StepError> {
        Ok(self.stream.confirm(lsn).await?)
    }

    /// Ends it after the server took the last confirmation.
    pub(crate) async fn end(self) -> Result<(), StepError> {
        Ok(self.stream.end().await?)
    }

    /// Passes over what stands up to `captured` and is sent again; answers whether the landmark was there. As much as the slot
    /// keeps, which the governor bounds.
    pub(crate) async fn pass_over(&mut self, captured: Lsn, landmark: Landmark) -> Result<bool, StepError> {
        let (mut is_inside, mut is_known) = (false, landmark == Landmark::Unknown);
        loop {
            let message = self.stream.next().await?;
            let is_behind = match &message {
                ChangeMessage::Keepalive { end } => !is_inside && *end >= captured,
                ChangeMessage::Wal { payload, .. } => {
                    let head = MessageHead::of(payload)?;
                    let is_behind = match &head {
                        MessageHead::Begin { final_lsn, .. } => *final_lsn >= captured,
                        // Named by where its record ends.
                        MessageHead::Logical { is_transactional: false, lsn, .. } => *lsn > captured,
                        _ => false,
                    };
                    if !is_behind {
                        self.relations.take(&head, payload);
                        is_known |= landmark.is(&head);
                        match head {
                            MessageHead::Begin { .. } => is_inside = true,
                            // No segment ends within a commit's record.
                            MessageHead::Commit { end_lsn } if end_lsn > captured => return Ok(false),
                            MessageHead::Commit { .. } => is_inside = false,
                            _ => {}
                        }
                    }
                    is_behind
                }
            };
            if is_behind {
                self.pending = Some(message);
                // What was counted stands already.
                self.relations.take_counts();
                return Ok(is_known);
            }
        }
    }
}
