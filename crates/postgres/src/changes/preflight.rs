//! Everything that would keep changes from being captured, asked before anything is made.

use crate::session::Session;
use keepsake_steps::ports::SourceError;

/// Messages in the stream, by which a capture knows that it saw everything, came with 14.
const OLDEST: u32 = 140_000;

/// Who we are, what the server is set to, and what of it is used.
const FACTS: &str = "
    SELECT current_user::text, pg_is_in_recovery(), current_setting('wal_level'),
        rolsuper OR rolreplication OR EXISTS (SELECT FROM pg_roles g WHERE g.rolname IN ('rds_replication')
            AND pg_has_role(g.oid, 'MEMBER')),
        current_setting('max_replication_slots')::int8, (SELECT count(*) FROM pg_replication_slots),
        current_setting('max_wal_senders')::int8,
        (SELECT count(*) FROM pg_stat_replication),
        has_database_privilege(current_database(), 'CREATE')
    FROM pg_roles WHERE rolname = current_user";

/// Every problem at once, so that nobody mends them one by one. `needs_slot`: ours is not there yet.
pub(super) async fn preflight(session: &Session, needs_slot: bool) -> Result<(), SourceError> {
    if session.version < OLDEST {
        let server = format!("{}.{}", session.version / 10_000, session.version % 10_000);
        return Err(SourceError::Version {
            server,
            reason: "changes are captured from PostgreSQL 14 on".to_owned(),
        });
    }
    let row = session.one("read what changes need", FACTS, &[]).await?;
    let role: String = row.get(0);
    let mut problems = Vec::new();
    let mut found = |is_wrong: bool, what: String, remedy: String| {
        if is_wrong {
            problems.push(SourceError::CannotCapture { place: session.place.clone(), what, remedy });
        }
    };
    found(
        row.get(1),
        "it is a standby".to_owned(),
        "protect the primary: what is published is decided there".to_owned(),
    );
    let wal_level: String = row.get(2);
    found(
        wal_level != "logical",
        format!("wal_level is {wal_level}"),
        "ALTER SYSTEM SET wal_level = logical (on RDS and Aurora rds.logical_replication = 1 in the parameter group) \
         and restart the server"
            .to_owned(),
    );
    found(
        !row.get::<_, bool>(3),
        format!("role {role} may not replicate"),
        format!("ALTER ROLE {role} REPLICATION, or on RDS and Aurora GRANT rds_replication TO {role}"),
    );
    let (slots, slots_used): (i64, i64) = (row.get(4), row.get(5));
    found(
        needs_slot && slots_used >= slots,
        format!("all {slots} replication slots are used"),
        "drop a slot that nobody needs (pg_replication_slots shows them), or raise max_replication_slots and restart"
            .to_owned(),
    );
    let (senders, senders_used): (i64, i64) = (row.get(6), row.get(7));
    found(
        senders_used >= senders,
        format!("all {senders} WAL senders are used"),
        "raise max_wal_senders and restart the server".to_owned(),
    );
    found(
        needs_slot && !row.get::<_, bool>(8),
        format!("role {role} may not make a publication"),
        format!("GRANT CREATE ON DATABASE … TO {role}"),
    );
    match problems.len() {
        0 => Ok(()),
        1 => Err(problems.remove(0)),
        _ => Err(SourceError::Several { problems }),
    }
}
