//! What `keepsake backup` answers.

use crate::measures::peak_memory_bytes;
use crate::text;
use keepsake_archive::Manifest;
use keepsake_domain::{BackupId, Coverage, Lineage, Timestamp};
use keepsake_steps::{Run, SealedBackup, VerifiedCopy};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Where the time went.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// Schema, globals and large objects.
    pub schema: Duration,
    /// Rows.
    pub rows: Duration,
}

/// A backup that stands. JSON shape: these fields, in snake case; rates are millions of bytes of `COPY` text per
/// second while rows were read.
#[derive(Debug, Serialize)]
pub struct BackupSummary {
    backup_id: BackupId,
    source: String,
    lineage: Lineage,
    database: String,
    repository: String,
    #[serde(flatten)]
    sealed: SealedBackup,
    ratio: f64,
    parts: u64,
    sequences: u64,
    large_objects: u64,
    snapshot_at: Timestamp,
    key_holders: Vec<String>,
    #[serde(flatten)]
    coverage: Coverage,
    copies: Vec<VerifiedCopy>,
    /// Whether a restore can go on from it over captured changes; `null` where none are captured, or it is not known.
    joins_changes: Option<bool>,
    seconds: f64,
    schema_seconds: f64,
    rows_seconds: f64,
    megabytes_per_second: f64,
    peak_memory_bytes: Option<u64>,
    /// What a person should look at although the backup stands.
    pub warnings: Vec<String>,
}

impl BackupSummary {
    /// Puts it together, and measures the peak of memory at this moment.
    #[must_use]
    pub fn new(
        run: &Run,
        manifest: &Manifest,
        sealed: SealedBackup,
        copies: Vec<VerifiedCopy>,
        spent: Spent,
        total: Duration,
    ) -> Self {
        let warnings = Vec::from_iter((sealed.tables == 0).then(|| {
            format!(
                "database {} holds no table, so this backup holds no row; look whether --source names the right one",
                manifest.database
            )
        }));
        Self {
            backup_id: run.backup_id,
            source: run.source.clone(),
            lineage: manifest.lineage.clone(),
            database: manifest.database.clone(),
            repository: run.repository.clone(),
            ratio: text::ratio(sealed.raw_bytes, sealed.stored_bytes),
            megabytes_per_second: text::megabytes_per_second(sealed.raw_bytes, spent.rows),
            sealed,
            parts: manifest.parts.len() as u64,
            sequences: manifest.sequences.len() as u64,
            large_objects: manifest.blobs.as_ref().map_or(0, |blobs| blobs.count),
            snapshot_at: manifest.snapshot_at,
            key_holders: manifest.key_holders.clone(),
            coverage: manifest.coverage.clone(),
            copies,
            joins_changes: None,
            seconds: total.as_secs_f64(),
            schema_seconds: spent.schema.as_secs_f64(),
            rows_seconds: spent.rows.as_secs_f64(),
            peak_memory_bytes: peak_memory_bytes(),
            warnings,
        }
    }

    /// Adds whether it joins captured changes, as far as that could be found out; the backup stands either way.
    pub fn add_join(&mut self, joins: Result<Option<bool>, String>) {
        self.joins_changes = joins.clone().unwrap_or_default();
        self.warnings.extend(match joins {
            Ok(None | Some(true)) => None,
            Ok(Some(false)) => Some(
                "this backup does not join the captured changes, so no point behind it can be restored: the schema or the set \
                 of captured tables changed since the newest segment, or a transaction was open in it that began before the \
                 changes; run keepsake capture, then keepsake backup again"
                    .to_owned(),
            ),
            Err(error) => Some(format!(
                "whether this backup joins captured changes is not known: {error}; keepsake window --repo <URL> shows it"
            )),
        });
    }
}

impl fmt::Display for BackupSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sealed = &self.sealed;
        writeln!(f, "backup {} of {} stands in {}", self.backup_id, self.source, self.repository)?;
        let (tables, rows) = (text::count(sealed.tables), text::count(sealed.rows));
        writeln!(f, "  holds     {tables} tables, {rows} rows, {} parts", text::count(self.parts))?;
        writeln!(
            f,
            "  size      {} raw, {} stored, ratio {}",
            text::size(sealed.raw_bytes),
            text::size(sealed.stored_bytes),
            self.ratio
        )?;
        let total = text::span(Duration::from_secs_f64(self.seconds));
        writeln!(f, "  took      {total}, rows at {} MB/s", self.megabytes_per_second)?;
        if let Some(peak) = self.peak_memory_bytes {
            writeln!(f, "  memory    {} at most", text::size(peak))?;
        }
        writeln!(f, "  opens by  {}", self.key_holders.join(", "))?;
        for copy in &self.copies {
            writeln!(f, "  copy      {}, {} objects verified", copy.repository, copy.objects)?;
        }
        for left_out in &self.coverage.not_covered {
            writeln!(f, "  left out  {}: {} ({})", left_out.what, left_out.why, left_out.advice)?;
        }
        let limited = self.coverage.limited.len() as u64;
        if limited > 0 {
            writeln!(f, "  limited   {} things; keepsake show tells which", text::count(limited))?;
        }
        Ok(())
    }
}
