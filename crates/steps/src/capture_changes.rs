//! Capture: stream changes from the slot into segments, and confirm to the server only what stands in the repository.

use crate::StepError;
use crate::capture_segment::{Filled, Reading};
use crate::chain::{
    Capture, RunKey, begin_chain, held_by_other, lost, not_protected, other_lineage, put_manifest,
    refuse_where_gone,
};
use crate::known_history::{Landmark, OpenStream};
use crate::list_changes::StandingChanges;
use crate::newest_changes::newest_changes;
use crate::ports::{CaptureState, ProtectWishes};
use crate::streams::{Sealing, upload_sealed};
use bytes::Bytes;
use keepsake_archive::{
    Attempt, ChainReason, ChangesKey, ChangesLayout, Content, FORMAT_VERSION, PreviousChanges,
    SegmentManifest, StoredObject,
};
use keepsake_domain::{BackupId, BoundaryFacts, FailureClass, Lsn, NotCaptured, Position};
use std::time::Duration;
use uuid::Uuid;

/// When a segment ends, which is at the first commit behind a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentBounds {
    /// Bytes before compression.
    pub bytes: u64,
    /// How long one may take, while it goes on for ever; what commits now is safe so much later at most.
    pub span: Duration,
}

impl Default for SegmentBounds {
    /// 64 MiB: what a restore decompresses at once is small, and a busy source makes a few objects a minute. 10 seconds:
    /// a source that is idle costs 17,000 small objects a day.
    fn default() -> Self {
        Self { bytes: 64 << 20, span: Duration::from_secs(10) }
    }
}

/// How long a run captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the position that the source's log had at the start.
    CaughtUp,
    /// The same, or to the first end of a segment so long after the start.
    CaughtUpOr(Duration),
    /// To the first end of a segment so long after the start.
    After(Duration),
    /// For ever.
    Stopped,
}

/// What a run captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The run.
    pub run_id: BackupId,
    /// Where the changes of this source lie.
    pub layout: ChangesLayout,
    /// Segments written.
    pub segments: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Changes in them.
    pub changes: u64,
    /// Where this run's first segment begins.
    pub start: Lsn,
    /// Where the chain ends now.
    pub end: Position,
    /// Changes that are lost before this run: a full backup is needed at once.
    pub gap: Option<String>,
    /// Whether the log had more at the start than was captured, because the time was over.
    pub is_behind: bool,
}

/// What a run tells at once, however it then ends.
#[derive(Debug, Clone, Copy)]
pub enum CaptureSeen<'a> {
    /// Changes are lost before this run, which begins a new chain: a full backup is needed.
    Gap(&'a str),
    /// A segment stands.
    Segment(&'a SegmentManifest),
}

/// Captures changes. `seen` is told of a gap when it is met, and of each segment once it stands.
///
/// A run that died anywhere is followed by one that goes on where the chain ends; the slot may lag behind that and never
/// runs ahead of it.
///
/// # Errors
/// [`keepsake_domain::FailureClass::Conflict`] when another capture wrote a segment first; then nothing was confirmed that it did not
/// write. Others as the ports say; segments that were told stand.
pub async fn capture_changes(
    capture: &Capture<'_>,
    bounds: SegmentBounds,
    until: Until,
    seen: &(dyn Fn(CaptureSeen<'_>) + Send + Sync),
) -> Result<Captured, StepError> {
    let began = capture.clock.now();
    let GoneOn { state, chain, gap, stream } = go_on(capture, seen).await?;
    let key = RunKey::draw(capture, &chain.layout).await?;
    let mut captured = Captured {
        run_id: key.run_id,
        layout: chain.layout.clone(),
        segments: 0,
        transactions: 0,
        changes: 0,
        start: chain.boundary().position.lsn,
        end: chain.boundary().position,
        gap,
        is_behind: false,
    };
    let end = End { boundary: chain.boundary(), link: chain.as_previous(), not_captured: None };
    let mark = match until {
        Until::CaughtUp | Until::CaughtUpOr(_) => Some(capture.source.mark().await?),
        Until::After(_) | Until::Stopped => None,
    };
    let span = mark.is_none().then_some(bounds.span);
    let mut reading = Reading::new(capture, stream, bounds.bytes, span, mark);
    let slot = chain.slot().to_owned();
    let mut writing = Writing { capture, key, state, slot, layout: chain.layout.clone(), end };
    loop {
        let manifest = writing.segment(&mut reading).await?;
        reading.confirm(manifest.end_lsn).await?;
        seen(CaptureSeen::Segment(&manifest));
        captured.segments += 1;
        captured.transactions += manifest.holds.transactions;
        captured.changes += manifest.holds.changes;
        captured.end = Position { lsn: manifest.end_lsn, at: manifest.ended_at };
        captured.is_behind = mark.is_some_and(|mark| manifest.end_lsn < mark.lsn);
        let is_done = match until {
            Until::CaughtUp => !captured.is_behind,
            Until::CaughtUpOr(span) => !captured.is_behind || capture.clock.now() >= began + span,
            Until::After(span) => capture.clock.now() >= began + span,
            Until::Stopped => false,
        };
        if is_done {
            reading.end().await?;
            return Ok(captured);
        }
    }
}

/// Where this run goes on.
struct GoneOn {
    state: CaptureState,
    chain: StandingChanges,
    gap: Option<String>,
    stream: OpenStream,
}

/// Where this run goes on: behind the chain's end, or behind the beginning of a new one and what was lost before it.
async fn go_on(
    capture: &Capture<'_>,
    seen: &(dyn Fn(CaptureSeen<'_>) + Send + Sync),
) -> Result<GoneOn, StepError> {
    let state = capture.source.capture_state().await?;
    let layout = ChangesLayout::new(capture.name, state.lineage.clone());
    let layout = layout.map_err(|_| not_protected(&state, capture.name))?;
    let end = newest_changes(capture.repository, &layout, Some(state.wal_lsn)).await?;
    let what = match &end {
        Some(end) => lost(&state, end)?,
        None => other_lineage(capture.repository, &layout).await?,
    };
    // Whoever removes the publication too wants no capture; a slot that was lost leaves it behind.
    if !state.is_wanted {
        return Err(not_protected(&state, capture.name));
    }
    match (end, what) {
        (Some(end), None) => match open_behind(capture, &state, &end).await? {
            Some(stream) => Ok(GoneOn { state, chain: end, gap: None, stream }),
            None => {
                let captured = end.boundary().position.lsn;
                let what = format!(
                    "the source was set back to an older copy of itself: its write-ahead log up to {captured} is not the one \
                     that was captured"
                );
                begin_behind(capture, state, &layout, Some(&end), Lost { what, slot_anew: true }, seen).await
            }
        },
        (end, Some(what)) => {
            let lost = Lost { what, slot_anew: false };
            begin_behind(capture, state, &layout, end.as_ref(), lost, seen).await
        }
        (None, None) => {
            refuse_where_gone(capture.repository, &state, &layout).await?;
            Err(not_protected(&state, capture.name))
        }
    }
}

/// Opens the stream behind the end of the chain; `None` when the log there is not the one that was captured. A slot that was
/// confirmed up to there is of that very log. One that was not may be of a server that crashed, of a run that died between its
/// manifest and its confirmation, or of an older copy of the source: it sends what stands once more, which shows.
async fn open_behind(
    capture: &Capture<'_>,
    state: &CaptureState,
    end: &StandingChanges,
) -> Result<Option<OpenStream>, StepError> {
    let captured = end.boundary().position.lsn;
    let confirmed = state.slot.as_ref().map_or(captured, |slot| slot.confirmed_lsn);
    let mut stream = OpenStream::new(capture.source.stream(confirmed).await?);
    if confirmed >= captured || stream.pass_over(captured, Landmark::of(end)).await? {
        return Ok(Some(stream));
    }
    stream.end().await?;
    // Another capture may have confirmed what it wrote since the slot was looked at.
    let now = capture.source.capture_state().await?;
    if now.slot.as_ref().map(|slot| slot.confirmed_lsn) == Some(confirmed) {
        return Ok(None);
    }
    Err(StepError::found(
        FailureClass::Transient,
        "another capture of this source was at work at the same time".to_owned(),
        "what it captured stands; this run captured nothing",
        "run keepsake capture again",
    ))
}

/// Why a new chain begins.
struct Lost {
    what: String,
    /// Whether a slot that stands is of no use: it would send what was captured once more, of another log.
    slot_anew: bool,
}

/// Begins a chain behind what was lost.
async fn begin_behind(
    capture: &Capture<'_>,
    state: CaptureState,
    layout: &ChangesLayout,
    end: Option<&StandingChanges>,
    Lost { what, slot_anew }: Lost,
    seen: &(dyn Fn(CaptureSeen<'_>) + Send + Sync),
) -> Result<GoneOn, StepError> {
    held_by_other(capture, &state)?;
    // Before anything that can fail: the next run finds a chain, and hears of no gap.
    seen(CaptureSeen::Gap(&what));
    tracing::warn!(source = capture.name, what, "changes are lost; a new chain begins; run keepsake backup");
    let reason = ChainReason::Gap { what: what.clone() };
    let wishes = ProtectWishes { only_if_wanted: true, slot_anew, ..capture.wishes_here() };
    let chain = begin_chain(capture, &wishes, layout, &state, reason, end).await?.chain;
    let stream = OpenStream::new(capture.source.stream(chain.boundary().position.lsn).await?);
    Ok(GoneOn { state, chain, gap: Some(what), stream })
}

/// Where the chain ends.
struct End {
    boundary: BoundaryFacts,
    link: PreviousChanges,
    /// As this run said it last.
    not_captured: Option<Vec<NotCaptured>>,
}

struct Writing<'a> {
    capture: &'a Capture<'a>,
    key: RunKey,
    state: CaptureState,
    slot: String,
    layout: ChangesLayout,
    end: End,
}

impl Writing<'_> {
    /// Streams one segment into the repository and writes its manifest; only then does it exist.
    async fn segment(&mut self, reading: &mut Reading<'_>) -> Result<SegmentManifest, StepError> {
        let start = self.end.boundary.position.lsn;
        let key = self.layout.segment(self.key.run_id, start, Attempt(Uuid::now_v7()));
        let sealing =
            Sealing { recipient: &self.key.recipient, level: self.capture.level, content: Content::Opaque };
        let mut filled = None;
        let (into, near) = (&mut filled, self.end.boundary.snapshot.xmax);
        let earliest = self.end.boundary.position.at;
        let schema = self.end.boundary.schema_fingerprint.clone();
        let produce = |to| async move {
            *into = Some(reading.fill((near, earliest, &schema), &to).await?);
            Ok(())
        };
        let (object, content) = upload_sealed(self.capture.repository, &key, sealing, produce).await?;
        let filled = filled.ok_or_else(|| StepError::WorkerDied { what: "reading changes".to_owned() })?;
        let boundary = filled.boundary_facts();
        let not_captured = Some(filled.boundary.not_captured.clone());
        let manifest = self.manifest(filled, object, content.raw_bytes);
        let place = ChangesKey::Segment(start);
        let name = self.layout.manifest(place);
        let json = manifest.to_json(&self.key.seal_key);
        let json = json.map_err(|cause| StepError::Work { key: name.clone(), cause })?;
        // What would not be read again must not be written.
        SegmentManifest::parse(&name, &json)?;
        let objects = [&manifest.object];
        let repository = self.capture.repository;
        let sha256 =
            put_manifest(repository, &self.layout, place, &self.key, &objects, Bytes::from(json)).await?;
        let link = PreviousChanges { start_lsn: start, is_chain_start: false, sha256 };
        self.end = End { boundary, link, not_captured };
        Ok(manifest)
    }

    fn manifest(&self, filled: Filled, object: StoredObject, raw_bytes: u64) -> SegmentManifest {
        let before = &self.end.boundary;
        let schema_changed = filled.boundary.schema_fingerprint != before.schema_fingerprint;
        let schema_fingerprint = filled.boundary.schema_fingerprint;
        let (schema_changes, is_replayable) = filled.told.judged(
            (&before.schema_fingerprint, &schema_fingerprint),
            &filled.boundary.not_captured,
            self.capture.parse_statement,
        );
        let not_captured = Some(filled.boundary.not_captured);
        SegmentManifest {
            format_version: FORMAT_VERSION,
            run_id: self.key.run_id,
            source: self.layout.source.clone(),
            lineage: self.layout.lineage.clone(),
            database: self.state.database.clone(),
            server_version: self.state.server_version,
            slot: self.slot.clone(),
            start_lsn: before.position.lsn,
            end_lsn: filled.end_lsn,
            started_at: before.position.at,
            ended_at: filled.at,
            first_commit_at: filled.commits.map(|(first, _)| first),
            last_commit_at: filled.commits.map(|(_, last)| last),
            holds: filled.holds,
            snapshot: filled.boundary.snapshot,
            schema_changed,
            schema_replayable: schema_changed && is_replayable,
            schema_fingerprint,
            schema_changes,
            raw_bytes,
            object,
            tables: filled.tables,
            not_captured: if not_captured == self.end.not_captured { None } else { not_captured },
            recipient: self.key.recipient.to_string(),
            key_holders: self.key.holders.clone(),
            keepsake: env!("CARGO_PKG_VERSION").to_owned(),
            previous: self.end.link.clone(),
        }
    }
}
