use super::*;
use crate::change_target_suite::{BegunRestore, ChangeTargetBench};
use bytes::Bytes;
use keepsake_domain::TableName;
use keepsake_steps::ports::{ChangeTarget, chunks};

async fn stream(bytes: &[u8], with_end: bool) -> ChunkReceiver {
    let (sender, receiver) = chunks();
    let bytes = Bytes::copy_from_slice(bytes);
    tokio::spawn(async move {
        sender.send(Chunk::Data(bytes)).await.unwrap();
        if with_end {
            sender.send(Chunk::End).await.unwrap();
        }
    });
    receiver
}

fn guests() -> PartPlan {
    let table = TableName { schema: "public".to_owned(), name: "guests".to_owned() };
    PartPlan {
        number: 1,
        table,
        columns: vec!["id".to_owned()],
        range: None,
        filter: String::new(),
        root: None,
        size_bytes: 4,
    }
}

async fn prepared() -> MemoryTarget {
    let target = MemoryTarget::new();
    target.begin("b").await.unwrap();
    let schema = SchemaDump {
        tables: vec![(guests().table, guests().columns)],
        sequences: Vec::new(),
        post_objects: vec!["index public.guests_pkey".to_owned()],
    };
    for _ in 0..2 {
        let archive = stream(&schema.to_archive(), true).await;
        target.restore_schema(SchemaSection::PreData, archive, 1).await.unwrap();
    }
    target
}

#[tokio::test]
async fn a_part_is_loaded_once_and_a_torn_one_not_at_all() {
    let target = prepared().await;
    let mut writer = target.writer().await.unwrap();
    let torn = writer.copy_in(&guests(), stream(b"1\n", false).await).await;
    assert!(matches!(torn, Err(TargetError::CutOff { .. })));
    assert_eq!(target.database().tables[0].rows.len(), 0);
    for _ in 0..2 {
        assert_eq!(writer.copy_in(&guests(), stream(b"1\n2\n", true).await).await.unwrap(), 2);
    }
    assert_eq!((target.loads(), target.database().tables[0].rows.len()), (1, 2));
}

#[tokio::test]
async fn foreign_content_and_another_backups_restore_are_refused() {
    let foreign = MemoryTarget::with_foreign("table public.theirs").begin("b").await;
    assert!(matches!(foreign, Err(TargetError::NotEmpty { .. })));
    let target = prepared().await;
    target.begin("b").await.unwrap();
    assert!(matches!(target.begin("c").await, Err(TargetError::NotEmpty { .. })));
}

#[tokio::test]
async fn a_section_is_restored_once() {
    let target = prepared().await;
    let mut writer = target.writer().await.unwrap();
    writer.copy_in(&guests(), stream(b"1\n", true).await).await.unwrap();
    let archive = stream(b"{\"tables\":[],\"sequences\":[],\"post_objects\":[]}", true).await;
    target.restore_schema(SchemaSection::PreData, archive, 1).await.unwrap();
    assert_eq!(target.database().tables[0].rows, ["1"]);
}

struct Begun(MemoryTarget);

#[async_trait]
impl BegunRestore for Begun {
    fn target(&self) -> &dyn ChangeTarget {
        &self.0
    }

    async fn rows(&self, table: &str) -> Vec<String> {
        let mut rows = self.0.database().table(table).rows.clone();
        rows.sort();
        rows
    }

    async fn write(&self, table: &str, cells: &[&str]) {
        self.0.tamper(|database| database.table(table).rows.push(cells.join("\t")));
    }
}

struct Bench;

#[async_trait]
impl ChangeTargetBench for Bench {
    async fn begun(&self) -> Arc<dyn BegunRestore> {
        let target = MemoryTarget::new();
        target.begin("b").await.unwrap();
        target.tamper(|database| {
            database.tables = vec![
                MemoryTable::new("guests", &["id", "name", "photo"], []),
                MemoryTable::new("lines", &["line"], []),
            ];
        });
        Arc::new(Begun(target))
    }
}

crate::change_target_suite!(Bench);
