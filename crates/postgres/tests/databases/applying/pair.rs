//! A source with a slot and a target that holds its full backup: what is changed in the one is applied to the other.

use crate::support::*;
use bytes::Bytes;
use keepsake_archive::{CopyText, Part, StoredObject};
use keepsake_domain::{Lsn, RecoveryTarget, SchemaStatement, TableName, TransactionSnapshot};
use keepsake_steps::ports::{
    AppliedChanges, ChangeBatch, ChangePosition, ChangeTarget, SchemaSection, SchemaTarget, Source, Target,
    TargetError,
};
use keepsake_steps::{ChangeReader, Destinations, ReplayRules};

/// As capture pins its session: what is printed has to be what a backup reads.
const PINNED: &str = "SET search_path = ''; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = postgres;
    SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = hex; SET lc_monetary = 'C'";

/// A source with a slot, and a target that holds its full backup of that time and no keys yet.
pub struct Pair {
    pub source: Database,
    pub target: Database,
    slot: String,
    snapshot: TransactionSnapshot,
    parts: Vec<Part>,
    base: Content,
}

impl Pair {
    pub async fn with(schema: &str) -> Self {
        let (source, target) = (Database::source().await, Database::target().await);
        source.run(schema).await;
        let slot = source.name.clone();
        source.run("CREATE PUBLICATION everything FOR ALL TABLES").await;
        source.run(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
        let (from, to) = (source_at(source.url()), target_at(target.url()));
        let held = from.take_snapshot().await.unwrap();
        to.begin(BACKUP).await.unwrap();
        restore_section(&from, held.name(), &to, SchemaSection::PreData).await;
        let (base, plans) = content_of(&from, held.name()).await;
        let mut writer = to.writer().await.unwrap();
        let mut parts = Vec::new();
        for (plan, rows) in plans {
            let content = digest(&rows);
            writer.copy_in(&plan, stream(rows, true)).await.unwrap();
            let object =
                StoredObject { key: String::new(), stored_bytes: 0, sha256: String::new(), crc32: 0 };
            let (number, table, columns, root) = (plan.number, plan.table, plan.columns, plan.root);
            parts.push(Part {
                number,
                table,
                columns,
                range: None,
                filter: plan.filter,
                root,
                content,
                object,
            });
        }
        let snapshot = held.snapshot().clone();
        Self { source, target, slot, snapshot, parts, base }
    }

    /// Makes a table on the source, and as a restore makes it again on the target.
    pub async fn make_table(&mut self, table: &str, columns: &[&str], statement: SchemaStatement) {
        self.source.run(&statement.statement).await;
        let to = target_at(self.target.url());
        let number = to.defined().await.unwrap() + 1;
        to.define(number, &statement).await.unwrap_or_else(|error| panic!("{}", all_text(&error)));
        self.parts.push(Part {
            number: u32::try_from(self.parts.len()).unwrap(),
            table: TableName { schema: "public".to_owned(), name: table.to_owned() },
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            range: None,
            filter: String::new(),
            root: None,
            content: CopyText::default(),
            object: StoredObject { key: String::new(), stored_bytes: 0, sha256: String::new(), crc32: 0 },
        });
    }

    /// Everything that was changed since, as the server sends it.
    pub async fn messages(&self) -> Vec<(Lsn, Bytes)> {
        let client = self.source.client().await;
        client.batch_execute(PINNED).await.unwrap();
        // Only what was flushed is decoded, and the server of the tests commits without flushing.
        let flushed = "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'flushed', '')";
        client.batch_execute(flushed).await.unwrap();
        let sql = format!(
            "SELECT lsn::text, data FROM pg_logical_slot_peek_binary_changes('{}', NULL, NULL, 'proto_version', '1',
             'publication_names', 'everything')",
            self.slot
        );
        let rows = client.query(&sql, &[]).await.unwrap();
        rows.iter()
            .map(|row| (row.get::<_, String>(0).parse().unwrap(), Bytes::from(row.get::<_, Vec<u8>>(1))))
            .collect()
    }

    pub fn batches(
        &self,
        messages: &[(Lsn, Bytes)],
        standing: ChangePosition,
        target: RecoveryTarget,
        batch_bytes: usize,
    ) -> Vec<ChangeBatch> {
        let destinations = Destinations::of(&self.parts);
        let base = self.snapshot.clone();
        let mut reader = ChangeReader::new(ReplayRules { destinations, base, target, standing, batch_bytes });
        reader.begin_segment(&self.snapshot);
        let mut batches = Vec::new();
        for (lsn, message) in messages {
            batches.extend(reader.message(*lsn, message).unwrap());
        }
        batches.extend(reader.finish().unwrap());
        batches
    }

    /// Applies what is missing up to the target.
    pub async fn catch_up(
        &self,
        target: RecoveryTarget,
        batch_bytes: usize,
    ) -> Result<AppliedChanges, TargetError> {
        let messages = self.messages().await;
        let mut applier = target_at(self.target.url()).change_applier().await?;
        let standing = applier.applied().await?.position;
        for batch in self.batches(&messages, standing, target, batch_bytes) {
            applier.apply(&batch).await?;
        }
        applier.applied().await
    }

    pub async fn source_content(&self) -> Content {
        let source = source_at(self.source.url());
        let held = source.take_snapshot().await.unwrap();
        self.by_destination(&content_of(&source, held.name()).await.0)
    }

    pub async fn target_content(&self) -> Content {
        self.by_destination(&content_of_target(&target_at(self.target.url())).await)
    }

    /// Rows that may lie in any partition count for the whole table.
    fn by_destination(&self, content: &Content) -> Content {
        let mut sums = Content::new();
        for (table, some) in content {
            let part = self.parts.iter().find(|part| part.table.to_string() == *table).unwrap();
            let sum = sums.entry(part.root.as_ref().unwrap_or(&part.table).to_string()).or_default();
            *sum = CopyText {
                rows: sum.rows + some.rows,
                raw_bytes: sum.raw_bytes + some.raw_bytes,
                rows_digest: [sum.rows_digest, some.rows_digest].into_iter().sum(),
            };
        }
        sums
    }

    /// Rows, sums of what came and went, and the schema behind it are the source's.
    pub async fn is_equal_after(&self, batch_bytes: usize) {
        let applied = self.catch_up(RecoveryTarget::Latest, batch_bytes).await;
        let applied = applied.unwrap_or_else(|error| panic!("{}", all_text(&error)));
        let source = self.source_content().await;
        assert_eq!(differing(&source, &self.target_content().await), Vec::<String>::new());
        assert_eq!(differing(&source, &self.expected(&applied)), Vec::<String>::new());
        let to = target_at(self.target.url());
        to.end_changes(&[]).await.unwrap();
        to.end_changes(&[]).await.unwrap();
        let from = source_at(self.source.url());
        let held = from.take_snapshot().await.unwrap();
        restore_section(&from, held.name(), &to, SchemaSection::PostData).await;
        let objects = to.objects().await.unwrap();
        assert_eq!(objects, from.shape(held.name()).await.unwrap().objects);
        assert!(objects.iter().all(|object| !object.contains("keepsake_key")), "{objects:?}");
        assert_eq!(differing(&source, &self.target_content().await), Vec::<String>::new());
    }

    /// What the proof expects: the backup's rows, without those deleted, and with those inserted.
    fn expected(&self, applied: &AppliedChanges) -> Content {
        let mut expected = self.by_destination(&self.base);
        for table in &applied.tables {
            let own = expected.entry(table.table.to_string()).or_default();
            if table.is_emptied {
                *own = CopyText::default();
            }
            own.rows = own.rows + table.inserted.rows - table.deleted.rows;
            own.raw_bytes = own.raw_bytes + table.inserted.raw_bytes - table.deleted.raw_bytes;
            own.rows_digest += table.inserted.rows_digest;
            own.rows_digest -= table.deleted.rows_digest;
        }
        expected
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // A database with a slot cannot be dropped.
        let (url, slot) = (self.source.url(), self.slot.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = keepsake_postgres::connect(&url).await.unwrap();
                let _ = client.execute("SELECT pg_drop_replication_slot($1)", &[&slot]).await;
            });
        });
        let _ = dropped.join();
    }
}

pub fn differing(one: &Content, other: &Content) -> Vec<String> {
    let tables: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let of = |content: &Content, table: &String| content.get(table).copied().unwrap_or_default();
    let differs = |table: &&&String| of(one, table) != of(other, table);
    tables
        .iter()
        .filter(differs)
        .map(|table| format!("{table}: {:?} {:?}", of(one, table), of(other, table)))
        .collect()
}
