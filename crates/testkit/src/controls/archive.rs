//! Damages of an archive where it lies.

use super::{Detector, Look};
use keepsake_archive::{BackupIdentity, Manifest, StoredObject};
use keepsake_domain::RowsDigest;
use serde_json::Value;
use std::collections::BTreeMap;

const MANIFEST: &str = "manifest.json";
const KEYS: &str = "keys/000001.json";

/// A backup, an older one of the same source, and the keys of both: what a damage is done to.
pub struct Specimen {
    /// Bytes of the backup's objects, by their keys below its root.
    pub backup: BTreeMap<String, Vec<u8>>,
    /// The same of the older one.
    pub older: BTreeMap<String, Vec<u8>>,
    /// The backup's key.
    pub key: BackupIdentity,
    /// The older one's.
    pub older_key: BackupIdentity,
}

/// What is done to an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveDamage {
    /// A byte of a part's age header is changed.
    HeaderFlipped,
    /// A byte in the middle.
    BodyFlipped,
    /// The last byte.
    LastBlockFlipped,
    /// The last byte is cut off.
    Truncated,
    /// A byte follows.
    Extended,
    /// A part is removed.
    PartMissing,
    /// The schema is removed.
    SchemaMissing,
    /// Two parts have each other's bytes.
    PartsSwapped,
    /// A part has the bytes of the older backup's.
    PartOfAnother,
    /// A byte was changed before the bytes were described: the manifest fits them.
    DescribedFlipped,
    /// The manifest promises other rows, and is sealed with the key: as if rows had been lost before the seal.
    RowsLost,
    /// A byte of the manifest is changed.
    ManifestFlipped,
    /// The manifest is cut in half.
    ManifestTruncated,
    /// A sequence's value is edited in the manifest.
    SequenceEdited,
    /// A table is taken out of the manifest.
    TableEdited,
    /// The same, by someone who writes a new digest and has no key.
    SequenceForged,
    /// The same with a table.
    TableForged,
    /// The same with one part of a table.
    PartForged,
    /// A table is taken out of the manifest by someone who has the key.
    TableForgedWithKey,
    /// The older manifest is edited by someone who has its key.
    OlderForgedWithKey,
    /// The manifest is the older backup's.
    ManifestOfAnother,
    /// The key file is removed.
    KeysMissing,
    /// The key file is the older backup's.
    KeysOfAnother,
    /// The key file is the older backup's with this one's name on it.
    KeysForged,
    /// The key file wraps the older backup's key.
    KeysRewrapped,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveControl {
    /// As people read it.
    pub what: &'static str,
    /// What is done.
    pub damage: ArchiveDamage,
    /// What finds it first at each of [`Look::ALL`]; `None` where nothing can.
    pub found_by: [Option<Detector>; 4],
}

impl ArchiveControl {
    /// What must find it when somebody looks so far.
    #[must_use]
    pub fn at(&self, look: Look) -> Option<Detector> {
        Look::ALL.iter().position(|other| *other == look).and_then(|index| self.found_by[index])
    }
}

const fn always(what: &'static str, damage: ArchiveDamage, by: Detector) -> ArchiveControl {
    ArchiveControl { what, damage, found_by: [Some(by); 4] }
}

const fn by_reading(what: &'static str, damage: ArchiveDamage, by: Detector) -> ArchiveControl {
    ArchiveControl { what, damage, found_by: [None, Some(by), Some(by), Some(by)] }
}

const fn by_opening(what: &'static str, damage: ArchiveDamage, by: Detector) -> ArchiveControl {
    ArchiveControl { what, damage, found_by: [None, None, Some(by), Some(by)] }
}

use ArchiveDamage as D;

/// Every damage of an archive that must be found.
pub const ARCHIVE_CONTROLS: [ArchiveControl; 25] = [
    by_reading("byte flipped in a part's header", D::HeaderFlipped, Detector::StoredSha256),
    by_reading("byte flipped in a part's body", D::BodyFlipped, Detector::StoredSha256),
    by_reading("byte flipped in a part's last block", D::LastBlockFlipped, Detector::StoredSha256),
    always("part truncated by a byte", D::Truncated, Detector::StoredLength),
    always("byte added to a part", D::Extended, Detector::StoredLength),
    ArchiveControl {
        what: "part missing",
        damage: D::PartMissing,
        found_by: [
            Some(Detector::Presence),
            Some(Detector::Presence),
            Some(Detector::Presence),
            Some(Detector::Absence),
        ],
    },
    ArchiveControl {
        what: "schema missing",
        damage: D::SchemaMissing,
        found_by: [
            Some(Detector::Presence),
            Some(Detector::Presence),
            Some(Detector::Presence),
            Some(Detector::Absence),
        ],
    },
    always("two parts swapped", D::PartsSwapped, Detector::StoredLength),
    always("part of another backup", D::PartOfAnother, Detector::StoredLength),
    by_opening("byte flipped before it was described", D::DescribedFlipped, Detector::AgeBlock),
    by_opening("rows lost before the seal", D::RowsLost, Detector::PartRows),
    always("manifest: byte flipped", D::ManifestFlipped, Detector::ManifestDigest),
    always("manifest: cut in half", D::ManifestTruncated, Detector::ManifestForm),
    always("manifest: sequence edited", D::SequenceEdited, Detector::ManifestDigest),
    always("manifest: table taken out", D::TableEdited, Detector::ManifestDigest),
    by_opening("manifest: sequence edited, new digest, no key", D::SequenceForged, Detector::ManifestMac),
    by_opening("manifest: table taken out, new digest, no key", D::TableForged, Detector::ManifestMac),
    always("manifest: part of a table taken out, new digest, no key", D::PartForged, Detector::ManifestCover),
    ArchiveControl {
        what: "manifest: table taken out, sealed with its key",
        damage: D::TableForgedWithKey,
        found_by: [None, None, None, Some(Detector::TableUnknown)],
    },
    ArchiveControl {
        what: "older manifest: sequence edited, sealed with its key",
        damage: D::OlderForgedWithKey,
        found_by: [
            Some(Detector::ManifestLink),
            Some(Detector::ManifestLink),
            Some(Detector::ManifestLink),
            None,
        ],
    },
    always("manifest of another backup", D::ManifestOfAnother, Detector::ManifestPlace),
    always("key file missing", D::KeysMissing, Detector::KeysPresence),
    always("key file of another backup", D::KeysOfAnother, Detector::KeysPlace),
    always("key file of another backup, renamed", D::KeysForged, Detector::KeysRecipient),
    by_opening("key file that wraps another backup's key", D::KeysRewrapped, Detector::KeysContent),
];

impl ArchiveDamage {
    /// Does it.
    ///
    /// # Panics
    /// When the specimen is not whole.
    pub fn apply(self, to: &mut Specimen) {
        let manifest: Manifest = serde_json::from_slice(&to.backup[MANIFEST]).expect("a manifest");
        let root = format!("{}/{}/full/{}/", manifest.source, manifest.lineage, manifest.backup_id);
        let below = |object: &StoredObject| object.key.strip_prefix(&root).expect("an own object").to_owned();
        let mut parts: Vec<&StoredObject> = manifest.parts.iter().map(|part| &part.object).collect();
        parts.sort_by_key(|object| object.stored_bytes);
        let small = below(parts[0]);
        match self {
            Self::HeaderFlipped => flip(to.of(&small), 30),
            Self::BodyFlipped => flip_from_end(to.of(&small), 20),
            Self::LastBlockFlipped => flip_from_end(to.of(&small), 1),
            Self::Truncated => drop(to.of(&small).pop()),
            Self::Extended => to.of(&small).push(0),
            Self::PartMissing => drop(to.backup.remove(&small)),
            Self::SchemaMissing => drop(to.backup.remove(&below(&manifest.schema))),
            Self::PartsSwapped => to.swap(&small, &below(parts[parts.len() - 1])),
            Self::PartOfAnother => to.take_from_older(&small),
            Self::DescribedFlipped => to.describe_flipped(&small),
            Self::KeysMissing => drop(to.backup.remove(KEYS)),
            Self::KeysOfAnother | Self::KeysForged | Self::KeysRewrapped => self.apply_to_keys(to),
            _ => self.apply_to_manifest(to),
        }
    }

    fn apply_to_manifest(self, to: &mut Specimen) {
        let (own, stranger) = (to.key.clone(), BackupIdentity::generate());
        match self {
            Self::ManifestFlipped => {
                let middle = to.of(MANIFEST).len() / 2;
                flip(to.of(MANIFEST), middle);
            }
            Self::ManifestTruncated => {
                let middle = to.of(MANIFEST).len() / 2;
                to.of(MANIFEST).truncate(middle);
            }
            Self::SequenceEdited => to.edit(MANIFEST, |text| {
                let at = text.rfind("\"last_value\": ").expect("a sequence") + "\"last_value\": ".len();
                text.insert(at, '1');
            }),
            Self::TableEdited => to.edit(MANIFEST, |text| {
                let mut value: Value = serde_json::from_str(text).expect("JSON");
                value["parts"].as_array_mut().expect("parts").pop();
                *text = serde_json::to_string_pretty(&value).expect("JSON");
            }),
            Self::SequenceForged => to.seal(&stranger, another_sequence),
            Self::TableForged => to.seal(&stranger, without_a_table),
            Self::PartForged => to.seal(&stranger, |manifest| {
                let cut = manifest.parts.iter().position(|part| part.range.is_some()).expect("a cut table");
                manifest.parts.remove(cut);
            }),
            Self::TableForgedWithKey => to.seal(&own, without_a_table),
            Self::RowsLost => {
                to.seal(&own, |manifest| manifest.parts[0].content.rows_digest += RowsDigest(1))
            }
            Self::OlderForgedWithKey => {
                let key = to.older_key.clone();
                seal_anew(&mut to.older, &key, another_sequence);
            }
            _ => *to.of(MANIFEST) = to.older[MANIFEST].clone(),
        }
    }

    fn apply_to_keys(self, to: &mut Specimen) {
        let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).expect("a key file") };
        let (mut own, older) = (json(&to.backup[KEYS]), json(&to.older[KEYS]));
        let taken: &[&str] = match self {
            Self::KeysOfAnother => &["backup_id", "recipient", "fingerprint", "holders"],
            Self::KeysForged => &["recipient", "fingerprint", "holders"],
            _ => &["holders"],
        };
        for field in taken {
            own[*field] = older[*field].clone();
        }
        *to.of(KEYS) = serde_json::to_vec_pretty(&own).expect("JSON");
    }
}

fn another_sequence(manifest: &mut Manifest) {
    manifest.sequences[0].last_value += 1;
}

/// Takes one out that lies in one part, so that no hole is left.
fn without_a_table(manifest: &mut Manifest) {
    let whole = |part: &keepsake_archive::Part| part.range.is_none() && part.content.rows > 0;
    let table = manifest.parts.iter().find(|part| whole(part)).expect("a table in one part").table.clone();
    manifest.parts.retain(|part| part.table != table);
}

fn flip(bytes: &mut [u8], at: usize) {
    bytes[at] ^= 1;
}

fn flip_from_end(bytes: &mut [u8], from_end: usize) {
    let at = bytes.len() - from_end;
    flip(bytes, at);
}

fn seal_anew(
    archive: &mut BTreeMap<String, Vec<u8>>,
    key: &BackupIdentity,
    edit: impl FnOnce(&mut Manifest),
) {
    let bytes = archive.get_mut(MANIFEST).expect("a manifest");
    let mut manifest: Manifest = serde_json::from_slice(bytes).expect("a manifest");
    edit(&mut manifest);
    *bytes = manifest.to_json(&key.seal_key()).expect("plain data");
}

impl Specimen {
    fn of(&mut self, name: &str) -> &mut Vec<u8> {
        self.backup.get_mut(name).expect("an object of the backup")
    }

    fn edit(&mut self, name: &str, edit: impl FnOnce(&mut String)) {
        let mut text = String::from_utf8(self.of(name).clone()).expect("UTF-8");
        edit(&mut text);
        *self.of(name) = text.into_bytes();
    }

    fn seal(&mut self, key: &BackupIdentity, edit: impl FnOnce(&mut Manifest)) {
        seal_anew(&mut self.backup, key, edit);
    }

    fn swap(&mut self, one: &str, other: &str) {
        let (first, second) = (self.of(one).clone(), self.of(other).clone());
        assert_ne!(first.len(), second.len(), "two parts of different length");
        *self.of(one) = second;
        *self.of(other) = first;
    }

    /// One of another length: age pads its headers at random, so equal rows have different lengths by chance.
    fn take_from_older(&mut self, name: &str) {
        let length = self.backup[name].len();
        let foreign = |(key, bytes): &(&String, &Vec<u8>)| key.starts_with("data/") && bytes.len() != length;
        let bytes = self.older.iter().find(foreign).expect("a part of another length").1.clone();
        *self.of(name) = bytes;
    }

    fn describe_flipped(&mut self, name: &str) {
        flip_from_end(self.of(name), 1);
        let bytes = self.backup[name].clone();
        let key = self.key.clone();
        self.seal(&key, |manifest| {
            let part = manifest.parts.iter_mut().find(|part| part.object.key.ends_with(name));
            let object = &mut part.expect("the part").object;
            *object = StoredObject::of_bytes(object.key.clone(), &bytes);
        });
    }
}
