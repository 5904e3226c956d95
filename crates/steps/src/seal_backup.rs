//! Seal: check every object, then write the manifest, last and conditionally. Only then does the backup exist.

use crate::hold_snapshot::renew_lease;
use crate::list_backups::sha256_hex;
use crate::ports::{Clock, Executions, Leases, Repository, RepositoryError};
use crate::streams::check_stored;
use crate::{DumpPlan, Run, StepError, Work};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use keepsake_archive::{
    ArchiveLayout, FORMAT_VERSION, KeyFile, Manifest, Part, PreviousManifest, StoredObject, ToolVersions,
    WrappedKey,
};
use keepsake_domain::{BackupId, FailureClass, FencingToken};
use serde::{Deserialize, Serialize};

/// Requests in flight to the store; S3 answers a HEAD in about 20 ms, so 100,000 objects take two minutes.
pub(crate) const CHECKS_IN_FLIGHT: usize = 16;

/// A manifest of 100,000 parts has about 50 MB.
pub(crate) const MANIFEST_LIMIT_BYTES: u64 = 128 << 20;

/// A backup that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedBackup {
    /// Key of its manifest.
    pub manifest_key: String,
    /// SHA-256 of its manifest, 64 hexadecimal digits.
    pub manifest_sha256: String,
    /// Tables.
    pub tables: u64,
    /// Rows over all tables.
    pub rows: u64,
    /// Bytes as `COPY` text.
    pub raw_bytes: u64,
    /// Bytes as stored.
    pub stored_bytes: u64,
}

/// What sealing needs.
pub struct Sealing<'a> {
    /// The archive's repository.
    pub repository: &'a dyn Repository,
    /// Work objects of the run.
    pub work: &'a Work,
    /// Leases, to learn whether this run was replaced.
    pub leases: &'a dyn Leases,
    /// Runs.
    pub executions: &'a dyn Executions,
    /// Time.
    pub clock: &'a dyn Clock,
}

/// Checks every object and writes the manifest. A second call finds its own manifest and is success.
///
/// # Errors
/// [`FailureClass::Integrity`] when an object or a receipt is missing or not what was sent;
/// [`FailureClass::Conflict`] when another run took the policy over.
pub async fn seal_backup(sealing: &Sealing<'_>, run: &Run) -> Result<SealedBackup, StepError> {
    let layout = run.layout()?;
    let (manifest, json) = match standing_manifest(sealing.repository, &layout, run.fencing_token).await? {
        Some(standing) => standing,
        None => write_manifest(sealing, run, &layout).await?,
    };
    let sealed = summary(&manifest, &json, &layout);
    sealing
        .executions
        .sealed(run.execution_row, &manifest, &sealed.manifest_key, &sealed.manifest_sha256)
        .await?;
    Ok(sealed)
}

fn summary(manifest: &Manifest, json: &[u8], layout: &ArchiveLayout) -> SealedBackup {
    SealedBackup {
        manifest_key: layout.manifest(),
        manifest_sha256: sha256_hex(json),
        tables: manifest.expected().tables.len() as u64,
        rows: manifest.rows(),
        raw_bytes: manifest.raw_bytes(),
        stored_bytes: manifest.stored_bytes(),
    }
}

/// The manifest, if it stands already; one with another token was written by a run that replaced this one.
async fn standing_manifest(
    repository: &dyn Repository,
    layout: &ArchiveLayout,
    token: FencingToken,
) -> Result<Option<(Manifest, Bytes)>, StepError> {
    let key = layout.manifest();
    let bytes = match repository.get(&key, MANIFEST_LIMIT_BYTES).await {
        Ok(bytes) => bytes,
        Err(RepositoryError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let manifest = Manifest::parse(&key, &bytes)?;
    if manifest.fencing_token == token {
        return Ok(Some((manifest, bytes)));
    }
    Err(StepError::found(
        FailureClass::Conflict,
        format!("manifest \"{key}\" was written under lease token {}, not {token}", manifest.fencing_token),
        "the other run's recovery point stands",
        "nothing to do: a newer run took over",
    ))
}

async fn write_manifest(
    sealing: &Sealing<'_>,
    run: &Run,
    layout: &ArchiveLayout,
) -> Result<(Manifest, Bytes), StepError> {
    let plan = sealing.work.plan().await?.ok_or_else(|| incomplete("the dump left no plan"))?;
    let parts = receipts(sealing.work, &plan).await?;
    let (keys, holders) = key_object(sealing.repository, layout).await?;
    let seal_key = sealing.work.seal_key(&run.recipient).await?;
    let seal_key = seal_key.ok_or_else(|| incomplete("the begin of this run left no seal key"))?;
    let previous = previous_manifest(sealing.repository, layout).await?;
    let manifest = manifest(run, plan, parts, holders, previous, sealing.clock);
    check_objects(sealing.repository, manifest.objects().chain([&keys])).await?;
    renew_lease(sealing.leases, sealing.clock, run).await?;
    let json = manifest.to_json(&seal_key);
    let json = Bytes::from(json.map_err(|cause| StepError::Work { key: layout.manifest(), cause })?);
    // What would not be read again must not be written.
    Manifest::parse(&layout.manifest(), &json)?;
    match sealing.repository.put_new(&layout.manifest(), json.clone()).await {
        Ok(_) => Ok((manifest, json)),
        Err(RepositoryError::AlreadyExists { .. }) => {
            let standing = standing_manifest(sealing.repository, layout, run.fencing_token).await?;
            standing.ok_or_else(|| incomplete("the manifest appeared and vanished"))
        }
        Err(error) => Err(error.into()),
    }
}

fn incomplete(what: impl Into<String>) -> StepError {
    StepError::found(
        FailureClass::Integrity,
        what,
        "this run made no recovery point; older backups stand",
        "run the backup again",
    )
}

/// One receipt for each planned part, and the receipt's part is the planned one.
async fn receipts(work: &Work, plan: &DumpPlan) -> Result<Vec<Part>, StepError> {
    // Owned plans keep this future `Send` for any caller.
    stream::iter(plan.parts.clone())
        .map(|planned| async move {
            let part = work.receipt(planned.number).await?;
            let fits = |part: &Part| {
                (&part.table, &part.columns, part.range, &part.filter, &part.root)
                    == (&planned.table, &planned.columns, planned.range, &planned.filter, &planned.root)
            };
            part.filter(fits).ok_or_else(|| {
                incomplete(format!("part {} of table {} was not uploaded", planned.number, planned.table))
            })
        })
        .buffered(CHECKS_IN_FLIGHT)
        .try_collect()
        .await
}

async fn key_object(
    repository: &dyn Repository,
    layout: &ArchiveLayout,
) -> Result<(StoredObject, Vec<String>), StepError> {
    let key = layout.keys(1);
    let bytes = repository.get(&key, 1 << 20).await?;
    let file = KeyFile::parse(&key, &bytes)?;
    Ok((StoredObject::of_bytes(key, &bytes), file.holders.iter().map(WrappedKey::holder).collect()))
}

/// Checks size and checksum of each object as the store reports them.
pub(crate) async fn check_objects<'a>(
    repository: &dyn Repository,
    objects: impl Iterator<Item = &'a StoredObject>,
) -> Result<(), StepError> {
    let objects: Vec<StoredObject> = objects.cloned().collect();
    stream::iter(objects)
        .map(|object| async move {
            let info = repository.head(&object.key).await?;
            let info = info.ok_or_else(|| incomplete(format!("object \"{}\" is missing", object.key)))?;
            check_stored(&object, &info)
        })
        .buffer_unordered(CHECKS_IN_FLIGHT)
        .try_collect::<()>()
        .await
}

/// The newest manifest of the lineage before this backup. Only the names of the backups are listed, not their
/// objects; a folder without a manifest is of a run that failed, and there are as many looks as such runs in a row.
async fn previous_manifest(
    repository: &dyn Repository,
    layout: &ArchiveLayout,
) -> Result<Option<PreviousManifest>, StepError> {
    let folders = repository.folders(&format!("{}/{}/full/", layout.source, layout.lineage)).await?;
    let mut before: Vec<BackupId> = folders.iter().filter_map(|name| name.parse().ok()).collect();
    before.retain(|backup_id| *backup_id < layout.backup_id);
    before.sort_unstable();
    for backup_id in before.into_iter().rev() {
        let key = ArchiveLayout { backup_id, ..layout.clone() }.manifest();
        match repository.get(&key, MANIFEST_LIMIT_BYTES).await {
            Ok(bytes) => return Ok(Some(PreviousManifest { backup_id, sha256: sha256_hex(&bytes) })),
            Err(RepositoryError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn manifest(
    run: &Run,
    plan: DumpPlan,
    parts: Vec<Part>,
    key_holders: Vec<String>,
    previous_manifest: Option<PreviousManifest>,
    clock: &dyn Clock,
) -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        backup_id: run.backup_id,
        source: run.source.clone(),
        lineage: run.facts.lineage.clone(),
        database: run.facts.database.clone(),
        fencing_token: run.fencing_token,
        server: run.facts.server.clone(),
        snapshot: plan.snapshot.snapshot,
        lsn: plan.snapshot.lsn,
        started_at: run.started_at,
        snapshot_at: plan.snapshot.taken_at,
        sealed_at: clock.now(),
        schema: plan.schema,
        schema_raw_bytes: plan.schema_raw_bytes,
        schema_objects: plan.schema_objects,
        schema_fingerprint: plan.schema_fingerprint,
        globals: plan.globals,
        readme: plan.readme,
        parts,
        sequences: plan.sequences,
        blobs: plan.blobs,
        coverage: plan.coverage,
        recipient: run.recipient.to_string(),
        key_holders,
        tools: ToolVersions {
            keepsake: env!("CARGO_PKG_VERSION").to_owned(),
            pg_dump: run.facts.pg_dump.clone(),
        },
        previous_manifest,
    }
}
