//! The README that lies beside captured changes: how to read a segment without any code of ours.

use crate::{ChangesLayout, FORMAT_VERSION, KEY_FORMAT_VERSION, SEGMENT_VERSION};

const BEGIN: &str = "#--- begin read_segment.py\n";
const END: &str = "#--- end read_segment.py\n";
const SCRIPT: &str = include_str!("read_segment.py");

/// The README of one lineage's changes, plain UTF-8 text. It is the same text for the same layout and program.
#[must_use]
pub fn changes_readme(layout: &ChangesLayout) -> String {
    format!(
        "\
CHANGES OF SOURCE {source}, LINEAGE {lineage}

Written by Keepsake {version}, format {FORMAT_VERSION}, key format {KEY_FORMAT_VERSION}, segment {SEGMENT_VERSION}. With Keepsake at hand:

  keepsake window --repo URL

Without it, these programs are enough: age, zstd, jq and Python 3.

What lies here
  LSN.chain.json         captured changes begin at this position of the write-ahead log; \"reason\" says why there
  LSN.json               the segment of changes that begins at this position; \"end_lsn\" is where the next one begins,
                         \"object\" where its bytes lie. Without this file there is no segment
  RUN/keys/NNNNNN.json   the private key of one run, wrapped for each holder; the highest number counts
  RUN/*.seg.zst.age      a segment's bytes

How to read one segment by hand
1. Open the key of its run, with an offline recovery key (with AWS KMS: as a full backup's README says):
     jq --raw-output '.holders[] | select(.holder == \"age\") | .armored' RUN/keys/000001.json |
       age -d -i recovery.key > run.key
2. Print its changes, one JSON object per line, with the script below:
     age -d -i run.key RUN/START.ATTEMPT.seg.zst.age | zstd -d | python3 read_segment.py

Differentials, if there are any, lie beside this folder
  ../differential/END.BACKUP.json     what all changes behind that full backup come to at this position; \"object\" says where
  ../differential/RUN/keys, *.diff.zst.age   as above, and so is it opened
Behind its first line the object is a row of records: one byte for the kind, 8 for a position, 4 for the length (big endian), and so
many bytes. \"t\" is JSON: a table, its columns, the places of its key, and whether it is emptied first. Then come its rows as
lines of COPY text: \"d\" to delete (how often, a tab, the key), \"u\" to change (the key, a tab, the row, with \\U for a value that
stays), \"i\" to insert (how often, a tab, the row). \"b\" ends what is applied together, in this order; \"s\" are sequences, \"z\" the end.

Which changes belong behind a full backup: follow the segments from one whose \"snapshot\" (XMIN:XMAX:…) has an XMAX not
above the XMIN of the \"snapshot\" in the backup's manifest, and leave out each transaction that the backup's snapshot
sees: those below its XMIN, and those below its XMAX that are not listed behind it.

{BEGIN}{SCRIPT}{END}",
        source = layout.source,
        lineage = layout.lineage,
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// The script within a README, without its marker lines; `None` when the text has none.
#[must_use]
pub fn read_script(readme: &str) -> Option<&str> {
    let (_, rest) = readme.split_once(BEGIN)?;
    rest.split_once(END).map(|(script, _)| script)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::segment::tests::written;
    use keepsake_domain::Lineage;
    use std::io::Write;
    use std::process::{Command, Output, Stdio};

    fn run(segment: &[u8]) -> Output {
        let lineage = Lineage { system_identifier: 7, timeline: 1, database_oid: 5 };
        let readme = changes_readme(&ChangesLayout::new("wedsync", lineage).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), read_script(&readme).unwrap()).unwrap();
        let mut python = Command::new("python3")
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end before it has read all, when it finds damage.
        let _ = python.stdin.take().unwrap().write_all(segment);
        python.wait_with_output().unwrap()
    }

    fn message(fields: &[&[u8]]) -> Vec<u8> {
        fields.concat()
    }

    /// A transaction with one change of each kind in a table with the columns `id` and `name`.
    fn messages() -> Vec<Vec<u8>> {
        let (oid, row) = (7_u32.to_be_bytes(), |id: &[u8]| {
            [&2_i16.to_be_bytes()[..], b"t", &1_i32.to_be_bytes(), id, b"n"].concat()
        });
        let column = |name: &[u8]| [&b"\0"[..], name, b"\0", &[0; 8]].concat();
        let columns = [&2_i16.to_be_bytes()[..], &column(b"id"), &column(b"name")].concat();
        let unchanged = [&2_i16.to_be_bytes()[..], b"t", &1_i32.to_be_bytes(), b"1", b"u"].concat();
        vec![
            message(&[b"B", &(0x16_B374_D848_u64).to_be_bytes(), &[0; 8], &9_u32.to_be_bytes()]),
            message(&[b"R", &oid, b"public\0guests\0d", &columns]),
            message(&[b"I", &oid, b"N", &row(b"1")]),
            message(&[b"U", &oid, b"N", &unchanged]),
            message(&[b"D", &oid, b"K", &row(b"1")]),
            message(&[b"T", &1_u32.to_be_bytes(), b"\0", &oid]),
            message(&[b"M\x01", &[0; 8], b"keepsake.ddl\0", &15_u32.to_be_bytes(), b"{\"command\":\"X\"}"]),
            message(&[b"M\0", &[0; 8], b"keepsake\0", &0_u32.to_be_bytes()]),
            message(&[b"C", &[0; 25]]),
        ]
    }

    #[test]
    fn the_script_in_the_readme_prints_every_change_of_a_segment() {
        let output = run(&written(&messages()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<serde_json::Value> = output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        let change = |op: &str| serde_json::json!({"commit": "16/B374D848", "xid": 9, "op": op, "table": "public.guests"});
        let with = |mut change: serde_json::Value, part: &str, row: serde_json::Value| {
            change[part] = row;
            change
        };
        let row = serde_json::json!({"id": "1", "name": null});
        assert_eq!(lines[0], with(change("insert"), "new", row.clone()));
        assert_eq!(lines[1], with(change("update"), "new", serde_json::json!({"id": "1"})));
        assert_eq!(lines[2], with(change("delete"), "old", row));
        assert_eq!(lines[3]["tables"], serde_json::json!(["public.guests"]));
        let defined = serde_json::json!({"commit": "16/B374D848", "xid": 9, "op": "define", "command": "X"});
        assert_eq!(lines[4], defined);
        assert_eq!(lines[5]["sequences"][0]["last_value"], 7);
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn the_script_ends_with_an_error_when_a_segment_is_damaged_or_cut_off() {
        let whole = written(&messages());
        for damaged in [&whole[..whole.len() - 1], &whole[..40], b"PK", b""] {
            assert!(!run(damaged).status.success(), "{damaged:?}");
        }
    }
}
