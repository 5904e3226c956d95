//! What all commands share.

use crate::environment::Environment;
use crate::failure::Failure;
use crate::places::Places;
use crate::without_catalog::SystemClock;
use keepsake_postgres::PgBin;
use std::path::Path;
use std::sync::Arc;

/// Made once in `main`.
pub struct Context {
    /// The environment.
    pub environment: Environment,
    /// Repositories and keys.
    pub places: Places,
    /// Time.
    pub clock: Arc<SystemClock>,
}

/// Where Debian's packages put each major version's programs.
const DEBIAN: &str = "/usr/lib/postgresql";

impl Context {
    /// Where the client tools are: the folder that was given, those of Debian's packages, or the first on `PATH`.
    ///
    /// # Errors
    /// When a folder was given and `program` is not in it.
    pub fn client_tools(&self, folder: Option<&Path>, program: &str) -> Result<PgBin, Failure> {
        if let Some(folder) = folder {
            return match folder.join(program).is_file() {
                true => Ok(PgBin::new(folder)),
                false => Err(Failure::usage(
                    format!("--pg-bin: there is no {program} in {}", folder.display()),
                    "name the folder that holds pg_dump and pg_restore, like /usr/lib/postgresql/15/bin, or leave \
                     --pg-bin out",
                )),
            };
        }
        let path = self.environment.get("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(path).find(|folder| folder.join("pg_restore").is_file());
        Ok(match on_path {
            Some(folder) if !Path::new(DEBIAN).is_dir() => PgBin::new(folder),
            _ => PgBin::debian(),
        })
    }
}
