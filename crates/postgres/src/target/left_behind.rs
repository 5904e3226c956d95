//! Sessions of a `pg_restore` that ended, or whose restore did: the server goes on with a statement that nobody waits for,
//! and commits it. What it makes then would be in the way of a next try, which cannot see it before.

use super::pg_restore::SESSIONS;
use crate::ConnectError;
use crate::session::Session;
use keepsake_steps::ports::TargetError;

/// A session that is ended looks up between two rows at the latest; what it began is undone by nobody who waits for it. This is
/// for a server that is busy beyond measure.
const ENDS_WITHIN_MS: i64 = 60_000;

/// Of this database and of our own role, which may end them.
const SESSIONS_LEFT: &str = "FROM pg_stat_activity WHERE datname = current_database() AND usename = session_user AND application_name = $1";

/// Ends them, and answers when none is left. A second call finds none.
///
/// # Errors
/// [`TargetError::Statement`], which may pass, when one does not end.
pub(super) async fn end(session: &Session) -> Result<(), TargetError> {
    let act = "end what an earlier pg_restore left at work";
    let end = format!("SELECT pg_terminate_backend(pid, $2) {SESSIONS_LEFT}");
    session.all(act, &end, &[&SESSIONS, &ENDS_WITHIN_MS]).await?;
    // Whoever went by itself meanwhile was not ended by us, so that those who are there are asked for, and not those who were ended.
    let left: i64 = session.one(act, &format!("SELECT count(*) {SESSIONS_LEFT}"), &[&SESSIONS]).await?.get(0);
    if left == 0 {
        return Ok(());
    }
    Err(TargetError::from(ConnectError::Statement {
        act: act.to_owned(),
        place: session.place.clone(),
        transient: true,
        cause: format!("{left} sessions did not end within {} s", ENDS_WITHIN_MS / 1_000).into(),
    }))
}
