//! The keeper: a small process that outlives its starter by a moment, to end all parts and remove their folders.
//!
//! It waits for the end of its standard input, which the kernel closes when the starter ends in whatever way: normally,
//! by a panic, by Ctrl-C, or killed. So nothing remains, and no signal needs to be handled.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const SCRIPT: &str = include_str!("keeper.sh");
/// Each part runs under this: it notes its process group, so that the keeper finds it, and its end.
const PART: &str =
    r#"echo $$ > "$1.pgid"; name=$1; shift; "$@" < /dev/null; echo "ended with $?" > "$name.ended""#;
/// Holds the process id of whoever started the cloud and ends it; not there once it was left running.
const STARTER: &str = "starter.pid";
/// Longer than the keeper waits for the parts before it kills them.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Keeper {
    process: Child,
    run_dir: PathBuf,
}

impl Keeper {
    /// Starts the keeper of these two folders.
    pub fn start(run_dir: &Path, data_dir: &Path) -> Result<Keeper> {
        let process = Command::new("sh")
            .args(["-c", SCRIPT, "keeper"])
            .args([run_dir, data_dir])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .current_dir("/")
            .spawn()
            .context("start the keeper of the local cloud")?;
        fs::write(run_dir.join(STARTER), std::process::id().to_string()).context("note who started it")?;
        Ok(Keeper { process, run_dir: run_dir.to_path_buf() })
    }

    /// Starts one part in a process group of its own, with its output in `<name>.log`.
    pub fn run(&mut self, name: &str, part: Command) -> Result<()> {
        let log = super::new_log(&self.run_dir, name)?;
        let mut command = Command::new("sh");
        command.args(["-c", PART, "part"]).arg(self.run_dir.join(name));
        command.arg(part.get_program()).args(part.get_args());
        copy_environment(&part, &mut command);
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut process = command.spawn().with_context(|| format!("start {name}"))?;
        // Somebody has to take note of its end, or its process group seems to live on.
        std::thread::spawn(move || process.wait());
        Ok(())
    }

    /// Ends all parts and waits until both folders are gone.
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    /// Leaves everything running until `stop_detached`.
    pub fn detach(mut self) -> Result<()> {
        let mut input = self.process.stdin.take().context("the keeper's input")?;
        input.write_all(b"detach\n").context("tell the keeper to stay")?;
        fs::remove_file(self.run_dir.join(STARTER)).context("forget who started it")?;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        drop(self.process.stdin.take());
        self.process.wait().context("wait for the keeper")?;
        Ok(())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // After `detach` and `finish` there is no input left, and nothing to do.
        if self.process.stdin.is_some() {
            let _ = self.end();
        }
    }
}

/// A clean environment with only what the part's command sets, plus the locale.
fn copy_environment(from: &Command, to: &mut Command) {
    to.env_clear().env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    for (name, value) in from.get_envs() {
        if let Some(value) = value {
            to.env(name, value);
        }
    }
}

/// Whether the part that writes this log has ended.
pub fn has_ended(log: &Path) -> bool {
    log.with_extension("ended").exists()
}

/// Ends every cloud that was left running below this folder. Says so when there is none.
///
/// # Errors
/// One of them does not end in time, or belongs to a process that still runs; the text names it.
pub fn stop_detached(runs: &Path) -> Result<()> {
    let entries = fs::read_dir(runs).into_iter().flatten();
    let found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    if found.is_empty() {
        println!("local cloud: none is running");
    }
    let (attached, detached): (Vec<PathBuf>, Vec<PathBuf>) =
        found.into_iter().partition(|run| living_starter(run).is_some());
    for run in &detached {
        println!("local cloud: ending {}", run.display());
        fs::write(run.join("stop"), "")?;
    }
    let begun = Instant::now();
    while let Some(run) = detached.iter().find(|run| run.exists()) {
        if begun.elapsed() > PATIENCE {
            bail!(
                "the local cloud in {0} does not end; if nothing of it runs any more: rm -r {0}",
                run.display()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let each: Vec<String> = attached.iter().filter_map(|run| living_starter(run)).collect();
    if each.is_empty() {
        return Ok(());
    }
    bail!(
        "{}; a local cloud ends with its starter: press Ctrl-C there, or kill that process",
        each.join(", ")
    )
}

/// Who started the cloud of this folder and will end it, if that process still runs.
fn living_starter(run: &Path) -> Option<String> {
    let process = fs::read_to_string(run.join(STARTER)).ok()?;
    let command = fs::read(format!("/proc/{process}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(format!("{} belongs to process {process} ({})", run.display(), command.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_whose_starter_runs_is_left_alone_and_the_starter_is_named() {
        let runs = std::env::temp_dir().join(format!("keepsake-runs-{}", std::process::id()));
        let run = runs.join("one");
        fs::create_dir_all(&run).expect("made");
        fs::write(run.join(STARTER), std::process::id().to_string()).expect("written");
        let refused = stop_detached(&runs).expect_err("it is not ours to end").to_string();
        let left: Vec<_> = fs::read_dir(&run).expect("it is there").collect();
        fs::remove_dir_all(&runs).expect("removed");
        assert!(refused.contains(&format!("belongs to process {}", std::process::id())), "{refused}");
        assert_eq!(left.len(), 1, "nothing told it to stop");
    }
}
