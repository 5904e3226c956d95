//! What a restore would do, shown before anything happens.

use crate::recovery_shown::RecoveryShown;
use crate::text;
use keepsake_domain::{BackupId, Certificate, Coverage, Lineage, Timestamp, Verdict};
use keepsake_steps::ports::{TargetError, TargetFacts};
use keepsake_steps::{Misfit, RecoveryRoute, StandingBackup, misfits, refuse_misfits};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The plan. JSON shape: these fields, in snake case.
#[derive(Debug, Serialize)]
pub struct RestorePlan {
    backup_id: BackupId,
    source: String,
    lineage: Lineage,
    repository: String,
    database: String,
    snapshot_at: Timestamp,
    age_seconds: Option<u64>,
    source_version: u32,
    target: String,
    target_version: u32,
    /// What stands in the way; the restore is refused while this is not empty.
    target_holds: Vec<String>,
    /// What of the target's server does not fit; the restore is refused while this is not empty.
    misfits: Vec<Misfit>,
    tables: u64,
    rows: u64,
    parts: u64,
    raw_bytes: u64,
    stored_bytes: u64,
    sequences: u64,
    large_objects: u64,
    key_holders: Vec<String>,
    /// As an earlier restore of this backup took, if one was recorded.
    expected_seconds: Option<u64>,
    /// Where changes are replayed onto the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<RecoveryShown>,
    #[serde(flatten)]
    coverage: Coverage,
    #[serde(skip)]
    now: Timestamp,
}

impl RestorePlan {
    /// From what is known of backup and target; nothing is asked any more.
    #[must_use]
    pub fn new(
        backup: &StandingBackup,
        repository: &str,
        place: &str,
        target: &TargetFacts,
        measured: &[Certificate],
        now: Timestamp,
    ) -> Self {
        let manifest = &backup.manifest;
        let proven = measured.iter().rfind(|certificate| certificate.verdict == Verdict::Passed);
        Self {
            backup_id: manifest.backup_id,
            source: manifest.source.clone(),
            lineage: manifest.lineage.clone(),
            repository: repository.to_owned(),
            database: manifest.database.clone(),
            snapshot_at: manifest.snapshot_at,
            age_seconds: text::age(manifest.snapshot_at, now).map(|age| age.as_secs()),
            source_version: manifest.server.server_version,
            target: place.to_owned(),
            target_version: target.server.server_version,
            target_holds: target.user_objects.clone(),
            misfits: misfits(&manifest.server, &target.server),
            tables: manifest.expected().tables.len() as u64,
            rows: manifest.rows(),
            parts: manifest.parts.len() as u64,
            raw_bytes: manifest.raw_bytes(),
            stored_bytes: manifest.stored_bytes(),
            sequences: manifest.sequences.len() as u64,
            large_objects: manifest.blobs.as_ref().map_or(0, |blobs| blobs.count),
            key_holders: manifest.key_holders.clone(),
            expected_seconds: proven.map(expected_seconds),
            recovery: None,
            coverage: manifest.coverage.clone(),
            now,
        }
    }

    /// Shows the way to a point in time, too.
    pub fn add_recovery(&mut self, route: Option<&RecoveryRoute>) {
        self.recovery = route.map(RecoveryShown::new);
    }

    /// Refuses the restore for what the plan showed.
    ///
    /// # Errors
    /// [`TargetError::Unsuitable`], [`TargetError::NotEmpty`].
    pub fn refuse_what_cannot_work(&self) -> Result<(), TargetError> {
        refuse_misfits(&self.target, &self.misfits)?;
        if self.target_holds.is_empty() {
            return Ok(());
        }
        Err(TargetError::NotEmpty { place: self.target.clone(), objects: self.target_holds.clone() })
    }

    /// What the restore is refused for.
    fn write_obstacles(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for misfit in &self.misfits {
            writeln!(f, "  UNFIT      {}: {}", misfit.reason, misfit.advice)?;
        }
        if !self.target_holds.is_empty() {
            let (named, more) = self.target_holds.split_at(self.target_holds.len().min(SHOWN_OBSTACLES));
            let more = if more.is_empty() { "" } else { " and more (--plan --json names them)" };
            writeln!(f, "  IN THE WAY {}{more}", named.join(", "))?;
        }
        Ok(())
    }
}

/// So many objects in the way show what kind of database it is.
const SHOWN_OBSTACLES: usize = 5;

/// Without the time to create an instance: the target stands already.
fn expected_seconds(certificate: &Certificate) -> u64 {
    let phases = certificate.phase_milliseconds.iter().filter(|(name, _)| *name != "provision");
    phases.map(|(_, took)| took).sum::<u64>().div_ceil(1000)
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan: restore backup {} of {} into {}", self.backup_id, self.source, self.target)?;
        writeln!(
            f,
            "  from       {}, database {}, lineage {}",
            self.repository, self.database, self.lineage
        )?;
        let state = text::instant(self.snapshot_at, self.now);
        match &self.recovery {
            None => writeln!(f, "  state of   {state}; everything later is not in it")?,
            Some(recovery) => {
                writeln!(f, "  base of    {state}")?;
                recovery.write(f, self.now)?;
            }
        }
        let (tables, rows, parts) =
            (text::count(self.tables), text::count(self.rows), text::count(self.parts));
        writeln!(
            f,
            "  holds      {tables} tables, {rows} rows in {parts} parts, {} sequences, {} large objects",
            text::count(self.sequences),
            text::count(self.large_objects)
        )?;
        writeln!(
            f,
            "  size       {} stored, {} raw",
            text::size(self.stored_bytes),
            text::size(self.raw_bytes)
        )?;
        let versions = (text::server_version(self.source_version), text::server_version(self.target_version));
        writeln!(f, "  server     from PostgreSQL {} to {}", versions.0, versions.1)?;
        writeln!(f, "  opens by   {}", self.key_holders.join(", "))?;
        match self.expected_seconds {
            Some(seconds) => {
                writeln!(f, "  takes      about {}, as last time", text::span(Duration::from_secs(seconds)))?;
            }
            None => writeln!(f, "  takes      unknown: no restore of this backup is recorded")?,
        }
        self.write_obstacles(f)?;
        for left_out in &self.coverage.not_covered {
            writeln!(f, "  left out   {}: {} ({})", left_out.what, left_out.why, left_out.advice)?;
        }
        for limited in &self.coverage.limited {
            writeln!(f, "  limited    {}: {} ({})", limited.what, limited.why, limited.advice)?;
        }
        Ok(())
    }
}
