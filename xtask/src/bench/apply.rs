//! `cargo x bench apply`: captured changes onto a restored database, beside a native logical subscriber that applies the
//! same changes to the same rows.

use super::contender::{Contender, Results, prepare, rounds};
use super::restore::{TARGET, empty_target};
use super::writes::Protected;
use super::{Bench, environment, table};
use crate::say;
use anyhow::Result;

const OURS: &str = "keepsake restore --latest: segments checked and applied, without the full backup";
const PEER: &str = "native logical subscriber, from its start to the last row";

/// What the subscriber reads from, and what it is called.
const SLOT: &str = "bench_subscriber";

/// The database before the changes: what the subscriber begins with.
const BEFORE: &str = "bench_before";

/// Phases of a restore that the changes cost.
const PHASES: &[&str] = &["check_changes", "changes"];

pub fn run(bench: &Bench) -> Result<()> {
    environment::print(bench)?;
    say(&format!("making {} rows, a full backup, and {} changes", bench.options.rows, bench.options.changes));
    let source = Protected::new(bench, "apply", bench.options.rows)?;
    let backup = format!("{} $KEEPSAKE backup {}", source.source(), source.place("$PWD/apply"));
    prepare(bench, &backup, "out")?;
    bench.ask(&bench.database, &format!("CREATE DATABASE {BEFORE} TEMPLATE apply"))?;
    source.write(bench.options.changes, bench.options.rows)?;
    let capture = format!("{} $KEEPSAKE capture --once {}", source.source(), source.place("$PWD/apply"));
    prepare(bench, &capture, "out")?;
    let results = rounds(bench, &contenders(), |contender| {
        unsubscribe(bench)?;
        if contender.name == OURS { empty_target(bench) } else { subscriber(&source, bench) }
    })?;
    unsubscribe(bench)?;
    source.end()?;
    bench.ask(&bench.database, &format!("DROP DATABASE {TARGET} WITH (FORCE)"))?;
    table::print(&results, OURS);
    if !bench.options.smoke {
        goals(&results);
    }
    Ok(())
}

fn contenders() -> Vec<Contender> {
    let ours = "$KEEPSAKE restore --repo file://$PWD/apply --to env:TARGET --key-file $KEY --jobs $JOBS --latest --json \
                > $OUT/answer.json";
    // The last change is a row in `done`. Whoever hangs is ended by the bench's own bound.
    let peer = "psql -Xq $TARGET -c 'ALTER SUBSCRIPTION bench ENABLE'
                until [ $(psql -XAtq $TARGET -c 'SELECT count(*) FROM done') = 1 ]; do sleep 0.05; done";
    let of = |name, script: &str, phases| Contender {
        name,
        script: script.to_owned(),
        phases,
        ..Contender::default()
    };
    vec![of(OURS, ours, PHASES), of(PEER, peer, &[])]
}

/// A database as it was before the changes, with a subscription that begins when it is enabled.
fn subscriber(source: &Protected<'_>, bench: &Bench) -> Result<()> {
    bench.ask(&bench.database, &format!("DROP DATABASE IF EXISTS {TARGET} WITH (FORCE)"))?;
    bench.ask(&bench.database, &format!("CREATE DATABASE {TARGET} TEMPLATE {BEFORE}"))?;
    source.rewind(SLOT)?;
    let statement = format!(
        "CREATE SUBSCRIPTION bench CONNECTION '{}' PUBLICATION {}
         WITH (create_slot = false, slot_name = {SLOT}, copy_data = false, enabled = false);",
        source.conninfo(),
        source.slot()
    );
    source.tell(TARGET, &statement)
}

/// A database with a subscription cannot be dropped.
fn unsubscribe(bench: &Bench) -> Result<()> {
    let subscribed = "SELECT count(*) FROM pg_subscription WHERE subname = 'bench'";
    if bench.ask(&bench.database, subscribed)? == "0" {
        return Ok(());
    }
    for statement in ["DISABLE", "SET (slot_name = NONE)"] {
        bench.ask(TARGET, &format!("ALTER SUBSCRIPTION bench {statement}"))?;
    }
    bench.ask(TARGET, "DROP SUBSCRIPTION bench").map(drop)
}

fn goals(results: &[Results]) {
    let of = |name| results.iter().find(|result| result.name == name);
    if let (Some(ours), Some(peer)) = (of(OURS), of(PEER)) {
        println!();
        table::goal("times as fast as the native subscriber", 2.0, peer.seconds() / ours.seconds());
    }
}
