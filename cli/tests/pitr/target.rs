//! Where a recovery goes to, drawn from what the WAL really holds.

use crate::commits::{End, lsn_text};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// One target. Each is chosen so that Postgres's own rule leaves no doubt which transactions it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Inclusive: exactly where a commit's record begins. Exclusive: anywhere.
    Lsn {
        lsn: u64,
        inclusive: bool,
    },
    Xid {
        xid: u32,
        inclusive: bool,
    },
    /// Inclusive; everything that ended before in the WAL ended before in time, and the other way round.
    Time {
        at: String,
    },
}

impl Target {
    /// One of the kinds, at some of these ends.
    pub fn draw(random: &mut StdRng, ends: &[End]) -> Self {
        let commits: Vec<&End> = ends.iter().filter(|end| end.is_commit).collect();
        let commit = commits.choose(random).expect("commits");
        let (first, last) = (commits[0].lsn, commits[commits.len() - 1].lsn);
        match random.random_range(0..5) {
            0 => Self::Lsn { lsn: commit.lsn, inclusive: true },
            1 => Self::Lsn { lsn: random.random_range(first + 1..=last), inclusive: false },
            2 => Self::Xid { xid: commit.xid, inclusive: true },
            3 => Self::Xid { xid: commit.xid, inclusive: false },
            _ => Self::Time { at: clear_times(ends).choose(random).expect("a clear time").clone() },
        }
    }

    /// The last commit that it holds, by the rules of Postgres as this judge reads them.
    pub fn last<'a>(&self, ends: &'a [End]) -> Option<&'a End> {
        let holds = |end: &&End| match self {
            Self::Lsn { lsn, inclusive: true } => end.lsn <= *lsn,
            Self::Lsn { lsn, inclusive: false } => end.lsn < *lsn,
            Self::Time { at } => end.at <= *at,
            Self::Xid { xid, inclusive } => {
                let of_xid = ends.iter().find(|end| end.xid == *xid).map_or(0, |end| end.lsn);
                end.lsn < of_xid || *inclusive && end.lsn == of_xid
            }
        };
        ends.iter().filter(|end| end.is_commit).take_while(holds).last()
    }

    /// The same without what it includes, or with what it excludes. A time has no such side here.
    pub fn other_side(&self) -> Self {
        match self.clone() {
            Self::Lsn { lsn, inclusive } => Self::Lsn { lsn, inclusive: !inclusive },
            Self::Xid { xid, inclusive } => Self::Xid { xid, inclusive: !inclusive },
            time @ Self::Time { .. } => time,
        }
    }

    /// As our program is told it.
    pub fn arguments(&self) -> Vec<String> {
        let (option, value, inclusive) = match self {
            Self::Lsn { lsn, inclusive } => ("--lsn", lsn_text(*lsn), *inclusive),
            Self::Xid { xid, inclusive: true } => ("--xid", xid.to_string(), true),
            Self::Xid { xid, inclusive: false } => ("--before-xid", xid.to_string(), true),
            Self::Time { at } => ("--at", at.replace(" UTC", "+00"), true),
        };
        let exclusive = (!inclusive).then(|| "--exclusive".to_owned());
        [option.to_owned(), value].into_iter().chain(exclusive).collect()
    }

    /// As `postgresql.conf` says it.
    pub fn settings(&self) -> Vec<String> {
        let (name, value, inclusive) = match self {
            Self::Lsn { lsn, inclusive } => ("lsn", lsn_text(*lsn), *inclusive),
            Self::Xid { xid, inclusive } => ("xid", xid.to_string(), *inclusive),
            Self::Time { at } => ("time", at.clone(), true),
        };
        vec![format!("recovery_target_{name}={value}"), format!("recovery_target_inclusive={inclusive}")]
    }
}

/// Times at which the order of the WAL and that of the clocks agree: two connections may write their ends the other way
/// round than they read the clock.
fn clear_times(ends: &[End]) -> Vec<String> {
    // The text sorts as the time does.
    let mut earliest_behind: Vec<&str> = ends.iter().map(|end| end.at.as_str()).collect();
    for index in (0..ends.len().saturating_sub(1)).rev() {
        earliest_behind[index] = earliest_behind[index].min(earliest_behind[index + 1]);
    }
    let mut latest = "";
    let mut clear = Vec::new();
    for (index, end) in ends.iter().enumerate() {
        latest = latest.max(&end.at);
        if earliest_behind.get(index + 1).is_some_and(|behind| latest < *behind) {
            clear.push(latest.to_owned());
        }
    }
    clear
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_clear_only_where_clock_and_wal_agree() {
        let end = |at: &str| End { lsn: 1, xid: 1, at: at.to_owned(), is_commit: true };
        let ends: Vec<End> = ["01", "03", "02", "04", "04", "05"].into_iter().map(end).collect();
        assert_eq!(clear_times(&ends), ["01", "03", "04"]);
    }
}
