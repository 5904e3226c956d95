//! What would end a restore in its middle, found before it is begun.

use super::entries::parse;
use super::pg_restore::Restore;
use super::programs::{failed, received};
use super::rights::rights;
use super::{PostgresTarget, roles};
use crate::session::Session;
use keepsake_domain::{Globals, left_out};
use keepsake_steps::ports::{ChunkReceiver, TargetError};

/// Changes nothing, and a second call looks again.
///
/// # Errors
/// [`TargetError::MissingRoles`], [`TargetError::OwnersOutOfReach`], [`TargetError::NoClient`].
pub(super) async fn check(
    target: &PostgresTarget,
    session: &Session,
    globals: &Globals,
    schema: ChunkReceiver,
) -> Result<(), TargetError> {
    let to_create = roles::to_create(session, globals, target.roles).await?;
    let archive = received("the schema", schema).await?;
    let restore = Restore::of_file(target, session, &archive.path()).await?;
    let contents =
        restore.contents(&archive.path()).await.map_err(|failure| failed("the schema", failure))?;
    if target.skips_ownership() {
        return Ok(());
    }
    let known = [roles::names(session).await?, to_create.clone()].concat();
    let mut rights = rights(session).await?;
    // Whoever creates a role becomes a member of it.
    rights.acts_as.extend(to_create);
    let entries: Vec<_> = parse(&contents, &known).into_iter().map(|(_, entry)| entry).collect();
    let restored = entries.iter().filter(|entry| left_out(entry, &rights).is_none());
    let owners = rights.owners_out_of_reach(restored);
    if owners.is_empty() {
        return Ok(());
    }
    let role = session.one("read who we are", "SELECT current_user::text", &[]).await?.get(0);
    Err(TargetError::OwnersOutOfReach { place: session.place.clone(), role, owners })
}
