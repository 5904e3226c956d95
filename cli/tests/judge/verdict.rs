//! The comparison itself: everything that one database has and the other has not, or has otherwise.

use crate::evidence::Evidence;
use std::collections::BTreeSet;

/// How much of a text a difference shows.
const SHOWN_CHARACTERS: usize = 400;

/// One sentence for each difference; empty means equal.
pub fn differences(one: &Evidence, other: &Evidence) -> Vec<String> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| match (one.get(name), other.get(name)) {
            (Some(one), Some(other)) if one == other => None,
            (Some(one), Some(other)) => Some(format!("{name}: {}", first_difference(one, other))),
            (Some(_), None) => Some(format!("{name}: is missing in the second")),
            (None, _) => Some(format!("{name}: is not in the first")),
        })
        .collect()
}

/// Both are sorted.
fn first_difference(one: &[String], other: &[String]) -> String {
    let counts = format!("{} and {} entries", one.len(), other.len());
    let here = one.iter().find(|text| other.binary_search(text).is_err());
    let there = other.iter().find(|text| one.binary_search(text).is_err());
    let show = |text: Option<&String>| {
        text.map_or("nothing else".to_owned(), |text| text.chars().take(SHOWN_CHARACTERS).collect())
    };
    format!("{counts}; first: {}; second: {}", show(here), show(there))
}
