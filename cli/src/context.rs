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

/// Where the client tools are: the folder that was given, or those of Debian's packages.
#[must_use]
pub fn client_tools(folder: Option<&Path>) -> PgBin {
    folder.map_or_else(PgBin::debian, PgBin::new)
}
