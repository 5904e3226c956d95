//! Where numbers come from: they mean nothing without it.

use super::Bench;
use anyhow::Result;
use std::fs;
use std::process::Command;

const SETTINGS: &str = "
SELECT string_agg(name || ' = ' || current_setting(name), ', ' ORDER BY name) FROM pg_settings
WHERE name IN ('shared_buffers', 'maintenance_work_mem', 'max_wal_size', 'wal_level', 'fsync', 'synchronous_commit',
               'full_page_writes', 'checkpoint_timeout', 'max_parallel_maintenance_workers')";

const SIZES: &str = "
SELECT pg_size_pretty(pg_database_size(current_database())) || ' with indexes, '
    || (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') || ' tables, '
    || (SELECT count(*) FROM pg_largeobject_metadata) || ' large objects'";

pub fn print(bench: &Bench) -> Result<()> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown");
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory = memory.lines().next().unwrap_or_default().replace("MemTotal:", "");
    println!(
        "\n- machine: {model}, {} cores, {} memory, Linux {}",
        cores(),
        memory.trim(),
        said("uname", &["-r"])
    );
    println!("- server: {}", bench.ask(&bench.database, "SELECT version()")?);
    println!("- settings: {}", bench.ask(&bench.database, SETTINGS)?);
    println!("- database: {}", bench.ask(&bench.database, SIZES)?);
    println!("- connections: {}, over 127.0.0.1 without TLS", bench.options.jobs);
    println!(
        "- keepsake: commit {}, zstd level {}",
        said("git", &["rev-parse", "--short", "HEAD"]),
        bench.clients.level(&bench.options)
    );
    for (program, arguments) in bench.clients.versions() {
        println!("- {}", said(&program, &arguments));
    }
    println!("- load before: {}", fs::read_to_string("/proc/loadavg")?.trim());
    Ok(())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// The first line of what a program says, or that it is not there.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().map_or_else(|| format!("no {program}"), str::to_owned)
}
