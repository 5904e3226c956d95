//! The catalog in Postgres: policies and state behind the ports of `keepsake_steps`.
//!
//! Every statement names the schema `keepsake`, so no search path decides what is read. The database itself guards
//! transitions, evidence and append-only tables; this adapter hands its refusals on as
//! [`keepsake_steps::ports::CatalogError::Transition`] with the guard's own words.

mod alert_log;
mod apply;
mod captures;
mod check;
mod copies;
mod declaration;
mod error;
mod executions;
mod holds;
mod leases;
mod migrate;
mod policies;
mod sealed;
mod session;
mod summary;
mod test_restores;

use keepsake_domain::ConnectionUrl;
use keepsake_steps::ports::CatalogError;
use session::{Lent, Session};

pub use apply::{ApplyError, Change, ChangeAction};
pub use declaration::{
    Declaration, InvalidDeclaration, LocationDeclaration, PolicyDeclaration, SourceDeclaration,
};
pub use summary::{AlertSummary, CopySummary, ExecutionSummary, SnapshotSummary, TestSummary};

/// The catalog. One connection, opened again when it died; calls on one value wait for each other, so that a
/// transaction is never mixed with another call's statements. Share it in an `Arc`.
#[derive(Debug)]
pub struct PostgresCatalog {
    session: Session,
}

impl PostgresCatalog {
    /// Connects as a login that is a member of `keepsake_function` (functions), `keepsake_viewer` (reads), or
    /// `keepsake_admin` ([`PostgresCatalog::apply`]).
    ///
    /// # Errors
    /// [`CatalogError::Unavailable`] when nothing answers, [`CatalogError::Refused`] when the login is refused.
    pub async fn connect(url: ConnectionUrl) -> Result<Self, CatalogError> {
        let catalog = Self { session: Session::new(url) };
        drop(catalog.lend("connect").await?);
        Ok(catalog)
    }

    async fn lend(&self, act: &str) -> Result<Lent<'_>, CatalogError> {
        self.session.lend(act).await
    }
}
