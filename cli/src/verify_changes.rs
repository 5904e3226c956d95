//! `keepsake verify` of captured changes: every segment of every lineage, and the links between their manifests.

use crate::failure::Failure;
use crate::keys::ReadingKey;
use crate::terminal::Progress;
use crate::text;
use keepsake_archive::{BackupIdentity, ChangesKey, ChangesLayout};
use keepsake_domain::{BackupId, Lineage, Lsn, chain};
use keepsake_steps::ports::Repository;
use keepsake_steps::{
    Damage, Depth, Opener, StandingChanges, StepError, changes_keys, differential_keys, read_changes,
    read_differential, verify_differential, verify_links, verify_segment,
};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// What was found of one lineage's changes.
#[derive(Debug, Serialize)]
pub struct VerifiedChanges {
    source: String,
    lineage: Lineage,
    segments: u64,
    transactions: u64,
    stored_bytes: u64,
    differentials: u64,
    /// Empty when all is well.
    pub damages: Vec<Damage>,
}

/// How changes are looked at.
pub struct ChangesVerifier<'a> {
    /// Where they lie.
    pub repository: &'a dyn Repository,
    /// Who opens them.
    pub key: Option<&'a ReadingKey>,
    /// Whether every byte is read.
    pub deep: bool,
}

impl ChangesVerifier<'_> {
    /// Looks at all changes in the repository.
    ///
    /// # Errors
    /// When the repository did not answer.
    pub async fn all(&self) -> Result<Vec<VerifiedChanges>, Failure> {
        let mut lineages: BTreeMap<(String, Lineage), Vec<ChangesKey>> = BTreeMap::new();
        for (layout, key) in changes_keys(self.repository, "").await? {
            lineages.entry((layout.source, layout.lineage)).or_default().push(key);
        }
        let progress = Progress::new();
        let mut verified = Vec::with_capacity(lineages.len());
        for ((source, lineage), keys) in lineages {
            progress.step(&format!("verifying changes of {source}"));
            verified.push(self.lineage(ChangesLayout { source, lineage }, keys).await?);
        }
        Ok(verified)
    }

    async fn lineage(
        &self,
        layout: ChangesLayout,
        keys: Vec<ChangesKey>,
    ) -> Result<VerifiedChanges, Failure> {
        let (mut standing, mut damages) = (Vec::new(), Vec::new());
        let mut opened = HashMap::new();
        for key in keys {
            match read_changes(self.repository, &layout, key).await {
                Ok(one) => {
                    damages.extend(self.one(&one, &mut opened).await?);
                    standing.push(one);
                }
                Err(error) => damages.push(damage(layout.manifest(key), error)?),
            }
        }
        // What cannot be read was told with its reason; the one behind it takes it for missing.
        let told: Vec<String> = damages.iter().map(|damage: &Damage| damage.key.clone()).collect();
        damages.extend(verify_links(&standing).into_iter().filter(|link| !told.contains(&link.key)));
        let differentials = self.differentials(&layout, &mut damages).await?;
        let segments: Vec<_> = standing.iter().filter_map(StandingChanges::segment).collect();
        Ok(VerifiedChanges {
            segments: segments.len() as u64,
            transactions: segments.iter().map(|one| one.holds.transactions).sum(),
            stored_bytes: segments.iter().map(|one| one.object.stored_bytes).sum(),
            differentials,
            source: layout.source,
            lineage: layout.lineage,
            damages,
        })
    }

    /// Every differential by itself; answers how many there are.
    async fn differentials(&self, layout: &ChangesLayout, damages: &mut Vec<Damage>) -> Result<u64, Failure> {
        let keys = differential_keys(self.repository, &layout.differentials()).await?;
        for (layout, end, base) in &keys {
            let found = self.differential(layout, *end, *base).await;
            match found {
                Ok(found) => damages.extend(found),
                Err(error) => damages.push(damage(layout.differential(*end, *base), error)?),
            }
        }
        Ok(keys.len() as u64)
    }

    async fn differential(
        &self,
        layout: &ChangesLayout,
        end: Lsn,
        base: BackupId,
    ) -> Result<Option<Damage>, StepError> {
        let standing = read_differential(self.repository, layout, end, base).await?;
        let identity = match self.key {
            Some(key) => Some(key.open(self.repository, &standing).await?),
            None => None,
        };
        let depth = match (self.deep, &identity) {
            (false, _) => Depth::Objects,
            (true, None) => Depth::Bytes,
            (true, Some(identity)) => Depth::Rows(identity),
        };
        verify_differential(self.repository, &standing, depth).await
    }

    async fn one(
        &self,
        one: &StandingChanges,
        opened: &mut HashMap<BackupId, BackupIdentity>,
    ) -> Result<Vec<Damage>, Failure> {
        let mut damages = Vec::new();
        let identity = match self.identity(one, opened).await {
            Ok(identity) => identity,
            Err(error) => {
                damages.push(damage(one.manifest_key(), error)?);
                None
            }
        };
        let depth = match (self.deep, &identity) {
            (false, _) => Depth::Objects,
            (true, None) => Depth::Bytes,
            (true, Some(identity)) => Depth::Rows(identity),
        };
        damages.extend(verify_segment(self.repository, one, depth).await?);
        Ok(damages)
    }

    /// The key of the manifest's run, opened once; each manifest's MAC is checked.
    async fn identity(
        &self,
        one: &StandingChanges,
        opened: &mut HashMap<BackupId, BackupIdentity>,
    ) -> Result<Option<BackupIdentity>, StepError> {
        let Some(key) = self.key else { return Ok(None) };
        if let Some(identity) = opened.get(&one.run_id())
            && identity.recipient().to_string() == one.recipient()
        {
            one.seal.check(&one.manifest_key(), &identity.seal_key())?;
            return Ok(Some(identity.clone()));
        }
        let identity = key.open(self.repository, one).await?;
        opened.insert(one.run_id(), identity.clone());
        Ok(Some(identity))
    }
}

fn damage(key: String, error: StepError) -> Result<Damage, Failure> {
    if error.is_of_one_object() {
        return Ok(Damage { key, finding: chain(&error) });
    }
    Err(error.into())
}

/// What was found, for people.
#[must_use]
pub fn for_people(changes: &[VerifiedChanges]) -> Vec<String> {
    let mut lines = Vec::new();
    for one in changes {
        let state = if one.damages.is_empty() { "whole" } else { "DAMAGED" };
        lines.push(format!(
            "changes of {} {}: {state}, {} segments with {} transactions, {}",
            one.source,
            one.lineage,
            text::count(one.segments),
            text::count(one.transactions),
            text::size(one.stored_bytes)
        ));
        lines.extend(one.damages.iter().map(|damage| format!("  {}: {}", damage.key, damage.finding)));
    }
    lines
}
