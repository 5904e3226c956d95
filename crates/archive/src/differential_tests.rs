#![allow(clippy::unwrap_used)]

use super::*;
use crate::pgoutput::Cell;
use keepsake_domain::SequenceName;
use proptest::prelude::*;

fn cells(texts: &[&str]) -> CopyRow {
    let cells: Vec<Cell> = texts
        .iter()
        .map(|text| match *text {
            "keep" => Cell::Unchanged,
            "null" => Cell::Null,
            text => Cell::Text(Bytes::copy_from_slice(text.as_bytes())),
        })
        .collect();
    CopyRow::of(&cells)
}

fn table(name: &str, key: &[usize]) -> DifferentialTable {
    DifferentialTable {
        table: TableName { schema: "public".to_owned(), name: name.to_owned() },
        columns: vec!["id".to_owned(), "name".to_owned(), "photo".to_owned()],
        key: key.to_vec(),
        is_emptied: name == "emptied",
    }
}

fn records() -> Vec<DifferentialRecord> {
    let sequence = SequenceName { schema: "public".to_owned(), name: "s".to_owned() };
    vec![
        DifferentialRecord::Table(table("guests", &[0])),
        DifferentialRecord::Deletion { lsn: Lsn(7), count: 1, key: cells(&["1"]) },
        DifferentialRecord::Update { lsn: Lsn(8), key: cells(&["2"]), row: cells(&["3", "a\tb", "keep"]) },
        DifferentialRecord::Insertion { count: 1, row: cells(&["1", "null", "x\ny"]) },
        DifferentialRecord::EndOfBatch,
        DifferentialRecord::Table(table("emptied", &[])),
        DifferentialRecord::Deletion { lsn: Lsn(9), count: 2, key: cells(&["1", "2", "null"]) },
        DifferentialRecord::Insertion { count: 3, row: cells(&["", "", ""]) },
        DifferentialRecord::EndOfBatch,
        DifferentialRecord::Sequences(vec![SequenceValue { sequence, last_value: 7, is_called: true }]),
        DifferentialRecord::End(DifferentialEnd { batches: 2, deletions: 3, updates: 1, insertions: 4 }),
    ]
}

pub(crate) fn written() -> Vec<u8> {
    let mut into = BytesMut::new();
    let mut writer = DifferentialWriter::begin(&mut into);
    let mut sequences = Vec::new();
    for record in records() {
        match record {
            DifferentialRecord::Table(table) => writer.table(&table, &mut into).unwrap(),
            DifferentialRecord::Deletion { lsn, count, key } => writer.deletion(lsn, count, &key, &mut into),
            DifferentialRecord::Update { lsn, key, row } => writer.update(lsn, &key, &row, &mut into),
            DifferentialRecord::Insertion { count, row } => writer.insertion(count, &row, &mut into),
            DifferentialRecord::EndOfBatch => writer.end_of_batch(&mut into),
            DifferentialRecord::Sequences(values) => sequences = values,
            DifferentialRecord::End(_) => {}
        }
    }
    writer.end(Lsn(10), &sequences, &mut into).unwrap();
    into.to_vec()
}

fn read(bytes: &[u8], piece: usize) -> Result<Vec<DifferentialRecord>, SegmentError> {
    let (mut decoder, mut found) = (DifferentialDecoder::new("a/differential"), Vec::new());
    for piece in bytes.chunks(piece) {
        decoder.feed(piece);
        while let Some(record) = decoder.next_record()? {
            found.push(record);
        }
    }
    decoder.finish()?;
    Ok(found)
}

#[test]
fn what_was_written_is_read_in_pieces_of_any_size() {
    for piece in [1, 7, 4096] {
        assert_eq!(read(&written(), piece).unwrap(), records());
    }
}

#[test]
fn a_differential_that_is_cut_off_anywhere_or_goes_on_is_damaged() {
    let whole = written();
    for end in 0..whole.len() {
        assert!(read(&whole[..end], 4096).is_err(), "{end}");
    }
    assert!(read(&[&whole[..], b"x"].concat(), 4096).is_err());
}

#[test]
fn another_version_is_told_apart_from_damage() {
    let newer = [b"keepsake differential 2\n", &written()[24..]].concat();
    let told = read(&newer, 4096).unwrap_err();
    assert!(matches!(told, SegmentError::UnknownVersion { .. }), "{told}");
    assert!(told.to_string().starts_with("differential \"a/differential\" has version 2"), "{told}");
    assert!(matches!(read(b"keepsake segment 1\n", 9), Err(SegmentError::Damaged { .. })));
}

#[test]
fn rows_that_do_not_fit_their_table_are_damage() {
    type Wrong = fn(&mut DifferentialWriter, &mut BytesMut);
    let wrong: [Wrong; 6] = [
        |writer, into| writer.deletion(Lsn(1), 1, &cells(&["1", "2"]), into),
        |writer, into| writer.insertion(1, &cells(&["1", "2"]), into),
        |writer, into| writer.insertion(1, &cells(&["1", "2", "keep"]), into),
        |writer, into| writer.insertion(0, &cells(&["1", "2", "3"]), into),
        |writer, into| writer.update(Lsn(1), &cells(&["1"]), &cells(&["1", "2"]), into),
        |writer, into| writer.update(Lsn(1), &cells(&["keep"]), &cells(&["1", "2", "3"]), into),
    ];
    for (number, wrong) in wrong.into_iter().enumerate() {
        let mut into = BytesMut::new();
        let mut writer = DifferentialWriter::begin(&mut into);
        writer.table(&table("guests", &[0]), &mut into).unwrap();
        wrong(&mut writer, &mut into);
        writer.end_of_batch(&mut into);
        writer.end(Lsn(2), &[], &mut into).unwrap();
        assert!(matches!(read(&into, 4096), Err(SegmentError::Damaged { .. })), "{number}");
    }
}

proptest! {
    #[test]
    fn no_byte_that_was_changed_makes_it_panic(at in any::<prop::sample::Index>(), to: u8) {
        let mut bytes = written();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = read(&bytes, 4096);
    }
}
