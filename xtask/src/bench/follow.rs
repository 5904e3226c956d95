//! `cargo x bench follow`: how late what was committed stands in the repository while `keepsake capture --follow` runs.

use super::contender::shell;
use super::writes::Protected;
use super::{Bench, environment, table};
use crate::say;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Rows per second, and the name of the database that is written to.
const RATES: [(u64, &str); 2] = [(1_000, "follow-1000"), (10_000, "follow-10000")];

/// How often a second is written: a transaction each.
const BEATS: u64 = 20;

/// What was committed last is captured within a few seconds; a machine that is too slow for the rate gets a minute more.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(bench: &Bench) -> Result<()> {
    environment::print(bench)?;
    println!("- segments end after 1 s (--segment-seconds 1)");
    let mut lines = Vec::new();
    for (rate, name) in RATES {
        lines.push(followed(bench, rate, name)?);
    }
    println!(
        "\n| rows a second | segments | oldest commit: median s | most s | newest commit: median s | most s |"
    );
    println!("|---|---|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn followed(bench: &Bench, rate: u64, name: &'static str) -> Result<String> {
    let seconds = bench.options.seconds;
    say(&format!("writing {rate} rows a second for {seconds} s"));
    let source = Protected::new(bench, name, 1)?;
    let repository = bench.folder.join(name);
    let script = format!(
        "{} exec $KEEPSAKE capture --follow --segment-seconds 1 {}",
        source.source(),
        source.place(&format!("$PWD/{name}"))
    );
    let mut command = shell(bench, &script);
    // It is ended by a signal, and says so.
    let mut following = Following(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    source.ask(&beats(rate, seconds))?;
    let written = rate / BEATS * BEATS * seconds;
    let begun = Instant::now();
    let segments = loop {
        let segments = segments(&repository)?;
        if segments.iter().map(|segment| segment.changes).sum::<u64>() >= written {
            break segments;
        }
        if let Some(status) = following.0.try_wait()? {
            bail!("keepsake capture --follow ended: {status}");
        }
        if begun.elapsed() > PATIENCE {
            bail!("not all of {written} rows were captured {} s after they were written", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    drop(following);
    source.end()?;
    line(bench, rate, &segments)
}

/// One transaction after the other, each due at its time: a slow one does not put off those behind it.
fn beats(rate: u64, seconds: u64) -> String {
    let (rows, beats) = (rate / BEATS, BEATS * seconds);
    format!(
        "DO $do$ DECLARE began timestamptz := clock_timestamp(); BEGIN
            FOR beat IN 1 .. {beats} LOOP
                INSERT INTO guests SELECT beat::bigint * {rows} + n, n, 'guest ' || n, '{{\"seat\": 7}}', clock_timestamp()
                    FROM generate_series(1, {rows}) n;
                COMMIT;
                PERFORM pg_sleep(greatest(0, extract(epoch FROM began - clock_timestamp()) + beat / {BEATS}.0));
            END LOOP;
        END $do$"
    )
}

/// Ended when it is dropped, also when the bench fails.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        // `timeout` hands the signal on, and capture ends by it.
        let ended = Command::new("kill").arg(self.0.id().to_string()).status();
        if ended.is_ok_and(|status| status.success()) {
            let _ = self.0.wait();
        }
    }
}

struct Segment {
    changes: u64,
    /// When its manifest stood, in seconds since 1970.
    stood: f64,
    first_commit_at: String,
    last_commit_at: String,
}

/// Segments with changes.
fn segments(repository: &Path) -> Result<Vec<Segment>> {
    let mut found = Vec::new();
    for path in manifests(repository)? {
        // One that is being written has no whole JSON yet, and is there the next time.
        let Ok(manifest) = serde_json::from_slice::<Value>(&fs::read(&path)?) else { continue };
        let text = |field: &str| manifest[field].as_str().map(str::to_owned);
        let (Some(first_commit_at), Some(last_commit_at)) = (text("first_commit_at"), text("last_commit_at"))
        else {
            continue;
        };
        let stood = fs::metadata(&path)?.modified()?.duration_since(UNIX_EPOCH)?.as_secs_f64();
        let changes = manifest["changes"].as_u64().context("a segment counts its changes")?;
        found.push(Segment { changes, stood, first_commit_at, last_commit_at });
    }
    Ok(found)
}

/// `<source>/<lineage>/changes/<16 digits>.json`.
fn manifests(repository: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![repository.to_owned()];
    for _ in 0..4 {
        let mut below = Vec::new();
        for folder in found.iter().filter(|path| path.is_dir()) {
            for entry in fs::read_dir(folder)? {
                below.push(entry?.path());
            }
        }
        found = below;
    }
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.len() == "0000000000000000.json".len() && name.ends_with(".json")
    };
    Ok(found.into_iter().filter(is_segment).collect())
}

fn line(bench: &Bench, rate: u64, segments: &[Segment]) -> Result<String> {
    let oldest = lags(bench, segments, |segment| &segment.first_commit_at)?;
    let newest = lags(bench, segments, |segment| &segment.last_commit_at)?;
    let most = |lags: &[f64]| lags.iter().copied().fold(0.0, f64::max);
    let median = |lags: &[f64]| table::median(lags.iter().copied());
    Ok(format!(
        "| {rate} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
        segments.len(),
        median(&oldest),
        most(&oldest),
        median(&newest),
        most(&newest)
    ))
}

/// Seconds from a commit, by the server's clock, to the manifest; client and server share the machine's clock.
fn lags(bench: &Bench, segments: &[Segment], commit: impl Fn(&Segment) -> &String) -> Result<Vec<f64>> {
    let times: Vec<String> = segments.iter().map(|segment| format!("'{}'", commit(segment))).collect();
    let query = format!(
        "SELECT extract(epoch FROM at::timestamptz) FROM unnest(ARRAY[{}]) WITH ORDINALITY t (at, n) ORDER BY n",
        times.join(", ")
    );
    let answered = bench.ask(&bench.database, &query)?;
    let committed = answered.lines().map(str::parse::<f64>).collect::<Result<Vec<f64>, _>>()?;
    Ok(segments.iter().zip(committed).map(|(segment, at)| segment.stood - at).collect())
}
