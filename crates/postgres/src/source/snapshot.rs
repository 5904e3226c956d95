//! Transactions that share one exported snapshot.

use super::PostgresSource;
use super::strain::{self, strain};
use crate::error::{ConnectError, is_standby_conflict, sql_state};
use crate::session::Session;
use async_trait::async_trait;
use keepsake_domain::{Lsn, Timestamp, TransactionSnapshot};
use keepsake_steps::ports::{GiveWay, HeldSnapshot, SourceError, Strain, Waiting};
use std::time::Duration;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A holder asks its session once a second. When its process is stopped without a word to the server, which then
/// hears nothing for hours, the server itself ends the transaction after this time.
const ORPHANED: &str = "SET idle_in_transaction_session_timeout = '5min'";

/// How servers say that an exported snapshot is gone: invalid identifier (up to 16), no such object (from 17), its
/// process ended in the meantime.
const GONE: [&str; 3] = ["22023", "42704", "55000"];

/// One connection that keeps the snapshot alive. Dropping it ends the transaction.
pub(super) struct Holder {
    session: Session,
    name: String,
    snapshot: TransactionSnapshot,
    lsn: Lsn,
    taken_at: Timestamp,
    backend_pid: i32,
    /// What the run's readers are called.
    readers: String,
}

impl Holder {
    pub async fn take(source: &PostgresSource) -> Result<Self, SourceError> {
        let session = Session::open(&source.url).await?;
        session.label(&holder_label(source)).await?;
        session.run("begin the snapshot's transaction", BEGIN).await?;
        Self::export(session, source).await
    }

    pub async fn take_over(source: &PostgresSource, name: &str) -> Result<Self, SourceError> {
        Self::export(in_snapshot(source, &holder_label(source), name).await?, source).await
    }

    async fn export(session: Session, source: &PostgresSource) -> Result<Self, SourceError> {
        let act = "export a snapshot";
        session.run(act, ORPHANED).await?;
        let row = session
            .one(
                act,
                "SELECT pg_export_snapshot(), pg_current_snapshot()::text, clock_timestamp(), pg_backend_pid(),
                    pg_is_in_recovery()",
                &[],
            )
            .await?;
        let lsn = read_lsn(&session, row.get(4)).await?;
        let snapshot: String = row.get(1);
        Ok(Self {
            name: row.get(0),
            snapshot: snapshot
                .parse()
                .map_err(|_| session.strange(act, format!("\"{snapshot}\" is no snapshot")))?,
            lsn,
            taken_at: row.get(2),
            backend_pid: row.get(3),
            readers: source.label.clone(),
            session,
        })
    }

    /// A standby says why it ended us; any other end means that the snapshot is gone.
    fn lost(&self, error: &tokio_postgres::Error) -> SourceError {
        if is_standby_conflict(self.session.cause(error)) {
            return SourceError::StandbyConflict { place: self.session.place.clone() };
        }
        SourceError::SnapshotLost { name: self.name.clone() }
    }
}

/// Holders lock no table, and are not among the readers that give way.
fn holder_label(source: &PostgresSource) -> String {
    format!("{} holder", source.label)
}

pub(crate) async fn read_lsn(session: &Session, standby: bool) -> Result<Lsn, ConnectError> {
    let act = "read the WAL position";
    let function = if standby { "pg_last_wal_replay_lsn" } else { "pg_current_wal_lsn" };
    let row = session.one(act, &format!("SELECT {function}()::text"), &[]).await?;
    let lsn: String = row.get(0);
    lsn.parse().map_err(|_| session.strange(act, format!("\"{lsn}\" is no WAL position")))
}

/// A session whose transaction sees what the holder of the snapshot sees.
pub(super) async fn in_snapshot(
    source: &PostgresSource,
    label: &str,
    name: &str,
) -> Result<Session, SourceError> {
    let lost = || SourceError::SnapshotLost { name: name.to_owned() };
    // It stands in a statement that takes no parameters, so nothing but the server's own alphabet may pass.
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Err(lost());
    }
    let session = Session::open(&source.url).await?;
    session.label(label).await?;
    session.run("begin the snapshot's transaction", BEGIN).await?;
    match session.client.batch_execute(&format!("SET TRANSACTION SNAPSHOT '{name}'")).await {
        Ok(()) => Ok(session),
        Err(error) if sql_state(&error).is_some_and(|code| GONE.contains(&code)) => Err(lost()),
        Err(error) => Err(session.failed("import the snapshot", &error).into()),
    }
}

#[async_trait]
impl HeldSnapshot for Holder {
    fn name(&self) -> &str {
        &self.name
    }

    fn snapshot(&self) -> &TransactionSnapshot {
        &self.snapshot
    }

    fn lsn(&self) -> Lsn {
        self.lsn
    }

    fn taken_at(&self) -> Timestamp {
        self.taken_at
    }

    fn backend_pid(&self) -> i32 {
        self.backend_pid
    }

    async fn check(&self, patience: Duration) -> Result<Strain, SourceError> {
        strain(&self.session, &self.readers, patience).await.map_err(|error| self.lost(&error))
    }

    async fn give_way(&self, waiting: &Waiting, how: GiveWay) -> Result<(), SourceError> {
        Ok(strain::give_way(&self.session, &self.readers, waiting, how).await?)
    }

    async fn end_readers(&self) -> Result<(), SourceError> {
        Ok(strain::end_readers(&self.session, &self.readers).await?)
    }

    async fn end(self: Box<Self>) -> Result<(), SourceError> {
        Ok(self.session.run("end the snapshot's transaction", "ROLLBACK").await?)
    }
}
