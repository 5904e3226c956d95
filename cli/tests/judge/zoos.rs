//! Databases with one of everything.

use crate::server::{Database, Server};
use crate::trial::judge;
use std::path::Path;
use std::process::Command;

/// What every supported major can hold.
const ALL: &str = include_str!("zoo/all.sql");

/// A zoo on this server, with what its major can hold.
pub fn zoo(server: &Server) -> Database {
    let mut database = Database::on(server);
    database.load(ALL);
    database
}

#[test]
fn a_zoo_of_everything_comes_back_as_pg_dump_brings_it_back() {
    let source = zoo(&Server::source());
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
