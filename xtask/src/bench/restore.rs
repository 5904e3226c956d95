//! `cargo x bench restore`: from bytes on a disk to a database with its indexes, and for Keepsake with its proof.

use super::contender::{Contender, Results, prepare, rounds};
use super::{Bench, environment, table};
use crate::say;
use anyhow::Result;

/// The database that is restored to.
pub const TARGET: &str = "bench_target";

const OURS: &str = "keepsake restore, decrypted and proven";
const PG_RESTORE_18: &str = "pg_restore 18 of -Fd zstd, not encrypted";
const PG_RESTORE_15: &str = "pg_restore 15 of -Fd, not encrypted";
const PGCOPYDB: &str = "pgcopydb clone, straight from the source";

/// Version 18 sets `transaction_timeout`, which a server of version 15 does not know. That and nothing else may fail.
const PG_RESTORE_18_SCRIPT: &str = "
$PG18/pg_restore -j $JOBS -d $TARGET dump18/dump 2> $OUT/said || {
    grep error: $OUT/said | grep -v transaction_timeout && exit 1
    grep -q transaction_timeout $OUT/said
}";

pub fn run(bench: &Bench) -> Result<()> {
    environment::print(bench)?;
    say("making the archives that are restored");
    let level = bench.clients.level(&bench.options);
    let backup = format!(
        "$KEEPSAKE backup --source env:SOURCE --repo file://$OUT --recipient $RECIPIENT --jobs $JOBS --level {level}"
    );
    prepare(bench, &backup, "repository")?;
    if bench.options.slow_rounds > 0 || bench.clients.pg18.is_none() {
        prepare(bench, "$PG15/pg_dump $SOURCE -Fd -j $JOBS -Z1 -f $OUT/dump", "dump15")?;
    }
    if bench.clients.pg18.is_some() {
        prepare(bench, "$PG18/pg_dump $SOURCE -Fd -j $JOBS --compress=zstd -f $OUT/dump", "dump18")?;
    }
    let results = rounds(bench, &contenders(bench), |_| empty_target(bench))?;
    bench.ask(&bench.database, &format!("DROP DATABASE {TARGET} WITH (FORCE)"))?;
    table::print(&results, OURS);
    if !bench.options.smoke {
        goals(&results);
    }
    Ok(())
}

/// Makes [`TARGET`] anew, empty.
pub fn empty_target(bench: &Bench) -> Result<()> {
    bench.ask(&bench.database, &format!("DROP DATABASE IF EXISTS {TARGET} WITH (FORCE)"))?;
    bench.ask(&bench.database, &format!("CREATE DATABASE {TARGET} TEMPLATE template0"))?;
    Ok(())
}

fn contenders(bench: &Bench) -> Vec<Contender> {
    let of = |name, slow, script: &str| Contender {
        name,
        script: script.to_owned(),
        slow,
        may_fail: name == PGCOPYDB,
        ..Contender::default()
    };
    let ours = "$KEEPSAKE restore --repo file://$PWD/repository --to env:TARGET --key-file $KEY --jobs $JOBS";
    let mut contenders = vec![of(OURS, false, ours)];
    if bench.clients.pg18.is_some() {
        contenders.push(of(PG_RESTORE_18, false, PG_RESTORE_18_SCRIPT));
    }
    let slow = bench.clients.pg18.is_some();
    contenders.push(of(PG_RESTORE_15, slow, "$PG15/pg_restore -j $JOBS -d $TARGET dump15/dump"));
    if bench.clients.pgcopydb {
        let script = "PATH=$PG15:$PATH pgcopydb clone --dir $OUT/work --table-jobs $JOBS --index-jobs $JOBS \
                      --source $SOURCE --target $TARGET";
        contenders.push(of(PGCOPYDB, true, script));
    }
    contenders
}

fn goals(results: &[Results]) {
    let of = |name| results.iter().find(|result| result.name == name);
    let (Some(ours), Some(peer)) = (of(OURS), of(PG_RESTORE_18).or(of(PG_RESTORE_15))) else { return };
    println!();
    table::goal("times as fast as pg_restore", 1.3, peer.seconds() / ours.seconds());
}
