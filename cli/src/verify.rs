//! `keepsake verify`: whether what stands is whole.

use crate::arguments::VerifyArguments;
use crate::context::Context;
use crate::failure::Failure;
use crate::keys::ReadingKey;
use crate::terminal::{Progress, note, print, print_json};
use crate::text;
use crate::verify_changes::{self, ChangesVerifier, VerifiedChanges};
use keepsake_archive::{ArchiveLayout, ManifestError};
use keepsake_domain::{BackupId, BackupIdPrefix, chain};
use keepsake_steps::ports::Repository;
use keepsake_steps::{
    Damage, Depth, Opener, StandingBackup, StepError, find_layout, manifest_keys, newest_keys, read_backup,
    verify_archive, verify_link,
};
use serde::Serialize;

/// JSON shape of the answer: `{"repository", "depth", "verdict", "backups": […], "changes": […]}`; `depth` is `objects`, `key`, `bytes`
/// or `rows`; `verdict` is `passed`, `failed`, or `inconclusive` when there was nothing to verify.
#[derive(Debug, Serialize)]
struct Verification {
    repository: String,
    depth: &'static str,
    verdict: &'static str,
    backups: Vec<VerifiedBackup>,
    /// Empty when one backup was asked for.
    changes: Vec<VerifiedChanges>,
}

#[derive(Debug, Serialize)]
struct VerifiedBackup {
    backup_id: BackupId,
    source: String,
    objects: u64,
    stored_bytes: u64,
    /// What the manifest itself was compared with: `digest`, `mac`, `link`.
    manifest_checks: Vec<&'static str>,
    damages: Vec<Damage>,
}

struct Verifier<'a> {
    repository: &'a dyn Repository,
    key: Option<ReadingKey>,
    deep: bool,
}

/// Runs `keepsake verify`.
///
/// # Errors
/// [`Failure::not_proven`] when damage was found or nothing was there; others when the repository did not answer.
pub async fn verify(context: &Context, arguments: &VerifyArguments) -> Result<(), Failure> {
    let key = ReadingKey::given(&arguments.key, &context.places).await?;
    let repository = context.places.repository("--repo", &arguments.repo).await?;
    let repository = repository.as_ref();
    let verifier = Verifier { repository, key, deep: arguments.deep };
    let depth = verifier.depth_name();
    if arguments.deep && verifier.key.is_none() {
        note(
            "note: no key was given, so stored bytes are hashed and rows are not counted; give --key-file or --kms",
        );
    }
    let backups = verifier.all(arguments.backup.as_ref()).await?;
    let changes = match &arguments.backup {
        Some(_) => Vec::new(),
        None => verifier.changes().all().await?,
    };
    let damaged = backups.iter().filter(|backup| !backup.damages.is_empty()).count()
        + changes.iter().filter(|changes| !changes.damages.is_empty()).count();
    let verdict = match (backups.len(), damaged) {
        (0, _) => "inconclusive",
        (_, 0) => "passed",
        _ => "failed",
    };
    let verification = Verification { repository: repository.url(), depth, verdict, backups, changes };
    if arguments.json {
        print_json(&verification)?;
    } else {
        print(&for_people(&verification));
    }
    outcome(&verification)
}

fn outcome(verification: &Verification) -> Result<(), Failure> {
    match verification.verdict {
        "passed" => Ok(()),
        "inconclusive" => Err(Failure::not_proven(
            format!("no backup stands in {}, so there was nothing to verify", verification.repository),
            "nothing protects the source from here",
            "correct the repository's URL, or run keepsake backup",
        )),
        _ => Err(Failure::not_proven(
            told_damaged(verification),
            "what is damaged cannot be restored from this repository; the rest is not affected",
            "keepsake verify --repo <URL> on each copy, restore from one that passes, and keep the evidence",
        )),
    }
}

fn told_damaged(verification: &Verification) -> String {
    let backups = verification.backups.iter().filter(|backup| !backup.damages.is_empty()).count();
    let changes = verification.changes.iter().filter(|changes| !changes.damages.is_empty()).count();
    let of_backups = format!("{backups} of {} backups", verification.backups.len());
    match changes {
        0 => format!("{of_backups} are damaged"),
        _ => format!(
            "{of_backups} and the changes of {changes} of {} lineages are damaged",
            verification.changes.len()
        ),
    }
}

impl Verifier<'_> {
    fn changes(&self) -> ChangesVerifier<'_> {
        ChangesVerifier { repository: self.repository, key: self.key.as_ref(), deep: self.deep }
    }

    fn depth_name(&self) -> &'static str {
        match (self.deep, &self.key) {
            (false, None) => "objects",
            (false, Some(_)) => "key",
            (true, None) => "bytes",
            (true, Some(_)) => "rows",
        }
    }

    async fn all(&self, wanted: Option<&BackupIdPrefix>) -> Result<Vec<VerifiedBackup>, Failure> {
        let standing = manifest_keys(self.repository, "").await?;
        let layouts = match wanted {
            Some(_) => vec![find_layout(self.repository, wanted).await?],
            None => standing.clone(),
        };
        let progress = Progress::new();
        let mut verified = Vec::with_capacity(layouts.len());
        for layout in layouts {
            progress.step(&format!("verifying {} of {}", layout.backup_id, layout.source));
            let next = next_of(&layout, &standing);
            verified.push(self.one(layout, next).await?);
        }
        Ok(verified)
    }

    async fn one(
        &self,
        layout: ArchiveLayout,
        next: Option<ArchiveLayout>,
    ) -> Result<VerifiedBackup, Failure> {
        let key = layout.manifest();
        let (backup_id, source) = (layout.backup_id, layout.source.clone());
        let backup = match read_backup(self.repository, layout).await {
            Ok(backup) => backup,
            Err(error) => {
                let (damages, manifest_checks) = (vec![damage(key, error)?], Vec::new());
                let (objects, stored_bytes) = (0, 0);
                return Ok(VerifiedBackup {
                    backup_id,
                    source,
                    objects,
                    stored_bytes,
                    manifest_checks,
                    damages,
                });
            }
        };
        let mut manifest_checks = vec!["digest"];
        let mut damages = self.damages(&backup, &mut manifest_checks).await?;
        match self.link(&backup, next).await {
            Ok(true) => manifest_checks.push("link"),
            Ok(false) => {}
            Err(error) => damages.insert(0, damage(key, error)?),
        }
        let objects = backup.manifest.objects().count() as u64;
        let stored_bytes = backup.manifest.stored_bytes();
        Ok(VerifiedBackup { backup_id, source, objects, stored_bytes, manifest_checks, damages })
    }

    /// Whether the next manifest confirms this one. One that cannot be read confirms nothing; it is a finding of its own.
    async fn link(&self, backup: &StandingBackup, next: Option<ArchiveLayout>) -> Result<bool, StepError> {
        let Some(next) = next else { return Ok(false) };
        match verify_link(self.repository, backup, next).await {
            Err(error) if matches!(error, StepError::Manifest(ManifestError::Unlinked { .. })) => Err(error),
            Err(error) if error.is_of_one_object() => Ok(false),
            other => other,
        }
    }

    async fn damages(
        &self,
        backup: &StandingBackup,
        manifest_checks: &mut Vec<&'static str>,
    ) -> Result<Vec<Damage>, Failure> {
        let keys = format!("{}keys/", backup.layout.root());
        let mut damages = Vec::new();
        let mut identity = None;
        let outcome = match &self.key {
            Some(key) => key.open(self.repository, backup).await.map(|opened| {
                manifest_checks.push("mac");
                identity = Some(opened);
            }),
            None => newest_keys(self.repository, backup).await.map(|_| ()),
        };
        if let Err(error) = outcome {
            damages.push(damage(keys, error)?);
        }
        let depth = match (self.deep, &identity) {
            (false, _) => Depth::Objects,
            (true, None) => Depth::Bytes,
            (true, Some(identity)) => Depth::Rows(identity),
        };
        damages.extend(verify_archive(self.repository, backup, depth).await?);
        Ok(damages)
    }
}

/// A failure that is about this backup is a finding; any other ends the command.
fn damage(key: String, error: StepError) -> Result<Damage, Failure> {
    if error.is_of_one_object() {
        return Ok(Damage { key, finding: chain(&error) });
    }
    Err(error.into())
}

/// The backup after this one in its lineage.
fn next_of(layout: &ArchiveLayout, standing: &[ArchiveLayout]) -> Option<ArchiveLayout> {
    let same = |other: &&ArchiveLayout| (&other.source, &other.lineage) == (&layout.source, &layout.lineage);
    let later = standing.iter().filter(same).filter(|other| other.backup_id > layout.backup_id);
    later.min_by_key(|other| other.backup_id).cloned()
}

/// What was looked at in every backup, and what was not.
fn depth_for_people(depth: &str) -> &str {
    match depth {
        "key" => "objects, key and the manifest's MAC; contents not read: --deep reads them",
        other => other,
    }
}

/// What protects the manifest, and what was not looked at.
fn manifest_line(backup: &VerifiedBackup) -> String {
    let says = |check: &str, yes: &str, no: &str| {
        if backup.manifest_checks.contains(&check) { yes } else { no }.to_owned()
    };
    [
        "  manifest: its own digest fits".to_owned(),
        says("mac", "its MAC is of the backup's key", "MAC not checked without a key that opens the backup"),
        says("link", "the next manifest names it", "no later manifest names it"),
    ]
    .join("; ")
}

fn for_people(verification: &Verification) -> String {
    let mut lines = Vec::new();
    for backup in &verification.backups {
        let state = if backup.damages.is_empty() { "whole" } else { "DAMAGED" };
        lines.push(format!(
            "{} of {}: {state}, {} objects, {} ({})",
            backup.backup_id,
            backup.source,
            text::count(backup.objects),
            text::size(backup.stored_bytes),
            depth_for_people(verification.depth)
        ));
        if !backup.manifest_checks.is_empty() {
            lines.push(manifest_line(backup));
        }
        lines.extend(backup.damages.iter().map(|damage| format!("  {}: {}", damage.key, damage.finding)));
    }
    lines.extend(verify_changes::for_people(&verification.changes));
    lines.join("\n")
}
