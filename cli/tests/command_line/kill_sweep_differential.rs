//! `keepsake differential` is killed at random moments, round after round: what it had begun serves no restore, the next call
//! makes it, and a restore by it holds the source's rows. `cargo x kill-sweep --rounds 200 --seed 7` asks for a long one.

use crate::database::{Database, Server};
use crate::differential::{SCHEMA, differential, differential_command, manifests, transaction};
use crate::killing::{End, Moment, Victim, files_now, strike, unfinished};
use crate::protected::Protected;
use keepsake_testkit::environment;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};

/// Rounds of every test run; each takes a second or two.
const ROUNDS: u64 = 6;

/// How many rounds more there are until one run is killed in its middle: on a machine under load it may end before it is seen.
const MORE_ROUNDS: u64 = 30;

/// Some segments' worth of rows, and more each round.
const TRANSACTIONS: u32 = 12;

struct Sweep {
    protected: Protected,
    random: StdRng,
    history: u64,
    takes: Duration,
    files: usize,
    killed: u64,
    of_which_stood: u64,
}

#[test]
fn wherever_a_differential_is_killed_what_it_began_serves_no_restore_and_the_next_call_makes_it() {
    let rounds = environment::number("KEEPSAKE_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = environment::seed("KEEPSAKE_KILL_SEED");
    eprintln!("kill sweep of differentials: {rounds} rounds, KEEPSAKE_KILL_SEED={seed}");
    let mut sweep = Sweep::new(seed);
    let mut round = 0;
    while round < rounds || (sweep.killed == 0 && round < rounds + MORE_ROUNDS) {
        sweep.kill_one(round);
        round += 1;
    }
    sweep.everything_comes_back();
    eprintln!("seed {seed}: {round} rounds, {} killed, {} of them stood", sweep.killed, sweep.of_which_stood);
    assert!(sweep.killed > 0, "none was killed in {round} rounds");
}

impl Sweep {
    /// A source whose full backup joins, and what an undisturbed run takes.
    fn new(seed: u64) -> Self {
        let protected = Protected::with(SCHEMA);
        protected.backup();
        let random = StdRng::seed_from_u64(seed);
        let (takes, files, killed, of_which_stood) = (Duration::ZERO, 0, 0, 0);
        let mut sweep = Self { protected, random, history: seed, takes, files, killed, of_which_stood };
        sweep.more_changes();
        let (began, files) = (Instant::now(), files_now(&sweep.protected.bench));
        differential(&sweep.protected, &[]).ok();
        sweep.takes = began.elapsed();
        sweep.files = files_now(&sweep.protected.bench) - files;
        sweep
    }

    fn more_changes(&mut self) {
        let transactions: Vec<String> = (0..TRANSACTIONS).map(|_| transaction(&mut self.history)).collect();
        // Whatever they come to, there is a change.
        let one_more = "INSERT INTO lines VALUES ('one more', 0)";
        self.protected.source.sql(&format!("{}; {one_more}", transactions.join("; ")));
        self.protected.capture(false);
    }

    fn kill_one(&mut self, round: u64) {
        self.more_changes();
        let moment = match round % 3 {
            0 => Moment::Files(1),
            1 => Moment::Files(self.random.random_range(1..=self.files)),
            _ => Moment::within(&mut self.random, self.takes),
        };
        let (bench, before) = (&self.protected.bench, manifests(&self.protected));
        let child = differential_command(&self.protected, &[]).spawn().unwrap();
        let end = strike(child, moment, Victim::Process, bench, &self.protected.source);
        let stands = manifests(&self.protected).len() - before.len();
        assert!(stands == 1 || (stands == 0 && end == End::Killed), "{moment:?} {end:?}: {stands} stand");
        self.killed += u64::from(end == End::Killed);
        self.of_which_stood += u64::from(end == End::Killed && stands == 1);
        if end == End::Killed && self.killed == 1 {
            // With what the dead one left.
            self.everything_comes_back();
        }
        let made = differential(&self.protected, &[]).ok().json();
        assert_eq!(made["is_new"], stands == 0, "{moment:?} {end:?}: {made}");
        assert_eq!(
            unfinished(&self.protected.bench),
            [""; 0],
            "what the dead had begun is swept by the next"
        );
        assert_eq!(manifests(&self.protected).len(), before.len() + 1, "{moment:?} {end:?}");
        eprintln!("round {round}: {moment:?}: {end:?}, {stands} stand");
    }

    /// By the newest differential that stands, and every object that a manifest names is whole.
    fn everything_comes_back(&self) {
        let target = Database::empty(Server::Target);
        let restored = self.protected.restore(&target, &["--latest", "--json"]).ok().json();
        assert_eq!(restored["certificate"]["verdict"], "passed");
        assert!(restored["certificate"]["recovered"]["differential"].is_string(), "{restored}");
        assert_eq!(target.rows(), self.protected.source.rows());
        let bench = &self.protected.bench;
        let verified = bench.verify(&bench.repo(), &["--deep", "--key-file", &bench.key_file(), "--json"]);
        assert_eq!(verified.ok().json()["verdict"], "passed");
    }
}
