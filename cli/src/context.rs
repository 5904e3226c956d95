//! What all commands share.

use crate::environment::Environment;
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
    #[must_use]
    pub fn client_tools(&self, folder: Option<&Path>) -> PgBin {
        if let Some(folder) = folder {
            return PgBin::new(folder);
        }
        let path = self.environment.get("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(path).find(|folder| folder.join("pg_restore").is_file());
        match on_path {
            Some(folder) if !Path::new(DEBIAN).is_dir() => PgBin::new(folder),
            _ => PgBin::debian(),
        }
    }
}
