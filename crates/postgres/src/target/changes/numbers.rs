//! Numbers of sequences that rows use.

use crate::session::Session;
use keepsake_domain::{SequenceName, TableName, quote_identifier};
use keepsake_steps::ports::{NumberInUse, TargetError};

/// Sequences that belong to a column of whole numbers. One that wraps around hands its numbers out again by intent.
const OWNED: &str = "SELECT sn.nspname, s.relname, tn.nspname, t.relname, a.attname, q.seqincrement < 0,
        q.seqmin, q.seqmax
    FROM pg_depend d
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_namespace sn ON sn.oid = s.relnamespace
    JOIN pg_sequence q ON q.seqrelid = s.oid AND NOT q.seqcycle
    JOIN pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p')
    JOIN pg_namespace tn ON tn.oid = t.relnamespace
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
        AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
    ORDER BY 1, 2";

pub(super) async fn in_use(session: &Session) -> Result<Vec<NumberInUse>, TargetError> {
    let act = "read which numbers of sequences are in use";
    let mut found = Vec::new();
    for row in session.all(act, OWNED, &[]).await? {
        let table = TableName { schema: row.get(2), name: row.get(3) };
        let (column, counts_down): (String, bool) = (row.get(4), row.get(5));
        let last = if counts_down { "min" } else { "max" };
        // Numbers that the sequence cannot hand out were not handed out by it.
        let sql = format!(
            "SELECT {last}({column})::int8 FROM {} WHERE {column} BETWEEN $1::int8 AND $2::int8",
            table.quoted(),
            column = quote_identifier(&column)
        );
        let (lowest, highest): (i64, i64) = (row.get(6), row.get(7));
        if let Some(number) = session.one(act, &sql, &[&lowest, &highest]).await?.get::<_, Option<i64>>(0) {
            let sequence = SequenceName { schema: row.get(0), name: row.get(1) };
            found.push(NumberInUse { sequence, number, counts_down });
        }
    }
    Ok(found)
}
