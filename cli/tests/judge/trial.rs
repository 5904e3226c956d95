//! One source, restored in both ways, judged.

use crate::evidence::{Evidence, evidence};
use crate::server::{Database, Server};
use crate::verdict::differences;
use crate::ways::{by_keepsake, by_pg_dump};

/// Restores `source` on `server` in both ways. Ours must be equal to `pg_dump`'s without exception. Where both differ
/// from the source alike, `tolerated` must name the difference; anything else is a fault of ours.
///
/// Answers with what the source holds. `options` are those of `CREATE DATABASE`.
pub fn judge(source: &Database, server: &Server, options: &str, tolerated: &[&str]) -> Evidence {
    let mut ours = Database::with(server, options);
    let theirs = Database::with(server, options);
    ours.owns_the_roles_of(source);
    by_keepsake(source, &ours);
    by_pg_dump(source, &theirs);
    let (original, ours, theirs) = (evidence(source), evidence(&ours), evidence(&theirs));
    let beside_pg_dump = differences(&theirs, &ours);
    assert!(beside_pg_dump.is_empty(), "pg_dump's and ours differ:\n{}", beside_pg_dump.join("\n"));
    let mut beside_source = differences(&original, &ours);
    if source.server.major() != server.major() {
        beside_source.retain(|difference| !is_of_a_definition(difference));
    }
    beside_source.retain(|difference| !tolerated.iter().any(|begin| difference.starts_with(begin)));
    assert!(beside_source.is_empty(), "the source and ours differ:\n{}", beside_source.join("\n"));
    original
}

/// Another major writes a definition otherwise; that it is there, and what `pg_dump` makes of it, is compared all the
/// same.
fn is_of_a_definition(difference: &str) -> bool {
    difference.contains("; Type: ") && difference.contains(" entries; first: ")
}
