#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Attempt, FORMAT_VERSION};
use uuid::Uuid;

fn layout() -> ChangesLayout {
    let lineage = Lineage { system_identifier: 7, timeline: 1, database_oid: 5 };
    ChangesLayout::new("wedsync", lineage).unwrap()
}

fn run_id() -> BackupId {
    BackupId(Uuid::from_u128(1))
}

fn seal_key() -> SealKey {
    SealKey::try_from("07".repeat(32)).unwrap()
}

pub(crate) fn chain() -> ChainManifest {
    ChainManifest {
        format_version: FORMAT_VERSION,
        run_id: run_id(),
        source: layout().source,
        lineage: layout().lineage,
        database: "wedsync".into(),
        server_version: 150_018,
        slot: "keepsake_wedsync".into(),
        lsn: Lsn(500),
        snapshot: "100:104:100,102".parse().unwrap(),
        at: Timestamp::UNIX_EPOCH,
        published: vec![TableName { schema: "public".into(), name: "guests".into() }],
        not_captured: vec![],
        schema_fingerprint: "00".repeat(32),
        reason: ChainReason::Gap { what: "the slot was lost".into() },
        recipient: "age1ehm8cx8c3uecvmp0yf6x48u586gkgplq0aq6udv9hvk0w62xcv5q6rvqve".into(),
        key_holders: vec!["age age1x".into()],
        keepsake: "0.1.0".into(),
        previous: Some(PreviousChanges { start_lsn: Lsn(400), is_chain_start: false, sha256: "00".into() }),
    }
}

pub(crate) fn segment() -> SegmentManifest {
    let chain = chain();
    SegmentManifest {
        format_version: FORMAT_VERSION,
        run_id: run_id(),
        source: chain.source,
        lineage: chain.lineage,
        database: chain.database,
        server_version: chain.server_version,
        slot: chain.slot,
        start_lsn: Lsn(500),
        end_lsn: Lsn(700),
        started_at: Timestamp::UNIX_EPOCH,
        ended_at: "2026-11-21T12:00:00Z".parse().unwrap(),
        first_commit_at: Some(Timestamp::UNIX_EPOCH),
        last_commit_at: Some(Timestamp::UNIX_EPOCH),
        holds: SegmentEnd { transactions: 2, changes: 6 },
        snapshot: chain.snapshot,
        schema_fingerprint: chain.schema_fingerprint,
        schema_changed: false,
        schema_replayable: false,
        schema_changes: vec![SchemaChange {
            lsn: Lsn(600),
            command: "CREATE INDEX".to_owned(),
            objects: vec!["index public.i".to_owned()],
            not_plain: None,
        }],
        raw_bytes: 999,
        object: StoredObject::of_bytes(
            layout().segment(run_id(), Lsn(500), Attempt(Uuid::from_u128(2))),
            b"x",
        ),
        tables: vec![TableChanges {
            table: chain.published[0].clone(),
            inserts: 2,
            updates: 1,
            deletes: 2,
            truncates: 1,
        }],
        not_captured: Some(vec![]),
        recipient: chain.recipient,
        key_holders: chain.key_holders,
        keepsake: chain.keepsake,
        previous: PreviousChanges { start_lsn: Lsn(500), is_chain_start: true, sha256: "00".into() },
    }
}

fn parse(segment: &SegmentManifest) -> Result<SegmentManifest, ManifestError> {
    let key = layout().manifest(ChangesKey::Segment(Lsn(500)));
    SegmentManifest::parse(&key, &segment.to_json(&seal_key()).unwrap()).map(|(read, _)| read)
}

fn parse_chain(chain: &ChainManifest) -> Result<ChainManifest, ManifestError> {
    let key = layout().manifest(ChangesKey::Chain(Lsn(500)));
    ChainManifest::parse(&key, &chain.to_json(&seal_key()).unwrap()).map(|(read, _)| read)
}

#[test]
fn both_manifests_read_back_as_they_were_written() {
    assert_eq!(parse(&segment()).unwrap(), segment());
    assert_eq!(parse_chain(&chain()).unwrap(), chain());
    let first = ChainManifest { reason: ChainReason::Protected, previous: None, ..chain() };
    assert_eq!(parse_chain(&first).unwrap(), first);
    let (first_commit_at, last_commit_at, tables) = (None, None, vec![]);
    let holds = SegmentEnd::default();
    let empty = SegmentManifest { first_commit_at, last_commit_at, tables, holds, ..segment() };
    assert_eq!(parse(&empty).unwrap(), empty);
    let replayed = SegmentManifest { schema_changed: true, schema_replayable: true, ..segment() };
    assert_eq!(parse(&replayed).unwrap(), replayed);
    // As older programs wrote it, and as a run writes where nothing changed.
    let as_before = SegmentManifest { not_captured: None, ..segment() };
    assert!(!String::from_utf8(as_before.to_json(&seal_key()).unwrap()).unwrap().contains("not_captured"));
    assert_eq!(parse(&as_before).unwrap(), as_before);
}

#[test]
fn unknown_version_damage_and_forgery_are_told_apart() {
    let key = layout().manifest(ChangesKey::Segment(Lsn(500)));
    let newer = parse(&SegmentManifest { format_version: 2, ..segment() });
    assert!(matches!(newer, Err(ManifestError::UnknownVersion { found: 2, .. })));
    let bytes = segment().to_json(&seal_key()).unwrap();
    let mut changed = bytes.clone();
    changed[40] ^= 1;
    assert!(matches!(SegmentManifest::parse(&key, &changed), Err(ManifestError::Changed { .. })));
    for end in 0..bytes.len() {
        assert!(SegmentManifest::parse(&key, &bytes[..end]).is_err(), "{end}");
    }
    let other = SealKey::try_from("08".repeat(32)).unwrap();
    let (_, seal) = SegmentManifest::parse(&key, &segment().to_json(&other).unwrap()).unwrap();
    assert!(matches!(seal.check(&key, &seal_key()), Err(ManifestError::Forged { .. })));
    assert!(seal.check(&key, &other).is_ok());
}

#[test]
fn every_contradiction_of_a_segment_is_found() {
    type Change = fn(&mut SegmentManifest);
    let changes: [(&str, Change); 15] = [
        ("of another source", |m| m.source = "other".into()),
        ("of another lineage", |m| m.lineage.timeline = 2),
        ("a source that leaves its folder", |m| m.source = "../x".into()),
        ("another place in the chain", |m| m.start_lsn = Lsn(501)),
        ("an end before its start", |m| m.end_lsn = Lsn(499)),
        ("no length", |m| m.end_lsn = m.start_lsn),
        ("an object of another run", |m| m.run_id = BackupId(Uuid::from_u128(2))),
        ("an object that climbs out", |m| m.object.key = format!("{}../x", layout().run(run_id()))),
        ("a chain that begins elsewhere", |m| m.previous.start_lsn = Lsn(499)),
        ("a segment before that begins at the same place", |m| m.previous.is_chain_start = false),
        ("times without transactions", |m| m.holds.transactions = 0),
        ("transactions without times", |m| m.first_commit_at = None),
        ("a schema that did not change and is replayed", |m| m.schema_replayable = true),
        ("more changes in tables than in all", |m| m.tables[0].inserts = u64::MAX),
        ("a table twice", |m| {
            m.holds.changes = 100;
            m.tables.push(m.tables[0].clone());
        }),
    ];
    for (what, change) in changes {
        let mut segment = segment();
        change(&mut segment);
        assert!(matches!(parse(&segment), Err(ManifestError::Contradiction { .. })), "{what}");
    }
}

#[test]
fn every_contradiction_of_a_chain_is_found() {
    let later = Some(PreviousChanges { start_lsn: Lsn(500), is_chain_start: true, sha256: "00".into() });
    for chain in [
        ChainManifest { lsn: Lsn(501), ..chain() },
        ChainManifest { source: "a/b".into(), ..chain() },
        ChainManifest { previous: later, ..chain() },
    ] {
        assert!(matches!(parse_chain(&chain), Err(ManifestError::Contradiction { .. })));
    }
}

#[test]
fn a_missing_field_is_damage_and_not_a_default() {
    let whole = serde_json::to_value(segment()).unwrap();
    let key = layout().manifest(ChangesKey::Segment(Lsn(500)));
    let optional = ["first_commit_at", "last_commit_at", "not_captured", "schema_changes"];
    for field in whole.as_object().unwrap().keys().filter(|field| !optional.contains(&field.as_str())) {
        let mut value = whole.clone();
        value.as_object_mut().unwrap().remove(field);
        let bytes = seal(serde_json::to_vec_pretty(&value).unwrap(), &seal_key());
        assert!(
            matches!(SegmentManifest::parse(&key, &bytes), Err(ManifestError::Damaged { .. })),
            "{field}"
        );
    }
}
