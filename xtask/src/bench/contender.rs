//! One program under measurement, and the rounds in which all of them take turns.

use super::{Bench, bytes_below};
use crate::say;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A program beside others.
#[derive(Default)]
pub struct Contender {
    pub name: &'static str,
    /// For `bash -euo pipefail`. `$OUT` is an empty folder for what it stores.
    pub script: String,
    /// Takes several times as long as the others, and so runs in fewer rounds.
    pub slow: bool,
    /// Its failure is told and ends nothing: a peer that does not cope with this server tells nothing about ours.
    pub may_fail: bool,
    /// What of a restore is measured: phases of the certificate in `$OUT/answer.json`. Empty: the whole run.
    pub phases: &'static [&'static str],
}

/// Longer than any contender took by a factor of five; one that hangs must not keep the others from their turn.
const LONGEST_RUN: &str = "1800";

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub seconds: f64,
    /// CPU time of the contender and of the server.
    pub cpu_seconds: f64,
    pub stored_bytes: u64,
}

/// The runs of one contender.
pub struct Results {
    pub name: &'static str,
    pub runs: Vec<Measured>,
}

/// Lets every contender run in every round, each round beginning with another one.
///
/// `before` prepares a run and is not measured.
pub fn rounds(
    bench: &Bench,
    contenders: &[Contender],
    before: impl Fn(&Contender) -> Result<()>,
) -> Result<Vec<Results>> {
    let mut results: Vec<Results> =
        contenders.iter().map(|contender| Results { name: contender.name, runs: Vec::new() }).collect();
    for round in 0..bench.options.rounds {
        for turn in 0..contenders.len() {
            let which = (turn + round as usize) % contenders.len();
            let contender = &contenders[which];
            if contender.slow && round >= bench.options.slow_rounds {
                continue;
            }
            before(contender)?;
            let measured = match measure(bench, contender) {
                Err(error) if contender.may_fail => {
                    say(&format!("round {}: {error}", round + 1));
                    continue;
                }
                measured => measured?,
            };
            say(&format!("round {}: {} took {:.1} s", round + 1, contender.name, measured.seconds));
            results[which].runs.push(measured);
        }
    }
    Ok(results)
}

/// Runs a script that is not measured.
pub fn prepare(bench: &Bench, script: &str, out: &str) -> Result<()> {
    let out = bench.empty(out)?;
    let mut command = shell(bench, script);
    command.env("OUT", out);
    let ended = command.output().context("start bash")?;
    if !ended.status.success() {
        bail!("{script}\nfailed ({}):\n{}", ended.status, String::from_utf8_lossy(&ended.stderr));
    }
    Ok(())
}

fn measure(bench: &Bench, contender: &Contender) -> Result<Measured> {
    let out = bench.empty("out")?;
    // What the one before left to be written is not this one's load.
    Command::new("sync").status().context("sync")?;
    bench.ask(&bench.database, "CHECKPOINT")?;
    let cpu = cpu_seconds(bench)?;
    let began = Instant::now();
    let ended = shell(bench, &contender.script)
        .env("OUT", &out)
        .stdout(Stdio::null())
        .output()
        .context("start bash")?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu_seconds = cpu_seconds(bench)? - cpu;
    if !ended.status.success() {
        bail!("{} failed ({}):\n{}", contender.name, ended.status, String::from_utf8_lossy(&ended.stderr));
    }
    let seconds = if contender.phases.is_empty() { seconds } else { seconds_of(contender.phases, &out)? };
    let measured = Measured { seconds, cpu_seconds, stored_bytes: bytes_below(&out)? };
    fs::remove_dir_all(&out)?;
    Ok(measured)
}

fn seconds_of(phases: &[&str], out: &Path) -> Result<f64> {
    let answer: Value = serde_json::from_slice(&fs::read(out.join("answer.json"))?)?;
    let took = &answer["certificate"]["phase_milliseconds"];
    let milliseconds =
        phases.iter().map(|phase| took[phase].as_f64().with_context(|| format!("no phase {phase}")));
    Ok(milliseconds.sum::<Result<f64>>()? / 1000.0)
}

/// A script under the bench's bound, in a process group of its own, with what scripts read from their environment.
pub fn shell(bench: &Bench, script: &str) -> Command {
    // A process group of its own, which `timeout` makes: pgcopydb signals its whole group when it fails.
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=10", LONGEST_RUN, "bash", "-euo", "pipefail", "-c", script])
        .current_dir(&bench.folder);
    command.env("SOURCE", bench.url(&bench.database)).env("TARGET", bench.url(super::restore::TARGET));
    command.env("RECIPIENT", &bench.recipient).env("KEY", bench.key_file());
    command.env("JOBS", bench.options.jobs.to_string()).env("KEEPSAKE", &bench.clients.keepsake);
    command.env("PG15", crate::setup::POSTGRES_BIN).env("LC_ALL", "C.UTF-8");
    if let Some(password) = &bench.password {
        command.env("PGPASSWORD", password);
    }
    if let Some(folder) = &bench.clients.pg18 {
        command.env("PG18", folder);
    }
    command.stdin(Stdio::null());
    command
}

/// CPU time of all contenders that ended so far and of the server with its backends: other work on the machine makes
/// it no larger, as it makes the seconds.
fn cpu_seconds(bench: &Bench) -> Result<f64> {
    let server =
        bench.ask(&bench.database, "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)")?;
    let mut ticks = times("self")?.ended;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // A process may end while we look; then its parent has its time.
        let Some(times) = name.parse::<u32>().ok().and_then(|_| times(&name).ok()) else { continue };
        if name == server || times.parent == server {
            ticks += times.own + times.ended;
        }
    }
    // A tick is 10 ms on every Linux that we know.
    Ok(ticks as f64 / 100.0)
}

struct Times {
    parent: String,
    /// Ticks of the process.
    own: u64,
    /// Ticks of its children that ended.
    ended: u64,
}

fn times(process: &str) -> Result<Times> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = text.rsplit_once(") ").context("a process's name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    let parent = fields.get(1).copied().unwrap_or_default().to_owned();
    Ok(Times { parent, own: ticks(11) + ticks(12), ended: ticks(13) + ticks(14) })
}
