//! `pg_dump` in the snapshot, as a stream.

use super::PostgresSource;
use crate::address::Address;
use crate::child::{ChildFailure, command, stream_out};
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
    let session: Session = super::snapshot::in_snapshot(&source.url, snapshot_name).await?;
    let program = pg_dump_for(&source.pg_bin, &session).await?;
    let address = Address::of(&source.url)?;
    let mut child = command(&program, &address);
    child
        .args(["--format=custom", "--compress=0", "--no-password", "--lock-wait-timeout=60000"])
        .arg(format!("--snapshot={snapshot_name}"))
        .args(dump.options);
    stream_out(child, &address, to).await.map_err(|failure| match failure {
        ChildFailure::Failed(said) => SourceError::ClientFailed { program: "pg_dump".to_owned(), said },
        ChildFailure::ReceiverGone | ChildFailure::CutOff => {
            SourceError::ReceiverGone { what: dump.what.to_owned() }
        }
    })
}
