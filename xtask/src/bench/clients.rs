//! The programs under measurement: ours, and peers as far as they are installed.

use super::Options;
use crate::{say, setup};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the client of Postgres 18 from Debian's source package, with zstd: no package of Debian 12 has it.
const BUILD_18: &str = include_str!("build-18.sh");

pub struct Clients {
    pub keepsake: PathBuf,
    /// Folder of pg_dump and pg_restore 18.
    pub pg18: Option<PathBuf>,
    pub pgcopydb: bool,
}

impl Clients {
    /// A smoke run takes what is there; a run that measures builds the client of Postgres 18 first.
    pub fn find(keepsake: PathBuf, options: &Options) -> Result<Self> {
        let folder = setup::local().join("client-18");
        let bin = folder.join("bin");
        if !bin.join("pg_dump").exists() && !options.smoke {
            say("building pg_dump 18 from Debian's source package; this takes a minute");
            let mut build = Command::new("bash");
            build.args(["-euo", "pipefail", "-c", BUILD_18, "build-18"]).arg(&folder);
            setup::run_quietly(&mut build).context("build pg_dump 18")?;
        }
        let pg18 = bin.join("pg_dump").exists().then_some(bin);
        let pgcopydb = Command::new("pgcopydb").arg("version").output().is_ok();
        if !pgcopydb {
            say("pgcopydb is not installed (apt-get install pgcopydb), so it does not take part");
        }
        Ok(Self { keepsake, pg18, pgcopydb })
    }

    /// Draws a recovery key; answers its public half.
    pub fn draw_key(&self, file: &Path) -> Result<String> {
        let output = Command::new(&self.keepsake).args(["keygen", "--out"]).arg(file).output()?;
        if !output.status.success() {
            bail!("keepsake keygen failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The level that was asked for, or Keepsake's own, which it names in its help.
    pub fn level(&self, options: &Options) -> i32 {
        options.level.unwrap_or_else(|| own_level(&self.keepsake).unwrap_or(3))
    }

    /// Programs whose version is stated.
    pub fn versions(&self) -> Vec<(String, [&'static str; 1])> {
        let mut programs = vec![format!("{}/pg_dump", setup::POSTGRES_BIN)];
        programs.extend(self.pg18.iter().map(|folder| folder.join("pg_dump").display().to_string()));
        programs.extend(["zstd", "age"].map(str::to_owned));
        programs.extend(self.pgcopydb.then(|| "pgcopydb".to_owned()));
        programs.into_iter().map(|program| (program, ["--version"])).collect()
    }
}

fn own_level(keepsake: &Path) -> Option<i32> {
    let help = Command::new(keepsake).args(["backup", "--help"]).output().ok()?;
    let help = String::from_utf8(help.stdout).ok()?;
    let after = help.split("--level").nth(1)?.split("[default: ").nth(1)?;
    after.split(']').next()?.parse().ok()
}
