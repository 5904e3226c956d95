//! `cargo x bench capture`: from the slot to bytes on a disk, beside `pg_recvlogical` with the same plugin.

use super::contender::{Contender, Results, rounds};
use super::writes::Protected;
use super::{Bench, environment, table};
use crate::say;
use anyhow::Result;

const OURS: &str = "keepsake capture: zstd, encrypted, described";
const PEER: &str = "pg_recvlogical to a file, neither compressed nor encrypted";
const PEER_SEALED: &str = "pg_recvlogical, zstd, age";

/// What the peers read from.
const SLOT: &str = "bench_peer";

pub fn run(bench: &Bench) -> Result<()> {
    environment::print(bench)?;
    say(&format!("making {} rows and {} changes", bench.options.rows, bench.options.changes));
    let source = Protected::new(bench, "capture", bench.options.rows)?;
    source.write(bench.options.changes, bench.options.rows)?;
    let end = source.ask("SELECT pg_current_wal_lsn()")?;
    // Something behind the end, by which the peer knows at once that it is reached.
    source.ask("INSERT INTO done VALUES (2)")?;
    let contenders = contenders(bench, &source, &end);
    let results = rounds(bench, &contenders, |contender| {
        let slot = if contender.name == OURS { source.slot() } else { SLOT.to_owned() };
        source.rewind(&slot)
    })?;
    source.end()?;
    table::print(&results, OURS);
    if !bench.options.smoke {
        goals(&results);
    }
    Ok(())
}

fn contenders(bench: &Bench, source: &Protected<'_>, end: &str) -> Vec<Contender> {
    let level = bench.clients.level(&bench.options);
    let receive = format!(
        "{} $PG15/pg_recvlogical --dbname=\"$SOURCE\" --slot={SLOT} --start --endpos={end} --no-loop \
         --option=proto_version=1 --option=publication_names={} --file",
        source.source(),
        source.slot()
    );
    let of = |name, script: String| Contender { name, script, ..Contender::default() };
    vec![
        of(OURS, format!("{} --level {level}", source.capture())),
        of(PEER, format!("{receive} $OUT/changes")),
        of(PEER_SEALED, format!("{receive} - | zstd -q -T1 -{level} | age -r $RECIPIENT -o $OUT/changes")),
    ]
}

fn goals(results: &[Results]) {
    let of = |name| results.iter().find(|result| result.name == name);
    if let (Some(ours), Some(peer)) = (of(OURS), of(PEER)) {
        println!();
        table::goal("of the speed of pg_recvlogical to a file", 0.9, peer.seconds() / ours.seconds());
    }
}
