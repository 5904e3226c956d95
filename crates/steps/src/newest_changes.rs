//! The newest manifest of a lineage's changes, found with a handful of requests however many there are.

use crate::StepError;
use crate::list_changes::{LineageChanges, StandingChanges, read_all_changes, read_changes};
use crate::ports::Repository;
use keepsake_archive::{ChangesKey, ChangesLayout};
use keepsake_domain::Lsn;

/// Names asked for at a time: what S3 answers to one request.
const PAGE: usize = 1_000;

/// No manifest begins there or behind: see [`ChangesLayout::manifests`].
const END: u64 = 1 << 56;

/// Where the search begins before a position that is near: a log grows by some segments of 16 MiB between two captures.
pub(crate) const FIRST_STEP: u64 = 1 << 24;

/// Names of manifests, in the order of their positions.
pub(crate) struct Page {
    /// Their places.
    pub keys: Vec<ChangesKey>,
    /// What lists the next page.
    pub after: String,
    /// Whether nothing follows.
    pub is_last: bool,
}

/// The next page of manifests behind a key.
pub(crate) async fn page_behind(
    repository: &dyn Repository,
    layout: &ChangesLayout,
    after: &str,
) -> Result<Page, StepError> {
    let listed = repository.list_after(&layout.manifests(), after, PAGE).await?;
    let is_last = listed.len() < PAGE;
    let after = listed.last().map_or_else(|| after.to_owned(), |object| object.key.clone());
    let keys = listed.iter().filter_map(|object| ChangesLayout::of_manifest_key(&object.key));
    Ok(Page { keys: keys.map(|(_, key)| key).collect(), after, is_last })
}

/// Keys of all manifests from one position on and before another.
pub(crate) async fn keys_between(
    repository: &dyn Repository,
    layout: &ChangesLayout,
    from: Lsn,
    before: Lsn,
) -> Result<Vec<(ChangesLayout, ChangesKey)>, StepError> {
    let (mut keys, mut after) = (Vec::new(), layout.position(from));
    // Ends: each page begins behind the one before.
    loop {
        let page = page_behind(repository, layout, &after).await?;
        let is_behind = page.keys.iter().any(|key| key.lsn() >= before);
        let wanted = page.keys.into_iter().filter(|key| key.lsn() < before);
        keys.extend(wanted.map(|key| (layout.clone(), key)));
        if page.is_last || is_behind {
            return Ok(keys);
        }
        after = page.after;
    }
}

/// The newest manifest, read. `near` is a position at which or a little before which it is looked for first.
///
/// # Errors
/// When the store did not answer, or the manifest cannot be read.
pub(crate) async fn newest_changes(
    repository: &dyn Repository,
    layout: &ChangesLayout,
    near: Option<Lsn>,
) -> Result<Option<StandingChanges>, StepError> {
    let page = async |from| page_behind(repository, layout, &layout.position(Lsn(from))).await;
    match newest_key(near, page).await? {
        Some(key) => read_changes(repository, layout, key).await.map(Some),
        None => Ok(None),
    }
}

/// The last manifests of a lineage, at most `count`: what stood before the newest, should that one be damaged.
///
/// # Errors
/// When the store did not answer.
pub(crate) async fn last_changes(
    repository: &dyn Repository,
    layout: &ChangesLayout,
    count: usize,
) -> Result<LineageChanges, StepError> {
    let page = async |from| page_behind(repository, layout, &layout.position(Lsn(from))).await;
    let Some(newest) = newest_key(None, page).await? else { return Ok(LineageChanges::default()) };
    let from = Lsn(newest.lsn().0.saturating_sub(FIRST_STEP));
    let mut keys = keys_between(repository, layout, from, Lsn(u64::MAX)).await?;
    let last = keys.split_off(keys.len().saturating_sub(count));
    read_all_changes(repository, last).await
}

/// Steps that grow by sixteen away from where it was looked first, then halves: some thirty requests at most, and one where
/// fewer than a thousand manifests follow.
async fn newest_key(
    near: Option<Lsn>,
    page_from: impl AsyncFn(u64) -> Result<Page, StepError>,
) -> Result<Option<ChangesKey>, StepError> {
    let mut probe = near.map_or(0, |near| near.0.saturating_sub(FIRST_STEP));
    let (mut newest, mut none_from, mut step) = (None::<ChangesKey>, None::<u64>, FIRST_STEP);
    loop {
        let page = page_from(probe).await?;
        match page.keys.last() {
            Some(last) if page.is_last => return Ok(Some(*last)),
            Some(last) => newest = Some(*last),
            None if probe == 0 => return Ok(None),
            None => none_from = Some(probe),
        }
        let known = newest.map_or(0, |key| key.lsn().0);
        probe = match (newest, none_from) {
            (Some(newest), Some(end)) if end - known < 2 => return Ok(Some(newest)),
            (Some(_), Some(end)) => known + (end - known) / 2,
            (None, Some(end)) => end.saturating_sub(step),
            (_, None) => known.saturating_add(step).min(END),
        };
        step = step.saturating_mul(16);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::BTreeSet;

    /// What is found, and with how many requests.
    async fn found(positions: &BTreeSet<u64>, near: Option<u64>) -> (Option<u64>, u32) {
        let requests = Cell::new(0);
        let page_from = async |from: u64| {
            requests.set(requests.get() + 1);
            let keys: Vec<ChangesKey> =
                positions.range(from..).take(PAGE).map(|lsn| ChangesKey::Segment(Lsn(*lsn))).collect();
            Ok(Page { is_last: keys.len() < PAGE, keys, after: String::new() })
        };
        let newest = newest_key(near.map(Lsn), page_from).await.unwrap();
        (newest.map(|key| key.lsn().0), requests.get())
    }

    #[tokio::test]
    async fn the_newest_is_found_wherever_it_lies_and_wherever_it_is_looked_for_first() {
        // Busy, idle, and with a pause of a terabyte between; counts around a page.
        for count in [0, 1, PAGE - 1, PAGE, PAGE + 1, 40_000] {
            for (first, distance, pause) in [(0, 1, 0), (0x16_0000_0000, 500, 0), (77, 1 << 26, 1 << 40)] {
                let half = count as u64 / 2;
                let at = |n: u64| first + n * distance + if n < half { 0 } else { pause };
                let positions: BTreeSet<u64> = (0..count as u64).map(at).collect();
                let newest = positions.last().copied();
                let end = newest.unwrap_or(first);
                let nears =
                    [None, Some(0), Some(end), Some(end + 1), Some(end + (1 << 26)), Some(end + (1 << 41))];
                for near in nears {
                    let (found, requests) = found(&positions, near).await;
                    assert_eq!(found, newest, "{count} from {first} every {distance}, near {near:?}");
                    assert!(requests <= 60, "{requests} requests for {count} from {first}, near {near:?}");
                }
                assert!(count >= PAGE || found(&positions, None).await.1 == 1);
            }
        }
    }
}
