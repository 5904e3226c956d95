//! Databases with one of everything.

use crate::server::{Database, Server};
use crate::trial::judge;
use std::path::Path;
use std::process::Command;

/// What every supported major can hold.
const ALL: &str = include_str!("zoo/all.sql");

/// What came with each later major; each stands on those before.
const SINCE: [(u32, &str); 4] = [
    (15, include_str!("zoo/15.sql")),
    (16, include_str!("zoo/16.sql")),
    (17, include_str!("zoo/17.sql")),
    (18, include_str!("zoo/18.sql")),
];

/// Debian's build has LZ4, those of the other majors here have not.
const PACKED: &str = "CREATE TABLE packed (v text COMPRESSION lz4, w text COMPRESSION pglz);
    INSERT INTO packed SELECT repeat('packed ', 2000), repeat('packed ', 2000) FROM generate_series(1, 20);";

/// A zoo on this server, with what its major can hold.
pub fn zoo(server: &Server) -> Database {
    let mut database = Database::on(server);
    database.load(ALL);
    let major = server.major();
    for (_, script) in SINCE.iter().filter(|(since, _)| *since <= major) {
        database.load(script);
    }
    database
}

#[test]
fn a_zoo_of_everything_comes_back_as_pg_dump_brings_it_back() {
    let source = zoo(&Server::source());
    source.sql(PACKED);
    let evidence = judge(&source, &Server::target(), "", &[]);
    assert!(evidence.len() > 250, "only {} things to compare", evidence.len());
}

/// The sample that everybody can load with `cargo x sample`; that program is built beside ours.
#[test]
fn the_wedsync_sample_comes_back_as_pg_dump_brings_it_back() {
    let mut source = Database::on(&Server::source());
    source.owns_roles(&["wedsync_app", "wedsync_readonly"]);
    let program = Path::new(env!("CARGO_BIN_EXE_keepsake")).with_file_name("xtask");
    let loaded =
        Command::new(program).args(["sample", "--scale", "1", "--to", &source.url()]).output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    judge(&source, &Server::target(), "", &[]);
}
