//! Databases with one of everything.

use crate::server::{Database, Server};
use crate::trial::judge;

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
