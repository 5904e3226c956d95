//! What steps of one run leave for each other, outside of the archive: seal key, plan, batches and receipts.
//!
//! It holds names, counts and digests, never rows, and no key that opens anything. Each object is written once; a repeated step finds what the
//! first one wrote and goes on from there. The archive needs none of it.

use crate::StepError;
use crate::ports::{FailureRecord, ObjectInfo, Repository, RepositoryError};
use crate::seal_backup::CHECKS_IN_FLIGHT;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use keepsake_archive::{Blobs, Part, Recipient, SealKey, StoredObject};
use keepsake_domain::{
    BackupId, Batch, FailureClass, Lsn, PartPlan, SequenceValue, Timestamp, TransactionSnapshot,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A plan of 100,000 parts has about 40 MB of JSON; beyond this a worker's memory would be at risk.
const LIMIT_BYTES: u64 = 64 << 20;

/// The snapshot that a run reads, as its first holder took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenSnapshot {
    /// What it sees.
    pub snapshot: TransactionSnapshot,
    /// WAL position.
    pub lsn: Lsn,
    /// By the source's clock.
    pub taken_at: Timestamp,
}

/// Everything about a dump that is not rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpPlan {
    /// The snapshot.
    pub snapshot: TakenSnapshot,
    /// The schema's archive.
    pub schema: StoredObject,
    /// Its bytes before compression.
    pub schema_raw_bytes: u64,
    /// Kind and identity of every schema object.
    pub schema_objects: Vec<String>,
    /// SHA-256 over the definitions of all that users made; `None` where nobody asked for it.
    #[serde(default)]
    pub schema_fingerprint: Option<String>,
    /// Roles and settings.
    pub globals: StoredObject,
    /// How to restore by hand.
    pub readme: StoredObject,
    /// Large objects.
    pub blobs: Option<Blobs>,
    /// Where sequences stood.
    pub sequences: Vec<SequenceValue>,
    /// What is left out.
    pub coverage: keepsake_domain::Coverage,
    /// Every part to upload.
    pub parts: Vec<PartPlan>,
    /// How many batches they were grouped into.
    pub batches: u32,
    /// How many tables there are.
    pub tables: u64,
}

/// The run's work objects.
#[derive(Clone)]
pub struct Work {
    store: Arc<dyn Repository>,
    root: String,
}

impl Work {
    /// The work objects of one backup within a store.
    #[must_use]
    pub fn new(store: Arc<dyn Repository>, backup_id: BackupId) -> Self {
        Self { store, root: format!("work/{backup_id}/") }
    }

    /// Key of the JSON array of batches, which the Distributed Map reads.
    #[must_use]
    pub fn batches_key(&self) -> String {
        format!("{}batches.json", self.root)
    }

    /// Leaves the key that seals the manifest. Of two runs of one step each leaves its own; the key file says whose counts.
    pub(crate) async fn put_seal_key(&self, of: &Recipient, key: &SealKey) -> Result<(), StepError> {
        self.put_once(&self.seal_key_key(of), key).await.map(|_| ())
    }

    /// The key that seals the manifest of the backup with this public key.
    pub(crate) async fn seal_key(&self, of: &Recipient) -> Result<Option<SealKey>, StepError> {
        self.read(&self.seal_key_key(of)).await
    }

    /// Writes the snapshot once; the first one stands.
    pub(crate) async fn put_snapshot(&self, snapshot: &TakenSnapshot) -> Result<(), StepError> {
        self.put_once(&format!("{}snapshot.json", self.root), snapshot).await.map(|_| ())
    }

    /// The snapshot, if a holder has taken one.
    pub(crate) async fn snapshot(&self) -> Result<Option<TakenSnapshot>, StepError> {
        self.read(&format!("{}snapshot.json", self.root)).await
    }

    /// Writes batches, then the plan: where the plan stands, all stands. A dump that is repeated or raced may cut a table
    /// that grew meanwhile in other places, so a plan always holds the parts of the batches that stand.
    pub(crate) async fn put_plan(&self, plan: &mut DumpPlan, batches: Vec<Batch>) -> Result<(), StepError> {
        let key = self.batches_key();
        let standing = match self.put_once(&key, &batches).await? {
            Some(_) => batches,
            None => self.read(&key).await?.unwrap_or(batches),
        };
        plan.batches = u32::try_from(standing.len()).unwrap_or(u32::MAX);
        plan.parts = standing.into_iter().flat_map(|batch| batch.parts).collect();
        plan.parts.sort_by_key(|part| part.number);
        self.put_once(&self.plan_key(), plan).await.map(|_| ())
    }

    /// The plan, if the dump got that far.
    ///
    /// # Errors
    /// When the store does not answer or the object is damaged.
    pub async fn plan(&self) -> Result<Option<DumpPlan>, StepError> {
        self.read(&self.plan_key()).await
    }

    /// Batches, as the workers get them.
    ///
    /// # Errors
    /// When the store does not answer or the object is damaged.
    pub async fn batches(&self) -> Result<Option<Vec<Batch>>, StepError> {
        self.read(&self.batches_key()).await
    }

    /// Writes a part's receipt. The first one stands: of two workers that uploaded one part, one object counts.
    pub(crate) async fn put_receipt(&self, part: &Part) -> Result<(), StepError> {
        self.put_once(&self.receipt_key(part.number), part).await.map(|_| ())
    }

    /// A part's receipt, if it was uploaded.
    pub(crate) async fn receipt(&self, number: u32) -> Result<Option<Part>, StepError> {
        self.read(&self.receipt_key(number)).await
    }

    /// Key of the JSON array of batches by which one test restore is compared, which its Distributed Map reads.
    #[must_use]
    pub fn comparison_key(&self, test_id: Uuid) -> String {
        format!("{}comparisons/{test_id}.json", self.root)
    }

    /// Writes the batches of a comparison once; the first ones stand. Returns those that stand.
    pub(crate) async fn put_comparison(
        &self,
        test_id: Uuid,
        batches: Vec<Batch>,
    ) -> Result<Vec<Batch>, StepError> {
        match self.put_once(&self.comparison_key(test_id), &batches).await? {
            Some(_) => Ok(batches),
            None => Ok(self.comparison(test_id).await?.unwrap_or(batches)),
        }
    }

    /// The batches of a comparison, if it was prepared.
    ///
    /// # Errors
    /// When the store does not answer or the object is damaged.
    pub async fn comparison(&self, test_id: Uuid) -> Result<Option<Vec<Batch>>, StepError> {
        self.read(&self.comparison_key(test_id)).await
    }

    /// Leaves word of what a batch came to, for the step that ends them all. The first word of a batch stands.
    pub(crate) async fn put_word<T: Serialize>(
        &self,
        folder: &str,
        batch: u32,
        word: &T,
    ) -> Result<(), StepError> {
        self.put_once(&format!("{}{folder}/{batch:06}.json", self.root), word).await.map(|_| ())
    }

    /// The words of all batches that left one, by the batch's number.
    pub(crate) async fn words<T: DeserializeOwned>(
        &self,
        folder: &str,
    ) -> Result<BTreeMap<u32, T>, StepError> {
        let prefix = format!("{}{folder}/", self.root);
        let keys: Vec<String> =
            self.store.list(&prefix).await?.into_iter().map(|object| object.key).collect();
        let words = stream::iter(keys)
            .map(|key| async move {
                let number = batch_of(&key);
                Ok::<_, StepError>(number.zip(self.read::<T>(&key).await?))
            })
            .buffer_unordered(CHECKS_IN_FLIGHT);
        Ok(words.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// Notes how long one phase of a test restore took; parts of a phase are told apart by `piece`. The first stands.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn note_phase(
        &self,
        phase: &str,
        piece: u32,
        began: Timestamp,
        ended: Timestamp,
    ) -> Result<(), StepError> {
        let key = format!("{}phases/{phase}/{piece:06}.json", self.root);
        self.put_once(&key, &(began, ended)).await.map(|_| ())
    }

    /// Milliseconds of each phase, from the begin of its first piece to the end of its last.
    ///
    /// # Errors
    /// When the store does not answer or an object is damaged.
    pub async fn phase_milliseconds(&self) -> Result<BTreeMap<String, u64>, StepError> {
        let prefix = format!("{}phases/", self.root);
        let mut spans: BTreeMap<String, (Timestamp, Timestamp)> = BTreeMap::new();
        for object in self.store.list(&prefix).await? {
            let Some((phase, _)) = object.key[prefix.len()..].split_once('/') else { continue };
            let Some((began, ended)) = self.read::<(Timestamp, Timestamp)>(&object.key).await? else {
                continue;
            };
            let span = spans.entry(phase.to_owned()).or_insert((began, ended));
            *span = (span.0.min(began), span.1.max(ended));
        }
        let length = |(began, ended): (Timestamp, Timestamp)| {
            u64::try_from(ended.duration_since(began).as_millis()).unwrap_or_default()
        };
        Ok(spans.into_iter().map(|(phase, span)| (phase, length(span))).collect())
    }

    /// Leaves word of a batch's failure: a Distributed Map reports only that too many of its children failed.
    /// The first word of a batch stands.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn put_batch_failure(&self, batch: u32, failure: &FailureRecord) -> Result<(), StepError> {
        let state = failure.state.as_deref().unwrap_or("Batch");
        let key = format!("{}failures/{state}-{batch:06}.json", self.root);
        self.put_once(&key, failure).await.map(|_| ())
    }

    /// The gravest of the batches' failures, the earliest of equals; `None` when no batch left word.
    ///
    /// # Errors
    /// When the store does not answer or an object is damaged.
    pub async fn batch_failure(&self) -> Result<Option<FailureRecord>, StepError> {
        let mut all: Vec<FailureRecord> = Vec::new();
        for object in self.store.list(&format!("{}failures/", self.root)).await? {
            all.extend(self.read::<FailureRecord>(&object.key).await?);
        }
        let gravity = |failure: &FailureRecord| match failure.class {
            FailureClass::Integrity => 0,
            FailureClass::Permanent => 1,
            FailureClass::Conflict => 2,
            FailureClass::Transient => 3,
        };
        Ok(all.into_iter().min_by_key(|failure| (gravity(failure), failure.failed_at)))
    }

    fn seal_key_key(&self, of: &Recipient) -> String {
        format!("{}seal-keys/{}.json", self.root, of.fingerprint())
    }

    fn plan_key(&self) -> String {
        format!("{}plan.json", self.root)
    }

    fn receipt_key(&self, number: u32) -> String {
        format!("{}parts/{number:06}.json", self.root)
    }

    async fn put_once<T: Serialize>(&self, key: &str, value: &T) -> Result<Option<ObjectInfo>, StepError> {
        let json =
            serde_json::to_vec(value).map_err(|cause| StepError::Work { key: key.to_owned(), cause })?;
        match self.store.put_new(key, Bytes::from(json)).await {
            Ok(info) => Ok(Some(info)),
            Err(RepositoryError::AlreadyExists { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StepError> {
        let bytes = match self.store.get(key, LIMIT_BYTES).await {
            Ok(bytes) => bytes,
            Err(RepositoryError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|cause| StepError::Work { key: key.to_owned(), cause })
    }
}

/// The number in a key that ends like `000042.json`.
fn batch_of(key: &str) -> Option<u32> {
    key.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()
}
