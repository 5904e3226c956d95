//! Negative controls: every damage that must be found, and the check that finds it first.
//!
//! The same tables run on the twins (`crates/steps/tests/rules/negative_controls.rs`), on real servers and a folder
//! (`cli/tests/command_line/negative_controls.rs`), and stand in `docs/detectors.md`.

mod archive;
mod changes;
mod restored;

pub use archive::{ARCHIVE_CONTROLS, ArchiveControl, ArchiveDamage, Specimen};
pub use changes::{CHANGES_CONTROLS, ChangesControl, ChangesDamage, ChangesSpecimen};
pub use restored::{RESTORED_CONTROLS, RestoredControl, RestoredDamage};

/// A check that finds damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detector {
    /// An object of the manifest is not in the repository.
    Presence,
    /// A restore asked for an object that is not there.
    Absence,
    /// The object's length differs from the manifest's.
    StoredLength,
    /// The object's SHA-256 differs from the manifest's.
    StoredSha256,
    /// age's MAC of a block.
    AgeBlock,
    /// Rows are counted and digested while they are read, and compared with the manifest.
    PartRows,
    /// The manifest is no JSON.
    ManifestForm,
    /// The manifest's digest of itself.
    ManifestDigest,
    /// The manifest's MAC by the backup's key.
    ManifestMac,
    /// The digest that the next manifest of the lineage names.
    ManifestLink,
    /// The manifest belongs to another place.
    ManifestPlace,
    /// The parts of a table do not cover it exactly once.
    ManifestCover,
    /// The manifest is missing that the next one names.
    ManifestNamed,
    /// A segment does not begin where the one that it names ends.
    SegmentFork,
    /// The records of a segment are counted while they are read, and compared with its end and its manifest.
    SegmentCounts,
    /// There is no key file.
    KeysPresence,
    /// The key file belongs to another place.
    KeysPlace,
    /// The key file is of another key than the manifest.
    KeysRecipient,
    /// What the key file wraps is another key than it says.
    KeysContent,
    /// The same, found by a key management service.
    KeysOpened,
    /// The key at hand is among nobody's whom the backup's key was wrapped for.
    KeysHolder,
    /// A restored table is missing.
    TableMissing,
    /// A restored table was not in the source.
    TableUnknown,
    /// A restored table has another number of rows.
    TableRows,
    /// A restored table has as many rows with other content.
    TableDigest,
    /// A restored sequence stands elsewhere.
    Sequences,
    /// A restored large object has other content.
    LargeObjects,
    /// A schema object is missing.
    Objects,
}

impl Detector {
    /// As people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Presence | Self::Absence => "object missing",
            Self::StoredLength => "stored length",
            Self::StoredSha256 => "stored SHA-256",
            Self::AgeBlock => "age MAC",
            Self::PartRows | Self::TableDigest => "rows digest",
            Self::ManifestForm => "manifest form",
            Self::ManifestDigest => "manifest digest",
            Self::ManifestMac => "manifest MAC",
            Self::ManifestLink | Self::ManifestNamed | Self::SegmentFork => "manifest link",
            Self::SegmentCounts => "segment counts",
            Self::ManifestPlace => "manifest place",
            Self::ManifestCover => "cover of tables",
            Self::KeysPresence => "key file missing",
            Self::KeysPlace => "key file place",
            Self::KeysRecipient => "key file's key",
            Self::KeysContent | Self::KeysOpened => "wrapped key",
            Self::KeysHolder => "key holders",
            Self::TableMissing | Self::TableUnknown => "tables",
            Self::TableRows => "row count",
            Self::Sequences => "sequences",
            Self::LargeObjects => "large objects",
            Self::Objects => "schema objects",
        }
    }

    /// What its finding says, and no other's: so a test sees which check spoke.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Presence | Self::Objects => "is missing",
            Self::Absence => "does not exist in ",
            Self::StoredLength => "found by stored length",
            Self::StoredSha256 => "found by stored SHA-256",
            Self::AgeBlock => "found by age block",
            Self::PartRows => "found by rows digest",
            Self::ManifestForm => ".json\" is damaged",
            Self::ManifestDigest => "found by manifest digest",
            Self::ManifestMac => "found by manifest MAC",
            Self::ManifestLink => "found by manifest link",
            Self::ManifestNamed => "it is missing, and ",
            Self::SegmentFork => "it does not begin where the one before ends",
            Self::SegmentCounts => "and its manifest says",
            Self::ManifestPlace => "contradicts itself: it belongs at",
            Self::ManifestCover => "do not cover it exactly once",
            Self::KeysPresence => "has no keys object",
            Self::KeysPlace => "000001.json\" contradicts itself: it belongs at",
            Self::KeysRecipient => "is of another key than its manifest",
            Self::KeysOpened => "opened to something that is not this backup's key",
            Self::KeysContent => "holds another key",
            Self::KeysHolder => "is not among the holders",
            Self::TableMissing => "is missing (",
            Self::TableUnknown => "was not in the source",
            Self::TableRows => "rows instead of",
            Self::TableDigest => "rows with other content",
            Self::Sequences => "stands at",
            Self::LargeObjects => "large objects differ",
        }
    }
}

/// How far somebody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// `verify`: manifest, key file, and each object's length.
    Objects,
    /// `verify --deep`: every byte.
    Bytes,
    /// `verify --deep` with the key: every row.
    Rows,
    /// `restore`, which compares at its end.
    Restore,
}

impl Look {
    /// From the quickest to the most thorough.
    pub const ALL: [Self; 4] = [Self::Objects, Self::Bytes, Self::Rows, Self::Restore];
}

/// All tables as they stand in `docs/detectors.md`.
#[must_use]
pub fn tables() -> [String; 3] {
    let cell = |found: Option<Detector>| found.map_or("–", Detector::name);
    let mut archive =
        "| Damage of an archive | `verify` | `verify --deep` | with the key | `restore` |\n".to_owned();
    archive += "|---|---|---|---|---|\n";
    for control in ARCHIVE_CONTROLS {
        let [objects, bytes, rows, restore] = control.found_by.map(cell);
        archive += &format!("| {} | {objects} | {bytes} | {rows} | {restore} |\n", control.what);
    }
    let mut restored = "| Damage of a restored database | found by |\n|---|---|\n".to_owned();
    for control in RESTORED_CONTROLS {
        restored += &format!("| {} | {} |\n", control.what, control.found_by.name());
    }
    [archive, restored, changes::table()]
}
