//! Reading a manifest and writing one: nothing is trusted that does not fit together.

use crate::manifest_seal::{ManifestSeal, SealKey, seal};
use crate::{ArchiveLayout, FORMAT_VERSION, Manifest};
use keepsake_domain::{BlockRange, TableName};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Why a manifest cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Written by a newer or unknown program.
    #[error("manifest \"{key}\" has format version {found}; this program reads version {FORMAT_VERSION}")]
    UnknownVersion {
        /// Where it lies.
        key: String,
        /// What it says.
        found: u64,
    },
    /// Not the JSON that a manifest is.
    #[error("manifest \"{key}\" is damaged")]
    Damaged {
        /// Where it lies.
        key: String,
        /// What was wrong.
        #[source]
        cause: serde_json::Error,
    },
    /// Not the bytes that were sealed.
    #[error("manifest \"{key}\" is corrupt, found by manifest digest: {reason}")]
    Changed {
        /// Where it lies.
        key: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Its digest fits, and yet it was not sealed by the run that drew the backup's key.
    #[error("manifest \"{key}\" is corrupt, found by manifest MAC: it was not sealed with the backup's key")]
    Forged {
        /// Where it lies.
        key: String,
    },
    /// The next manifest of the lineage was written when this one had other bytes.
    #[error(
        "manifest \"{key}\" is corrupt, found by manifest link: SHA-256 {found}, and the manifest of {next} names \
         {expected}"
    )]
    Unlinked {
        /// Where it lies.
        key: String,
        /// Whose manifest names it, for people: `backup …`.
        next: String,
        /// What it has.
        found: String,
        /// What it had.
        expected: String,
    },
    /// Well formed, and yet it cannot be true.
    #[error("manifest \"{key}\" contradicts itself: {reason}")]
    Contradiction {
        /// Where it lies.
        key: String,
        /// What cannot be.
        reason: String,
    },
}

impl Manifest {
    /// Reads a manifest, compares it with its own digest, and checks that it belongs where it was found.
    ///
    /// # Errors
    /// [`ManifestError`]: an unknown version is told apart from damage, so that nobody throws away a good backup
    /// of a newer program.
    pub fn parse(key: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::parse_sealed(key, bytes).map(|(manifest, _)| manifest)
    }

    /// The same, with the seal that a holder of the backup's key can check.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn parse_sealed(key: &str, bytes: &[u8]) -> Result<(Self, ManifestSeal), ManifestError> {
        parse_sealed(key, bytes, Self::contradiction)
    }

    /// As it is stored, with its seal.
    ///
    /// # Errors
    /// Never in practice: all fields are plain data.
    pub fn to_json(&self, seal_key: &SealKey) -> Result<Vec<u8>, serde_json::Error> {
        Ok(seal(serde_json::to_vec_pretty(self)?, seal_key))
    }

    fn contradiction(&self, key: &str) -> Option<String> {
        let layout = match ArchiveLayout::new(&self.source, self.lineage.clone(), self.backup_id) {
            Ok(layout) => layout,
            Err(invalid) => return Some(invalid.to_string()),
        };
        if layout.manifest() != key {
            return Some(format!("it belongs at \"{}\"", layout.manifest()));
        }
        if let Some(foreign) = self.objects().find(|object| !lies_within(&layout.root(), &object.key)) {
            return Some(format!("object \"{}\" lies outside of the backup", foreign.key));
        }
        let mut keys = BTreeSet::new();
        if let Some(twice) = self.objects().find(|object| !keys.insert(&object.key)) {
            return Some(format!("object \"{}\" is listed twice", twice.key));
        }
        if !self.sums_fit() {
            return Some("its counts add up to more than can be".to_owned());
        }
        let numbers: BTreeSet<u32> = self.parts.iter().map(|part| part.number).collect();
        if numbers.len() != self.parts.len() || self.parts.iter().any(|part| part.number == 0) {
            return Some("two parts have one number".to_owned());
        }
        self.cut_contradiction()
    }

    /// Whether the sums over all parts and objects fit their type, so that they can be taken without care.
    fn sums_fit(&self) -> bool {
        let sum = |mut counts: Box<dyn Iterator<Item = u64> + '_>| {
            counts.try_fold(0_u64, |sum, count| sum.checked_add(count)).is_some()
        };
        sum(Box::new(self.parts.iter().map(|part| part.content.rows)))
            && sum(Box::new(self.parts.iter().map(|part| part.content.raw_bytes)))
            && sum(Box::new(self.objects().map(|object| object.stored_bytes)))
    }

    /// Block ranges of one table must join without hole or overlap, and end open.
    fn cut_contradiction(&self) -> Option<String> {
        let mut tables: BTreeMap<&TableName, Vec<Option<BlockRange>>> = BTreeMap::new();
        for part in &self.parts {
            tables.entry(&part.table).or_default().push(part.range);
        }
        tables.into_iter().find_map(|(table, ranges)| {
            (!covers_once(ranges)).then(|| format!("the parts of table {table} do not cover it exactly once"))
        })
    }
}

/// Reads any manifest with its seal: first what the bytes say of themselves, then the version, then what the fields say
/// of each other.
pub(crate) fn parse_sealed<T: DeserializeOwned>(
    key: &str,
    bytes: &[u8],
    contradiction: impl FnOnce(&T, &str) -> Option<String>,
) -> Result<(T, ManifestSeal), ManifestError> {
    // Before the version: a changed byte there must not look like a newer program's manifest.
    let seal = ManifestSeal::read(key, bytes)?;
    let damaged = |cause| ManifestError::Damaged { key: key.to_owned(), cause };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(damaged)?;
    if let Some(found) = value.get("format_version").and_then(serde_json::Value::as_u64)
        && found != u64::from(FORMAT_VERSION)
    {
        return Err(ManifestError::UnknownVersion { key: key.to_owned(), found });
    }
    let unsealed = || ManifestError::Changed { key: key.to_owned(), reason: "it has no seal".to_owned() };
    let seal = seal.ok_or_else(unsealed)?;
    let manifest: T = serde_json::from_value(value).map_err(damaged)?;
    match contradiction(&manifest, key) {
        Some(reason) => Err(ManifestError::Contradiction { key: key.to_owned(), reason }),
        None => Ok((manifest, seal)),
    }
}

/// A key like `<root>../x` begins with the root and leaves it all the same.
pub(crate) fn lies_within(root: &str, key: &str) -> bool {
    let plain = |segment: &str| !matches!(segment, "" | "." | "..");
    key.strip_prefix(root).is_some_and(|rest| rest.split('/').all(plain))
}

fn covers_once(ranges: Vec<Option<BlockRange>>) -> bool {
    if ranges == [None] {
        return true;
    }
    let Some(mut ranges) = ranges.into_iter().collect::<Option<Vec<BlockRange>>>() else { return false };
    ranges.sort_by_key(|range| range.from);
    let joined = ranges.windows(2).all(|pair| pair[0].to == Some(pair[1].from));
    joined && ranges.first().is_some_and(|r| r.from == 0) && ranges.last().is_some_and(|r| r.to.is_none())
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
pub(crate) mod tests;
