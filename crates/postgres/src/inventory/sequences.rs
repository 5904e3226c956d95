//! Where sequences stand.

use super::FOREIGN_SCHEMAS;
use crate::error::ConnectError;
use crate::session::Session;
use keepsake_domain::{SequenceName, SequenceValue};

/// Sequences asked in one statement: few round trips, and a plan that stays small.
const AT_ONCE: usize = 200;

/// All sequences of the user, and those that an extension marked as configuration.
async fn sequence_names(session: &Session) -> Result<Vec<SequenceName>, ConnectError> {
    let sql = format!(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {FOREIGN_SCHEMAS}
          AND (NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                           AND d.deptype = 'e')
               OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig)))
        ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
    );
    let rows = session.all("list the sequences", &sql, &[]).await?;
    Ok(rows.iter().map(|row| SequenceName { schema: row.get(0), name: row.get(1) }).collect())
}

pub(crate) async fn sequences(session: &Session) -> Result<Vec<SequenceValue>, ConnectError> {
    let names = sequence_names(session).await?;
    let mut values = Vec::with_capacity(names.len());
    for some in names.chunks(AT_ONCE) {
        let selects: Vec<String> = some
            .iter()
            .enumerate()
            .map(|(index, name)| format!("SELECT {index}, last_value, is_called FROM {}", name.quoted()))
            .collect();
        for row in session.all("read the sequences", &selects.join(" UNION ALL "), &[]).await? {
            let index = usize::try_from(row.get::<_, i32>(0)).unwrap_or(0);
            values.push(SequenceValue {
                sequence: some[index].clone(),
                last_value: row.get(1),
                is_called: row.get(2),
            });
        }
    }
    values.sort();
    Ok(values)
}
