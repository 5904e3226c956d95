#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Attempt, Blobs, CopyText, Part, PreviousManifest, ServerFacts, StoredObject, ToolVersions};
use keepsake_domain::{
    BackupId, FencingToken, Lineage, Lsn, RowsDigest, SequenceName, SequenceValue, Timestamp,
};
use proptest::prelude::*;
use uuid::Uuid;

fn layout() -> ArchiveLayout {
    let lineage = Lineage { system_identifier: 7, timeline: 1, database_oid: 5 };
    ArchiveLayout::new("wedsync", lineage, BackupId(Uuid::from_u128(1))).unwrap()
}

pub(crate) fn key() -> String {
    layout().manifest()
}

fn part(number: u32, table: &str, range: Option<BlockRange>, rows: u64, digest: u128) -> Part {
    let attempt = Attempt(Uuid::from_u128(number.into()));
    Part {
        number,
        table: TableName { schema: "public".into(), name: table.into() },
        columns: vec!["id".into(), "Gäste \"1\"".into()],
        range,
        filter: String::new(),
        root: None,
        content: CopyText { rows, raw_bytes: rows * 10, rows_digest: RowsDigest(digest) },
        object: StoredObject::of_bytes(layout().part(number, attempt), b"x"),
    }
}

fn blocks(from: u32, to: Option<u32>) -> Option<BlockRange> {
    Some(BlockRange { from, to })
}

pub(crate) fn manifest() -> Manifest {
    let (layout, attempt) = (layout(), Attempt(Uuid::from_u128(9)));
    Manifest {
        format_version: FORMAT_VERSION,
        backup_id: layout.backup_id,
        source: layout.source.clone(),
        lineage: layout.lineage.clone(),
        database: "wedsync".into(),
        fencing_token: FencingToken(3),
        server: ServerFacts {
            server_version: 150_018,
            encoding: "UTF8".into(),
            collation: "C".into(),
            ctype: "C".into(),
            locale_provider: "libc".into(),
            extensions: BTreeMap::from([("plpgsql".into(), "1.0".into())]),
        },
        snapshot: "100:104:100,102".parse().unwrap(),
        lsn: Lsn(77),
        started_at: Timestamp::UNIX_EPOCH,
        snapshot_at: Timestamp::UNIX_EPOCH,
        sealed_at: Timestamp::UNIX_EPOCH,
        schema: StoredObject::of_bytes(layout.schema(attempt), b"schema"),
        schema_raw_bytes: 6,
        schema_objects: vec!["table public.guests".into()],
        schema_fingerprint: Some("00".repeat(32)),
        globals: StoredObject::of_bytes(layout.globals(attempt), b"globals"),
        readme: StoredObject::of_bytes(layout.readme(), b"readme"),
        parts: vec![
            part(1, "guests", blocks(0, Some(8)), 5, u128::MAX),
            part(2, "guests", blocks(8, None), 4, 3),
            part(3, "vendors", None, 1, 11),
        ],
        sequences: vec![SequenceValue {
            sequence: SequenceName { schema: "public".into(), name: "guests_id_seq".into() },
            last_value: i64::MAX,
            is_called: true,
        }],
        blobs: Some(Blobs {
            count: 2,
            content: CopyText { rows: 6, raw_bytes: 60, rows_digest: RowsDigest(4) },
            object: StoredObject::of_bytes(layout.blobs(1, attempt), b"blobs"),
        }),
        coverage: keepsake_domain::Coverage::default(),
        recipient: "age1ehm8cx8c3uecvmp0yf6x48u586gkgplq0aq6udv9hvk0w62xcv5q6rvqve".into(),
        key_holders: vec!["age age1x".into()],
        tools: ToolVersions { keepsake: "0.1.0".into(), pg_dump: "pg_dump (PostgreSQL) 15.18".into() },
        previous_manifest: None,
    }
}

pub(crate) fn seal_key() -> SealKey {
    SealKey::try_from("07".repeat(32)).unwrap()
}

fn sealed(manifest: &Manifest) -> Vec<u8> {
    manifest.to_json(&seal_key()).unwrap()
}

fn parse(manifest: &Manifest) -> Result<Manifest, ManifestError> {
    Manifest::parse(&key(), &sealed(manifest))
}

fn edited(edit: impl FnOnce(&mut serde_json::Value)) -> Result<Manifest, ManifestError> {
    let mut value = serde_json::to_value(manifest()).unwrap();
    edit(&mut value);
    Manifest::parse(&key(), &seal(serde_json::to_vec_pretty(&value).unwrap(), &seal_key()))
}

#[test]
fn reads_back_what_was_written() {
    assert_eq!(parse(&manifest()).unwrap(), manifest());
    let previous = Some(PreviousManifest { backup_id: layout().backup_id, sha256: "00".into() });
    let bare = Manifest { blobs: None, parts: vec![], previous_manifest: previous, ..manifest() };
    assert_eq!(parse(&bare).unwrap(), bare);
}

#[test]
fn another_version_is_told_apart_from_damage() {
    for version in [0, 2, u64::MAX] {
        let parsed = edited(|value| value["format_version"] = version.into());
        assert!(
            matches!(parsed, Err(ManifestError::UnknownVersion { found, .. }) if found == version),
            "{version}"
        );
    }
    let newer = br#"{"format_version": 2, "all else": "is new"}"#;
    assert!(matches!(Manifest::parse(&key(), newer), Err(ManifestError::UnknownVersion { found: 2, .. })));
}

#[test]
fn no_version_or_no_number_is_damage() {
    for version in [serde_json::json!(null), serde_json::json!("1"), serde_json::json!(-1)] {
        let parsed = edited(|value| value["format_version"] = version);
        assert!(matches!(parsed, Err(ManifestError::Damaged { .. })));
    }
    assert!(matches!(Manifest::parse(&key(), b"{}"), Err(ManifestError::Changed { .. })));
}

#[test]
fn a_manifest_that_was_cut_off_anywhere_is_damage() {
    let bytes = sealed(&manifest());
    for end in 0..bytes.len() {
        assert!(
            matches!(
                Manifest::parse(&key(), &bytes[..end]),
                Err(ManifestError::Damaged { .. } | ManifestError::Changed { .. })
            ),
            "{end}"
        );
    }
}

#[test]
fn a_missing_field_is_damage_and_not_a_default() {
    let whole = serde_json::to_value(manifest()).unwrap();
    let optional = ["blobs", "previous_manifest", "schema_fingerprint"];
    for field in whole.as_object().unwrap().keys().filter(|field| !optional.contains(&field.as_str())) {
        let parsed = edited(|value| drop(value.as_object_mut().unwrap().remove(field)));
        assert!(matches!(parsed, Err(ManifestError::Damaged { .. })), "{field}");
    }
}

#[test]
fn every_contradiction_is_found() {
    type Change = fn(&mut Manifest);
    let changes: [(&str, Change); 15] = [
        ("of another backup", |m| m.backup_id = BackupId(Uuid::from_u128(2))),
        ("of another source", |m| m.source = "other".into()),
        ("of another lineage", |m| m.lineage.timeline = 2),
        ("a source that leaves its folder", |m| m.source = "../x".into()),
        ("an object of another backup", |m| m.schema.key = "other/1-1-1/full/x/schema".into()),
        ("an object that climbs out", |m| m.schema.key = format!("{}../../x", layout().root())),
        ("an object without name", |m| m.schema.key = layout().root()),
        ("one object for two parts", |m| m.parts[0].object = m.parts[1].object.clone()),
        ("two parts with one number", |m| m.parts[0].number = 2),
        ("a part with number zero", |m| m.parts[0].number = 0),
        ("a hole between ranges", |m| m.parts[1].range = blocks(9, None)),
        ("overlapping ranges", |m| m.parts[1].range = blocks(7, None)),
        ("a closed last range", |m| m.parts[1].range = blocks(8, Some(9))),
        ("a part of a table lost", |m| drop(m.parts.remove(1))),
        ("counts beyond all bounds", |m| {
            m.parts[0].content.rows = u64::MAX;
            m.parts[1].content.rows = u64::MAX;
        }),
    ];
    for (what, change) in changes {
        let mut manifest = manifest();
        change(&mut manifest);
        assert!(matches!(parse(&manifest), Err(ManifestError::Contradiction { .. })), "{what}");
    }
}

#[test]
fn a_whole_table_beside_a_range_of_it_is_a_contradiction() {
    let mut manifest = manifest();
    manifest.parts.push(part(4, "guests", None, 1, 1));
    assert!(matches!(parse(&manifest), Err(ManifestError::Contradiction { .. })));
}

#[test]
fn expected_sums_up_the_parts_of_each_table() {
    let expected = manifest().expected();
    let tables: Vec<(&str, u64, u128)> =
        expected.tables.iter().map(|t| (t.table.name.as_str(), t.rows, t.rows_digest.0)).collect();
    assert_eq!(tables, [("guests", 9, 2), ("vendors", 1, 11)]);
    assert_eq!(expected.large_objects.map(|t| (t.rows, t.rows_digest.0)), Some((6, 4)));
    assert_eq!(expected.sequences, manifest().sequences);
    assert_eq!((manifest().rows(), manifest().raw_bytes()), (10, 100));
}

#[test]
fn every_object_is_listed_once() {
    let manifest = manifest();
    let keys: BTreeSet<&str> = manifest.objects().map(|object| object.key.as_str()).collect();
    assert_eq!(keys.len(), 3 + 1 + 3);
    assert_eq!(manifest.stored_bytes(), 6 + 7 + 6 + 5 + 3);
}

proptest! {
    #[test]
    fn parse_never_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Manifest::parse(&key(), &bytes).is_err());
    }

    #[test]
    fn parse_never_panics_on_a_manifest_with_a_changed_byte(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = sealed(&manifest());
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(manifest) = Manifest::parse(&key(), &bytes) {
            // What was accepted must be usable without care.
            let rows: u64 = manifest.expected().tables.iter().map(|table| table.rows).sum();
            prop_assert_eq!(rows, manifest.rows());
        }
    }

    #[test]
    fn any_value_in_place_of_any_number_is_read_or_refused(
        pointer in prop::sample::select(vec![
            "/parts/0/rows", "/parts/1/raw_bytes", "/parts/2/stored_bytes", "/parts/0/number",
            "/parts/1/range/from", "/fencing_token", "/schema_raw_bytes", "/sequences/0/last_value",
        ]),
        value in prop_oneof![
            any::<u64>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            ".*".prop_map(serde_json::Value::from),
        ],
    ) {
        if let Ok(manifest) = edited(|whole| *whole.pointer_mut(pointer).unwrap() = value) {
            let _ = (manifest.rows(), manifest.raw_bytes(), manifest.stored_bytes(), manifest.expected());
        }
    }
}
