//! `cargo x sample`: the WedSync sample database, a wedding planner's data with everything in it that makes backups
//! hard. The rows depend on scale and seed alone.
mod calendar;
mod odd;
mod person;
mod plan;
mod psql;
mod random;
mod rows;
mod tables;
mod vocabulary;

use anyhow::{Context, Result, bail};
use plan::Plan;
pub use psql::Target;
use rows::Rows;
use std::io::{self, Write};
use std::time::Instant;
use tables::{TABLES, Table};

const USAGE: &str = "cargo x sample --scale <1 is about 25 MB> [--seed <number>] --to <postgres://…>";
const SCHEMA: &str = include_str!("sample/schema.sql");
const AFTER_LOAD: &str = include_str!("sample/after-load.sql");

/// Whatever the user's and the server's settings are, COPY must read what we write.
const SESSION: &str = "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET datestyle = 'ISO, YMD';
SET timezone = 'UTC'; SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0;
SET client_min_messages = 'error'; SET maintenance_work_mem = '256MB'; SET synchronous_commit = off;
BEGIN;
";

/// Relations that no extension brought along, and large objects.
const HOLDINGS: &str = "
SELECT current_database(), current_setting('server_encoding'),
       (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND NOT EXISTS (SELECT FROM pg_depend d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
       + (SELECT count(*) FROM pg_largeobject_metadata)";

/// How much one table took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedTable {
    /// As SQL names it; a partitioned table stands for its partitions, and `large objects` for no table.
    pub name: String,
    /// Rows, or large objects.
    pub rows: u64,
    /// Bytes of COPY text, or of the large objects themselves.
    pub bytes: u64,
}

/// Runs `cargo x sample`.
///
/// # Errors
/// On wrong arguments, and as [`load`].
pub fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let start = Instant::now();
    let tables = load(&options.to, options.scale, options.seed)?;
    print!("{}", report(&tables));
    println!("scale {}, seed {}, {:.1} s", options.scale, options.seed, start.elapsed().as_secs_f64());
    Ok(())
}

/// Fills the database with the sample in one transaction: after a failure it is as empty as before.
///
/// # Errors
/// When the database is not empty (so a second call is refused), not UTF-8, or cannot be reached or written. No
/// password is in the text.
pub fn load(url: &str, scale: u32, seed: u64) -> Result<Vec<LoadedTable>> {
    if !(1..=1000).contains(&scale) {
        bail!("scale {scale} is not from 1 to 1000");
    }
    let target = Target::parse(url)?;
    require_empty(&target)?;
    let plan = Plan::new(scale, seed);
    let tables = target.run(|sink| write_script(&plan, sink)).context("load the sample")?;
    target.ask("VACUUM (ANALYZE)").context("analyse the loaded sample")?;
    Ok(tables)
}

fn require_empty(target: &Target) -> Result<()> {
    let answer = target.ask(HOLDINGS).context("look into the database")?;
    let mut columns = answer.rsplit('|');
    let (count, encoding) = (columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
    let database = columns.next().unwrap_or_default();
    if count != "0" {
        bail!(
            "database {database} is not empty: it holds {count} tables, views, sequences or large objects; \
             nothing was changed; create an empty database for the sample, or drop and create this one"
        );
    }
    if encoding != "UTF8" {
        bail!("database {database} is encoded in {encoding}; create one with ENCODING 'UTF8'");
    }
    Ok(())
}

fn write_script(plan: &Plan, sink: &mut dyn Write) -> io::Result<Vec<LoadedTable>> {
    sink.write_all(SESSION.as_bytes())?;
    sink.write_all(SCHEMA.as_bytes())?;
    let mut loaded = Vec::new();
    for table in TABLES {
        let freeze = if table.partitioned { "" } else { " WITH (FREEZE)" };
        writeln!(sink, "COPY {} ({}) FROM STDIN{freeze};", table.name, table.columns)?;
        loaded.push(write_table(plan, table, sink)?);
        sink.write_all(b"\\.\n")?;
    }
    let (rows, bytes) = tables::write_large_objects(plan, sink)?;
    loaded.push(LoadedTable { name: "large objects".to_owned(), rows, bytes });
    sink.write_all(AFTER_LOAD.as_bytes())?;
    sink.write_all(b"COMMIT;\n")?;
    Ok(loaded)
}

fn write_table(plan: &Plan, table: &Table, sink: &mut dyn Write) -> io::Result<LoadedTable> {
    let mut rows = Rows::new(sink);
    (table.write)(plan, &mut rows)?;
    let (rows, bytes) = rows.finish()?;
    Ok(LoadedTable { name: table.name.to_owned(), rows, bytes })
}

fn report(tables: &[LoadedTable]) -> String {
    let line = |name: &str, rows, bytes| format!("{name:<26} {rows:>12} {bytes:>14}\n");
    let mut text = line("table", "rows".to_owned(), "bytes".to_owned());
    for table in tables {
        text += &line(&table.name, table.rows.to_string(), table.bytes.to_string());
    }
    let sum = |of: fn(&LoadedTable) -> u64| tables.iter().map(of).sum::<u64>().to_string();
    text + &line("total", sum(|table| table.rows), sum(|table| table.bytes))
}

struct Options {
    scale: u32,
    seed: u64,
    to: String,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let (mut scale, mut seed, mut to) = (None, 1, None);
        let mut rest = arguments.iter();
        while let Some(option) = rest.next() {
            let value = rest.next().with_context(|| format!("usage: {USAGE}"))?;
            match option.as_str() {
                "--scale" => scale = Some(value.parse().context("--scale takes a whole number")?),
                "--seed" => seed = value.parse().context("--seed takes a whole number")?,
                "--to" => to = Some(value.clone()),
                _ => bail!("usage: {USAGE}"),
            }
        }
        let (Some(scale), Some(to)) = (scale, to) else { bail!("usage: {USAGE}") };
        Ok(Self { scale, seed, to })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn script(scale: u32, seed: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write_script(&Plan::new(scale, seed), &mut out).unwrap();
        out
    }

    #[test]
    fn one_seed_gives_the_same_bytes_and_another_seed_others() {
        let first = script(1, 7);
        assert!(first == script(1, 7));
        assert!(first != script(1, 8));
    }

    #[test]
    fn scale_one_is_about_25_megabytes_and_every_row_has_every_column() {
        let plan = Plan::new(1, 1);
        let mut total = 0;
        for table in TABLES {
            let mut out = Vec::new();
            let loaded = write_table(&plan, table, &mut out).unwrap();
            assert_eq!(loaded.bytes, out.len() as u64);
            let columns = table.columns.split(',').count();
            let mut rows = 0;
            for line in out.split_inclusive(|byte| *byte == b'\n') {
                assert_eq!(line.iter().filter(|byte| **byte == b'\t').count() + 1, columns, "{}", table.name);
                rows += 1;
            }
            assert_eq!(loaded.rows, rows, "{}", table.name);
            total += loaded.bytes;
        }
        assert!((20_000_000..30_000_000).contains(&total), "{total}");
    }

    #[test]
    fn a_database_out_of_reach_is_an_error_without_the_password() {
        let error = load("postgres://ute:geheim@127.0.0.1:1/wedsync", 1, 1).unwrap_err();
        assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
        assert!(load("postgres://ute@127.0.0.1:1/wedsync", 0, 1).is_err());
    }

    #[test]
    fn arguments_are_read_strictly() {
        let parse = |text: &str| Options::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let options = parse("--scale 20 --seed 3 --to postgres://h/d").unwrap();
        assert_eq!((options.scale, options.seed, options.to.as_str()), (20, 3, "postgres://h/d"));
        for wrong in
            ["--scale 1", "--to postgres://h/d", "--scale x --to y", "--scale 1 --to y --force", "--other 1"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
