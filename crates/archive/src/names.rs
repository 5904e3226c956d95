//! Names of the objects in an archive. The one place that puts a key together.
//!
//! Keys are relative to the repository's prefix. Objects are immutable: what a repeated step writes gets a new name
//! through its [`Attempt`], and the manifest says which object counts.

use keepsake_domain::{BackupId, Lineage};
use std::fmt;
use uuid::Uuid;

/// One try at writing an object whose bytes cannot be repeated (each encryption draws a new file key, and a
/// worker cannot read what it wrote). Text shape: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt(pub Uuid);

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

/// Where one backup's objects lie: `<source>/<lineage>/full/<backup id>/…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveLayout {
    /// The source's name.
    pub source: String,
    /// The lineage that the backup belongs to.
    pub lineage: Lineage,
    /// The backup.
    pub backup_id: BackupId,
}

/// The text cannot be a source's name in an object key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" cannot name a source: use 1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit")]
pub struct InvalidName(String);

/// Whether a text can name a source in an object key.
pub(crate) fn check_source(source: &str) -> Result<(), InvalidName> {
    let first = source.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = source.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if first && rest && source.len() <= 63 { Ok(()) } else { Err(InvalidName(source.to_owned())) }
}

impl ArchiveLayout {
    /// Checks the source's name, which becomes a part of every key.
    ///
    /// # Errors
    /// [`InvalidName`] when the name could leave its folder or clash on a file system.
    pub fn new(source: &str, lineage: Lineage, backup_id: BackupId) -> Result<Self, InvalidName> {
        check_source(source)?;
        Ok(Self { source: source.to_owned(), lineage, backup_id })
    }

    /// The layout that a manifest's key belongs to; `None` for any other key, also for one that means the same and is
    /// written otherwise: a backup has one place.
    #[must_use]
    pub fn of_manifest_key(key: &str) -> Option<Self> {
        let fields: Vec<&str> = key.split('/').collect();
        let [source, lineage, "full", backup_id, "manifest.json"] = fields.as_slice() else { return None };
        let layout = Self::new(source, lineage.parse().ok()?, backup_id.parse().ok()?).ok()?;
        (layout.manifest() == key).then_some(layout)
    }

    /// What all keys of this backup begin with; ends with a slash.
    #[must_use]
    pub fn root(&self) -> String {
        format!("{}/{}/full/{}/", self.source, self.lineage, self.backup_id)
    }

    /// The backup's private key, wrapped; generations count from 1.
    #[must_use]
    pub fn keys(&self, generation: u32) -> String {
        format!("{}keys/{generation:06}.json", self.root())
    }

    /// The schema as a `pg_dump` custom archive.
    #[must_use]
    pub fn schema(&self, attempt: Attempt) -> String {
        format!("{}schema.{attempt}.dump.zst.age", self.root())
    }

    /// Roles, settings and extensions.
    #[must_use]
    pub fn globals(&self, attempt: Attempt) -> String {
        format!("{}globals.{attempt}.json.zst.age", self.root())
    }

    /// One part's rows.
    #[must_use]
    pub fn part(&self, number: u32, attempt: Attempt) -> String {
        format!("{}data/{number:06}.{attempt}.copy.zst.age", self.root())
    }

    /// Large objects.
    #[must_use]
    pub fn blobs(&self, number: u32, attempt: Attempt) -> String {
        format!("{}blobs/{number:06}.{attempt}.dump.zst.age", self.root())
    }

    /// How to restore by hand.
    #[must_use]
    pub fn readme(&self) -> String {
        format!("{}README.txt", self.root())
    }

    /// Written last; a backup exists only if this stands.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{}manifest.json", self.root())
    }

    /// A test restore's certificate. Beside the manifest, never in it: the manifest is immutable.
    #[must_use]
    pub fn certificate(&self, test_id: Uuid) -> String {
        format!("{}certificates/{test_id}.json", self.root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(source: &str) -> Result<ArchiveLayout, InvalidName> {
        let lineage = Lineage { system_identifier: 7, timeline: 1, database_oid: 5 };
        ArchiveLayout::new(source, lineage, BackupId(Uuid::from_u128(1)))
    }

    #[test]
    fn a_manifest_key_leads_back_to_its_layout() {
        let layout = layout("wedsync").expect("a good name");
        assert_eq!(ArchiveLayout::of_manifest_key(&layout.manifest()), Some(layout.clone()));
        assert_eq!(ArchiveLayout::of_manifest_key(&layout.readme()), None);
        assert_eq!(ArchiveLayout::of_manifest_key("manifest.json"), None);
    }

    #[test]
    fn a_key_that_only_means_the_same_is_no_manifests_key() {
        for key in [
            "wedsync/7-1-5/full/00000000000000000000000000000001/manifest.json",
            "wedsync/7-1-5/full/{00000000-0000-0000-0000-000000000001}/manifest.json",
            "wedsync/07-1-5/full/00000000-0000-0000-0000-000000000001/manifest.json",
            "wedsync/+7-1-5/full/00000000-0000-0000-0000-000000000001/manifest.json",
        ] {
            assert_eq!(ArchiveLayout::of_manifest_key(key), None, "{key}");
        }
    }

    #[test]
    fn two_attempts_at_one_part_never_share_a_name() {
        let layout = layout("wedsync").expect("a good name");
        assert_ne!(layout.part(1, Attempt(Uuid::from_u128(1))), layout.part(1, Attempt(Uuid::from_u128(2))));
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for name in ["", "..", "a/b", "../x", "A", "ä", "-a", &"x".repeat(64)] {
            assert!(layout(name).is_err(), "{name}");
        }
    }
}
