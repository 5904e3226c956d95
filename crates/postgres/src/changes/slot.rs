//! Our replication slot: its name, how it stands, how it is made and dropped.

use crate::error::{ConnectError, lock_not_granted, sql_state};
use crate::session::Session;
use keepsake_domain::Lsn;
use keepsake_steps::ports::{SlotState, SourceError};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Longest name of a slot and of a publication, in bytes.
/// Source: `NAMEDATALEN` in `pg_config_manual.h` of PostgreSQL 18, read 2026-11-21.
const LONGEST_NAME: usize = 63;

/// What all our slots and publications begin with.
const PREFIX: &str = "keepsake_";

/// The slot begins where every transaction has ended that was open when it was asked for. Nothing is locked meanwhile,
/// but WAL is kept from then on, so the wait ends here.
const OPEN_TRANSACTIONS_PATIENCE: &str = "SET lock_timeout = 0; SET statement_timeout = '5min'";

/// The names of one source's slot and publication, which are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlotName(String);

impl SlotName {
    /// Slots allow a-z, 0-9 and `_`. A name that would be too long ends in a digest of itself.
    pub fn of_source(source: &str) -> Self {
        let name: String = source.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let name = format!("{PREFIX}{}", name.to_ascii_lowercase());
        if name.len() <= LONGEST_NAME {
            return Self(name);
        }
        let digest: String =
            Sha256::digest(source.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{}_{digest}", &name[..LONGEST_NAME - 9]))
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    pub fn publication(&self) -> &str {
        &self.0
    }

    pub fn busy(&self, place: &str) -> SourceError {
        SourceError::SlotBusy { slot: self.0.clone(), place: place.to_owned() }
    }

    pub fn lost(&self, place: &str, how: &str) -> SourceError {
        SourceError::SlotLost { slot: self.0.clone(), place: place.to_owned(), how: how.to_owned() }
    }
}

/// How the slot stands; `None` when there is none.
pub(super) async fn state(session: &Session, slot: &SlotName) -> Result<Option<SlotState>, SourceError> {
    Ok(state_and_age(session, slot).await?.map(|(state, _)| state))
}

/// The same, and how many transactions old the rows are that the slot keeps of the server's own catalog.
pub(super) async fn state_and_age(
    session: &Session,
    slot: &SlotName,
) -> Result<Option<(SlotState, u64)>, SourceError> {
    // 16 and 17 brought columns that say more about a slot that is lost.
    let invalidation = match session.version {
        170_000.. => "COALESCE(invalidation_reason, '')",
        160_000.. => "CASE WHEN conflicting THEN 'conflict with recovery' ELSE '' END",
        _ => "''",
    };
    let sql = format!(
        "SELECT COALESCE(confirmed_flush_lsn, '0/0')::text, restart_lsn::text, active_pid, COALESCE(wal_status, ''),
            {invalidation}, COALESCE(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                ELSE pg_current_wal_lsn() END, restart_lsn), 0)::int8, safe_wal_size,
            COALESCE(plugin::text, 'none'), COALESCE(database::text, 'none'), database = current_database(),
            COALESCE(age(catalog_xmin), 0)::int8
        FROM pg_replication_slots WHERE slot_name::text = $1"
    );
    let act = "read the replication slot";
    let rows = session.all(act, &sql, &[&slot.name()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (plugin, database): (String, String) = (row.get(7), row.get(8));
    if plugin != "pgoutput" || row.get::<_, Option<bool>>(9) != Some(true) {
        return Err(SourceError::CannotCapture {
            place: session.place.clone(),
            what: format!("slot {} is another's: plugin {plugin}, database {database}", slot.name()),
            remedy: format!(
                "give the source another name, or drop that slot if nobody needs it: SELECT pg_drop_replication_slot('{}')",
                slot.name()
            ),
        });
    }
    let lsn = |text: String| {
        text.parse::<Lsn>().map_err(|_| session.strange(act, format!("\"{text}\" is no WAL position")))
    };
    let number = |column: usize| row.get::<_, i64>(column).max(0).unsigned_abs();
    let state = SlotState {
        name: slot.name().to_owned(),
        confirmed_lsn: lsn(row.get(0))?,
        restart_lsn: row.get::<_, Option<String>>(1).map(lsn).transpose()?,
        active_pid: row.get(2),
        lost: lost(row.get(3), row.get(4)),
        retained_bytes: number(5),
        safe_bytes: row.get::<_, Option<i64>>(6).map(|bytes| bytes.max(0).unsigned_abs()),
    };
    Ok(Some((state, number(10))))
}

/// How a slot was lost, if it was.
fn lost(wal_status: &str, invalidation: &str) -> Option<String> {
    match (wal_status, invalidation) {
        (_, "wal_removed") | ("lost", "") => {
            Some("the server removed WAL that it needs (max_slot_wal_keep_size)".to_owned())
        }
        ("lost", why) => Some(format!("the server invalidated it: {why}")),
        (_, "") => None,
        (_, why) => Some(format!("the server invalidated it: {why}")),
    }
}

/// Makes the slot; answers where it begins.
pub(super) async fn create(session: &Session, slot: &SlotName) -> Result<Lsn, SourceError> {
    let act = "make the replication slot";
    session.run(act, OPEN_TRANSACTIONS_PATIENCE).await?;
    let sql = "SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')";
    let rows = session.client.query(sql, &[&slot.name()]).await.map_err(|error| {
        let error = session.cause(&error);
        if sql_state(error) == Some("57014") || lock_not_granted(error) {
            let what = "the replication slot, behind transactions that do not end (pg_stat_activity shows them by xact_start),";
            return SourceError::LockNotGranted { what: what.to_owned(), place: session.place.clone() };
        }
        session.failed(act, error).into()
    })?;
    let text: String = rows.first().map(|row| row.get(0)).unwrap_or_default();
    text.parse().map_err(|_| session.strange(act, format!("\"{text}\" is no WAL position")).into())
}

/// Drops the slot; whether there was one. One that somebody streams from is busy.
pub(super) async fn drop_slot(session: &Session, slot: &SlotName) -> Result<bool, SourceError> {
    let sql =
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name::text = $1";
    match session.client.query(sql, &[&slot.name()]).await {
        Ok(rows) => Ok(!rows.is_empty()),
        Err(error) => match sql_state(session.cause(&error)) {
            Some("55006") => Err(slot.busy(&session.place)),
            // Another call dropped it meanwhile.
            Some("42704") => Ok(false),
            _ => Err(ConnectError::of_statement("drop the replication slot", &session.place, &error).into()),
        },
    }
}

/// How often a slot is tried that somebody streams from, and the pause between. A session that is ended gives its slot
/// free within milliseconds; who comes back at once is ended again, and after 5 s the next call tries.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

const END_STREAM: &str = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
    WHERE slot_name::text = $1 AND active_pid IS NOT NULL";

/// Ends whoever streams from the slot or is making it, and drops it; whether there was one.
pub(super) async fn end_and_drop(session: &Session, slot: &SlotName) -> Result<bool, SourceError> {
    let mut tries = 0;
    loop {
        if state(session, slot).await?.is_none() {
            return Ok(tries > 0);
        }
        tries += 1;
        session.all("end who streams from the slot", END_STREAM, &[&slot.name()]).await?;
        match drop_slot(session, slot).await {
            Err(SourceError::SlotBusy { .. }) if tries < TRIES => tokio::time::sleep(PAUSE).await,
            dropped => return dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_named_after_its_source_and_never_too_long() {
        assert_eq!(SlotName::of_source("shop-eu_1").name(), "keepsake_shop_eu_1");
        let long: Vec<String> = ["a", "b"].iter().map(|last| format!("{}{last}", "x".repeat(62))).collect();
        let names: Vec<SlotName> = long.iter().map(|name| SlotName::of_source(name)).collect();
        assert!(names.iter().all(|name| name.name().len() == 63), "{names:?}");
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn only_a_slot_that_streams_no_more_is_lost() {
        for status in ["reserved", "extended", "unreserved", ""] {
            assert_eq!(lost(status, ""), None, "{status}");
        }
        assert!(lost("lost", "").is_some_and(|how| how.contains("max_slot_wal_keep_size")));
        assert!(lost("lost", "wal_removed").is_some_and(|how| how.contains("max_slot_wal_keep_size")));
        assert!(lost("unreserved", "idle_timeout").is_some_and(|how| how.contains("idle_timeout")));
    }
}
