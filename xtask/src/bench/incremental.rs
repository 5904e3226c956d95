//! `cargo x bench incremental`: the same changes captured from a database and from one with ten times the rows.

use super::contender::{Contender, rounds};
use super::writes::{Protected, make};
use super::{Bench, environment, table};
use crate::say;
use anyhow::Result;

const SMALL: &str = "incremental of a database";
const LARGE: &str = "incremental of one with ten times the rows";

pub fn run(bench: &Bench) -> Result<()> {
    environment::print(bench)?;
    let (rows, changes) = (bench.options.rows, bench.options.changes);
    say(&format!("making {rows} and {} rows, and {changes} changes of each", rows * 10));
    // A slot reads the log of all databases. Behind both slots lies the same: the changes of both.
    make(bench, "small", rows)?;
    make(bench, "large", rows * 10)?;
    let small = Protected::of(bench, "small", rows)?;
    let large = Protected::of(bench, "large", rows * 10)?;
    for source in [&small, &large] {
        source.write(changes, rows)?;
        let pretty = "SELECT pg_size_pretty(pg_database_size(current_database()))";
        println!("- database {}: {}", source.name, source.ask(pretty)?);
    }
    let of =
        |name, source: &Protected<'_>| Contender { name, script: source.capture(), ..Contender::default() };
    let results = rounds(bench, &[of(SMALL, &small), of(LARGE, &large)], |contender| {
        let source = if contender.name == SMALL { &small } else { &large };
        source.rewind(&source.slot())
    })?;
    small.end()?;
    large.end()?;
    table::print(&results, SMALL);
    if let ([small, large], false) = (results.as_slice(), bench.options.smoke) {
        println!();
        table::at_most(
            "time of an incremental of ten times the rows",
            1.1,
            large.seconds() / small.seconds(),
        );
        table::at_most("its stored bytes", 1.1, large.stored_bytes() / small.stored_bytes());
    }
    Ok(())
}
