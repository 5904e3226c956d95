//! Names of the objects that hold a source's changes, keyed by where each segment begins.
//!
//! A segment's manifest is named by its start and written only if there is none, so exactly one segment can follow a
//! position: two captures that race cannot fork the chain.

use crate::names::check_source;
use crate::{Attempt, InvalidName};
use keepsake_domain::{BackupId, Lineage, Lsn};

/// Where the changes of one lineage lie: `<source>/<lineage>/changes/…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangesLayout {
    /// The source's name.
    pub source: String,
    /// The lineage.
    pub lineage: Lineage,
}

/// Which manifest a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangesKey {
    /// A chain begins here.
    Chain(Lsn),
    /// A segment begins here.
    Segment(Lsn),
}

impl ChangesKey {
    /// The position in the key.
    #[must_use]
    pub fn lsn(self) -> Lsn {
        match self {
            Self::Chain(lsn) | Self::Segment(lsn) => lsn,
        }
    }
}

/// 16 digits, so that keys sort as positions do.
fn digits(lsn: Lsn) -> String {
    format!("{:016X}", lsn.0)
}

impl ChangesLayout {
    /// Checks the source's name, which becomes a part of every key.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn new(source: &str, lineage: Lineage) -> Result<Self, InvalidName> {
        check_source(source)?;
        Ok(Self { source: source.to_owned(), lineage })
    }

    /// The layout of a manifest that was found where it belongs.
    ///
    /// # Errors
    /// Why it does not belong there, for people.
    pub(crate) fn of_found(
        (source, lineage): (&str, &Lineage),
        key: &str,
        place: impl FnOnce(&Self) -> String,
    ) -> Result<Self, String> {
        let layout = Self::new(source, lineage.clone()).map_err(|invalid| invalid.to_string())?;
        let place = place(&layout);
        if place == key { Ok(layout) } else { Err(format!("it belongs at \"{place}\"")) }
    }

    /// The layout and position that a manifest's key belongs to; `None` for any other key, also for one that means the
    /// same and is written otherwise.
    #[must_use]
    pub fn of_manifest_key(key: &str) -> Option<(Self, ChangesKey)> {
        let fields: Vec<&str> = key.split('/').collect();
        let [source, lineage, "changes", name] = fields.as_slice() else { return None };
        let layout = Self::new(source, lineage.parse().ok()?).ok()?;
        let name = name.strip_suffix(".json")?;
        let (hex, is_chain) = name.strip_suffix(".chain").map_or((name, false), |hex| (hex, true));
        let lsn = Lsn(u64::from_str_radix(hex, 16).ok()?);
        let found = if is_chain { ChangesKey::Chain(lsn) } else { ChangesKey::Segment(lsn) };
        (layout.manifest(found) == key).then_some((layout, found))
    }

    /// What all keys of this lineage's changes begin with; ends with a slash.
    #[must_use]
    pub fn root(&self) -> String {
        format!("{}/{}/changes/", self.source, self.lineage)
    }

    /// What the keys of all manifests begin with, and no other key: positions from 2^56 on (72 PB of a log) would be missed,
    /// and run ids, which begin with the time, begin so only before 1972.
    #[must_use]
    pub fn manifests(&self) -> String {
        format!("{}00", self.root())
    }

    /// What sorts right before the keys of the manifests at a position, and behind those of all positions before.
    #[must_use]
    pub fn position(&self, lsn: Lsn) -> String {
        format!("{}{}", self.root(), digits(lsn))
    }

    /// A chain's or a segment's manifest.
    #[must_use]
    pub fn manifest(&self, key: ChangesKey) -> String {
        let name = match key {
            ChangesKey::Chain(lsn) => format!("{}.chain.json", digits(lsn)),
            ChangesKey::Segment(lsn) => format!("{}.json", digits(lsn)),
        };
        format!("{}{name}", self.root())
    }

    /// What all keys of one run begin with that are no manifests; ends with a slash.
    #[must_use]
    pub fn run(&self, run_id: BackupId) -> String {
        format!("{}{run_id}/", self.root())
    }

    /// The run's private key, wrapped; generations count from 1.
    #[must_use]
    pub fn keys(&self, run_id: BackupId, generation: u32) -> String {
        format!("{}keys/{generation:06}.json", self.run(run_id))
    }

    /// A segment's bytes.
    #[must_use]
    pub fn segment(&self, run_id: BackupId, start: Lsn, attempt: Attempt) -> String {
        format!("{}{}.{attempt}.seg.zst.age", self.run(run_id), digits(start))
    }

    /// The layout and beginning of the segment whose bytes a key names; `None` for any other key.
    #[must_use]
    pub fn of_segment_key(key: &str) -> Option<(Self, Lsn)> {
        let fields: Vec<&str> = key.split('/').collect();
        let [source, lineage, "changes", run_id, name] = fields.as_slice() else { return None };
        let layout = Self::new(source, lineage.parse().ok()?).ok()?;
        let (hex, attempt) = name.strip_suffix(".seg.zst.age")?.split_once('.')?;
        let start = Lsn(u64::from_str_radix(hex, 16).ok()?);
        let (run_id, attempt) = (run_id.parse().ok()?, Attempt(attempt.parse().ok()?));
        (layout.segment(run_id, start, attempt) == key).then_some((layout, start))
    }

    /// What the keys of all differentials of this lineage begin with; ends with a slash.
    #[must_use]
    pub fn differentials(&self) -> String {
        format!("{}/{}/differential/", self.source, self.lineage)
    }

    /// The manifest of the differential that brings a full backup to this position: one only.
    #[must_use]
    pub fn differential(&self, end: Lsn, base: BackupId) -> String {
        format!("{}{}.{base}.json", self.differentials(), digits(end))
    }

    /// The layout, end and full backup that a differential's manifest belongs to; `None` for any other key.
    #[must_use]
    pub fn of_differential_key(key: &str) -> Option<(Self, Lsn, BackupId)> {
        let fields: Vec<&str> = key.split('/').collect();
        let [source, lineage, "differential", name] = fields.as_slice() else { return None };
        let layout = Self::new(source, lineage.parse().ok()?).ok()?;
        let (hex, base) = name.strip_suffix(".json")?.split_once('.')?;
        let (end, base) = (Lsn(u64::from_str_radix(hex, 16).ok()?), base.parse().ok()?);
        (layout.differential(end, base) == key).then_some((layout, end, base))
    }

    /// What all keys of one run begin with that made a differential; ends with a slash.
    #[must_use]
    pub fn differential_run(&self, run_id: BackupId) -> String {
        format!("{}{run_id}/", self.differentials())
    }

    /// That run's private key, wrapped; generations count from 1.
    #[must_use]
    pub fn differential_keys(&self, run_id: BackupId, generation: u32) -> String {
        format!("{}keys/{generation:06}.json", self.differential_run(run_id))
    }

    /// A differential's bytes.
    #[must_use]
    pub fn differential_object(&self, run_id: BackupId, end: Lsn, attempt: Attempt) -> String {
        format!("{}{}.{attempt}.diff.zst.age", self.differential_run(run_id), digits(end))
    }

    /// How to read a segment by hand.
    #[must_use]
    pub fn readme(&self) -> String {
        format!("{}README.txt", self.root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn layout() -> ChangesLayout {
        let lineage = Lineage { system_identifier: 7, timeline: 1, database_oid: 5 };
        ChangesLayout::new("wedsync", lineage).expect("a good name")
    }

    #[test]
    fn a_manifest_key_leads_back_to_its_position_and_no_other_key_does() {
        for found in [ChangesKey::Chain(Lsn(0x16_B374_D848)), ChangesKey::Segment(Lsn(u64::MAX))] {
            let key = layout().manifest(found);
            assert_eq!(ChangesLayout::of_manifest_key(&key), Some((layout(), found)));
        }
        let run = BackupId(Uuid::from_u128(1));
        let others = [
            layout().keys(run, 1),
            layout().segment(run, Lsn(1), Attempt(Uuid::from_u128(2))),
            layout().readme(),
            "wedsync/7-1-5/changes/1.json".to_owned(),
            "wedsync/7-1-5/changes/00000000000000ff.json".to_owned(),
            "wedsync/07-1-5/changes/00000000000000FF.json".to_owned(),
            "wedsync/7-1-5/full/00000000000000FF.json".to_owned(),
        ];
        for key in others {
            assert_eq!(ChangesLayout::of_manifest_key(&key), None, "{key}");
        }
    }

    #[test]
    fn the_key_of_a_segments_bytes_leads_back_to_where_it_begins() {
        let run = BackupId(Uuid::from_u128(1));
        let key = layout().segment(run, Lsn(0x16_B374_D848), Attempt(Uuid::from_u128(2)));
        assert_eq!(ChangesLayout::of_segment_key(&key), Some((layout(), Lsn(0x16_B374_D848))));
        let other = layout().manifest(ChangesKey::Segment(Lsn(7)));
        for other in [other, layout().keys(run, 1), key.replace("16B374D848", "16b374d848")] {
            assert_eq!(ChangesLayout::of_segment_key(&other), None, "{other}");
        }
    }

    #[test]
    fn a_differential_is_named_by_its_end_and_its_full_backup() {
        let (end, base) = (Lsn(0x16_B374_D848), BackupId(Uuid::from_u128(1)));
        let key = layout().differential(end, base);
        assert_eq!(ChangesLayout::of_differential_key(&key), Some((layout(), end, base)));
        assert_eq!(ChangesLayout::of_manifest_key(&key), None);
        for other in [
            layout().differential_keys(base, 1),
            layout().differential_object(base, end, Attempt(Uuid::from_u128(2))),
            layout().manifest(ChangesKey::Segment(end)),
            key.replace("16B374D848", "16b374d848"),
        ] {
            assert_eq!(ChangesLayout::of_differential_key(&other), None, "{other}");
        }
    }

    #[test]
    fn keys_sort_as_positions_do_and_a_chain_before_the_segment_that_begins_with_it() {
        let at = |lsn| layout().manifest(ChangesKey::Segment(Lsn(lsn)));
        assert!(at(0xFF) < at(0x100) && at(0x9_0000_0000) < at(0xA_0000_0000));
        assert!(layout().manifest(ChangesKey::Chain(Lsn(7))) < at(7) && at(6) < at(7));
    }

    #[test]
    fn manifests_are_listed_from_a_position_on_without_what_runs_wrote() {
        let (chain, segment) = (ChangesKey::Chain(Lsn(7)), ChangesKey::Segment(Lsn(7)));
        let [chain, segment, before] =
            [chain, segment, ChangesKey::Segment(Lsn(6))].map(|key| layout().manifest(key));
        assert!(before < layout().position(Lsn(7)) && layout().position(Lsn(7)) < chain && chain < segment);
        assert!(segment.starts_with(&layout().manifests()));
        let run = BackupId("01a1fe05-1f2c-7a39-9d6e-0d9a4b8f2a10".parse().expect("an id"));
        assert!(!layout().run(run).starts_with(&layout().manifests()));
    }
}
