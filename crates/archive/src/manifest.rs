//! The manifest: what a backup consists of. A backup exists only if its manifest stands.

use keepsake_domain::{
    BackupId, BlockRange, Coverage, FencingToken, Lineage, Lsn, RestoredDatabase, RestoredTable, RowsDigest,
    SequenceValue, TableName, Timestamp, TransactionSnapshot,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// One object of the archive, as it is stored (encrypted).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Key relative to the repository's prefix.
    pub key: String,
    /// Bytes as stored.
    pub stored_bytes: u64,
    /// SHA-256 of the bytes as stored, 64 hexadecimal digits.
    pub sha256: String,
    /// CRC-32 (ISO-HDLC) of the bytes as stored: object stores compute the same on their side.
    pub crc32: u32,
}

/// What was counted while rows went by as `COPY` text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CopyText {
    /// Rows.
    pub rows: u64,
    /// Bytes before compression.
    pub raw_bytes: u64,
    /// Digest of the rows.
    pub rows_digest: RowsDigest,
}

/// One part of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Number within the backup, from 1.
    pub number: u32,
    /// The table.
    pub table: TableName,
    /// Columns in the order of the `COPY` text.
    pub columns: Vec<String>,
    /// `None` for a whole table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<BlockRange>,
    /// Row filter of an extension's configuration table; empty means all rows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Of a partition whose rows another server may put into another partition of the same table: that table. Its
    /// rows are loaded and compared there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<TableName>,
    /// What was counted.
    #[serde(flatten)]
    pub content: CopyText,
    /// Where it lies.
    #[serde(flatten)]
    pub object: StoredObject,
}

/// All large objects, as a `pg_dump` custom archive that holds nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blobs {
    /// How many large objects.
    pub count: u64,
    /// Chunks and their digest, as read with `lo_get`.
    #[serde(flatten)]
    pub content: CopyText,
    /// Where it lies.
    #[serde(flatten)]
    pub object: StoredObject,
}

/// The server that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// `server_version_num`, for example 150018.
    pub server_version: u32,
    /// `server_encoding`.
    pub encoding: String,
    /// The database's collation.
    pub collation: String,
    /// The database's character classification.
    pub ctype: String,
    /// Locale provider: `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    /// Installed extensions and their versions.
    pub extensions: BTreeMap<String, String>,
}

/// Versions of the programs that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolVersions {
    /// Keepsake's own.
    pub keepsake: String,
    /// As `pg_dump --version` prints it.
    pub pg_dump: String,
}

/// What a full backup consists of. JSON shape: these fields, in snake case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The backup.
    pub backup_id: BackupId,
    /// The source's name.
    pub source: String,
    /// The lineage.
    pub lineage: Lineage,
    /// Database name on the source.
    pub database: String,
    /// Token of the lease under which the run wrote; a later run has a greater one.
    pub fencing_token: FencingToken,
    /// The server that was read.
    pub server: ServerFacts,
    /// The snapshot that every part was read in.
    pub snapshot: TransactionSnapshot,
    /// WAL position when the snapshot was taken.
    pub lsn: Lsn,
    /// When the run began.
    pub started_at: Timestamp,
    /// When the snapshot was taken, by the source's clock.
    pub snapshot_at: Timestamp,
    /// When the manifest was written.
    pub sealed_at: Timestamp,
    /// Schema: `pg_dump` custom archive with sections pre-data and post-data.
    pub schema: StoredObject,
    /// Bytes of that archive before compression.
    pub schema_raw_bytes: u64,
    /// Kind and identity of every schema object, to find what a restore lost.
    pub schema_objects: Vec<String>,
    /// SHA-256 over the definitions of all that users made, as the manifests of changes carry it; `None` where nobody asked
    /// the source for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_fingerprint: Option<String>,
    /// Roles, memberships, settings, without passwords.
    pub globals: StoredObject,
    /// How to restore by hand.
    pub readme: StoredObject,
    /// Every part of every table.
    pub parts: Vec<Part>,
    /// Where each sequence stood.
    pub sequences: Vec<SequenceValue>,
    /// Large objects, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobs: Option<Blobs>,
    /// What is not in here.
    pub coverage: Coverage,
    /// The backup's public key (`age1…`).
    pub recipient: String,
    /// Who can open the private half: holder and key id, for example `kms arn:…` or `age age1…`.
    pub key_holders: Vec<String>,
    /// Versions of the programs.
    pub tools: ToolVersions,
    /// The manifest before this one in the lineage; `None` for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_manifest: Option<PreviousManifest>,
}

/// A link to the manifest before: whoever changes that one has to change this one too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousManifest {
    /// Whose.
    pub backup_id: BackupId,
    /// SHA-256 of its bytes, 64 hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Every object but keys and manifest, in the order in which they are checked.
    pub fn objects(&self) -> impl Iterator<Item = &StoredObject> {
        self.objects_without_rows().chain(self.parts.iter().map(|part| &part.object))
    }

    /// Schema, globals, README and large objects.
    pub fn objects_without_rows(&self) -> impl Iterator<Item = &StoredObject> {
        [&self.schema, &self.globals, &self.readme]
            .into_iter()
            .chain(self.blobs.iter().map(|blobs| &blobs.object))
    }

    /// Rows over all tables.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.content.rows).sum()
    }

    /// Bytes of all rows as `COPY` text, before compression.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.content.raw_bytes).sum()
    }

    /// Bytes of all objects as stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.objects().map(|object| object.stored_bytes).sum()
    }

    /// Whether rows of a table are in here, also if there were none.
    #[must_use]
    pub fn holds(&self, table: &TableName) -> bool {
        self.parts.iter().any(|part| part.table == *table || part.root.as_ref() == Some(table))
    }

    /// What a restored database must hold: the parts' rows and digests summed up by the table that they
    /// are loaded into.
    #[must_use]
    pub fn expected(&self) -> RestoredDatabase {
        let mut tables: BTreeMap<&TableName, RestoredTable> = BTreeMap::new();
        for part in &self.parts {
            let name = part.root.as_ref().unwrap_or(&part.table);
            let table = tables.entry(name).or_insert_with(|| RestoredTable {
                table: name.clone(),
                rows: 0,
                rows_digest: RowsDigest::default(),
            });
            table.rows += part.content.rows;
            table.rows_digest += part.content.rows_digest;
        }
        RestoredDatabase {
            tables: tables.into_values().collect(),
            sequences: self.sequences.clone(),
            large_objects: self.blobs.as_ref().map(|blobs| RestoredTable {
                table: TableName { schema: "pg_catalog".to_owned(), name: "large objects".to_owned() },
                rows: blobs.content.rows,
                rows_digest: blobs.content.rows_digest,
            }),
            objects: self.schema_objects.clone(),
            left_out: Vec::new(),
        }
    }
}
