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

/// Ends every cloud that was left running below this folder.
///
/// # Errors
/// One of them does not end in time.
pub fn stop_detached(runs: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(runs) else { return Ok(()) };
    let found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    for run in &found {
        println!("local cloud: ending {}", run.display());
        fs::write(run.join("stop"), "")?;
    }
    let begun = Instant::now();
    while found.iter().any(|run| run.exists()) {
        if begun.elapsed() > PATIENCE {
            bail!("a local cloud did not end; is its starter still running?");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
