//! Every trace of ours goes: first the slot, which costs the source disk; last the publication, which knows what else.

use super::slot::SlotName;
use super::{publication, schema_watch, slot};
use crate::session::Session;
use keepsake_domain::quote_identifier;
use keepsake_steps::ports::{SourceError, Unprotected};

pub(super) async fn unprotect(session: &Session, slot: &SlotName) -> Result<Unprotected, SourceError> {
    let mut removed = Vec::new();
    // One of our name that is another's is not touched.
    if slot::state(session, slot).await?.is_some() && slot::drop_slot(session, slot).await? {
        removed.push(format!("replication slot {}", slot.name()));
    }
    if let Some(memory) = publication::memory(session, slot).await? {
        // While a table without identity is published, its owner's UPDATE fails.
        publication::silence(session, slot, &memory).await?;
        removed.extend(publication::forget(session, &memory).await?);
        let publication = quote_identifier(slot.publication());
        session.run("drop the publication", &format!("DROP PUBLICATION IF EXISTS {publication}")).await?;
        removed.push(format!("publication {}", slot.publication()));
    }
    // A capture that found the slot gone, and the publication not yet, makes a slot. One that comes later finds neither.
    slot::end_and_drop(session, slot).await?;
    removed.extend(schema_watch::remove(session).await?);
    Ok(Unprotected { removed })
}
