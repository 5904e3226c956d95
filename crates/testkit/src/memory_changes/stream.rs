//! The twin's stream: the records of its log as a server sends them.

use super::{MemoryChangeSource, State, messages, unreachable};
use async_trait::async_trait;
use bytes::Bytes;
use keepsake_domain::Lsn;
use keepsake_steps::ports::{ChangeMessage, ChangeStream, SourceError};
use std::sync::Arc;

pub(super) struct MemoryStream {
    source: MemoryChangeSource,
    session: u64,
    /// Records that begin before were sent.
    at: Lsn,
    /// The client knows that the log was read so far.
    reached: Lsn,
    /// Messages that were made and not sent yet, the last first.
    ready: Vec<(Lsn, Bytes)>,
    is_described: bool,
}

impl MemoryStream {
    /// From that position on, as the session of that number.
    pub(super) fn begin(source: MemoryChangeSource, session: u64, from: Lsn) -> Self {
        Self { source, session, at: from, reached: from, ready: Vec::new(), is_described: false }
    }

    /// A server lets one session stream from a slot; when the next one comes, this one was given up.
    fn check(&self, state: &State) -> Result<(), SourceError> {
        let is_mine = state.shares_slot || state.session == self.session;
        if is_mine && state.slot.is_some() { Ok(()) } else { Err(unreachable("the server ended the stream")) }
    }

    fn poll(&mut self) -> Result<Option<ChangeMessage>, SourceError> {
        let source = self.source.clone();
        let state = source.lock();
        self.check(&state)?;
        if self.ready.is_empty()
            && let Some(record) = state.log.iter().find(|record| record.start >= self.at)
        {
            self.at = record.end;
            self.ready = messages::of(record, &mut self.is_described);
        }
        if let Some((start, payload)) = self.ready.pop() {
            self.reached = self.reached.max(start);
            return Ok(Some(ChangeMessage::Wal { start, end: start, payload }));
        }
        if self.reached < state.lsn {
            self.reached = state.lsn;
            return Ok(Some(ChangeMessage::Keepalive { end: state.lsn }));
        }
        Ok(None)
    }
}

#[async_trait]
impl ChangeStream for MemoryStream {
    async fn next(&mut self) -> Result<ChangeMessage, SourceError> {
        let written = Arc::clone(&self.source.written);
        loop {
            let waiting = written.notified();
            if let Some(message) = self.poll()? {
                return Ok(message);
            }
            waiting.await;
        }
    }

    async fn confirm(&mut self, lsn: Lsn) -> Result<(), SourceError> {
        assert!(lsn <= self.reached, "{lsn} is confirmed, and the stream reached {}", self.reached);
        let on_confirm = {
            let state = self.source.lock();
            self.check(&state)?;
            state.on_confirm.clone()
        };
        if let Some(act) = on_confirm {
            act(lsn).await;
        }
        if let Some(slot) = &mut self.source.lock().slot {
            slot.confirmed = slot.confirmed.max(lsn);
        }
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}
