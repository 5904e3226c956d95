//! `cargo x bench transaction`: the memory that capturing one large transaction takes.

use super::contender::prepare;
use super::writes::Protected;
use super::{Bench, environment, table};
use crate::say;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::time::Instant;

/// Bytes of `COPY` text of one row, about.
const ROW_BYTES: f64 = 1_040.0;

pub fn run(bench: &Bench) -> Result<()> {
    environment::print(bench)?;
    let mut lines = Vec::new();
    let mut peaks = Vec::new();
    for (name, share) in [("tenth", 0.1), ("half", 0.5), ("whole", 1.0)] {
        let gigabytes = bench.options.transaction_gb * share;
        let rows = (gigabytes * 1e9 / ROW_BYTES).ceil().max(1.0);
        say(&format!("one transaction of {gigabytes} GB, {rows:.0} rows"));
        let source = Protected::new(bench, name, 1)?;
        source.ask("CREATE TABLE large (id bigint PRIMARY KEY, text text)")?;
        // The table joins before a capture streams.
        prepare(
            bench,
            &format!("{} $KEEPSAKE capture {}", source.source(), source.place(&format!("$PWD/{name}"))),
            "out",
        )?;
        source.ask(&format!(
            "INSERT INTO large SELECT n, repeat(md5(n::text), 32) FROM generate_series(1, {rows:.0}) n"
        ))?;
        let began = Instant::now();
        let script = format!(
            "{} $KEEPSAKE capture --json {} > $OUT/answer.json",
            source.source(),
            source.place(&format!("$PWD/{name}"))
        );
        prepare(bench, &script, "out")?;
        let seconds = began.elapsed().as_secs_f64();
        let answer: Value = serde_json::from_slice(&fs::read(bench.folder.join("out/answer.json"))?)?;
        let peak =
            answer["peak_memory_bytes"].as_f64().context("capture tells its memory")? / f64::from(1 << 20);
        lines.push(format!("| {gigabytes:.2} | {} | {seconds:.1} | {peak:.0} |", answer["changes"]));
        peaks.push(peak);
        source.end()?;
        bench.ask(&bench.database, &format!("DROP DATABASE \"{name}\""))?;
    }
    println!("\n| GB of one transaction | rows | s | peak MiB of keepsake |\n|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
    if let ([_, half, whole], false) = (peaks.as_slice(), bench.options.smoke) {
        // A short one ends before every buffer was in use; what grows with the transaction shows between long ones.
        println!();
        table::at_most("memory for twice the transaction", 1.1, whole / half);
    }
    Ok(())
}
