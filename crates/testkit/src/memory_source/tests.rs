#![allow(clippy::unwrap_used)]
use super::*;
use crate::TestClock;
use keepsake_domain::{PartPlan, TableName};
use keepsake_steps::ports::chunks;
use std::time::Duration;

fn source() -> MemorySource {
    let clock = Arc::new(TestClock::at("2026-11-21T01:00:00Z".parse().unwrap()));
    let guests = MemoryTable::new("guests", &["id"], (0..10).map(|id| id.to_string()));
    MemorySource::new(clock, MemoryDatabase { tables: vec![guests], ..MemoryDatabase::default() })
}

fn part(range: Option<keepsake_domain::BlockRange>) -> PartPlan {
    let table = TableName { schema: "public".to_owned(), name: "guests".to_owned() };
    let (columns, filter) = (vec!["id".to_owned()], String::new());
    PartPlan { number: 1, table, columns, range, filter, root: None, size_bytes: 1 }
}

async fn read(source: &MemorySource, name: &str, part: &PartPlan) -> (String, bool, bool) {
    let mut reader = source.reader(name).await.unwrap();
    let (sender, mut rows) = chunks();
    let collect = async move {
        let (mut text, mut ended) = (String::new(), false);
        while let Some(chunk) = rows.recv().await {
            match chunk {
                Chunk::Data(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                Chunk::End => ended = true,
            }
        }
        (text, ended)
    };
    let copy = async move { reader.copy_out(part, &sender).await.is_ok() };
    let (well, (text, ended)) = tokio::join!(copy, collect);
    (text, ended, well)
}

#[tokio::test]
async fn a_snapshot_lives_as_long_as_its_last_holder_and_sees_no_later_write() {
    let source = source();
    let first = source.take_snapshot().await.unwrap();
    let second = source.take_over_snapshot(first.name()).await.unwrap();
    let (gone, lives) = (first.name().to_owned(), second.name().to_owned());
    first.end().await.unwrap();
    source.write(|database| database.table("guests").rows.clear());
    assert!(matches!(source.take_over_snapshot(&gone).await, Err(SourceError::SnapshotLost { .. })));
    assert_eq!(read(&source, &lives, &part(None)).await.0, "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    drop(second);
    assert!(matches!(source.reader(&lives).await, Err(SourceError::SnapshotLost { .. })));
    assert_eq!((source.holders(), source.snapshots_taken()), (0, 1));
}

#[tokio::test]
async fn block_ranges_together_hold_every_row_once() {
    let source = source();
    let held = source.take_snapshot().await.unwrap();
    let range = |from, to| part(Some(keepsake_domain::BlockRange { from, to }));
    assert_eq!(read(&source, held.name(), &range(0, Some(1))).await.0, "0\n1\n2\n3\n");
    assert_eq!(read(&source, held.name(), &range(1, None)).await.0, "4\n5\n6\n7\n8\n9\n");
}

#[tokio::test]
async fn a_break_sends_some_rows_and_no_end_and_happens_once() {
    let source = source();
    let held = source.take_snapshot().await.unwrap();
    let rows =
        |is_silent| SourceFault::Rows { table: "guests".to_owned(), at: Break { after_bytes: 5, is_silent } };
    source.fail_with(rows(false));
    source.fail_with(rows(true));
    assert_eq!(read(&source, held.name(), &part(None)).await, ("0\n1\n2".to_owned(), false, false));
    assert_eq!(read(&source, held.name(), &part(None)).await, ("0\n1\n2".to_owned(), false, true));
    assert_eq!(read(&source, held.name(), &part(None)).await.0.len(), 20);
}

#[tokio::test]
async fn a_holder_whose_session_ended_learns_it() {
    let source = source();
    let held = source.take_snapshot().await.unwrap();
    held.check(Duration::from_secs(10)).await.unwrap();
    source.lose_snapshots();
    assert!(matches!(held.check(Duration::from_secs(10)).await, Err(SourceError::SnapshotLost { .. })));
}
