//! The program is killed at random moments, round after round: nothing half-done looks done, the source is left alone,
//! and the next run succeeds. `cargo x kill-sweep --rounds 200 --seed 7` asks for a long one.

use crate::bench::Bench;
use crate::database::{Database, Server};
use crate::killing::{End, Moment, Victim, files_now, left_alone, strike, unfinished};
use keepsake_testkit::environment;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Rounds of every test run; each takes some seconds.
const ROUNDS: u64 = 8;

/// Each so manieth backup is restored and compared row by row; the others are opened and their rows counted.
const RESTORED_EVERY: u64 = 4;

/// How the rounds ended.
#[derive(Debug, Default)]
struct Tally {
    killed_backups: u64,
    work_folders_left: u64,
    of_which_with_manifest: u64,
    gave_up_without_a_session: u64,
    backups_that_ended_well: u64,
    killed_restores: u64,
    restores_that_were_whole: u64,
    restores_compared: u64,
    longest_session: Duration,
}

struct Sweep {
    bench: Bench,
    source: Database,
    random: StdRng,
    backup_takes: Duration,
    restore_takes: Duration,
    files: usize,
    tally: Tally,
}

#[test]
fn wherever_backup_and_restore_are_killed_nothing_half_done_looks_done_and_the_next_run_succeeds() {
    let rounds = environment::number("KEEPSAKE_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = environment::seed("KEEPSAKE_KILL_SEED");
    eprintln!("kill sweep: {rounds} rounds, KEEPSAKE_KILL_SEED={seed}");
    let mut sweep = Sweep::new(seed);
    for round in 0..rounds {
        let began = Instant::now();
        let was = match round % 4 {
            3 => sweep.kill_a_restore(round),
            2 => sweep.kill_a_backup(round, Victim::Session),
            _ => sweep.kill_a_backup(round, Victim::Process),
        };
        eprintln!("round {round}: {was}, {:.1} s", began.elapsed().as_secs_f32());
    }
    eprintln!("kill sweep, seed {seed}: {rounds} rounds, {:?}", sweep.tally);
    // The first round of each kind is killed as soon as its work shows, whatever the seed: with fewer rounds than
    // these there is none of some kind.
    if rounds >= ROUNDS {
        assert!(sweep.tally.killed_backups > 0, "no backup was killed: {:?}", sweep.tally);
        assert!(sweep.tally.killed_restores > 0, "no restore was killed: {:?}", sweep.tally);
        assert!(sweep.tally.work_folders_left > 0, "no killed backup left a work folder: {:?}", sweep.tally);
    }
}

impl Sweep {
    /// A source with several parts, large objects and a second table, and what an undisturbed run of it takes.
    fn new(seed: u64) -> Self {
        let (bench, source) = (Bench::new(), Database::filled());
        source.sql(
            "CREATE TABLE pile AS SELECT n, md5(n::text) || md5((n + 1)::text) AS x FROM generate_series(1, 30000) n",
        );
        let target = Database::empty(Server::Target);
        let mut sweep = Self {
            bench,
            source,
            random: StdRng::seed_from_u64(seed),
            backup_takes: Duration::ZERO,
            restore_takes: Duration::ZERO,
            files: 0,
            tally: Tally::default(),
        };
        sweep.undisturbed_backup();
        sweep.files = files_now(&sweep.bench);
        sweep.undisturbed_restore(&target, &[]);
        sweep
    }

    fn undisturbed_backup(&mut self) {
        let began = Instant::now();
        self.bench.backup(&self.source.url(), &PARTS).ok();
        self.backup_takes = began.elapsed();
    }

    fn undisturbed_restore(&mut self, target: &Database, more: &[&str]) {
        let began = Instant::now();
        self.bench.restore(&self.bench.repo(), target, more).ok();
        self.restore_takes = began.elapsed();
    }

    fn kill_a_backup(&mut self, round: u64, victim: Victim) -> String {
        // No two backups hold the same rows, so that none can be taken for another.
        self.source.sql(&format!("INSERT INTO pile SELECT 100000 + {round}, 'round {round}'"));
        let before = self.backups();
        let moment = if round == 0 {
            Moment::Files(1)
        } else if self.random.random_bool(0.5) {
            Moment::Files(self.random.random_range(1..=self.files))
        } else {
            Moment::within(&mut self.random, self.backup_takes)
        };
        let child = self.bench.backup_command(&self.source.url(), &PARTS).spawn().unwrap();
        let end = strike(child, moment, victim, &self.bench, &self.source);
        self.tally.work_folders_left += self.bench.work_folders() as u64;
        let alone = left_alone(&self.source);
        self.tally.longest_session = self.tally.longest_session.max(alone);

        let stands: Vec<String> = self.backups().difference(&before).cloned().collect();
        let allowed = match end {
            End::Killed => 0..=1,
            End::GaveUp => 0..=0,
            End::Well => 1..=1,
        };
        assert!(allowed.contains(&stands.len()), "{victim:?} {moment:?} {end:?}: {stands:?}");
        for backup in &stands {
            self.rows_verify(backup);
        }
        self.tally.killed_backups += u64::from(end == End::Killed);
        self.tally.of_which_with_manifest += u64::from(end == End::Killed && stands.len() == 1);
        self.tally.gave_up_without_a_session += u64::from(end == End::GaveUp);
        self.tally.backups_that_ended_well += u64::from(end == End::Well);
        self.the_next_run_succeeds(round);
        format!("backup, {victim:?} {moment:?}: {end:?}, {} stand", stands.len())
    }

    fn the_next_run_succeeds(&mut self, round: u64) {
        let before = self.backups();
        self.undisturbed_backup();
        let new: Vec<String> = self.backups().difference(&before).cloned().collect();
        assert_eq!(new.len(), 1, "one run makes one backup");
        assert_eq!(unfinished(&self.bench), [""; 0], "what the killed run left is swept by the next");
        assert_eq!(
            self.bench.work_folders(),
            0,
            "the killed run's work folder is swept by the next, and its own too"
        );
        if round.is_multiple_of(RESTORED_EVERY) {
            let target = Database::empty(Server::Target);
            self.undisturbed_restore(&target, &["--backup", &new[0]]);
            assert_eq!(target.content(), self.source.content());
            self.tally.restores_compared += 1;
        } else {
            self.rows_verify(&new[0]);
        }
    }

    /// Restores the newest backup, which is of the rows that the source still has.
    fn kill_a_restore(&mut self, round: u64) -> String {
        let target = Database::empty(Server::Target);
        let moment =
            if round == 3 { Moment::FirstMark } else { Moment::within(&mut self.random, self.restore_takes) };
        let repo = self.bench.repo();
        let child = self.bench.restore_command(&repo, &target, &[]).spawn().unwrap();
        let end = strike(child, moment, Victim::Process, &self.bench, &target);
        self.tally.killed_restores += u64::from(end == End::Killed);
        left_alone(&target);
        let again = self.bench.restore(&repo, &target, &[]);
        if again.code == Some(0) {
            assert_eq!(end, End::Killed, "a whole restore was restored over");
        } else {
            // It was whole, or it would be gone on with: the comparison below says so.
            again.failed(12, &["is not empty"]);
            self.tally.restores_that_were_whole += 1;
        }
        assert_eq!(target.content(), self.source.content(), "{moment:?}");
        self.tally.restores_compared += 1;
        format!("restore, {moment:?}: {end:?}")
    }

    fn backups(&self) -> BTreeSet<String> {
        let listed = self.bench.list(&self.bench.repo());
        let id = |backup: &Value| backup["backup_id"].as_str().unwrap().to_owned();
        listed["backups"].as_array().unwrap().iter().map(id).collect()
    }

    fn rows_verify(&self, backup: &str) {
        let key_file = self.bench.key_file();
        self.bench.verify(&self.bench.repo(), &[backup, "--deep", "--key-file", &key_file]).ok();
    }
}

const PARTS: [&str; 2] = ["--part-size", "262144"];
