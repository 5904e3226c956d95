//! Runs and manifests that the claims stand on.

use super::Catalog;
use keepsake_archive::{
    ArchiveLayout, Attempt, CopyText, FORMAT_VERSION, Manifest, Part, ServerFacts, StoredObject, ToolVersions,
};
use keepsake_domain::{
    BackupId, Certificate, Coverage, FencingToken, Lineage, Lsn, RowsDigest, SequenceName, SequenceValue,
    TableName, Timestamp, TransactionSnapshot, Verdict,
};
use keepsake_steps::ports::{Execution, NewExecution, Policy};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// The SHA-256 that the suite gives a manifest.
pub const SHA256: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A run to be opened, begun a minute ago.
pub fn new_run(policy: &Policy, execution_id: &str) -> NewExecution {
    NewExecution {
        execution_id: execution_id.to_owned(),
        policy_id: policy.id,
        source_id: policy.source.id,
        kind: keepsake_domain::RunKind::Full,
        backup_id: BackupId(Uuid::now_v7()),
        fencing_token: FencingToken(1),
        requested_by: "the suite".to_owned(),
        backup_location: policy.primary.repository.clone(),
        started_at: Timestamp::now() - Duration::from_secs(60),
    }
}

/// An open run under its own name.
pub async fn opened(catalog: &dyn Catalog, policy: &Policy) -> Execution {
    let execution_id = format!("arn:aws:states:eu-central-1:1:execution:backup:{}", Uuid::now_v7());
    catalog.open(&new_run(policy, &execution_id)).await.expect("open a run")
}

/// An open run whose manifest stands.
pub async fn sealed(catalog: &dyn Catalog, policy: &Policy) -> Execution {
    let run = opened(catalog, policy).await;
    let manifest = manifest(policy, run.backup_id);
    catalog.sealed(run.id, &manifest, &key(&manifest), SHA256).await.expect("record the recovery point");
    run
}

/// Where the manifest belongs.
pub fn key(manifest: &Manifest) -> String {
    layout(manifest).manifest()
}

fn layout(manifest: &Manifest) -> ArchiveLayout {
    ArchiveLayout::new(&manifest.source, manifest.lineage.clone(), manifest.backup_id).expect("a good name")
}

/// Two parts of one table and one of another: 35 rows, 3,500 raw bytes, 610 stored bytes in six objects.
pub fn manifest(policy: &Policy, backup_id: BackupId) -> Manifest {
    let lineage = Lineage { system_identifier: 7_298_304_102_934_850, timeline: 1, database_oid: 16_384 };
    let layout = ArchiveLayout::new(&policy.source.name, lineage.clone(), backup_id).expect("a good name");
    let attempt = Attempt(backup_id.0);
    let now = Timestamp::now();
    Manifest {
        format_version: FORMAT_VERSION,
        backup_id,
        source: policy.source.name.clone(),
        lineage,
        database: "wedsync".to_owned(),
        fencing_token: FencingToken(1),
        server: server(),
        snapshot: "100:104:100,102".parse::<TransactionSnapshot>().expect("a snapshot"),
        lsn: "16/B374D848".parse::<Lsn>().expect("an LSN"),
        started_at: now - Duration::from_secs(60),
        snapshot_at: now - Duration::from_secs(50),
        sealed_at: now - Duration::from_secs(40),
        schema: object(layout.schema(attempt), 100),
        schema_raw_bytes: 400,
        schema_objects: vec!["TABLE public.guests".to_owned()],
        schema_fingerprint: None,
        globals: object(layout.globals(attempt), 100),
        readme: object(layout.readme(), 110),
        parts: vec![
            part(1, "guests", 10, object(layout.part(1, attempt), 100)),
            part(2, "guests", 20, object(layout.part(2, attempt), 100)),
            part(3, "vendors", 5, object(layout.part(3, attempt), 100)),
        ],
        sequences: vec![sequence()],
        blobs: None,
        coverage: Coverage::default(),
        recipient: "age1suite".to_owned(),
        key_holders: vec!["kms arn:aws:kms:eu-central-1:1:key/suite".to_owned()],
        tools: ToolVersions { keepsake: "0.1.0".to_owned(), pg_dump: "pg_dump (PostgreSQL) 15".to_owned() },
        previous_manifest: None,
    }
}

fn server() -> ServerFacts {
    ServerFacts {
        server_version: 150_018,
        encoding: "UTF8".to_owned(),
        collation: "C".to_owned(),
        ctype: "C".to_owned(),
        locale_provider: "libc".to_owned(),
        extensions: BTreeMap::new(),
    }
}

fn sequence() -> SequenceValue {
    SequenceValue {
        sequence: SequenceName { schema: "public".to_owned(), name: "guests_id_seq".to_owned() },
        last_value: 30,
        is_called: true,
    }
}

fn object(key: String, stored_bytes: u64) -> StoredObject {
    StoredObject { key, stored_bytes, sha256: SHA256.to_owned(), crc32: 7 }
}

fn part(number: u32, table: &str, rows: u64, object: StoredObject) -> Part {
    let from = if number == 2 { 64 } else { 0 };
    let range =
        (table == "guests").then(|| keepsake_domain::BlockRange { from, to: (number == 1).then_some(64) });
    Part {
        number,
        table: TableName { schema: "public".to_owned(), name: table.to_owned() },
        columns: vec!["id".to_owned()],
        range,
        filter: String::new(),
        root: None,
        content: CopyText { rows, raw_bytes: rows * 100, rows_digest: RowsDigest::default() },
        object,
    }
}

/// What a comparison of the suite's manifest would state.
pub fn certificate(backup_id: BackupId, verdict: Verdict) -> Certificate {
    Certificate {
        backup_id,
        manifest_sha256: SHA256.to_owned(),
        repository: "s3://suite/main".to_owned(),
        recovered: None,
        verdict,
        compared_at: Timestamp::now(),
        target_version: 150_018,
        tables: 2,
        rows: 35,
        sequences: 1,
        objects: 1,
        differences: Vec::new(),
        differences_total: 0,
        left_out: Vec::new(),
        phase_milliseconds: BTreeMap::from([("rows".to_owned(), 1500)]),
    }
}
