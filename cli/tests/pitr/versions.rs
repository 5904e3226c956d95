//! The same on every major that is supported, and from older ones to newer ones.

use crate::commits::{decoded, decoding};
use crate::ours::Bench;
use crate::source::Source;
use crate::target::Target;
use keepsake_testkit::cluster::Major;
use keepsake_testkit::environment;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Where it is captured, and where it is restored to. The other tests' 15 is not among them.
const PAIRS: [(Major, Major); 4] =
    [(Major(14), Major(18)), (Major(16), Major(16)), (Major(17), Major(18)), (Major(18), Major(18))];

/// Random targets for each pair. `KEEPSAKE_PITR_VERSION_TARGETS=20` asks for a long suite.
const TARGETS: u64 = 1;

/// Transactions of each connection: before the full backup is there, and after it.
const TRANSACTIONS: [u32; 2] = [20, 40];

#[test]
fn our_recovery_is_that_of_postgres_on_every_major_and_comes_to_the_same_on_a_newer_one() {
    let seed = environment::seed("KEEPSAKE_PITR_SEED");
    let random_targets = environment::number("KEEPSAKE_PITR_VERSION_TARGETS").unwrap_or(TARGETS);
    let mut random = StdRng::seed_from_u64(seed);
    eprintln!("point-in-time recovery on every major: KEEPSAKE_PITR_SEED={seed}");
    for (from, to) in PAIRS {
        eprintln!("from {} to {}", from.0, to.0);
        let source = Source::new(from);
        decoding(&source.cluster);
        let (bench, following, start) = Bench::begin(&source, to, seed, TRANSACTIONS[0]);
        source.load(seed.wrapping_add(1), TRANSACTIONS[1]).finish();
        // Nobody commits at this time, so that no clock can be read in another order than the WAL is written.
        let quiet = source.cluster.sql(
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || ' UTC'",
        );
        source.load(seed.wrapping_add(2), TRANSACTIONS[0]).finish();
        bench.end(following, &source);
        let commits = decoded(&source.cluster, &start);
        source.archive_all();

        let mut targets = vec![Target::Time { at: quiet }];
        for _ in 0..random_targets {
            let commit = commits.choose(&mut random).expect("commits");
            targets.push(match random.random_bool(0.5) {
                true => Target::Lsn { lsn: commit.lsn, inclusive: random.random_bool(0.5) },
                false => Target::Xid { xid: commit.xid, inclusive: random.random_bool(0.5) },
            });
        }
        for (number, target) in (0..).zip(&targets) {
            bench.compare(&source, number, target);
        }
    }
}
