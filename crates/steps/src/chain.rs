//! Where a source's captured changes go on, and where they begin anew: what was lost is recorded, never passed over.

use crate::StepError;
use crate::begin_backup::draw_key;
use crate::list_backups::sha256_hex;
use crate::list_changes::{StandingChanges, read_changes};
use crate::newest_changes::newest_changes;
use crate::ports::{
    CaptureState, ChangeSource, Clock, KeyHolder, ProtectWishes, Protection, Repository, RepositoryError,
};
use crate::seal_backup::{MANIFEST_LIMIT_BYTES, check_objects};
use bytes::Bytes;
use keepsake_archive::{
    ChainManifest, ChainReason, ChangesKey, ChangesLayout, FORMAT_VERSION, Recipient, SealKey, StoredObject,
    WrappedKey, changes_readme,
};
use keepsake_domain::{BackupId, FailureClass, Lsn, ParseStatement};
use uuid::Uuid;

/// What capture works with.
pub struct Capture<'a> {
    /// The source.
    pub source: &'a dyn ChangeSource,
    /// Where segments go.
    pub repository: &'a dyn Repository,
    /// Who wraps the run's key beside the recovery recipients.
    pub key_holder: &'a dyn KeyHolder,
    /// Offline recovery recipients.
    pub recovery: &'a [Recipient],
    /// Time.
    pub clock: &'a dyn Clock,
    /// The source's name in the repository.
    pub name: &'a str,
    /// For a slot that has to be made anew.
    pub wishes: ProtectWishes,
    /// zstd level.
    pub level: i32,
    /// Reads statements that changed the schema, to tell which of them a restore can run again.
    pub parse_statement: ParseStatement,
}

impl Capture<'_> {
    /// What is wished of the source, and that its changes go to this repository.
    pub(crate) fn wishes_here(&self) -> ProtectWishes {
        ProtectWishes { holder: Some(self.repository.url()), ..self.wishes.clone() }
    }
}

/// The key of one run: its public half, and the key that seals its manifests and opens nothing.
pub(crate) struct RunKey {
    pub run_id: BackupId,
    pub recipient: Recipient,
    pub holders: Vec<String>,
    pub seal_key: SealKey,
    /// The key file, as it lies in the repository.
    pub object: StoredObject,
}

impl RunKey {
    /// Draws a run's key pair and writes its key file: the last moment at which the private half exists here.
    pub(crate) async fn draw(capture: &Capture<'_>, layout: &ChangesLayout) -> Result<Self, StepError> {
        let place = |run_id| layout.keys(run_id, 1);
        Self::draw_at(capture.repository, capture.key_holder, capture.recovery, capture.clock, place).await
    }

    /// The same, with the key file where `place` says.
    pub(crate) async fn draw_at(
        repository: &dyn Repository,
        key_holder: &dyn KeyHolder,
        recovery: &[Recipient],
        clock: &dyn Clock,
        place: impl Fn(BackupId) -> String + Send,
    ) -> Result<Self, StepError> {
        let run_id = BackupId(Uuid::now_v7());
        let (identity, file) = draw_key(key_holder, run_id, recovery, clock.now()).await?;
        let key = place(run_id);
        let json = file.to_json().map_err(|cause| StepError::Work { key: key.clone(), cause })?;
        let object = StoredObject::of_bytes(key.clone(), &json);
        repository.put_new(&key, Bytes::from(json)).await?;
        let holders = file.holders.iter().map(WrappedKey::holder).collect();
        Ok(Self { run_id, recipient: file.recipient, holders, seal_key: identity.seal_key(), object })
    }
}

/// A source that is protected.
#[derive(Debug, Clone, PartialEq)]
pub struct ProtectedSource {
    /// What the source answered.
    pub protection: Protection,
    /// The chain that stands, begun by this call or before.
    pub chain: StandingChanges,
    /// Whether this call began it.
    pub is_new: bool,
}

/// Puts a source under protection: publication and slot, then the chain's beginning in the repository. A second call finds
/// them, takes new tables in, and is success; if the slot was lost meanwhile, a new chain begins, behind a gap.
///
/// # Errors
/// [`FailureClass::Conflict`] when the source's changes go to another repository. Those of the source and of the repository:
/// what was made on the source stays, and the next call goes on.
pub async fn protect_source(capture: &Capture<'_>) -> Result<ProtectedSource, StepError> {
    let (state, layout) = source_of(capture).await?;
    let end = newest_changes(capture.repository, &layout, Some(state.wal_lsn)).await?;
    let lost = match &end {
        Some(end) => lost(&state, end)?,
        None => None,
    };
    match (end, lost) {
        (Some(end), None) => {
            let protection = capture.source.protect(&capture.wishes_here()).await?;
            Ok(ProtectedSource { protection, chain: end, is_new: false })
        }
        (end, lost) => {
            held_by_other(capture, &state)?;
            let what = match lost {
                Some(lost) => Some(lost),
                None => other_lineage(capture.repository, &layout).await?,
            };
            if end.is_none() {
                refuse_where_gone(capture.repository, &state, &layout).await?;
            }
            let reason = what.map_or(ChainReason::Protected, |what| ChainReason::Gap { what });
            begin_chain(capture, &capture.wishes_here(), &layout, &state, reason, end.as_ref()).await
        }
    }
}

/// Begins a chain with a new slot whatever stands: where the newest manifest cannot be read, or where changes went to another
/// repository until now. What the slot still held is lost, which is recorded as a gap with `reason`.
///
/// # Errors
/// Those of the source and of the repository.
pub async fn begin_anew(capture: &Capture<'_>, reason: &str) -> Result<ProtectedSource, StepError> {
    let (state, layout) = source_of(capture).await?;
    let end = match newest_changes(capture.repository, &layout, Some(state.wal_lsn)).await {
        // Of a manifest that cannot be read nothing is known that could be linked to.
        Err(StepError::Manifest(_)) => None,
        end => end?,
    };
    let reason = ChainReason::Gap { what: format!("begun anew: {reason}") };
    let wishes = ProtectWishes { slot_anew: true, ..capture.wishes_here() };
    begin_chain(capture, &wishes, &layout, &state, reason, end.as_ref()).await
}

async fn source_of(capture: &Capture<'_>) -> Result<(CaptureState, ChangesLayout), StepError> {
    let state = capture.source.capture_state().await?;
    let layout = ChangesLayout::new(capture.name, state.lineage.clone()).map_err(|invalid| {
        let next = "give the source another name";
        StepError::found(FailureClass::Permanent, invalid.to_string(), "nothing was changed", next)
    })?;
    Ok((state, layout))
}

/// Refuses to begin a chain where another repository's would end by it.
pub(crate) fn held_by_other(capture: &Capture<'_>, state: &CaptureState) -> Result<(), StepError> {
    let here = capture.repository.url();
    let Some(other) = state.holder.as_ref().filter(|other| **other != here) else { return Ok(()) };
    Err(StepError::found(
        FailureClass::Conflict,
        format!("changes of database {} go to {other} under the name {}", state.database, capture.name),
        "nothing was changed; what is captured there goes on",
        "use --repo with that repository; or, if it is given up, keepsake protect --begin-anew '<reason>' with this one, \
         which ends its chain",
    ))
}

/// Refuses a repository to which a source's changes went, as that notes, and which holds nothing of them: a disk that is not
/// mounted leaves an empty folder, and what is written there would be told to the source as safe. The README stands there
/// before the source notes anything.
///
/// # Errors
/// [`FailureClass::Permanent`]; those of the repository.
pub async fn refuse_where_gone(
    repository: &dyn Repository,
    state: &CaptureState,
    layout: &ChangesLayout,
) -> Result<(), StepError> {
    let here = repository.url();
    if state.holder.as_ref() != Some(&here)
        || repository.head(&layout.readme()).await?.is_some()
        || other_lineage(repository, layout).await?.is_some()
    {
        return Ok(());
    }
    Err(StepError::found(
        FailureClass::Permanent,
        format!(
            "changes of database {} go to {here} under the name {}, and nothing of them is there",
            state.database, layout.source
        ),
        "nothing was changed; what was captured is where it was, and the source keeps the rest for a while",
        "mount the disk, or give --repo the place that they went to; if it is given up: keepsake protect --begin-anew '<reason>'",
    ))
}

/// Makes a slot where it is gone, and records that changes are captured from there on.
pub(crate) async fn begin_chain(
    capture: &Capture<'_>,
    wishes: &ProtectWishes,
    layout: &ChangesLayout,
    state: &CaptureState,
    reason: ChainReason,
    before: Option<&StandingChanges>,
) -> Result<ProtectedSource, StepError> {
    let readme = layout.readme();
    match capture.repository.put_new(&readme, Bytes::from(changes_readme(layout))).await {
        Ok(_) | Err(RepositoryError::AlreadyExists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let protection = capture.source.protect(wishes).await?;
    if let Some(before) = before.filter(|before| protection.lsn <= before.boundary().position.lsn) {
        return Err(behind(protection.lsn, before));
    }
    let key = RunKey::draw(capture, layout).await?;
    let manifest = chain_manifest(layout, state, &protection, reason, before, &key);
    let place = ChangesKey::Chain(manifest.lsn);
    let json = manifest.to_json(&key.seal_key);
    let json = json.map_err(|cause| StepError::Work { key: layout.manifest(place), cause })?;
    ChainManifest::parse(&layout.manifest(place), &json)?;
    put_manifest(capture.repository, layout, place, &key, &[], Bytes::from(json)).await?;
    let chain = read_changes(capture.repository, layout, place).await?;
    Ok(ProtectedSource { protection, chain, is_new: true })
}

fn chain_manifest(
    layout: &ChangesLayout,
    state: &CaptureState,
    protection: &Protection,
    reason: ChainReason,
    before: Option<&StandingChanges>,
    key: &RunKey,
) -> ChainManifest {
    ChainManifest {
        format_version: FORMAT_VERSION,
        run_id: key.run_id,
        source: layout.source.clone(),
        lineage: layout.lineage.clone(),
        database: state.database.clone(),
        server_version: state.server_version,
        slot: protection.slot.clone(),
        lsn: protection.lsn,
        snapshot: protection.boundary.snapshot.clone(),
        at: protection.boundary.at,
        published: protection.published.clone(),
        not_captured: protection.not_captured.clone(),
        schema_fingerprint: protection.boundary.schema_fingerprint.clone(),
        reason,
        recipient: key.recipient.to_string(),
        key_holders: key.holders.clone(),
        keepsake: env!("CARGO_PKG_VERSION").to_owned(),
        previous: before.map(StandingChanges::as_previous),
    }
}

/// Checks the objects of a manifest where they lie, then writes it, only if none stands there. Answers its SHA-256.
///
/// # Errors
/// [`FailureClass::Conflict`] when another run's manifest stands there: that one counts.
pub(crate) async fn put_manifest(
    repository: &dyn Repository,
    layout: &ChangesLayout,
    place: ChangesKey,
    key: &RunKey,
    objects: &[&StoredObject],
    json: Bytes,
) -> Result<String, StepError> {
    check_objects(repository, objects.iter().copied().chain([&key.object])).await?;
    let name = layout.manifest(place);
    match repository.put_new(&name, json.clone()).await {
        Ok(_) => Ok(sha256_hex(&json)),
        Err(RepositoryError::AlreadyExists { .. })
            if repository.get(&name, MANIFEST_LIMIT_BYTES).await? == json =>
        {
            Ok(sha256_hex(&json))
        }
        Err(RepositoryError::AlreadyExists { .. }) => Err(StepError::found(
            FailureClass::Conflict,
            format!("another capture wrote \"{name}\" first"),
            "its changes stand; this run confirmed nothing to the source",
            "nothing to do if two captures of this source ran at once; stop one of them if it repeats",
        )),
        Err(error) => Err(error.into()),
    }
}

/// What made the chain end here, if it did: nothing that happened behind its end may be missing.
///
/// # Errors
/// [`FailureClass::Permanent`] when the source is behind what was captured, or was given free on purpose.
pub(crate) fn lost(state: &CaptureState, end: &StandingChanges) -> Result<Option<String>, StepError> {
    let captured = end.boundary().position.lsn;
    if state.wal_lsn < captured {
        return Err(behind(state.wal_lsn, end));
    }
    Ok(match &state.slot {
        _ if !state.is_wanted => Some("the publication is gone".to_owned()),
        None => Some("the replication slot is gone".to_owned()),
        Some(slot) => match &slot.lost {
            Some(how) => Some(format!("replication slot {} was lost: {how}", slot.name)),
            None if slot.confirmed_lsn > captured => Some(format!(
                "replication slot {} streams from {} on, and changes were captured to {captured}: it was made anew, or \
                 somebody else read from it",
                slot.name, slot.confirmed_lsn
            )),
            None => None,
        },
    })
}

/// A lineage begins without a gap only if it is the first of its source.
pub(crate) async fn other_lineage(
    repository: &dyn Repository,
    layout: &ChangesLayout,
) -> Result<Option<String>, StepError> {
    for folder in repository.folders(&format!("{}/", layout.source)).await? {
        let Ok(lineage) = folder.parse() else { continue };
        if lineage == layout.lineage {
            continue;
        }
        let other = ChangesLayout { lineage, ..layout.clone() };
        let folders = repository.folders(&other.root()).await?;
        if !folders.is_empty() {
            return Ok(Some(format!(
                "the source is of a new lineage, {}: changes were captured of {}",
                layout.lineage, other.lineage
            )));
        }
    }
    Ok(None)
}

fn behind(lsn: Lsn, end: &StandingChanges) -> StepError {
    let captured = end.boundary().position.lsn;
    StepError::found(
        FailureClass::Permanent,
        format!("the source's write-ahead log is at {lsn}, and its changes were captured to {captured}"),
        "the source was set back to an older state under the same lineage; what was captured stands, and nothing is \
         captured now",
        "give the source another --name, then keepsake protect and keepsake backup",
    )
}

/// Capture without a chain has nothing to go on from.
pub(crate) fn not_protected(state: &CaptureState, name: &str) -> StepError {
    StepError::found(
        FailureClass::Permanent,
        format!("no changes of database {} are captured under the name {name}", state.database),
        "changes are not captured; full backups stand as they are",
        "keepsake protect with the same --source, --repo and --name",
    )
}
