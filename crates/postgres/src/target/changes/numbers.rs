//! Numbers of sequences that rows use.

use crate::session::Session;
use keepsake_domain::{SequenceName, TableName, quote_identifier};
use keepsake_steps::ports::{NumberInUse, TargetError};
use tokio_postgres::Row;

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

/// Sequences of one statement. Each is one look into an index; a statement of ten thousand would be planned for long, and
/// one of each waits for the network as often as there are sequences.
const AT_ONCE: usize = 200;

struct Owned {
    sequence: SequenceName,
    counts_down: bool,
    last_number: String,
}

impl Owned {
    fn of(row: &Row) -> Self {
        let table = TableName { schema: row.get(2), name: row.get(3) }.quoted();
        let (column, counts_down) = (quote_identifier(&row.get::<_, String>(4)), row.get(5));
        let last = if counts_down { "min" } else { "max" };
        let (lowest, highest): (i64, i64) = (row.get(6), row.get(7));
        // Numbers that the sequence cannot hand out were not handed out by it.
        let last_number = format!(
            "SELECT {last}({column})::int8 FROM {table} WHERE {column} BETWEEN '{lowest}'::int8 AND '{highest}'::int8"
        );
        Self { sequence: SequenceName { schema: row.get(0), name: row.get(1) }, counts_down, last_number }
    }
}

pub(super) async fn in_use(session: &Session) -> Result<Vec<NumberInUse>, TargetError> {
    let act = "read which numbers of sequences are in use";
    let owned: Vec<Owned> = session.all(act, OWNED, &[]).await?.iter().map(Owned::of).collect();
    let mut found = Vec::new();
    for some in owned.chunks(AT_ONCE) {
        let questions: Vec<String> = some.iter().map(|one| format!("({})", one.last_number)).collect();
        let row = session.one(act, &format!("SELECT ARRAY[{}]", questions.join(", ")), &[]).await?;
        let numbers: Vec<Option<i64>> = row.get(0);
        found.extend(some.iter().zip(numbers).filter_map(|(one, number)| {
            let (sequence, counts_down) = (one.sequence.clone(), one.counts_down);
            Some(NumberInUse { sequence, number: number?, counts_down })
        }));
    }
    Ok(found)
}
