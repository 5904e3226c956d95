//! What raw `COPY` reads: every table, large ones in block ranges, dealt out evenly to the connections.

use super::Bench;
use anyhow::{Context, Result};
use std::fs;

/// As Keepsake cuts.
const PART_BYTES: u64 = 256 << 20;
const BLOCK_BYTES: u64 = 8192;

const TABLES: &str = "
SELECT pg_relation_size(c.oid) || '|' || format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY pg_relation_size(c.oid) + COALESCE(pg_total_relation_size(NULLIF(c.reltoastrelid, 0)), 0) DESC";

/// Writes `copy-1.sql`, `copy-2.sql` … for `psql --file`, one for each connection.
pub fn write(bench: &Bench) -> Result<()> {
    let mut scripts: Vec<(u64, String)> = vec![(0, String::new()); bench.options.jobs as usize];
    for line in bench.ask(&bench.database, TABLES)?.lines() {
        let (bytes, table) = line.split_once('|').context("bytes and table")?;
        for (bytes, statement) in copies(table, bytes.parse()?) {
            let least = scripts.iter_mut().min_by_key(|(bytes, _)| *bytes).context("a connection")?;
            least.0 += bytes;
            least.1 += &statement;
        }
    }
    for (number, (_, script)) in (1..).zip(scripts) {
        fs::write(bench.folder.join(format!("copy-{number}.sql")), script)?;
    }
    Ok(())
}

fn copies(table: &str, bytes: u64) -> Vec<(u64, String)> {
    let pieces = bytes.div_ceil(PART_BYTES);
    if pieces < 2 {
        return vec![(bytes, format!("COPY {table} TO STDOUT;\n"))];
    }
    let edge = |piece: u64| bytes / BLOCK_BYTES * piece / pieces;
    let piece = |number: u64| {
        let below = if number + 1 < pieces {
            format!(" AND ctid < '({},0)'", edge(number + 1))
        } else {
            String::new()
        };
        let from = edge(number);
        let select = format!("SELECT * FROM ONLY {table} WHERE ctid >= '({from},0)'{below}");
        (bytes / pieces, format!("COPY ({select}) TO STDOUT;\n"))
    };
    (0..pieces).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_table_is_cut_and_its_last_range_is_open() {
        assert_eq!(copies("public.t", 10), [(10, "COPY public.t TO STDOUT;\n".to_owned())]);
        let cut = copies("public.t", 2 * PART_BYTES);
        let blocks = PART_BYTES / BLOCK_BYTES;
        assert!(cut[0].1.ends_with(&format!("ctid >= '(0,0)' AND ctid < '({blocks},0)') TO STDOUT;\n")));
        assert!(cut[1].1.ends_with(&format!("ctid >= '({blocks},0)') TO STDOUT;\n")), "{cut:?}");
    }
}
