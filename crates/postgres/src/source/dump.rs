//! `pg_dump` in the snapshot, as a stream.

use super::PostgresSource;
use crate::address::Address;
use crate::child::{ChildFailure, command, stream_out};
use crate::connect;
use crate::session::Session;
use crate::source::preflight::pg_dump_for;
use keepsake_steps::ports::{ChunkSender, SourceError};

/// What one call of `pg_dump` is to bring.
pub(super) struct Dump {
    what: &'static str,
    options: &'static [&'static str],
}

/// Everything but rows. A subscription's definition holds a password and would begin to work at once.
pub(super) const SCHEMA: Dump = Dump {
    what: "the schema",
    options: &["--section=pre-data", "--section=post-data", "--no-blobs", "--no-subscriptions"],
};

/// Large objects with owners, rights and comments, and nothing else: one schema is asked for and excluded again, so
/// that neither it nor anything without a schema is dumped (tried with `pg_dump` 15).
pub(super) const LARGE_OBJECTS: Dump = Dump {
    what: "the large objects",
    options: &["--blobs", "--schema=pg_toast", "--exclude-schema=pg_toast", "--exclude-table-data=*.*"],
};

pub(super) async fn dump(
    source: &PostgresSource,
    snapshot_name: &str,
    dump: &Dump,
    to: &ChunkSender,
) -> Result<(), SourceError> {
    // Its own session, so that a snapshot that is gone is told apart from a failing pg_dump.
    let session: Session = super::snapshot::in_snapshot(source, &source.label, snapshot_name).await?;
    let program = pg_dump_for(&source.pg_bin, &session).await?;
    drop(session);
    let address = in_english(Address::of(&source.url)?).await;
    let mut child = command(&program, &address);
    child
        .env("PGAPPNAME", &source.label)
        .args(["--format=custom", "--compress=0", "--no-password", "--lock-wait-timeout=60000"])
        .arg(format!("--snapshot={snapshot_name}"))
        .args(dump.options);
    stream_out(child, &address, to).await.map_err(|failure| match failure {
        ChildFailure::Failed(said) => failed(dump.what, &address.place, said),
        ChildFailure::ReceiverGone | ChildFailure::CutOff => {
            SourceError::ReceiverGone { what: dump.what.to_owned() }
        }
    })
}

/// Sessions that speak English, by which a failure is recognised: `pg_dump` shows no codes. Only a superuser, or who was
/// granted to set `lc_messages`, may choose the language; for others the server speaks its own.
async fn in_english(address: Address) -> Address {
    let english = address.with_setting("lc_messages", "C");
    if connect::accepts(&english).await { english } else { address }
}

/// What a `pg_dump` that failed had met. Its own words are English (`LC_ALL=C`); where the server's are not, its errors
/// stay what they are: failures that a person reads.
fn failed(what: &str, place: &str, said: String) -> SourceError {
    let (what, place) = (what.to_owned(), place.to_owned());
    let has = |words: &str| said.contains(words);
    if has("conflict with recovery") {
        return SourceError::StandbyConflict { place };
    }
    if has("due to user request") || has("due to administrator command") {
        return SourceError::GaveWay { what, place };
    }
    // In the server's hint; a parameter's name is the same in every language.
    if has("max_locks_per_transaction") {
        return SourceError::TooFewLocks { place, tables: "all".to_owned(), room: String::new() };
    }
    // It waits for locks with a timeout, and for nothing else.
    if has("uery was: LOCK TABLE") && !has("permission denied") {
        return SourceError::LockNotGranted { what, place };
    }
    SourceError::ClientFailed { program: "pg_dump".to_owned(), said }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepsake_domain::{Classified, FailureClass};

    const NO_LOCKS: &str = "pg_dump: error: query failed: ERROR:  out of shared memory\n\
        HINT:  You might need to increase max_locks_per_transaction.\n\
        pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE";

    #[test]
    fn a_lock_table_that_is_too_small_is_told_with_what_to_set() {
        let error = failed("the schema", "h/d", NO_LOCKS.to_owned());
        assert!(matches!(error, SourceError::TooFewLocks { .. }), "{error}");
        assert!(error.explanation().next.contains("ALTER SYSTEM SET max_locks_per_transaction"));
    }

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        let lock = "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\n\
                    pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE";
        let cases = [
            (lock, FailureClass::Transient),
            ("ERROR:  canceling statement due to user request", FailureClass::Transient),
            ("FATAL:  terminating connection due to conflict with recovery", FailureClass::Transient),
            (
                "ERROR:  permission denied for table t\nQuery was: LOCK TABLE public.t",
                FailureClass::Permanent,
            ),
            ("error: server version mismatch", FailureClass::Permanent),
            (NO_LOCKS, FailureClass::Permanent),
        ];
        for (said, class) in cases {
            assert_eq!(failed("the schema", "h/d", said.to_owned()).class(), class, "{said}");
        }
    }
}
