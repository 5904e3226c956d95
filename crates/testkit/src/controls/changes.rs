//! Damages of captured changes where they lie.

use super::{Detector, Look};
use keepsake_archive::{BackupIdentity, ChangesKey, ChangesLayout, SegmentManifest, StoredObject};
use std::collections::BTreeMap;

/// Captured changes of two runs, and the keys of both: what a damage is done to.
pub struct ChangesSpecimen {
    /// Bytes of all objects, by their keys.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Segments in their order, at least four; the last is of another run than the first.
    pub segments: Vec<SegmentManifest>,
    /// Where they lie.
    pub layout: ChangesLayout,
    /// The first segment's key.
    pub key: BackupIdentity,
    /// The last segment's key.
    pub last_key: BackupIdentity,
}

/// What is done to captured changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangesDamage {
    /// A byte of a segment's age header is changed.
    HeaderFlipped,
    /// A byte in the middle.
    BodyFlipped,
    /// The last byte.
    LastBlockFlipped,
    /// The last byte is cut off.
    Truncated,
    /// A byte follows.
    Extended,
    /// A segment's bytes are removed.
    Missing,
    /// Two segments have each other's bytes.
    Swapped,
    /// A byte was changed before the bytes were described: the manifest fits them.
    DescribedFlipped,
    /// The manifest promises another transaction, and is sealed with the key: as if one had been lost before the seal.
    TransactionLost,
    /// A byte of a manifest is changed.
    ManifestFlipped,
    /// A manifest is cut in half.
    ManifestTruncated,
    /// A manifest is removed.
    ManifestMissing,
    /// Two manifests are in each other's place.
    ManifestsSwapped,
    /// A manifest is of another lineage.
    ManifestOfAnotherLineage,
    /// The newest manifest is edited by someone who writes a new digest and has no key.
    ManifestForged,
    /// An older one is edited by someone who has its key.
    OlderForgedWithKey,
    /// A second segment follows the first one, beside the one that does.
    Fork,
    /// The key file of a run is removed.
    KeysMissing,
    /// The key file is another run's.
    KeysOfAnother,
    /// The key file wraps another run's key.
    KeysRewrapped,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct ChangesControl {
    /// As people read it.
    pub what: &'static str,
    /// What is done.
    pub damage: ChangesDamage,
    /// What finds it first at [`Look::Objects`], [`Look::Bytes`] and [`Look::Rows`]; `None` where nothing can.
    pub found_by: [Option<Detector>; 3],
}

impl ChangesControl {
    /// How far somebody looks at captured changes; a restore begins with the last of these.
    pub const LOOKS: [Look; 3] = [Look::Objects, Look::Bytes, Look::Rows];
}

const fn always(what: &'static str, damage: ChangesDamage, by: Detector) -> ChangesControl {
    ChangesControl { what, damage, found_by: [Some(by); 3] }
}

const fn by_reading(what: &'static str, damage: ChangesDamage, by: Detector) -> ChangesControl {
    ChangesControl { what, damage, found_by: [None, Some(by), Some(by)] }
}

const fn by_opening(what: &'static str, damage: ChangesDamage, by: Detector) -> ChangesControl {
    ChangesControl { what, damage, found_by: [None, None, Some(by)] }
}

use ChangesDamage as D;

/// Every damage of captured changes that must be found.
pub const CHANGES_CONTROLS: [ChangesControl; 20] = [
    by_reading("byte flipped in a segment's header", D::HeaderFlipped, Detector::StoredSha256),
    by_reading("byte flipped in a segment's body", D::BodyFlipped, Detector::StoredSha256),
    by_reading("byte flipped in a segment's last block", D::LastBlockFlipped, Detector::StoredSha256),
    always("segment truncated by a byte", D::Truncated, Detector::StoredLength),
    always("byte added to a segment", D::Extended, Detector::StoredLength),
    ChangesControl {
        what: "segment missing",
        damage: D::Missing,
        found_by: [Some(Detector::Presence), Some(Detector::Absence), Some(Detector::Absence)],
    },
    always("two segments swapped", D::Swapped, Detector::StoredLength),
    by_opening("byte flipped before it was described", D::DescribedFlipped, Detector::AgeBlock),
    by_opening("transaction lost before the seal", D::TransactionLost, Detector::SegmentCounts),
    always("manifest: byte flipped", D::ManifestFlipped, Detector::ManifestDigest),
    always("manifest: cut in half", D::ManifestTruncated, Detector::ManifestForm),
    always("manifest missing", D::ManifestMissing, Detector::ManifestNamed),
    always("two manifests in each other's place", D::ManifestsSwapped, Detector::ManifestPlace),
    always("manifest of another lineage", D::ManifestOfAnotherLineage, Detector::ManifestPlace),
    by_opening("newest manifest: edited, new digest, no key", D::ManifestForged, Detector::ManifestMac),
    always("older manifest: edited, sealed with its key", D::OlderForgedWithKey, Detector::ManifestLink),
    always("second segment behind the same one, sealed with a key", D::Fork, Detector::SegmentFork),
    by_opening("key file of a run missing", D::KeysMissing, Detector::KeysPresence),
    by_opening("key file of another run", D::KeysOfAnother, Detector::KeysPlace),
    by_opening("key file that wraps another run's key", D::KeysRewrapped, Detector::KeysOpened),
];

/// The table as it stands in `docs/detectors.md`.
pub(super) fn table() -> String {
    let cell = |found: Option<Detector>| found.map_or("–", Detector::name);
    let mut table = "| Damage of captured changes | `verify` | `verify --deep` | with the key |\n".to_owned();
    table += "|---|---|---|---|\n";
    for control in CHANGES_CONTROLS {
        let [objects, bytes, rows] = control.found_by.map(cell);
        table += &format!("| {} | {objects} | {bytes} | {rows} |\n", control.what);
    }
    table
}

impl ChangesDamage {
    /// Does it.
    ///
    /// # Panics
    /// When the specimen is not whole.
    pub fn apply(self, to: &mut ChangesSpecimen) {
        let object = to.segments[0].object.key.clone();
        let manifest = to.manifest_key(&to.segments[0]);
        match self {
            Self::HeaderFlipped => to.of(&object)[30] ^= 1,
            Self::BodyFlipped => to.flip_from_end(&object, 20),
            Self::LastBlockFlipped => to.flip_from_end(&object, 1),
            Self::Truncated => drop(to.of(&object).pop()),
            Self::Extended => to.of(&object).push(0),
            Self::Missing => drop(to.objects.remove(&object)),
            Self::Swapped => to.swap_objects(),
            Self::ManifestFlipped => {
                let middle = to.of(&manifest).len() / 2;
                to.of(&manifest)[middle] ^= 1;
            }
            Self::ManifestTruncated => {
                let middle = to.of(&manifest).len() / 2;
                to.of(&manifest).truncate(middle);
            }
            Self::ManifestMissing => drop(to.objects.remove(&manifest)),
            Self::ManifestsSwapped => {
                let other = to.manifest_key(&to.segments[1]);
                to.swap(&manifest, &other);
            }
            Self::KeysMissing | Self::KeysOfAnother | Self::KeysRewrapped => self.apply_to_keys(to),
            _ => self.apply_by_sealing(to),
        }
    }

    /// Manifests that are written anew.
    fn apply_by_sealing(self, to: &mut ChangesSpecimen) {
        let (own, last_own, stranger) = (to.key.clone(), to.last_key.clone(), BackupIdentity::generate());
        let (mut first, mut last) = (to.segments[0].clone(), to.segments[to.segments.len() - 1].clone());
        match self {
            Self::DescribedFlipped => {
                to.flip_from_end(&last.object.key, 1);
                let bytes = to.objects[&last.object.key].clone();
                last.object = StoredObject::of_bytes(last.object.key.clone(), &bytes);
                to.seal(&last, &last_own);
            }
            Self::TransactionLost => {
                last.holds.transactions += 1;
                to.seal(&last, &last_own);
            }
            Self::ManifestForged => {
                last.ended_at = last.started_at;
                to.seal(&last, &stranger);
            }
            Self::OlderForgedWithKey => {
                first.ended_at = first.started_at;
                to.seal(&first, &own);
            }
            Self::ManifestOfAnotherLineage => {
                let place = to.manifest_key(&first);
                first.lineage.timeline += 1;
                *to.of(&place) = first.to_json(&own.seal_key()).expect("plain data");
            }
            _ => {
                // Behind the first one, like the second; it begins elsewhere, since there only one can be.
                let mut forked = to.segments[1].clone();
                forked.start_lsn.0 += 1;
                let key = if forked.run_id == last.run_id { last_own } else { own };
                to.objects.insert(to.manifest_key(&forked), Vec::new());
                to.seal(&forked, &key);
            }
        }
    }

    fn apply_to_keys(self, to: &mut ChangesSpecimen) {
        let [first, last] = [&to.segments[0], &to.segments[to.segments.len() - 1]]
            .map(|segment| to.layout.keys(segment.run_id, 1));
        assert_ne!(first, last, "segments of two runs");
        let json = |bytes: &[u8]| -> serde_json::Value { serde_json::from_slice(bytes).expect("a key file") };
        match self {
            Self::KeysMissing => drop(to.objects.remove(&first)),
            Self::KeysOfAnother => *to.of(&first) = to.objects[&last].clone(),
            _ => {
                let mut own = json(&to.objects[&first]);
                own["holders"] = json(&to.objects[&last])["holders"].clone();
                *to.of(&first) = serde_json::to_vec_pretty(&own).expect("JSON");
            }
        }
    }
}

impl ChangesSpecimen {
    fn manifest_key(&self, segment: &SegmentManifest) -> String {
        self.layout.manifest(ChangesKey::Segment(segment.start_lsn))
    }

    fn of(&mut self, key: &str) -> &mut Vec<u8> {
        self.objects.get_mut(key).expect("an object of the changes")
    }

    fn flip_from_end(&mut self, key: &str, from_end: usize) {
        let bytes = self.of(key);
        let at = bytes.len() - from_end;
        bytes[at] ^= 1;
    }

    fn swap(&mut self, one: &str, other: &str) {
        let (first, second) = (self.of(one).clone(), self.of(other).clone());
        *self.of(one) = second;
        *self.of(other) = first;
    }

    /// Two of different lengths: age pads its headers at random, so that two may have the same by chance, but not all.
    fn swap_objects(&mut self) {
        let keys: Vec<String> = self.segments.iter().map(|segment| segment.object.key.clone()).collect();
        let length = self.objects[&keys[0]].len();
        let other = keys.iter().find(|key| self.objects[*key].len() != length);
        let other = other.expect("segments of different lengths").clone();
        self.swap(&keys[0], &other);
    }

    fn seal(&mut self, segment: &SegmentManifest, key: &BackupIdentity) {
        let place = self.manifest_key(segment);
        *self.of(&place) = segment.to_json(&key.seal_key()).expect("plain data");
    }
}
