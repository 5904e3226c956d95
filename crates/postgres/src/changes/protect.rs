//! Publication, then slot: a slot whose publication came later could not stream what was written in between.

use super::publication::Memory;
use super::slot::SlotName;
use super::{align, boundary, preflight, publication, schema_watch, slot, unprotect};
use crate::session::{Session, pinned, set};
use keepsake_domain::Lsn;
use keepsake_steps::ports::{ProtectWishes, Protection, SourceError};

pub(super) async fn protect(
    session: &Session,
    slot: &SlotName,
    wishes: &ProtectWishes,
) -> Result<Protection, SourceError> {
    let state = slot::state(session, slot).await?;
    preflight::preflight(session, state.is_none()).await?;
    let memory = publication::memory(session, slot).await?;
    let is_wanted = memory.as_ref().is_some_and(|memory| !memory.is_leaving);
    if wishes.only_if_wanted && !is_wanted {
        return Err(given_free(session, slot));
    }
    let is_first = memory.is_none();
    // A slot that was lost streams nothing more, nor does one whose publication was not there all the time.
    let standing = state.filter(|state| state.lost.is_none() && is_wanted && !wishes.slot_anew);
    if standing.is_none() {
        slot::drop_slot(session, slot).await?;
    }
    let made = async {
        let not_watched = publish(session, slot, wishes, memory).await?;
        let lsn = match &standing {
            Some(state) => state.confirmed_lsn,
            None => made_anew(session, slot).await?,
        };
        Ok((lsn, not_watched))
    };
    let (lsn, not_watched) = match made.await {
        Ok(made) => made,
        Err(error) => {
            // What the first call could not finish it takes back; its error is what counts.
            if is_first {
                let _ = unprotect::unprotect(session, slot).await;
            } else {
                // Somebody may have given the source free meanwhile; else this changes nothing.
                let _ = schema_watch::remove(session).await;
            }
            return Err(error);
        }
    };
    let boundary = boundary::boundary(session, slot).await?;
    Ok(Protection {
        slot: slot.name().to_owned(),
        publication: slot.publication().to_owned(),
        is_new: standing.is_none(),
        lsn,
        published: publication::published(session, slot).await?,
        not_captured: boundary.not_captured.clone(),
        not_watched,
        boundary,
    })
}

/// Answers why nothing watches the schema, if so.
async fn publish(
    session: &Session,
    slot: &SlotName,
    wishes: &ProtectWishes,
    memory: Option<Memory>,
) -> Result<Option<String>, SourceError> {
    if memory.is_none() {
        publication::create(session, slot).await?;
    }
    let before = memory.unwrap_or_default();
    let holder = wishes.holder.clone().or_else(|| before.holder.clone());
    let mut memory = Memory { holder, is_leaving: false, ..before.clone() };
    if memory != before {
        publication::remember(session, slot, &memory).await?;
    }
    // Before tables are listed: one that is made meanwhile joins by itself.
    let not_watched = schema_watch::install(session).await?;
    let mut tables = publication::tables(session, slot).await?;
    if wishes.identity_full {
        publication::identify(session, slot, &mut tables, &mut memory).await?;
        // Those that got an identity may have joined by it.
        tables = publication::tables(session, slot).await?;
    }
    align::align(session, slot, &tables).await?;
    Ok(not_watched)
}

async fn made_anew(session: &Session, slot: &SlotName) -> Result<Lsn, SourceError> {
    let lsn = slot::create(session, slot).await?;
    session.run("pin the session's settings", &set(&pinned(session.version, &session.encoding))).await?;
    // Making it may take minutes, in which the source may have been given free.
    if !publication::stands(session, slot).await? {
        slot::drop_slot(session, slot).await?;
        return Err(given_free(session, slot));
    }
    Ok(lsn)
}

fn given_free(session: &Session, slot: &SlotName) -> SourceError {
    SourceError::CannotCapture {
        place: session.place.clone(),
        what: format!("it was given free: publication {} is gone", slot.publication()),
        remedy: "keepsake protect, if its changes shall be captured again".to_owned(),
    }
}
