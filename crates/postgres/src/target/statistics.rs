//! Statistics for the planner, which a restore does not bring along.

use crate::session::Session;
use keepsake_steps::ports::TargetError;

/// Tables named in one statement; each is a transaction of its own all the same.
const AT_ONCE: usize = 500;

/// Everything that a plain ANALYZE takes, but for parents of foreign tables: of those the server would ask the foreign
/// server, which a restored database may have no way or no right to reach.
const TABLES: &str = "
    WITH RECURSIVE far AS (
        SELECT oid FROM pg_class WHERE relkind = 'f'
        UNION SELECT i.inhparent FROM pg_inherits i JOIN far ON far.oid = i.inhrelid)
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND c.oid NOT IN (SELECT oid FROM far)";

pub(super) async fn gather(session: &Session) -> Result<(), TargetError> {
    let act = "gather statistics";
    for some in session.texts(act, TABLES).await?.chunks(AT_ONCE) {
        session.run(act, &format!("ANALYZE {}", some.join(", "))).await?;
    }
    Ok(())
}
