//! Sources of every supported major, to the same and to newer majors.

use crate::evidence::evidence;
use crate::server::{Database, Server};
use crate::trial::judge;
use crate::verdict::differences;
use crate::ways::Bench;
use crate::zoos::zoo;

/// Each major that is not the other tests' 15, up to the newest; all pairs with `KEEPSAKE_JUDGE_VERSIONS=all`.
const PAIRS: [(u32, u32); 4] = [(14, 16), (16, 17), (17, 18), (18, 18)];

fn pairs() -> Vec<(u32, u32)> {
    let majors = 14..=18;
    match std::env::var("KEEPSAKE_JUDGE_VERSIONS").as_deref() {
        Ok("all") => majors.clone().flat_map(|from| (from..=18).map(move |to| (from, to))).collect(),
        Ok(pair) => {
            let (from, to) = pair.split_once('-').expect("KEEPSAKE_JUDGE_VERSIONS: all, or 14-18");
            vec![(from.parse().expect("a major"), to.parse().expect("a major"))]
        }
        Err(_) => PAIRS.to_vec(),
    }
}

#[test]
fn a_zoo_of_each_major_comes_back_on_the_same_and_on_newer_majors() {
    for (from, to) in pairs() {
        eprintln!("from {from} to {to} (again: KEEPSAKE_JUDGE_VERSIONS={from}-{to})");
        let (source, target) = (zoo(&Server::of_major(from)), Server::of_major(to));
        judge(&source, &target, "", &[]);
    }
}

/// The newest `pg_dump` writes what an older `pg_restore` cannot read, and the newest `pg_restore` makes a setting that
/// an older server does not know.
#[test]
fn clients_that_are_newer_than_both_servers_bring_everything_back() {
    let source = zoo(&Server::source());
    let mut bench = Bench::new();
    bench.with_only(18);
    bench.backup_whole(&source);
    let comes_back_whole = |bench: &Bench| {
        let mut target = Database::on(&Server::target());
        target.owns_the_roles_of(&source);
        bench.restore_whole(&target);
        let differences = differences(&evidence(&source), &evidence(&target));
        assert!(differences.is_empty(), "the source and ours differ:\n{}", differences.join("\n"));
    };
    comes_back_whole(&bench);
    bench.with_all();
    comes_back_whole(&bench);
}
