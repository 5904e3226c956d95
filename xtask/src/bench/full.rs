//! `cargo x bench full`: from the server to bytes on a disk.

use super::contender::{Contender, Results, rounds};
use super::{Bench, environment, statements, table};
use crate::say;
use anyhow::Result;

const OURS: &str = "keepsake backup";
const COPY: &str = "COPY to nowhere";
const COPY_ZSTD: &str = "COPY, zstd at the same level, no encryption";
const PG_DUMP_18: &str = "pg_dump 18 -Fd --compress=zstd, age";
const PG_DUMP_15: &str = "pg_dump 15 -Fd";
const PG_DUMP_15_CUSTOM: &str = "pg_dump 15 -Fc, one connection";

pub fn run(bench: &Bench) -> Result<()> {
    statements::write(bench)?;
    environment::print(bench)?;
    let contenders = contenders(bench);
    say("reading everything once, so that all find the same in memory");
    super::contender::prepare(bench, &contenders[0].script, "out")?;
    let results = rounds(bench, &contenders, |_| Ok(()))?;
    table::print(&results, OURS);
    if !bench.options.smoke {
        goals(&results);
    }
    Ok(())
}

fn contenders(bench: &Bench) -> Vec<Contender> {
    let level = bench.clients.level(&bench.options);
    let each = |sink: &str| {
        format!(
            "for n in $(seq $JOBS); do psql -Xq $SOURCE -f copy-$n.sql {sink} & pids+=($!); done
             for pid in ${{pids[@]}}; do wait $pid; done"
        )
    };
    let of = |name, slow, script: String| Contender { name, script, slow, ..Contender::default() };
    let mut contenders = vec![
        of(COPY, false, each("> /dev/null")),
        of(COPY_ZSTD, false, each(&format!("| zstd -q -T1 -{level} -o $OUT/$n.zst"))),
        of(
            OURS,
            false,
            format!(
                "$KEEPSAKE backup --source env:SOURCE --repo file://$OUT --recipient $RECIPIENT --jobs $JOBS --level {level}"
            ),
        ),
    ];
    if bench.clients.pg18.is_some() {
        let script = "$PG18/pg_dump $SOURCE -Fd -j $JOBS --compress=zstd -f $OUT/dump
                      find $OUT/dump -type f -print0 |
                          xargs -0 -P $JOBS -I{} sh -c 'age -r $RECIPIENT -o {}.age {} && rm {}'";
        contenders.push(of(PG_DUMP_18, false, script.to_owned()));
    }
    contenders.push(of(PG_DUMP_15, true, "$PG15/pg_dump $SOURCE -Fd -j $JOBS -f $OUT/dump".to_owned()));
    contenders.push(of(PG_DUMP_15_CUSTOM, true, "$PG15/pg_dump $SOURCE -Fc -f $OUT/dump".to_owned()));
    contenders
}

fn goals(results: &[Results]) {
    let of = |name| results.iter().find(|result| result.name == name);
    let (Some(ours), Some(copy_zstd), Some(pg_dump_15)) = (of(OURS), of(COPY_ZSTD), of(PG_DUMP_15)) else {
        return;
    };
    println!();
    if let Some(pg_dump_18) = of(PG_DUMP_18) {
        table::goal(
            "times as fast as pg_dump 18 with zstd and age",
            1.4,
            pg_dump_18.seconds() / ours.seconds(),
        );
        let size = ours.stored_bytes() / pg_dump_18.stored_bytes();
        table::goal("its stored size by ours (within 2 %)", 0.98, 1.0 / size);
    }
    table::goal("times as fast as pg_dump 15 -Fd", 2.5, pg_dump_15.seconds() / ours.seconds());
    table::goal("of the machine's limit, COPY and zstd", 0.95, copy_zstd.seconds() / ours.seconds());
}
